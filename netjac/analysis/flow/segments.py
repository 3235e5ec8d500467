"""A network cut at its layers: each piece a program of its own, from the nearest layers before it to its layer.

A layer's inputs are the nearest chosen layers (or inputs of the network) that it is computed from, and its own Jacobian is
∂layer/∂inputs with all else held fixed: of h = a + g(b), a and b layers, it is [I, ∂g/∂b]. Pieces are numbered
in the order in which they use their values, so that equal layers are equal programs, and share one compiled plan.

    x → dense → relu → add(relu, x)        pieces: dense by x; relu by dense; add by relu and x
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netjac.errors import UnknownNameError
from netjac.graph.key import Key, key
from netjac.graph.program import Equation, Program
from netjac.points import PRIMITIVE as POINT
from netjac.precision import precise
from netjac.tracing import Point, Traced

REARRANGING = frozenset({POINT, "reshape", "transpose", "squeeze", "copy"})
"""What passes every number of its operand on, once."""


@dataclass(frozen=True, eq=False)
class Segment:
    """The piece that ends in a layer. `value` and `by` are the network's numbers of its output and of its inputs.

    `program` has as inputs first `by`, then `rest` (parameters, integers, all else it uses); `constants` are the network's
    numbers of its constants. `equations` are the network's own.
    """

    name: str
    value: int
    by: dict[str, int]
    rest: tuple[int, ...]
    constants: tuple[int, ...]
    equations: tuple[int, ...]
    program: Program
    identity: Key

    @property
    def cut(self) -> tuple[str, tuple[int, ...]]:
        """What tells it from all other pieces of its trace: beside other layers, a layer's piece begins elsewhere."""
        return self.name, self.equations


def segments(point: Point, chosen: Sequence[str] | None = None) -> tuple[Segment, ...]:
    """The pieces of a network at its layers, in order of evaluation, or at the `chosen` ones alone.

    By default layers that do nothing but pass on or rearrange what they are given (dropout, flattening, containers) are left
    out, and so are those that do not depend on the input. Raises `UnknownNameError`.
    """
    with precise(point.wide):
        place = ("segments", None if chosen is None else tuple(chosen))
        return point.traced.once(place, lambda: _segments(point.traced, chosen))


def _segments(traced: Traced, chosen: Sequence[str] | None) -> tuple[Segment, ...]:
    program = traced.program
    moving = _moving(program, traced.inputs.values())
    heads = _listed(traced) if chosen is None else _named(traced, chosen)
    order = program.producer
    heads = {name: v for name, v in sorted(heads.items(), key=lambda item: order[item[1]]) if v in moving}
    ends = {value: name for name, value in traced.inputs.items() if program.differentiable(value)}
    ends.update({value: name for name, value in heads.items()})
    return tuple(_segment(program, name, value, ends) for name, value in heads.items())


def _named(traced: Traced, chosen: Sequence[str]) -> dict[str, int]:
    found = {name: traced.value(name) for name in chosen}
    for name, value in found.items():
        if value not in traced.program.producer or not traced.program.differentiable(value):
            raise UnknownNameError.of("layer with a derivative", name, traced.layers)
    return found


def _listed(traced: Traced) -> dict[str, int]:
    """The layers that do something, and the outputs that are no layer's."""
    program, order = traced.program, traced.program.producer
    starts = {name: (value, program.equations[order[value]].operands[0]) for name, value in traced.layers.items()}
    starts.update({name: (v, v) for name, v in traced.outputs.items() if v in order})
    return {
        name: value
        for name, (value, start) in starts.items()
        if program.differentiable(value) and not _passed_on(program, start)
    }


def _passed_on(program: Program, value: int) -> bool:
    """Whether a value is that of a layer or an input, in the same or another order."""
    while value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name == POINT or eqn.name not in REARRANGING:
            return eqn.name == POINT
        value = eqn.operands[0]
    return value in program.inputs


def origin(program: Program, value: int) -> int:
    """The value that this one passes on or rearranges."""
    while value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name not in REARRANGING:
            break
        value = eqn.operands[0]
    return value


def _moving(program: Program, inputs: Iterable[int]) -> set[int]:
    """The values that depend on the network's inputs."""
    found = set(inputs)
    for eqn in program.equations:
        if found.intersection(eqn.operands):
            found.update(eqn.results)
    return found


def _segment(program: Program, name: str, value: int, ends: dict[int, str]) -> Segment:
    equations = _back_to(program, value, ends)
    used = dict.fromkeys(n for index in equations for n in program.equations[index].operands)
    made = {n for index in equations for n in program.equations[index].results}
    outside = [n for n in used if n not in made and n not in program.literals and n not in program.constants]
    by = {ends[n]: n for n in outside if n in ends}
    rest = tuple(n for n in outside if n not in by.values())
    constants = tuple(n for n in used if n in program.constants)
    own = [program.equations[index] for index in equations]
    small = _renumbered(program, value, (*by.values(), *rest), constants, own)
    return Segment(name, value, by, rest, constants, tuple(equations), small, key(small))


def _back_to(program: Program, value: int, ends: dict[int, str]) -> list[int]:
    """The equations that a value is computed by, from the nearest of `ends` on."""
    wanted, found = {value}, []
    for index in range(program.producer[value], -1, -1):
        eqn = program.equations[index]
        if any(r in wanted and (r == value or r not in ends) for r in eqn.results):
            found.append(index)
            wanted.update(eqn.operands)
    return found[::-1]


def _renumbered(
    program: Program, value: int, inputs: tuple[int, ...], constants: tuple[int, ...], equations: Sequence[Equation]
) -> Program:
    """These equations as a program whose numbers depend on nothing outside it; names of points are left out."""
    small = Program()
    numbers: dict[int, int] = {}

    def number(old: int) -> int:
        if old not in numbers:
            small.types.append(program.types[old])
            numbers[old] = len(small.types) - 1
            if old in program.literals:
                small.literals[numbers[old]] = program.literals[old]
        return numbers[old]

    small.inputs = tuple(number(n) for n in inputs)
    small.constants = {number(n): program.constants[n] for n in constants}
    for eqn in equations:
        operands = tuple(number(n) for n in eqn.operands)
        if eqn.name == POINT and eqn.results[0] != value:
            numbers[eqn.results[0]] = operands[0]
            continue
        if eqn.name == POINT:
            small.outputs = operands
            continue
        small.equations.append(Equation(eqn.primitive, operands, tuple(number(n) for n in eqn.results), eqn.parameters))
    small.outputs = small.outputs or (numbers[value],)
    return small
