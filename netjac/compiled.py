"""Plans made ready to run: one jitted function a plan, kept for as long as plans like it are asked for.

The key is the program's own identity with the question, so equal networks share one compiled plan, and a repeated call
neither plans nor compiles again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from netjac.alive import Choosing, choosing
from netjac.execute import Primal, accumulate, evaluated
from netjac.factors.pattern import Pattern, labels_of
from netjac.factors.refine import densify
from netjac.graph.key import Key, Recent
from netjac.graph.program import Program
from netjac.plan.eliminate import Linearised, Question
from netjac.plan.plan import Answer, Plan
from netjac.plan.search import Setting, search
from netjac.precision import is_wide, multiplied
from netjac.rules.forward import other_ways
from netjac.rules.loops import directions

MOST_PLANS = 128
counts = {"plans": 0, "traces": 0}


@dataclass(frozen=True, eq=False)
class Compiled:
    """`run(inputs, constants, start)` gives the `of` values (if wanted) and the Jacobians, one for each of the plan's answers.

    `tied` has the pairs whose samples (axis 0 of both) are proven independent: their arrays are (batch, *out, *in), all
    others (*out shape, *in shape). Pairs that do not depend on each other have no answer. Where the question asks for local
    answers, each array has the axes of its pattern's `data`. `choosing`: how to leave out dead units, where that may pay.
    """

    plan: Plan
    tied: frozenset[tuple[int, int]]
    run: Callable[..., tuple[list[jax.Array], list[jax.Array]]]
    choosing: Choosing | None = None


_PLANS: Recent[Compiled] = Recent(MOST_PLANS)
_SWEEPS: Recent[Callable[..., Any]] = Recent(MOST_PLANS)


@dataclass(frozen=True)
class Posed:
    """A question to a program, with all that its plan depends on. `identity` is equal for equal programs."""

    identity: Hashable
    question: Question
    setting: Setting
    engine: str
    precision: str | None
    with_values: bool
    wide: bool

    @cached_property
    def place(self) -> Key:
        """What its plan is kept by."""
        return Key(("posed", *vars(self).values()))


def compiled(program: Program, posed: Posed) -> Compiled:
    """The plan for a question and its jitted function, from the cache or made now."""
    return _PLANS.once(posed.place, lambda: _compile(program.bare, posed))


def _compile(program: Program, posed: Posed) -> Compiled:
    counts["plans"] += 1
    linearised, samples = Linearised(program), posed.setting.samples
    plan = search(linearised, posed.question, posed.setting, posed.engine)
    tied = frozenset(
        (answer.of, answer.wrt)
        for answer in plan.answers
        if samples is not None and samples_tied(answer.pattern, samples)
    )
    run = _jitted(plan, linearised, posed.question, tied, posed.precision, posed.with_values)
    choice = _choosing(linearised, posed, plan, tied)
    if choice is not None:
        thinned = choice.half.as_alternative("half of the units dead and left out")
        plan = replace(plan, alternatives=(*plan.alternatives, thinned))
    return Compiled(plan, tied, run, choice)


def _choosing(linearised: Linearised, posed: Posed, plan: Plan, tied: frozenset[tuple[int, int]]) -> Choosing | None:
    """How to leave out dead units; in a forced order nothing is left out."""

    def finish(other: Plan, primal: Primal, start: Any) -> list[jax.Array]:
        counts["traces"] += 1
        with multiplied(posed.precision):
            return answers(other, linearised, posed.question, tied, primal, start)

    free = posed.engine in ("auto", "structured")
    return choosing(linearised, posed.question, posed.setting, finish, plan) if free else None


def ready(
    identity: Hashable,
    plan: Plan,
    program: Program,
    question: Question,
    tied: frozenset[tuple[int, int]],
    precision: str | None,
) -> Compiled:
    """A plan that was made from a compiled one, compiled itself; `identity` is equal for equal plans."""
    linearised = Linearised(program.bare)
    make = lambda: Compiled(plan, tied, _jitted(plan, linearised, question, tied, precision, False))  # noqa: E731
    return _PLANS.once(("made", identity, precision), make)


def _jitted(
    plan: Plan,
    linearised: Linearised,
    question: Question,
    tied: frozenset[tuple[int, int]],
    precision: str | None,
    with_values: bool,
) -> Callable[..., tuple[list[jax.Array], list[jax.Array]]]:
    program = linearised.program

    def run(inputs: Sequence[Any], constants: Sequence[Any], start: Any) -> tuple[list[jax.Array], list[jax.Array]]:
        counts["traces"] += 1
        with multiplied(precision):
            primal = evaluated(plan, program, inputs, constants, question.of)
            found = answers(plan, linearised, question, tied, primal, start)
        return [jnp.asarray(primal.values[v]) for v in question.of] if with_values else [], found

    return jax.jit(run)


def answers(
    plan: Plan, linearised: Linearised, question: Question, tied: frozenset[tuple[int, int]], primal: Primal, start: Any
) -> list[jax.Array]:
    """The arrays of a plan's answers as `Compiled` says they lie."""
    program = linearised.program
    arrays = accumulate(plan, linearised, primal, program.dtype(question.of[0]), start)
    found = []
    for answer, made in zip(plan.answers, arrays, strict=True):
        array = made
        if not question.local:
            # XLA would make a transposed product of a product and a transposition, and multiplies those more slowly
            # (measured: 22.9 → 19.3 ms for three of 1024 × 1024). Where nothing is turned, the barrier would cost a copy.
            apart = plan.made_by(answer.register) == "product" and _turned(answer.pattern)
            array = jax.lax.optimization_barrier(array) if apart else array
            array = _laid_out(answer, array, (answer.of, answer.wrt) in tied)
        found.append(array.astype(program.dtype(question.of[answer.of])))
    return found


