"""(JᵀHJ + λ D) δ = −g at one point, in the form that its size asks for; one factorisation or one matrix serves every λ.

- "spectral", few parameters: eigenvalues s² and vectors of D^−½ JᵀHJ D^−½, of a small J in float64 from its
  triangular factor's singular values, which loses nothing to squaring, else from JᵀHJ; each λ is then a division.
- "normal": JᵀHJ + λD by Cholesky. Its M³/3 operations a try are few beside the N·m·M² that made JᵀHJ, and a tenth of those
  of its eigenvectors.
- "kernel", fewer rows than parameters: δ = −Jᵀ (H J Jᵀ + λ)⁻¹ u, with J Jᵀ and Jᵀ from J's factors (`netjac.parameters`): J is
  never formed.
- "cg", where no matrix fits: conjugate gradients on products with J and Jᵀ (Steihaug 1983; Martens 2010).

D is the largest squared column norm so far of each column of J (Moré, The Levenberg–Marquardt algorithm, 1978) when
`scaled`, else one number for all, so that λ has no unit.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

from netjac.errors import ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.plan.table import memory as in_words
from netjac.precision import precise
from netjac.training import functions as pieces
from netjac.training.problem import Part, Problem

FEW = 64
"""Parameters up to which the eigenvectors cost no more than the rest of a step."""
EXACT = 2**21
"""Operations (rows · M²) up to which J is triangularised instead of squared; beyond, that takes many times as long."""
MANY = 6000
"""Parameters beyond which a Cholesky factorisation takes longer than the products that conjugate gradients need."""
PRODUCTS = 200
"""Most products with JᵀHJ of one solution by conjugate gradients."""


@dataclass(frozen=True, eq=False)
class Force:
    """What pushes the parameters: u at the outputs (None where several runs made g), and g = Jᵀu."""

    g: jax.Array
    u: jax.Array | None = None


class System(abc.ABC):
    """The linear system of one point. `value` is the loss there, summed; `force` its own u and g."""

    form: ClassVar[str]
    value: float
    force: Force
    D: jax.Array

    @abc.abstractmethod
    def __init__(self, part: Part, theta: jax.Array, D: jax.Array | None, scaled: bool) -> None:
        """At `theta`, after another point's `D`."""

    @abc.abstractmethod
    def solve(self, force: Force, damping: float) -> jax.Array:
        """(JᵀHJ + damping · D)⁻¹ g, (M,) in float64."""


class Spectral(System):
    """By eigenvectors."""

    form = "spectral"

    def __init__(self, part: Part, theta: jax.Array, D: jax.Array | None, scaled: bool) -> None:
        M = part.problem.parameters
        with precise(True):
            if part.problem.wide and part.count * part.problem.outputs * M**2 <= EXACT:
                R, g, total = jnp.zeros((0, M)), jnp.zeros(M), 0.0
                for sized, run in part.runs(factored=True):
                    value, slope, R = sized.call(pieces.triangular, theta, *run, R)
                    total, g = total + value, g + slope
                diagonal = jnp.sum(jnp.square(R), 0)
                self.D = _scale(diagonal, D, scaled)
                self._squares, self._basis = _from_triangle(R, self.D)
            else:
                total, g, A = _added(part, theta)
                self.D = _scale(jnp.diag(A), D, scaled)
                self._squares, self._basis = _from_normal(A, self.D)
            self.value, self.force = float(total), Force(g)

    def solve(self, force: Force, damping: float) -> jax.Array:
        with precise(True):
            return _divided(self._squares, self._basis, force.g, damping)


class Normal(System):
    """By Cholesky."""

    form = "normal"

    def __init__(self, part: Part, theta: jax.Array, D: jax.Array | None, scaled: bool) -> None:
        with precise(True):
            total, g, self._A = _added(part, theta)
            self.D = _scale(jnp.diag(self._A), D, scaled)
            self.value, self.force = float(total), Force(g)

    def solve(self, force: Force, damping: float) -> jax.Array:
        with precise(True):
            return _by_cholesky(self._A, self.D, force.g, damping)


class Kernel(System):
    """By the rows' Gram matrix, undivided by columns: D is one number."""

    form = "kernel"

    def __init__(self, part: Part, theta: jax.Array, D: jax.Array | None, scaled: bool) -> None:
        total, g, u, self._K, self._factors = next(part.each(pieces.kernel, theta, factored=True))
        self._sized = part.problem.sized(part.count)
        with precise(True):
            one = jnp.maximum(jnp.trace(self._K) / len(self._K), jnp.finfo(jnp.float64).tiny)
            self.D = jnp.full(part.problem.parameters, one) if D is None else D
            self.value, self.force = float(total), Force(g, u)

    def solve(self, force: Force, damping: float) -> jax.Array:
        assert force.u is not None
        with precise(True):
            weights = _by_lu(self._K, damping * self.D[0], force.u.reshape(-1))
            found: jax.Array = self._sized.call(pieces.pulled_back, self._factors, weights)
        return found


