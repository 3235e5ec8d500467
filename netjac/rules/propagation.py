"""Following an axis through a program: is the result block diagonal along it?

An axis of one value is followed through every equation that its derivative passes. Where all paths carry it to the same
axis of a result, that result's Jacobian is block diagonal along the pair; where two paths disagree, or an equation
mixes the axis, it is not. This is how samples are proven independent through loops and custom derivatives, and how the
equation that mixes them is named when they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from netjac.graph.program import Equation, Program, flatten
from netjac.rules.local import axis_ties, linearise
from netjac.rules.loops import scan_counts
from netjac.rules.ties import Pairs, ties

MIXED = -1


def follow(
    program: Program, starts: dict[int, int], culprit: Callable[[Equation], None] | None = None
) -> dict[int, int]:
    """Value → the axis that carries on the marked axes, MIXED where there is none; values not reached are left out."""
    marks = dict(starts)
    for eqn in program.equations:
        for place, operand in enumerate(eqn.operands):
            if operand not in marks or not program.differentiable(operand):
                continue
            for which, result in enumerate(eqn.results):
                if not program.differentiable(result):
                    continue
                local = linearise(program, eqn, place, which)
                if local is None:
                    continue
                axis = MIXED if marks[operand] == MIXED else dict(axis_ties(local)).get(marks[operand], MIXED)
                if axis == MIXED != marks[operand] and culprit:
                    culprit(eqn)
                marks[result] = axis if marks.get(result, axis) == axis else MIXED
    return marks


def _pairs(rank: int, carried: Callable[[int], int | None]) -> Pairs | None:
    """The ties that `carried` finds, axis by axis; None when the result is not reached at all."""
    if carried(MIXED) is None:
        return None
    return [(axis, to) for axis in range(rank) if (to := carried(axis)) is not None and to != MIXED]


@ties("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def custom_derivative(program: Program, eqn: Equation, operand: int, result: int) -> Pairs | None:
    """The custom rule itself is traced and followed: the primal code may say something else."""
    types = [jax.ShapeDtypeStruct(program.shape(n), program.dtype(n)) for n in eqn.operands]
    out = jax.ShapeDtypeStruct(program.shape(eqn.results[result]), program.dtype(eqn.results[result]))

    def along(inputs: Sequence[Any], moving: Any) -> Any:
        return eqn.bind(*inputs[:operand], moving, *inputs[operand + 1 :])[result]

    if eqn.name == "custom_jvp_call":
        traced = jax.make_jaxpr(lambda inputs, t: jax.jvp(lambda m: along(inputs, m), (inputs[operand],), (t,))[1])
        inner = flatten(traced(types, types[operand]))
        return _pairs(len(types[operand].shape), lambda axis: _end(inner, inner.inputs[-1], axis))
    traced = jax.make_jaxpr(lambda inputs, c: jax.vjp(lambda m: along(inputs, m), inputs[operand])[1](c)[0])
    inner = flatten(traced(types, out))
    back = _pairs(len(out.shape), lambda axis: _end(inner, inner.inputs[-1], axis))
    return None if back is None else [(to, axis) for axis, to in back]


def _end(program: Program, start: int, axis: int) -> int | None:
    return follow(program, {start: axis}).get(program.outputs[0])


Following = Callable[[Program, dict[int, int]], dict[int, int]]


@ties("scan")
def scan(program: Program, eqn: Equation, operand: int, result: int) -> Pairs | None:
    def carry(axis: int) -> int | None:
        return None if operand >= sum(scan_counts(eqn)) and axis == 0 else scan_end(eqn, operand, result, axis, follow)

    return _pairs(len(program.shape(eqn.operands[operand])), carry)


def scan_end(eqn: Equation, operand: int, result: int, axis: int, along: Following) -> int | None:
    """Where a loop over steps carries an operand's axis, the body followed `along`; None where nothing of it arrives."""
    constants, carried = scan_counts(eqn)
    body = flatten(eqn.parameters["jaxpr"])
    sequence = operand >= constants + carried
    marks = {body.inputs[operand]: MIXED if axis == MIXED or (sequence and axis == 0) else axis - sequence}
    ends = _fixed_point(body, marks, range(constants, constants + carried), body.outputs[:carried], along)
    end = ends.get(body.outputs[result])
    return end if end is None or end == MIXED else end + (result >= carried)


@ties("while")
def while_loop(program: Program, eqn: Equation, operand: int, result: int) -> Pairs | None:
    p = eqn.parameters
    skipped, constants = p["cond_nconsts"], p["body_nconsts"]
    if operand < skipped:
        return ()
    body = flatten(p["body_jaxpr"])
    state = range(constants, len(body.inputs))

    def carry(axis: int) -> int | None:
        start = body.inputs[operand - skipped]
        ends = _fixed_point(body, {start: axis}, state, body.outputs, follow)
        return ends.get(body.inputs[constants + result], ends.get(body.outputs[result]))

    return _pairs(len(program.shape(eqn.operands[operand])), carry)


def _fixed_point(
    body: Program, marks: dict[int, int], places: Iterable[int], outputs: Sequence[int], along: Following
) -> dict[int, int]:
    """The marks after any number of turns, the state's inputs holding what their outputs brought."""
    pairs = [(body.inputs[place], output) for place, output in zip(places, outputs, strict=True)]
    while True:
        ends = along(body, marks)
        grown = dict(marks)
        for start, end in pairs:
            if end in ends:
                grown[start] = ends[end] if grown.get(start, ends[end]) == ends[end] else MIXED
        if grown == marks:
            return ends
        marks = grown


@ties("cond")
def branches(program: Program, eqn: Equation, operand: int, result: int) -> Pairs | None:
    if operand == 0:
        return ()
    rank = len(program.shape(eqn.operands[operand]))
    return _pairs(rank, lambda axis: branches_end(eqn, operand, result, axis, follow))


def branches_end(eqn: Equation, operand: int, result: int, axis: int, along: Following) -> int | None:
    """The same for a choice between branches, of an operand that they see."""
    programs = [flatten(body) for body in eqn.parameters["branches"]]
    ends = {along(body, {body.inputs[operand - 1]: axis}).get(body.outputs[result]) for body in programs}
    ends.discard(None)
    return (ends.pop() if len(ends) == 1 else MIXED) if ends else None
