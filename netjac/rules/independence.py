"""Whether a sample's value follows from that sample alone, so that a batch may be taken in pieces.

That its *derivative* does is not enough: x − stop_gradient(mean(x)) has a diagonal Jacobian, but another one for another batch.
So the axis of samples is followed through values, those without a derivative among them, and where it is not known to be
kept, it is taken to be mixed.

Attention folds samples and heads into one axis and parts them again: (4, 3 samples, 8) → (4, 6, 4) → (6, 4, 4) → (3, 2, 4, 4).
In the axis of 6, entry k is of sample k // 2 mod 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from netjac.graph.program import Equation, Program, flatten
from netjac.rules.elementwise import COMPARISONS, SAME, STEPS
from netjac.rules.local import TIES, axis_ties, linearise
from netjac.rules.propagation import MIXED, branches_end, scan_end

CALLS = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


def apart(program: Program, inputs: Iterable[int], of: int) -> bool:
    """Whether entry b of a value's axis 0 follows from entry b of the axis 0 of every input."""
    return carried(program, dict.fromkeys(inputs, 0)).get(of, 0) == 0


class Fold(NamedTuple):
    """Where samples stand in a value: entry k of `axis` is of sample k // inner mod samples."""

    axis: int
    samples: int
    inner: int = 1


def carried(program: Program, starts: dict[int, int]) -> dict[int, int]:
    """Value → the axis along which it follows from the marked axes entry by entry, MIXED where it does not."""
    marks = {n: None if axis == MIXED else Fold(axis, program.shape(n)[axis]) for n, axis in starts.items()}
    for eqn in program.equations:
        for place, operand in enumerate(eqn.operands):
            if operand not in marks:
                continue
            for which, result in enumerate(eqn.results):
                reached, to = _followed(program, eqn, place, which, marks[operand])
                if reached:
                    marks[result] = to if marks.get(result, to) == to else None
    return {n: _axis(program, n, mark) for n, mark in marks.items()}


def _axis(program: Program, value: int, mark: Fold | None) -> int:
    return MIXED if mark is None or mark != Fold(mark.axis, program.shape(value)[mark.axis]) else mark.axis


def _followed(program: Program, eqn: Equation, place: int, which: int, mark: Fold | None) -> tuple[bool, Fold | None]:
    """Whether the result depends on the operand, and where it has the operand's samples."""
    operand, result = eqn.operands[place], eqn.results[which]
    if mark is not None and eqn.name == "reshape" and eqn.parameters["dimensions"] is None:
        return True, _reshaped(program.shape(operand), program.shape(result), mark)
    whole = _axis(program, operand, mark)
    within = eqn.name in CALLS or eqn.name in ("scan", "while", "cond")  # followed by axes
    axis = whole if mark is None or within else mark.axis
    to = _end(program, eqn, place, which, axis)
    return to is not None, None if to is None or to == MIXED or mark is None else mark._replace(axis=to)


def _reshaped(old: tuple[int, ...], new: tuple[int, ...], mark: Fold) -> Fold | None:
    """Counted through all entries, a sample comes again every `step · samples`; an axis that counts in parts of that has it."""
    step = mark.inner * prod(old[mark.axis + 1 :])
    for axis, size in enumerate(new):
        after = prod(new[axis + 1 :])
        if after and step % after == 0 and size % (step // after * mark.samples) == 0:
            return Fold(axis, mark.samples, step // after)
    return None


def _end(program: Program, eqn: Equation, operand: int, result: int, axis: int) -> int | None:
    """The result's axis that carries on an operand's; None where the result does not depend on the operand at all."""
    if eqn.name == "scan":
        return scan_end(eqn, operand, result, axis, carried)
    if eqn.name == "cond" and operand:
        return branches_end(eqn, operand, result, axis, carried)
    if eqn.name in ("while", "cond"):
        return MIXED  # what decides how often, or which way, decides for all samples
    if eqn.name in CALLS:
        inner = flatten(eqn.parameters["call_jaxpr"])
        return carried(inner, {inner.inputs[operand]: axis}).get(inner.outputs[result])
    if axis == MIXED or not all(
        hasattr(program.types[n], "shape") for n in (eqn.operands[operand], eqn.results[result])
    ):
        return MIXED
    return dict(_pairs(program, eqn, operand, result)).get(axis, MIXED)


def _pairs(program: Program, eqn: Equation, operand: int, result: int) -> tuple[tuple[int, int], ...]:
    old, new = program.shape(eqn.operands[operand]), program.shape(eqn.results[result])
    if eqn.name == "gather" and operand == 1:
        offsets = eqn.parameters["dimension_numbers"].offset_dims
        return tuple(enumerate(place for place in range(len(new)) if place not in offsets))
    local = linearise(program, eqn, operand, result)
    if local is not None:
        return axis_ties(local)
    if eqn.name in ("argmax", "argmin"):
        kept = [axis for axis in range(len(old)) if axis not in eqn.parameters["axes"]]
        return tuple((axis, place) for place, axis in enumerate(kept))
    if eqn.name in TIES:
        return tuple(TIES[eqn.name](program, eqn, operand, result) or ())
    if not _by_entry(eqn) or len(old) != len(new):
        return ()
    return tuple((axis, axis) for axis in range(len(old)) if old[axis] == new[axis])  # others are repeated


def _by_entry(eqn: Equation) -> bool:
    return eqn.name in (*STEPS, *COMPARISONS, *SAME, "select_n", "shift_left", "shift_right_logical")
