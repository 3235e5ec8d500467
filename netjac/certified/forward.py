"""The enclosure of every value of a program, equation after equation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from netjac.certified.choice import COMPARISONS, EXTREMES, compared, extreme, selected
from netjac.certified.curves import curve
from netjac.certified.elementwise import RULES, Ranges, logaddexp, relu, relu6
from netjac.certified.enclosed import Enclosed
from netjac.certified.interval import Interval
from netjac.certified.linear import INDEXED, MOVES, PRODUCTS, SUMS, moved, product
from netjac.certified.norm_patterns import norm, spread
from netjac.certified.normalisation import normalised, spread_out
from netjac.certified.patterns import softmax
from netjac.certified.polynomials import polynomial
from netjac.certified.softmax import shares
from netjac.errors import UnsupportedOperationError
from netjac.graph.key import Key, key
from netjac.graph.program import Equation, Program, flatten
from netjac.precision import precise

SAME = frozenset({"name", "copy", "copy_p"})
MONOTONE = frozenset({"and", "or", "reduce_and", "reduce_or"})
"""Of truths: what is surely true of operands that are surely true, and perhaps of perhaps."""
Handler = Callable[[Sequence[Enclosed], int], list[Enclosed]]


class Step(NamedTuple):
    """The enclosure of an equation's results by those of the values that it `reads`."""

    reads: tuple[int, ...]
    handler: Handler


def handlers(program: Program, equations: Iterable[int]) -> dict[int, Step]:
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
        found[index] = _joined(program, eqn, handler)
    return found


def enclose(program: Program, found: dict[int, Step], given: dict[int, Enclosed], features: int, of: int) -> Enclosed:
    """The enclosure of the value `of`. `given` has the program's inputs and constants."""
    known = {n: exact(jnp.asarray(a, program.dtype(n))) for n, a in program.literals.items()}
    known.update(given)
    for index, (reads, handler) in found.items():
        results = program.equations[index].results
        known.update(zip(results, handler([known[n] for n in reads], features), strict=True))
    return known[of]


def _joined(program: Program, eqn: Equation, handler: Handler) -> Step:
    """With what is known of an equation that ends a softmax or a norm."""
    ends = softmax(program, eqn)
    if ends is not None:
        return Step(
            (*eqn.operands, ends.logits),
            lambda operands, features: [
                shares(ends.kind, operands[-1], ends.axes, handler(operands[:-1], features)[0])
            ],
        )
    divided = norm(program, eqn)
    if divided is not None:
        return Step(
            (*eqn.operands, divided.x, divided.inverse),
            lambda operands, features: [
                normalised(divided, operands[-2], operands[-1].value, handler(operands[:-2], features)[0])
            ],
        )
    parts = spread(program, eqn)
    if parts is None or parts.norm.mean is None:
        return Step(eqn.operands, handler)
    of, given = parts.norm, (parts.gain, parts.shift)
    own = len(eqn.operands)

    def summed(operands: Sequence[Enclosed], features: int) -> list[Enclosed]:
        x, mean, inverse, *others = operands[own:]
        gain, shift = (None if n is None else others.pop(0) for n in given)
        return [spread_out(of, x, mean, inverse, gain, shift, handler(operands[:own], features)[0])]

    return Step((*eqn.operands, of.x, parts.norm.mean, of.inverse, *(n for n in given if n is not None)), summed)


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
    logical = program.dtype(eqn.operands[0]) == jnp.bool_ if eqn.operands else False
    if eqn.name in MONOTONE and logical:
        return lambda operands, _: [_ordered(eqn, operands)]
    if eqn.name == "not" and logical:
        return lambda operands, _: [Enclosed(Interval(~operands[0].value.hi, ~operands[0].value.lo))]
    if eqn.name == "convert_element_type":
        if program.differentiable(eqn.operands[0]) and not program.differentiable(eqn.results[0]):
            return None  # it rounds
        return lambda operands, _: [_converted(eqn, operands[0])]
    if eqn.name in INDEXED and moving.intersection(eqn.operands[1:]):
        return None
    return _numeric(program, eqn)


def _numeric(program: Program, eqn: Equation) -> Handler | None:
    name = eqn.name
    floating = jnp.issubdtype(program.dtype(eqn.results[0]), jnp.floating)
    if name in PRODUCTS and floating:
        return lambda operands, _: [product(program, eqn, operands)]
    if name in MOVES or name in SUMS:
        return lambda operands, _: moved(program, eqn, operands)
    if name in EXTREMES:
        return lambda operands, _: [extreme(eqn, operands[0])]
    if name == "select_n" and len(eqn.operands) == 3 and program.dtype(eqn.operands[0]) == jnp.bool_:
        return lambda operands, features: [selected(operands, features)]
    if name in SAME:
        return lambda operands, _: [operands[0]]
    if name == "stop_gradient":
        return lambda operands, _: [operands[0]._replace(slope=None)]
    if name == "sign":  # level but for its jump, over which no line goes
        return lambda operands, _: [_ordered(eqn, operands)]
    if name == "is_finite":  # where nothing bounds a value, it may be either
        return lambda operands, _: [_finite(operands[0])]
    if name == "iota":
        return lambda operands, _: [exact(eqn.bind()[0])]
    rule = rule_of(eqn) if floating else None  # whole numbers divide, and run over, in other ways
    if rule is None:
        return None
    return lambda operands, features: [
        polynomial(eqn.name, operands, eqn.parameters) or curve(rule, operands, eqn.parameters, features)
    ]


def rule_of(eqn: Equation) -> Ranges | None:
    """The rule of an elementwise equation."""
    return RULES.get(eqn.name) or _named(eqn)


def _named(eqn: Equation) -> Ranges | None:
    """relu, relu6 and logaddexp (softplus), which come as calls with derivatives of their own.

    Another function may compute the same and have another derivative: both are compared.
    """
    if eqn.name != "custom_jvp_call":
        return None
    types = eqn.parameters["call_jaxpr"].in_avals
    known: tuple[tuple[Ranges, Any, int], ...] = (
        (relu, jax.nn.relu, 1), (relu6, jax.nn.relu6, 1), (logaddexp, jnp.logaddexp, 2),
    )  # fmt: skip
    with precise(True):
        own = _identity(lambda *operands: eqn.bind(*operands)[0], types)
        for rule, function, arity in known:
            if len(types) == arity and own == _identity(function, types):
                return rule
    return None


def _identity(function: Callable[..., Any], types: Sequence[Any]) -> Key:
    arguments = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in types]
    return key(flatten(jax.make_jaxpr(function)(*arguments)))


def _ordered(eqn: Equation, operands: Sequence[Enclosed]) -> Enclosed:
    return Enclosed(Interval(*(eqn.bind(*ends)[0] for ends in zip(*(o.value for o in operands), strict=True))))


def _finite(operand: Enclosed) -> Enclosed:
    surely = jnp.isfinite(operand.value.lo) & jnp.isfinite(operand.value.hi)
    return Enclosed(Interval(surely, surely if operand.value.exact else jnp.ones_like(surely)))


def _converted(eqn: Equation, operand: Enclosed) -> Enclosed:
    """To float64 from anything, or from truth to numbers; programs that compute in another precision are refused earlier."""
    dtype = eqn.parameters["new_dtype"]
    if jnp.issubdtype(operand.value.lo.dtype, jnp.floating):
        return operand
    if operand.value.exact:
        return exact(operand.value.lo.astype(dtype))
    return Enclosed(Interval(operand.value.lo.astype(dtype), operand.value.hi.astype(dtype)))