class Products(System):
    """By conjugate gradients."""

    form = "cg"

    def __init__(self, part: Part, theta: jax.Array, D: jax.Array | None, scaled: bool) -> None:
        self._part, self._theta = part, theta
        with precise(True):
            found = list(part.each(pieces.slope, theta))
            self.value = float(sum(value for value, _ in found))
            self.force = Force(sum(slope for _, slope in found[1:]) + found[0][1])
            if D is None:
                g = np.asarray(self.force.g)
                curvature = float(g @ self._product(g)) / max(float(g @ g), np.finfo(np.float64).tiny)
                D = jnp.full(len(g), max(curvature, np.finfo(np.float64).tiny))
            self.D = D

    def _product(self, v: np.ndarray) -> np.ndarray:
        parts = self._part.each(pieces.curved, self._theta, np.asarray(v, np.float64))
        return np.sum([np.asarray(part) for part in parts], 0)

    def solve(self, force: Force, damping: float) -> jax.Array:
        g, extra = np.asarray(force.g), damping * np.asarray(self.D)
        matrix = scipy.sparse.linalg.LinearOperator(
            (len(g), len(g)), matvec=lambda v: self._product(v) + extra * v, dtype=np.float64
        )
        found, _ = scipy.sparse.linalg.cg(
            matrix, g, rtol=1e-3 if not self._part.problem.wide else 1e-6, maxiter=PRODUCTS
        )
        with precise(True):
            return jnp.asarray(found)


FORMS: dict[str, type[System]] = {one.form: one for one in (Spectral, Normal, Kernel, Products)}


def form_of(problem: Problem, samples: int, asked: str | None, memory: Any) -> type[System]:
    """The form for so many samples at a time. Raises `UnknownNameError`, `ShapeError`, `TooLargeError`."""
    if asked is not None and asked not in FORMS:
        raise UnknownNameError.of("form", str(asked), FORMS)
    M, rows, room, whole = problem.parameters, samples * problem.outputs, budget(memory), samples <= problem.size
    needed = {"spectral": 4 * M * M * 8, "normal": 3 * M * M * 8, "kernel": 3 * rows * rows * 8, "cg": 0}
    if asked is not None:
        if needed[asked] > room:
            matrix = "H J Jᵀ" if asked == "kernel" else "JᵀHJ"
            raise TooLargeError(
                f"{matrix} in form={asked!r} takes {in_words(needed[asked])}, over the memory budget of {in_words(room)}; "
                "give form='cg', which forms no matrix, a batch=, or a larger memory="
            )
        if asked == "kernel" and not whole:
            raise ShapeError("form='kernel' takes its samples together, and they do not fit; give a smaller batch=")
        return FORMS[asked]
    if min(M, FEW) == M:
        return Spectral
    if rows < M and whole and rows <= MANY and needed["kernel"] <= room:
        return Kernel
    return Normal if M <= MANY and needed["normal"] <= room else Products


def _added(part: Part, theta: jax.Array) -> tuple[Any, ...]:
    """Loss, Jᵀu and JᵀHJ, added up over the runs."""
    found: tuple[Any, ...] | None = None
    for one in part.each(pieces.normal, theta, factored=True):
        found = one if found is None else tuple(a + b for a, b in zip(found, one, strict=True))
    assert found is not None
    return found


def _scale(diagonal: jax.Array, before: jax.Array | None, scaled: bool) -> jax.Array:
    """D for the diagonal of JᵀHJ, after another point's D."""
    if scaled:
        return _at_least(diagonal if before is None else jnp.maximum(diagonal, before))
    return jnp.full(diagonal.shape, jnp.max(_at_least(diagonal))) if before is None else before


def _at_least(diagonal: jax.Array) -> jax.Array:
    """A column of zeros is scaled as if it were one: nothing moves along it."""
    return jnp.where(diagonal > 0, diagonal, 1.0)


@jax.jit
def _from_triangle(R: jax.Array, D: jax.Array) -> tuple[jax.Array, jax.Array]:
    _, s, vectors = jnp.linalg.svd(R / jnp.sqrt(D))
    return jnp.square(s), vectors.T / jnp.sqrt(D)[:, None]


@jax.jit
def _from_normal(A: jax.Array, D: jax.Array) -> tuple[jax.Array, jax.Array]:
    root = jnp.sqrt(D)
    values, vectors = jnp.linalg.eigh(A / root / root[:, None])
    return jnp.maximum(values, 0), vectors / root[:, None]


@jax.jit
def _divided(squares: jax.Array, basis: jax.Array, g: jax.Array, damping: Any) -> jax.Array:
    return basis @ ((basis.T @ g) / (squares + damping))


@jax.jit
def _by_cholesky(A: jax.Array, D: jax.Array, g: jax.Array, damping: Any) -> jax.Array:
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(A + jnp.diag(damping * D)), g)


@jax.jit
def _by_lu(K: jax.Array, shift: Any, u: jax.Array) -> jax.Array:
    return jnp.linalg.solve(K + shift * jnp.eye(len(K)), u)