def samples_tied(pattern: Pattern, samples: int | None) -> bool:
    """Axis 0 of both sides counts the samples, and no sample sees another."""
    if not pattern.out or not pattern.inn:
        return False
    ours, theirs = pattern.out[0], pattern.inn[0]
    size = 1
    for label in ours:
        size *= pattern.sizes[label]
    return ours == theirs and size == samples


def _turned(pattern: Pattern) -> bool:
    """Whether the numbers lie in another order than the answer's axes."""
    axes = [n for n in dict.fromkeys((*labels_of(pattern.out), *labels_of(pattern.inn))) if n in pattern.data]
    return tuple(axes) != pattern.data


def _laid_out(answer: Answer, array: jax.Array, per_sample: bool) -> jax.Array:
    """The dense array in the public layout."""
    pattern = answer.pattern
    keep = frozenset(pattern.out[0]) if per_sample else frozenset()
    dense = densify(pattern, array, array.dtype, keep)
    inner = pattern.in_shape[1:] if per_sample else pattern.in_shape
    return dense.reshape((*pattern.out_shape, *inner))


def sweepable(program: Program, direction: str, wrt: int, of: int) -> bool:
    """Whether JAX has this direction's derivative of every equation between two values."""
    reached = {wrt}
    for index in program.needed([of]):
        eqn = program.equations[index]
        if reached.intersection(eqn.operands):
            if not directions(eqn)[direction == "pull"]:
                return False
            reached.update(result for result in eqn.results if program.differentiable(result))
    return True


def swept(
    program: Program, identity: Hashable, direction: str, wrt: tuple[int, ...], of: int, precision: str | None
) -> Callable[..., Any]:
    """`f(inputs, constants, block)` for a block of vectors along a leading axis, by sweeps of the network's own derivative.

    "push": Σ J·v, from one array of tangents for each of `wrt`. "pull": uᵀJ as one array for each, from one of cotangents.
    """
    place = (identity, direction, wrt, of, precision, is_wide())
    return _SWEEPS.once(place, lambda: _sweep(program.bare, direction, wrt, of, precision))


def _sweep(
    program: Program, direction: str, wrt: tuple[int, ...], of: int, precision: str | None
) -> Callable[..., Any]:
    needed = program.needed([of, *wrt])
    instead = other_ways(program, needed)

    def run(inputs: Sequence[Any], constants: Sequence[Any], block: Any) -> Any:
        counts["traces"] += 1
        with multiplied(precision):
            return swept_block(inputs, constants, block)

    def swept_block(inputs: Sequence[Any], constants: Sequence[Any], block: Any) -> Any:
        values = program.evaluate(inputs, constants, needed, instead=instead)
        start = tuple(jnp.asarray(values[n]) for n in wrt)

        def along(*moved: jax.Array) -> jax.Array:
            given = dict(zip(wrt, moved, strict=True))
            return jnp.asarray(program.evaluate(inputs, constants, needed, given, instead)[of])

        if direction == "push":
            tangents = tuple(part.astype(at.dtype) for part, at in zip(block, start, strict=True))
            return _each(lambda *t: jax.jvp(along, start, t)[1], tangents)
        value, pull = jax.vjp(along, *start)
        return list(_each(pull, (block.astype(value.dtype),)))

    return jax.jit(run)


def _each(function: Callable[..., Any], blocks: tuple[jax.Array, ...]) -> Any:
    """Of every vector of the blocks; of one alone without vmap, whose batched products are slower."""
    if blocks[0].shape[0] != 1:
        return jax.vmap(function)(*blocks)
    return jax.tree.map(lambda found: found[None], function(*(block[0] for block in blocks)))
