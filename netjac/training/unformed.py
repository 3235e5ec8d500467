"""The forms that make no matrix of parameters.

- "kernel", fewer rows than parameters: δ = −Jᵀ (H J Jᵀ + λ)⁻¹ u, with J Jᵀ and Jᵀ from J's factors (`netjac.parameters`): J is
  never formed.
- "cg", where no matrix fits: conjugate gradients on products with J and Jᵀ (Steihaug 1983; Martens 2010).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

from netjac.training import functions as pieces
from netjac.training.damping import Proposal
from netjac.training.problem import Part
from netjac.training.step import Attempt, Before, Force, Solving, attempted

PRODUCTS = 200
"""Most products with JᵀHJ of one solution by conjugate gradients."""


class Kernel(Solving):
    """By the rows' Gram matrix, undivided by columns: D is one number."""

    form = "kernel"

    def __init__(self, part: Part, theta: jax.Array, before: Before | None, scaled: bool) -> None:
        self.part, self.theta = part, theta
        total, g, u, self._K, self._factors = next(part.each(pieces.kernel, theta, factored=True))
        self._sized = part.problem.sized(part.count)
        one = jnp.maximum(jnp.trace(self._K) / len(self._K), jnp.finfo(jnp.float64).tiny)
        self.D = jnp.full(part.problem.parameters, one) if before is None else jnp.asarray(before[0])
        self.force = Force(g, u)
        self.value, self.gradient = float(total), float(jnp.max(jnp.abs(g)))

    def solve(self, force: Force, damping: float) -> jax.Array:
        assert force.u is not None
        weights = _by_lu(self._K, damping * self.D[0], force.u.reshape(-1))
        found: jax.Array = self._sized.call(pieces.pulled_back, self._factors, weights)
        return found

    def attempt(self, proposal: Proposal, accelerated: bool) -> Attempt:
        return attempted(self, proposal, accelerated)


class Products(Solving):
    """By conjugate gradients."""

    form = "cg"

    def __init__(self, part: Part, theta: jax.Array, before: Before | None, scaled: bool) -> None:
        self.part, self.theta = part, theta
        found = list(part.each(pieces.slope, theta))
        self.force = Force(sum(slope for _, slope in found[1:]) + found[0][1])
        self.value = float(sum(value for value, _ in found))
        self.gradient = float(jnp.max(jnp.abs(self.force.g)))
        if before is not None:
            self.D = jnp.asarray(before[0])
        else:
            g = np.asarray(self.force.g)
            curvature = float(g @ self._product(g)) / max(float(g @ g), np.finfo(np.float64).tiny)
            self.D = jnp.full(len(g), max(curvature, np.finfo(np.float64).tiny))

    def _product(self, v: np.ndarray) -> np.ndarray:
        parts = self.part.each(pieces.curved, self.theta, np.asarray(v, np.float64))
        return np.sum([np.asarray(part) for part in parts], 0)

    def solve(self, force: Force, damping: float) -> jax.Array:
        g, extra = np.asarray(force.g), damping * np.asarray(self.D)
        matrix = scipy.sparse.linalg.LinearOperator(
            (len(g), len(g)), matvec=lambda v: self._product(v) + extra * v, dtype=np.float64
        )
        found, _ = scipy.sparse.linalg.cg(
            matrix, g, rtol=1e-3 if not self.part.problem.wide else 1e-6, maxiter=PRODUCTS
        )
        return jnp.asarray(found)

    def attempt(self, proposal: Proposal, accelerated: bool) -> Attempt:
        return attempted(self, proposal, accelerated)


@jax.jit
def _by_lu(K: jax.Array, shift: Any, u: jax.Array) -> jax.Array:
    return jnp.linalg.solve(K + shift * jnp.eye(len(K)), u)
