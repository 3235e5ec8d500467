"""What a rule gives: the local Jacobian of one result of an equation by one of its operands.

Either *explicit*, a pattern with a recipe for its numbers, or *opaque*: nothing is known but along which axes it is
block diagonal (its ties), and blocks of vectors are pushed or pulled through it by the primitive's own derivative.
A primitive with no rule is opaque without ties: always right, sometimes slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Pattern, atoms, proper
from netjac.graph.program import Equation, Program
from netjac.rules.loops import directions

Numbers = Callable[[dict[int, Any]], jax.Array]
Pull = Callable[[dict[int, Any], jax.Array], jax.Array]


@dataclass(frozen=True)
class Explicit:
    """A pattern, and its data from the values of the program (None when the pattern has no data and its factor is 1)."""

    pattern: Pattern
    numbers: Numbers | None
    form: str


@dataclass(frozen=True)
class Opaque:
    """`ties` pairs an operand axis with the result axis along which the Jacobian is block diagonal.

    `pull`, where a rule knows better than the primitive's own transpose: (values, block (k, *result)) → (k, *operand).
    `written`: the same as a pattern, where it is known but a sweep may be cheaper; the plan chooses.
    """

    ties: tuple[tuple[int, int], ...]
    pushes: bool
    pulls: bool
    form: str
    pull: Pull | None = None
    written: Explicit | None = None


Local = Explicit | Opaque
Rule = Callable[[Program, Equation, int, int], Local | None]
RULES: dict[str, Rule] = {}
TIES: dict[str, Callable[[Program, Equation, int, int], Sequence[tuple[int, int]] | None]] = {}


def rule(*primitives: str) -> Callable[[Rule], Rule]:
    """Register the rule (program, equation, operand place, result place) → local Jacobian, None where it is zero."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


def linearise(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    """The local Jacobian of the equation's result by its operand (both by place), None where it is zero."""
    known = RULES.get(eqn.name)
    found = known(program, eqn, operand, result) if known else NotImplemented
    pushes, pulls = directions(eqn)
    complex_numbers = _complex(program, eqn)
    if found is None or (found is not NotImplemented and not complex_numbers):
        return found
    find = TIES.get(eqn.name)
    pairs = find(program, eqn, operand, result) if find else axis_ties(found)
    if pairs is None:
        return None
    ties = tuple(pairs)
    if complex_numbers:
        return Opaque(ties, False, pulls, eqn.name)
    if _everywhere(program, eqn, operand, result, ties):
        return by_ones(program, eqn, operand, result, pushes)
    return Opaque(ties, pushes, pulls, eqn.name)


def axis_ties(local: Local | None) -> tuple[tuple[int, int], ...]:
    """The pairs (operand axis, result axis) along which a local Jacobian is block diagonal."""
    if isinstance(local, Opaque):
        return local.ties
    if not isinstance(local, Explicit):
        return ()
    places = {axis: place for place, axis in enumerate(local.pattern.out) if axis}
    return tuple((place, places[axis]) for place, axis in enumerate(local.pattern.inn) if axis and axis in places)


def reading(program: Program, eqn: Equation, operand: int, result: int, local: Local) -> Pattern:
    """Which entries of the operand a result's entry may depend on; an opaque equation's are all but those that ties exclude."""
    explicit = local.written if isinstance(local, Opaque) else local
    if explicit is not None:
        return explicit.pattern
    assert isinstance(local, Opaque)
    out_shape, in_shape = program.shape(eqn.results[result]), program.shape(eqn.operands[operand])
    ties = dict(local.ties)
    out = atoms(out_shape, 0)
    sizes = list(proper(out_shape))
    inn = []
    for axis, size in enumerate(in_shape):
        if axis in ties or size == 1:
            inn.append(out[ties[axis]] if axis in ties else ())
        else:
            inn.append((len(sizes),))
            sizes.append(size)
    return Pattern(out, tuple(inn), (), tuple(sizes))


def _everywhere(program: Program, eqn: Equation, operand: int, result: int, ties: tuple[tuple[int, int], ...]) -> bool:
    """Block diagonal along every axis is diagonal; one of a single entry needs no tie."""
    shape = program.shape(eqn.operands[operand])
    places = {(axis, axis) for axis, size in enumerate(shape) if size != 1}
    return shape == program.shape(eqn.results[result]) and places <= set(ties) and bool(ties)


def by_ones(program: Program, eqn: Equation, operand: int, result: int, pushes: bool) -> Explicit:
    """diag(f′) of an equation that works entry by entry, by a tangent or a cotangent of ones."""

    def numbers(values: dict[int, Any]) -> jax.Array:
        inputs = [values[n] for n in eqn.operands]

        def along(moving: jax.Array) -> jax.Array:
            return eqn.bind(*inputs[:operand], moving, *inputs[operand + 1 :])[result]

        moving = inputs[operand]
        if pushes:
            slope = jax.jvp(along, (moving,), (jnp.ones_like(moving),))[1]
        else:
            value, pull = jax.vjp(along, moving)
            slope = pull(jnp.ones_like(value))[0]
        return slope.reshape(pattern.data_shape)

    pattern = repeated(program.shape(eqn.operands[operand]), program.shape(eqn.results[result]))
    return Explicit(pattern, numbers, eqn.name)


def repeated(old: tuple[int, ...], new: tuple[int, ...], along: Sequence[int] | None = None) -> Pattern:
    """A scaling of a value of shape `old`, repeated to `new` along axes of size 1 (or all, for a scalar).

    The numbers vary along the axes `along` of the new shape, all of them by default.
    """
    out, sizes = atoms(new, 0), proper(new)
    inn = tuple(axis if size != 1 else () for axis, size in zip(out, old, strict=False))
    axes = range(len(new)) if along is None else along
    return Pattern(out, inn, tuple(label for axis in axes for label in out[axis]), sizes)


def _complex(program: Program, eqn: Equation) -> bool:
    """Complex numbers: real-linear but not complex-linear maps have no matrix of complex numbers, so only pulls."""
    return any(
        hasattr(program.types[n], "dtype") and jnp.issubdtype(program.dtype(n), jnp.complexfloating)
        for n in (*eqn.operands, *eqn.results)
    )


def unrepeated(program: Program, value: int) -> tuple[int, tuple[int, ...]]:
    """The smallest value that `value` repeats, and for each of its axes the axis of `value` that it became.

    A bias broadcast over samples is read as the bias.
    """
    axes = tuple(range(len(program.shape(value))))
    while value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name != "broadcast_in_dim" or len(eqn.operands) != 1:
            break
        source, kept = eqn.operands[0], eqn.parameters["broadcast_dimensions"]
        value, axes = source, tuple(axes[axis] for axis in kept)
    return value, axes
