"""The enclosure of every value of a program, equation after equation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from netjac.certified.choice import COMPARISONS, MAXIMA, compared, largest, selected
from netjac.certified.curves import curve
from netjac.certified.elementwise import RULES, Ranges, logaddexp, relu, relu6
from netjac.certified.enclosed import Enclosed
from netjac.certified.interval import Interval
from netjac.certified.linear import MOVES, PRODUCTS, SUMS, moved, product
from netjac.errors import UnsupportedOperationError
from netjac.graph.program import Equation, Program

SAME = frozenset({"name", "copy", "copy_p"})
Handler = Callable[[Sequence[Enclosed], int], list[Enclosed]]


def handlers(program: Program, equations: Iterable[int]) -> dict[int, Handler]:
    """How each equation is enclosed. Raises `UnsupportedOperationError` for one without a sound rule."""
    moving = _moving(program, equations)
    found = {}
    for index in equations:
        eqn = program.equations[index]
        handler = _handler(program, eqn, moving)
        if handler is None:
            where = next((name for name, value in program.points.items() if _leads(program, index, value)), None)
            raise UnsupportedOperationError(
                f"the operation {eqn.name!r}{f' in layer {where!r}' if where else ''} has no rule that encloses it over a box; "
                "take the bounds of a layer before it by of=, or write it with operations of docs/bounds.md"
            )
        found[index] = handler
    return found


def enclose(
    program: Program, found: dict[int, Handler], given: dict[int, Enclosed], features: int, of: int
) -> Enclosed:
    """The enclosure of the value `of`. `given` has the program's inputs and constants."""
    known = {n: exact(jnp.asarray(a, program.dtype(n))) for n, a in program.literals.items()}
    known.update(given)
    for index, handler in found.items():
        eqn = program.equations[index]
        known.update(zip(eqn.results, handler([known[n] for n in eqn.operands], features), strict=True))
    return known[of]


def exact(array: jax.Array) -> Enclosed:
    """A value known exactly."""
    return Enclosed(Interval(array, array))


def _moving(program: Program, equations: Iterable[int]) -> set[int]:
    """Values that are not known exactly: floating ones that are computed, and what follows from the input."""
    moving = {n for n in program.inputs if program.differentiable(n)}
    for index in equations:
        eqn = program.equations[index]
        if any(program.differentiable(n) for n in eqn.results) or moving.intersection(eqn.operands):
            moving.update(eqn.results)
    return moving


def _leads(program: Program, index: int, value: int) -> bool:
    return index in program.needed([value])


def _handler(program: Program, eqn: Equation, moving: set[int]) -> Handler | None:
    if not moving.intersection((*eqn.operands, *eqn.results)):
        return lambda operands, _: [exact(a) for a in eqn.bind(*(o.value.lo for o in operands))]
    if eqn.name in COMPARISONS:
        return lambda operands, _: [compared(eqn, operands)]
    if eqn.name in ("and", "or"):
        return lambda operands, _: [_ordered(eqn, operands)]
    if eqn.name == "not":
        return lambda operands, _: [Enclosed(Interval(~operands[0].value.hi, ~operands[0].value.lo))]
    if eqn.name == "convert_element_type":
        if program.differentiable(eqn.operands[0]) and not program.differentiable(eqn.results[0]):
            return None  # it rounds
        return lambda operands, _: [_converted(eqn, operands[0])]
    return _floating(program, eqn)


def _floating(program: Program, eqn: Equation) -> Handler | None:
    name = eqn.name
    if name in PRODUCTS:
        return lambda operands, _: [product(program, eqn, operands)]
    if name in MOVES or name in SUMS:
        return lambda operands, _: moved(program, eqn, operands)
    if name in MAXIMA:
        return lambda operands, _: [largest(eqn, operands[0])]
    if name == "select_n" and len(eqn.operands) == 3 and program.dtype(eqn.operands[0]) == jnp.bool_:
        return lambda operands, features: [selected(operands, features)]
    if name in SAME:
        return lambda operands, _: [operands[0]]
    if name == "stop_gradient":
        return lambda operands, _: [operands[0]._replace(slope=None)]
    if name == "iota":
        return lambda operands, _: [exact(eqn.bind()[0])]
    rule = rule_of(eqn)
    return None if rule is None else lambda operands, features: [curve(rule, operands, eqn.parameters, features)]


def rule_of(eqn: Equation) -> Ranges | None:
    """The rule of an elementwise equation."""
    return RULES.get(eqn.name) or _named(eqn)


def _named(eqn: Equation) -> Ranges | None:
    """relu, relu6 and logaddexp (softplus), which come as calls with derivatives of their own."""
    if eqn.name != "custom_jvp_call":
        return None
    inner = _primitives(eqn.parameters["call_jaxpr"].jaxpr)
    known = ((relu, jax.nn.relu, (1.0,)), (relu6, jax.nn.relu6, (1.0,)), (logaddexp, jnp.logaddexp, (1.0, 1.0)))
    for rule, function, arguments in known:
        if inner == _primitives(jax.make_jaxpr(function)(*arguments).jaxpr):
            return rule
    return None


def _primitives(jaxpr: Any) -> list[str]:
    """The names of the primitives, calls looked into, and the literals they are applied to."""
    found: list[str] = []
    for eqn in jaxpr.eqns:
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if inner is None:
            found += [eqn.primitive.name, *(str(float(atom.val)) for atom in eqn.invars if hasattr(atom, "val"))]
        else:
            found += _primitives(getattr(inner, "jaxpr", inner))
    return found


def _ordered(eqn: Equation, operands: Sequence[Enclosed]) -> Enclosed:
    return Enclosed(Interval(*(eqn.bind(*ends)[0] for ends in zip(*(o.value for o in operands), strict=True))))


def _converted(eqn: Equation, operand: Enclosed) -> Enclosed:
    """To float64 from anything, or from truth to numbers; programs that compute in another precision are refused earlier."""
    dtype = eqn.parameters["new_dtype"]
    if jnp.issubdtype(operand.value.lo.dtype, jnp.floating):
        return operand
    if operand.value.exact:
        return exact(operand.value.lo.astype(dtype))
    return Enclosed(Interval(operand.value.lo.astype(dtype), operand.value.hi.astype(dtype)))
