"""Whether a sample's value follows from that sample alone, so that a batch may be taken in pieces.

That its *derivative* does is not enough: x − stop_gradient(mean(x)) has a diagonal Jacobian, but another one for another batch.
So the axis of samples is followed through values, those without a derivative among them, and where it is not known to be
kept, it is taken to be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable

from netjac.graph.program import Equation, Program, flatten
from netjac.rules.elementwise import COMPARISONS, SAME, STEPS
from netjac.rules.local import TIES, axis_ties, linearise
from netjac.rules.propagation import MIXED, branches_end, scan_end

CALLS = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


def apart(program: Program, inputs: Iterable[int], of: int) -> bool:
    """Whether entry b of a value's axis 0 follows from entry b of the axis 0 of every input."""
    return carried(program, dict.fromkeys(inputs, 0)).get(of, 0) == 0


def carried(program: Program, starts: dict[int, int]) -> dict[int, int]:
    """Value → the axis along which it follows from the marked axes entry by entry, MIXED where it does not."""
    marks = dict(starts)
    for eqn in program.equations:
        for place, operand in enumerate(eqn.operands):
            if operand not in marks:
                continue
            for which, result in enumerate(eqn.results):
                axis = marks[operand]
                to = _end(program, eqn, place, which, axis)
                if to is not None:
                    marks[result] = to if marks.get(result, to) == to else MIXED
    return marks


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
