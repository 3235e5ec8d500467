"""Whether a sample's value follows from that sample alone, so that a batch may be taken in pieces.

That its *derivative* does is not enough: x − stop_gradient(mean(x)) has a diagonal Jacobian, but another one for another batch.
So the axis of samples is followed through values, those without a derivative among them, and where it is not known to be
kept, it is taken to be mixed. What does not come from the samples must be the same for all of them: in x[b] + b, or with noise
drawn for the batch, a sample's value follows from its place too.

Attention folds samples and heads into one axis and parts them again: (4, 3 samples, 8) → (4, 6, 4) → (6, 4, 4) → (3, 2, 4, 4).
In the axis of 6, entry k is of sample k // 2 mod 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import NamedTuple

import jax
import numpy as np

from netjac.graph.program import Equation, Program, flatten
from netjac.rules.elementwise import COMPARISONS, SAME, STEPS
from netjac.rules.local import TIES, axis_ties, linearise
from netjac.rules.loops import scan_counts
from netjac.rules.propagation import MIXED, branches_end, scan_end

CALLS = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
LOOPS = ("scan", "while", "cond")
Even = Callable[[int, int], bool]
"""Whether an input of a program, by its place, is the same all along an axis, or is followed by itself."""


def apart(program: Program, inputs: Iterable[int], of: int) -> bool:
    """Whether entry b of a value's axis 0 follows from entry b of the axis 0 of every input, in one way for every b."""
    return carried(program, dict.fromkeys(inputs, 0), lambda _place, _axis: False).get(of, 0) == 0


def separate(program: Program, inputs: Iterable[int], of: int) -> bool:
    """The same, each b in a way of its own if need be: with weights of its own, say."""
    return carried(program, dict.fromkeys(inputs, 0), None).get(of, 0) == 0


class Fold(NamedTuple):
    """Where samples stand in a value: entry k of `axis` is of sample k // inner mod samples."""

    axis: int
    samples: int
    inner: int = 1


Marks = dict[int, Fold | None]


def carried(program: Program, starts: dict[int, int], given: Even | None) -> dict[int, int]:
    """Value → the axis along which it follows from the marked axes entry by entry, MIXED where it does not.

    With `given` None each entry may follow in a way of its own.
    """
    marks: Marks = {n: None if axis == MIXED else Fold(axis, program.shape(n)[axis]) for n, axis in starts.items()}
    for eqn in program.equations:
        met: Marks = {}
        for place, operand in enumerate(eqn.operands):
            if operand not in marks:
                continue
            for which, result in enumerate(eqn.results):
                reached, to = _followed(program, eqn, place, which, marks, given)
                if reached:
                    met[result] = to if met.get(result, to) == to else None
        for which, result in enumerate(eqn.results):
            if result in met:
                to = met[result]
                one_way = to is None or given is None or _alike(program, eqn, which, to.axis, marks, given)
                marks[result] = to if one_way else None
    return {n: _axis(program, n, mark) for n, mark in marks.items()}


def _axis(program: Program, value: int, mark: Fold | None) -> int:
    return MIXED if mark is None or mark != Fold(mark.axis, program.shape(value)[mark.axis]) else mark.axis


def _followed(
    program: Program, eqn: Equation, place: int, which: int, marks: Marks, given: Even | None
) -> tuple[bool, Fold | None]:
    """Whether the result depends on the operand, and where it has the operand's samples."""
    operand, result = eqn.operands[place], eqn.results[which]
    mark = marks[operand]
    if mark is not None and eqn.name == "reshape":
        return True, _reshaped(program.shape(operand), program.shape(result), mark)
    whole = _axis(program, operand, mark)
    axis = whole if mark is None or eqn.name in (*CALLS, *LOOPS) else mark.axis  # those are followed by axes
    inside = (lambda _: None) if given is None else partial(_even_inside, program, eqn, marks, given)
    to = _end(program, eqn, place, which, axis, inside)
    return to is not None, None if to is None or to == MIXED or mark is None else mark._replace(axis=to)


