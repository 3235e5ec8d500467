"""The form "projected": W and b of a last layer y = h W + b stay at their optimum (`netjac.training.projection`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from netjac.training.damping import Proposal
from netjac.training.functions import Function
from netjac.training.problem import Part
from netjac.training.projection import Separated
from netjac.training.step import Attempt, Before, System


class Projected(System):
    """By a matrix of the parameters before the last layer, and Cholesky."""

    form = "projected"

    def __init__(self, part: Part, theta: jax.Array, before: Before | None, scaled: bool) -> None:
        self._part, self._theta = part, theta
        separate, run = _first(part)
        before = separate.before(theta) if before is None else before
        if part.whole:
            found = separate.sized.call(separate.point, theta, *run, before, scaled)
        else:
            found = separate.reduced(theta, *_added(part, lambda one: one.gathered, theta), before, scaled)
        told, self._g, self.handed, self._matrix, self._least = found
        self.value, self.gradient = np.asarray(told).tolist()

    @classmethod
    def start(cls, part: Part, theta: jax.Array) -> jax.Array:
        """W and b at their optimum, unless rounding makes them worse."""
        separate, _ = _first(part)
        there, _ = separate.refitted(theta, *_added(part, lambda one: one.moments, theta))
        return there if part.value(there) < part.value(theta) else theta

    def attempt(self, proposal: Proposal, accelerated: bool) -> Attempt:
        assert not accelerated
        separate, run = _first(self._part)
        share = float(proposal.curved)
        more = self._g, self.handed, self._matrix, self._least, proposal.damping, proposal.length, share
        if self._part.whole:
            theta, numbers = separate.sized.call(separate.try_, self._theta, *run, *more)
            promised, distance, held, bow, value = np.asarray(numbers).tolist()
        else:
            theta, numbers = separate.moved(self._theta, *more)
            theta, far = separate.refitted(theta, *_added(self._part, lambda one: one.moments, theta))
            promised, distance, held, bow = np.asarray(numbers.at[1].max(far)).tolist()
            value = self._part.value(theta)
        both = promised + share * bow, promised - (1 - share) * bow
        return Attempt.told(theta, value, distance, held, promised, both)


def _runs(part: Part) -> Iterator[tuple[Separated, tuple[Any, ...]]]:
    for separate, run in part.runs(part.problem.separated):
        assert separate is not None
        yield separate, run


def _first(part: Part) -> tuple[Separated, tuple[Any, ...]]:
    return next(_runs(part))


def _added(part: Part, what: Callable[[Separated], Function], theta: jax.Array) -> tuple[Any, ...]:
    """What is asked of every run, added up."""
    total: tuple[Any, ...] | None = None
    for separate, run in _runs(part):
        found = separate.sized.call(what(separate), theta, *run)
        total = found if total is None else tuple(a + b for a, b in zip(total, found, strict=True))
    assert total is not None
    return total
