"""Leaving out dead units when a plan runs: the forward pass says how many are alive, and a plan for as many is taken.

Sizes have to be known when XLA compiles. So a layer's units are counted in sixteenths, rounded up, and for each
combination that comes up a plan is made and compiled once, for `MOST_SIZES` of them at most, the last with room for all that
came up before; after that the smallest that is large enough is taken, or the plan that leaves nothing out. A network that
keeps all its units alive (a leaky relu) is found out by its first few inputs, and not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.execute import Primal, accumulate, evaluated
from netjac.plan.alive import scalings
from netjac.plan.eliminate import Linearised, Question
from netjac.plan.plan import Answer, Plan, accounted
from netjac.plan.search import Setting, prepared, search

SHARES = 16
MOST_SIZES = 8
PATIENCE = 3

WORTH = 0.8
"""The share of the plain plan's time below which leaving out is tried."""

TWO_STAGES = 3e-4
"""Seconds that the second call takes, and waiting for the counts between the two."""

Values = dict[int, jax.Array]
Finish = Callable[[Plan, Primal, Any], list[jax.Array]]
Rooms = tuple[tuple[int, int], ...]


class Choosing:
    """The plain plan's substitutes. `finish(plan, primal, start)` gives the arrays of a plan's answers; `half` is the plan
    there would be if half of the units were dead."""

    def __init__(
        self, linearised: Linearised, question: Question, setting: Setting, finish: Finish, plain: Plan, half: Plan
    ) -> None:
        self._linearised, self._question, self._setting = linearised, question, setting
        self._finish, self._plain = finish, plain
        self.half = half
        edges = prepared(linearised, question, setting)
        self._scalings = scalings(edges)
        wanted = [Answer(i, 0, s.term.register, s.term.pattern) for i, s in enumerate(self._scalings)]
        self._numbers = accounted("scalings", edges.writer, wanted)
        self._count = jax.jit(self._counted)
        self._known: dict[Rooms, tuple[Plan, Callable[..., list[jax.Array]]]] = {}
        self._in_vain = 0

    def run(
        self, inputs: Sequence[Any], constants: Sequence[Any], start: Any
    ) -> tuple[list[jax.Array], list[jax.Array]] | None:
        """The `of` values and the answers, or None where nothing is gained by leaving out what is dead."""
        if self._in_vain >= PATIENCE:
            return None
        values, counts = self._count(inputs, constants)
        found = self._fitting([int(n) for n in np.asarray(counts)])
        self._in_vain = 0 if found else self._in_vain + 1
        if found is None:
            return None
        return [self._all(values, inputs, constants)[v] for v in self._question.of], found(
            values, inputs, constants, start
        )

    def _counted(self, inputs: Sequence[Any], constants: Sequence[Any]) -> tuple[Values, jax.Array]:
        """What the forward pass computes, and how many units are alive in each scaling."""
        program = self._linearised.program
        primal = evaluated(self._plain, program, inputs, constants, self._question.of)
        numbers = accumulate(self._numbers, self._linearised, primal, program.dtype(self._question.of[0]))
        counts = [s.alive(array) for s, array in zip(self._scalings, numbers, strict=True)]
        made = {r for index in program.needed(self._question.of) for r in program.equations[index].results}
        return {v: jnp.asarray(primal.values[v]) for v in made}, jnp.stack(counts)

    def _all(self, values: Values, inputs: Sequence[Any], constants: Sequence[Any]) -> dict[int, Any]:
        program = self._linearised.program
        return {**program.evaluate(inputs, constants, ()), **values}

    def _fitting(self, counts: Sequence[int]) -> Callable[..., list[jax.Array]] | None:
        """The program for these counts, or the cheapest known one with room for them once there are enough."""
        rooms = tuple((s.head, _room(n, s.units)) for s, n in zip(self._scalings, counts, strict=True))
        if rooms not in self._known and len(self._known) == MOST_SIZES - 1:
            rooms = tuple((head, max(sizes)) for (head, *sizes) in _side_by_side([rooms, *self._known]))
        if rooms not in self._known and len(self._known) < MOST_SIZES:
            self._known[rooms] = self._made(rooms)
        wide = [
            known
            for sizes, known in self._known.items()
            if all(room >= n for (_, room), n in zip(sizes, counts, strict=True))
        ]
        plan, run = min(wide, key=lambda known: known[0].seconds, default=(self._plain, None))
        return run if worth(plan, self._plain) else None

    def _made(self, rooms: Rooms) -> tuple[Plan, Callable[..., list[jax.Array]]]:
        plan = search(self._linearised, self._question, replace(self._setting, alive=rooms))

        def run(values: Values, inputs: Sequence[Any], constants: Sequence[Any], start: Any) -> list[jax.Array]:
            return self._finish(plan, Primal(self._all(values, inputs, constants)), start)

        return plan, jax.jit(run)


def choosing(
    linearised: Linearised, question: Question, setting: Setting, finish: Finish, plain: Plan
) -> Choosing | None:
    """How to leave out dead units, where it would pay if half of them were dead."""
    if plain.seconds * WORTH < TWO_STAGES or question.local or (question.rows, question.columns) != (None, None):
        return None
    found = scalings(prepared(linearised, question, setting))
    if not found:
        return None
    half = tuple((s.head, _room(s.units // 2, s.units)) for s in found)
    thinned = search(linearised, question, replace(setting, alive=half))
    return Choosing(linearised, question, setting, finish, plain, thinned) if worth(thinned, plain) else None


def worth(plan: Plan, plain: Plan) -> bool:
    """Whether a plan in two stages is predicted to be well ahead of the plain one, within its memory."""
    return plan.seconds + TWO_STAGES < WORTH * plain.seconds and plan.peak <= plain.peak


def _side_by_side(several: Sequence[Rooms]) -> list[tuple[int, ...]]:
    """Each head with its sizes in all of them."""
    return [(heads[0][0], *(size for _, size in heads)) for heads in zip(*several, strict=True)]


def _room(count: int, units: int) -> int:
    share = max(1, units // SHARES)
    return min(units, max(1, -(-count // share)) * share)