def _reshaped(old: tuple[int, ...], new: tuple[int, ...], mark: Fold) -> Fold | None:
    """Counted through all entries, a sample comes again every `step · samples`; an axis that counts in parts of that has it."""
    step = mark.inner * prod(old[mark.axis + 1 :])
    for axis, size in enumerate(new):
        after = prod(new[axis + 1 :])
        if after and step % after == 0 and size % (step // after * mark.samples) == 0:
            return Fold(axis, mark.samples, step // after)
    return None


def _end(
    program: Program, eqn: Equation, operand: int, result: int, axis: int, inside: Callable[[Program], Even | None]
) -> int | None:
    """The result's axis that carries on an operand's; None where the result does not depend on the operand at all."""
    if eqn.name == "scan":
        return scan_end(eqn, operand, result, axis, lambda body, starts: carried(body, starts, inside(body)))
    if eqn.name == "cond" and operand:
        return branches_end(eqn, operand, result, axis, lambda body, starts: carried(body, starts, inside(body)))
    if eqn.name in ("while", "cond"):
        return MIXED  # what decides how often, or which way, decides for all samples
    if eqn.name in CALLS:
        inner = flatten(eqn.parameters["call_jaxpr"])
        return carried(inner, {inner.inputs[operand]: axis}, inside(inner)).get(inner.outputs[result])
    if axis == MIXED or not _are_arrays(program, eqn.operands[operand], eqn.results[result]):
        return MIXED
    return dict(_pairs(program, eqn, operand, result)).get(axis, MIXED)


def _alike(program: Program, eqn: Equation, result: int, axis: int, marks: Marks, given: Even) -> bool:
    """Whether what meets the samples in an equation is the same for all of them."""
    return eqn.name in (*LOOPS, *CALLS) or all(
        even(program, n, own, marks, given)
        for place, n in enumerate(eqn.operands)
        if n not in marks and _are_arrays(program, n)
        for own, to in _pairs(program, eqn, place, result)
        if to == axis
    )


def even(program: Program, value: int, axis: int, marks: Marks, given: Even) -> bool:
    """Whether a value is known to be the same all along an axis, where it does not come from what is marked."""
    if value in marks or program.shape(value)[axis] == 1:
        return True
    if value in program.constants:
        array = program.constants[value]
        return not isinstance(array, jax.core.Tracer) and bool((np.asarray(array) == np.take(array, [0], axis)).all())
    if value not in program.producer:
        return value in program.inputs and given(program.inputs.index(value), axis)
    eqn = program.equations[program.producer[value]]
    if eqn.name == "broadcast_in_dim":
        kept = dict(zip(eqn.parameters["broadcast_dimensions"], range(len(program.shape(value))), strict=False))
        return axis not in kept or even(program, eqn.operands[0], kept[axis], marks, given)
    if eqn.name == "reshape":
        return all(even(program, eqn.operands[0], own, marks, given) for own in _made_of(program, eqn, axis))
    which = eqn.results.index(value)
    if eqn.name == "iota":
        return bool(eqn.parameters["dimension"] != axis)
    if eqn.name in ("scan", *CALLS):
        return _even_after(program, eqn, which, axis, marks, given)
    if eqn.name in LOOPS:
        return False
    sources = [
        (n, own)
        for place, n in enumerate(eqn.operands)
        if _are_arrays(program, n)
        for own, to in _pairs(program, eqn, place, which)
        if to == axis
    ]
    return bool(sources) and all(even(program, n, own, marks, given) for n, own in sources)


def _made_of(program: Program, eqn: Equation, axis: int) -> list[int]:
    """The axes of a reshape's operand that an axis of its result is made of parts of."""
    old, new = program.shape(eqn.operands[0]), program.shape(eqn.results[0])
    low = prod(new[axis + 1 :])
    strides = [prod(old[own + 1 :]) for own in range(len(old))]
    return [own for own, step in enumerate(strides) if step < low * new[axis] and step * old[own] > low]


def _even_after(program: Program, eqn: Equation, result: int, axis: int, marks: Marks, given: Even) -> bool:
    """`even` of what a scan or a call gives; what a scan carries is what it started from where it takes no step."""
    body = flatten(eqn.parameters["jaxpr" if eqn.name == "scan" else "call_jaxpr"])
    constants, state = scan_counts(eqn) if eqn.name == "scan" else (0, len(eqn.results))
    inside = _even_inside(program, eqn, marks, given, body)
    if result < state and eqn.name == "scan" and not inside(constants + result, axis):
        return False
    return even(body, body.outputs[result], axis - (result >= state), {}, inside)


def _even_inside(program: Program, eqn: Equation, marks: Marks, given: Even, body: Program) -> Even:
    """`Even` for the inputs of a program that an equation carries."""
    constants, state = scan_counts(eqn) if eqn.name == "scan" else (0, 0)
    skipped = 1 if eqn.name == "cond" else 0
    assumed: set[tuple[int, int]] = set()

    def inside(place: int, axis: int) -> bool:
        sequence = eqn.name == "scan" and place >= constants + state
        if not even(program, eqn.operands[place + skipped], axis + sequence, marks, given):
            return False
        if not constants <= place < constants + state or (place, axis) in assumed:
            return True
        assumed.add((place, axis))  # what a loop carries stays the same if a turn leaves it so
        return even(body, body.outputs[place - constants], axis, {}, inside)

    return inside


def _are_arrays(program: Program, *values: int) -> bool:
    return all(hasattr(program.types[n], "shape") for n in values)


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
