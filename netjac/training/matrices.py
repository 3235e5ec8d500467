"""The forms that make a matrix of parameters: one compiled call for a point, one for each try.

- "spectral", few parameters: eigenvalues s² and vectors of D^−½ JᵀHJ D^−½, of a small J in float64 from its
  triangular factor's singular values, which loses nothing to squaring, else from JᵀHJ; each λ is then a division.
- "normal": JᵀHJ + λD by Cholesky. Its M³/3 operations a try are few beside the N·m·M² that made JᵀHJ, and a tenth of those
  of its eigenvectors.

Where the samples are one run, a point is one call (loss, gradient, matrix), and so is a try (solution, step, loss there); else
each run is a call of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.training import functions as pieces
from netjac.training.algebra import Matrix, by_cholesky, move, scale, told
from netjac.training.damping import Proposal
from netjac.training.functions import Sized
from netjac.training.problem import Part
from netjac.training.step import Attempt, Before, Force, Solving, attempted

EXACT = 2**21
"""Operations (rows · M²) up to which J is triangularised instead of squared; beyond, that takes many times as long."""


class Way:
    """How a matrix comes about and is solved, each a traceable function: `gather` of a run, with what was gathered before;
    `finish`, to what `solve` takes beside D, g and λ."""

    def __init__(self, gather: Callable[..., Any], finish: Callable[..., Any], solve: Callable[..., Any]) -> None:
        self.gather, self.finish, self.solve = gather, jax.jit(finish), jax.jit(solve)

    def point(self, sized: Sized, *run_and_more: Any) -> tuple[Any, ...]:
        """All of a point whose samples are one run."""
        *run, D, scaled = run_and_more
        return self.finish(*self.gather(sized, *run, None), D, scaled)

    def try_(self, sized: Sized, theta: Any, *run_and_more: Any) -> tuple[Any, ...]:
        """All of a try from it."""
        *run, g, D, matrix, damping, length = run_and_more
        theta, numbers = move(theta, g, -self.solve(matrix, D, g, damping), 0.0, D, damping, length)
        return theta, jnp.append(numbers, pieces.value(sized, theta, *run))


class Matrices(Solving):
    """By a matrix."""

    def __init__(self, part: Part, theta: jax.Array, before: Before | None, scaled: bool) -> None:
        self.part, self.theta, self._way = part, theta, self._chosen(part)
        (D,) = (np.zeros(part.problem.parameters),) if before is None else before
        if part.whole:
            ((sized, run),) = part.runs(part.problem.factored)
            found = sized.call(self._way.point, theta, *run, D, scaled)
        else:
            M = part.problem.parameters
            gathered: Any = 0.0, jnp.zeros(M), jnp.zeros((M, M))
            for sized, run in part.runs(part.problem.factored):
                gathered = sized.call(self._way.gather, theta, *run, gathered)
            found = self._way.finish(*gathered, D, scaled)
        told, g, self.D, self._matrix = found
        self.force = Force(g)
        self.value, self.gradient = np.asarray(told).tolist()

    @staticmethod
    @abc.abstractmethod
    def _chosen(part: Part) -> Way:
        """How this matrix is made."""

    def solve(self, force: Force, damping: float) -> jax.Array:
        found: jax.Array = self._way.solve(self._matrix, self.D, force.g, damping)
        return found

    def attempt(self, proposal: Proposal, accelerated: bool) -> Attempt:
        if accelerated or not self.part.whole:
            return attempted(self, proposal, accelerated)
        ((sized, run),) = self.part.runs(self.part.problem.sized)
        more = self.force.g, self.D, self._matrix, proposal.damping, proposal.length
        return Attempt.of(*sized.call(self._way.try_, self.theta, *run, *more))


class Spectral(Matrices):
    """By eigenvectors."""

    form = "spectral"

    @staticmethod
    def _chosen(part: Part) -> Way:
        few = part.count * part.problem.outputs * part.problem.parameters**2 <= EXACT
        return TRIANGULAR if part.problem.wide and few else SQUARED


class Normal(Matrices):
    """By Cholesky."""

    form = "normal"

    @staticmethod
    def _chosen(part: Part) -> Way:
        return FACTORED


def _summed(sized: Sized, *run_and_before: Any) -> tuple[jax.Array, ...]:
    *run, before = run_and_before
    found = pieces.normal(sized, *run)
    return found if before is None else tuple(a + b for a, b in zip(before, found, strict=True))


def _stacked(sized: Sized, *run_and_before: Any) -> tuple[jax.Array, ...]:
    """Loss and gradient added, R stacked: RᵀR = JᵀHJ of all runs so far."""
    *run, before = run_and_before
    value, g, R = pieces.triangular(sized, *run, *((None,) if before is None else before[2:]))
    return (value, g, R) if before is None else (before[0] + value, before[1] + g, R)


def _from_triangle(value: Any, g: jax.Array, R: jax.Array, D: jax.Array, scaled: Any) -> tuple[Any, ...]:
    D = scale(jnp.sum(jnp.square(R), 0), D, scaled)
    _, s, vectors = jnp.linalg.svd(R / jnp.sqrt(D))
    return told(value, g), g, D, (jnp.square(s), vectors.T / jnp.sqrt(D)[:, None])


def _from_squares(value: Any, g: jax.Array, A: jax.Array, D: jax.Array, scaled: Any) -> tuple[Any, ...]:
    D = scale(jnp.diag(A), D, scaled)
    root = jnp.sqrt(D)
    values, vectors = jnp.linalg.eigh(A / root / root[:, None])
    return told(value, g), g, D, (jnp.maximum(values, 0), vectors / root[:, None])


def _as_it_is(value: Any, g: jax.Array, A: jax.Array, D: jax.Array, scaled: Any) -> tuple[Any, ...]:
    return told(value, g), g, scale(jnp.diag(A), D, scaled), (A,)


def _divided(matrix: Matrix, D: jax.Array, g: jax.Array, damping: Any) -> jax.Array:
    squares, basis = matrix
    return basis @ ((basis.T @ g) / (squares + damping))


TRIANGULAR = Way(_stacked, _from_triangle, _divided)
SQUARED = Way(_summed, _from_squares, _divided)
FACTORED = Way(_summed, _as_it_is, by_cholesky)
