"""`Jacobian`: a lazy linear operator.

Products with vectors are single sweeps through the network; the dense array is computed when something needs its
entries, once, within the memory budget. Layout is always (batch, *out, *in). Arrays come back in the framework of the
input they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from netjac import linear_algebra as dense
from netjac import thin
from netjac.errors import ShapeError
from netjac.factorlist import Factors, factors_of
from netjac.networks.arrays import like, to_jax, to_numpy, to_torch
from netjac.plan.plan import Plan
from netjac.precision import is_wide, precise
from netjac.source import Halves, Picked, Source
from netjac.structure import Structure
from netjac.vectors import Sides, columns, cotangents, rows, tangents


class Jacobian:
    """∂of/∂wrt at one input, for each sample of its batch.

    `shape` is (batch, *out, *in), without the batch where the network has none. For networks that mix their samples,
    `batch` is None and out and in have the samples as their first axis: (B, *out, B, *in).
    """

    __array_priority__ = 100.0

    def __init__(self, sides: Sides, source: Source, reference: Any) -> None:
        self._sides = sides
        self._source = source
        self._reference = reference
        self._dense: jax.Array | None = None

    # What it is ------------------------------------------------------------------------------------------------

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of one sample's output."""
        return self._sides.out

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of what one sample is differentiated by."""
        return self._sides.inn

    @property
    def batch(self) -> int | None:
        """How many samples there are; None where the Jacobian has no axis of samples."""
        return self._sides.batch

    @property
    def shape(self) -> tuple[int, ...]:
        """(batch, *out, *in)."""
        return (*self._sides.lead, *self.out_shape, *self.in_shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self._sides.dtype)

    @property
    def structure(self) -> Structure:
        """Dense, diagonal or zero; whether samples are independent, and why."""
        return self._source.structure()

    @property
    def plan(self) -> Plan | None:
        """The steps by which the dense Jacobian is computed; None for `engine="framework"`."""
        return self._source.plan()

    @property
    def factors(self) -> Factors:
        """The local Jacobians whose product this is, from the output back to the input; see `netjac.factorlist`."""
        return factors_of(self._source.context) if self._source.context is not None else Factors()

    # Entries ---------------------------------------------------------------------------------------------------

    def to_jax(self) -> jax.Array:
        """The dense Jacobian, shape `shape`. Raises `TooLargeError` when it does not fit the memory budget."""
        if self._dense is None:
            with self._precise():
                self._dense = self._source.array()
        return self._dense

    def to_numpy(self) -> np.ndarray:
        """The dense Jacobian in main memory, shape `shape`."""
        return np.asarray(self.to_jax())

    def to_torch(self) -> Any:
        """The dense Jacobian as a torch tensor that shares its memory."""
        return to_torch(self.to_jax())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.to_numpy()
        return array.astype(dtype) if dtype is not None else np.array(array) if copy else array

    def matrix(self) -> Any:
        """(batch, m, n) with m = ∏ out and n = ∏ in; (m, n) where there is no batch."""
        return self._back(self._matrix())

    def to_scipy(self) -> scipy.sparse.csr_array:
        """One sample's Jacobian as a sparse m × n matrix (CSR). Take a sample first: `J[b].to_scipy()`.

        Where less than half the entries can be other than zero (convolutions from image to image, elementwise networks), they
        are computed and stored without a dense array, zeros among them included; else the zeros of the dense array are
        left out. Raises `TooLargeError`.
        """
        if self.batch in (None, 1) and not self._known():
            found = self._source.sparse(None if self.batch is None else 0)
            if found is not None:
                return found
        return scipy.sparse.csr_array(self._single("to_scipy"))

    def _matrix(self) -> np.ndarray:
        return self.to_numpy().reshape((*self._sides.lead, self._sides.m, self._sides.n))

    def _single(self, method: str) -> np.ndarray:
        if self.batch not in (None, 1):
            raise ShapeError(
                f"{method}() is of one sample and this Jacobian has {self.batch}; take one: J[b].{method}()"
            )
        return self._matrix().reshape(self._sides.m, self._sides.n)

    def _back(self, array: Any) -> Any:
        return like(np.asarray(array), self._reference)

    def __getitem__(self, index: Any) -> Jacobian:
        """One sample (then without batch axis) or a slice of samples."""
        if self.batch is None:
            raise ShapeError(
                "this Jacobian has no axis of samples to index; use J.rows(i), J.columns(j) or np.asarray(J)"
            )
        chosen = np.arange(self.batch)[index]
        sides = self._sides.with_batch(None if np.ndim(chosen) == 0 else len(chosen))
        return Jacobian(sides, Picked(self._source, self._sides, chosen, self.to_jax), self._reference)

    # Products --------------------------------------------------------------------------------------------------

    def __matmul__(self, v: Any) -> Any:
        """J v for tangents of shape (*in), (batch, *in), either with one more axis k of vectors, or flat (n,), (batch, n).

        The result has out in the place of in. One forward sweep a vector; J is not formed, unless the network has no
        forward mode (a custom_vjp). `J @ J.T` is `J.gram()`.
        """
        if isinstance(v, Transposed):
            return self.gram() if v.T is self else NotImplemented
        with self._precise():
            block, restore = tangents(self._sides, to_jax(_array(v)))
            return like(restore(self._pushed(block)), v)

    def __rmatmul__(self, u: Any) -> Any:
        """uᵀJ for cotangents of shape (*out), (batch, *out), either with one more axis k in front of out, or flat.

        The result has in in the place of out. One reverse sweep a vector, where the network has a reverse mode (a
        while loop has none: then J is formed).
        """
        with self._precise():
            block, restore = cotangents(self._sides, to_jax(_array(u)))
            return like(restore(self._pulled(block)), u)

    def _pushed(self, block: jax.Array) -> jax.Array:
        """(k, batch?, *in) → (k, batch?, *out)."""
        if not self._known() and self._source.can("push"):
            return self._source.sweep("push", block)
        rule = "...mn,kn->k...m" if self._sides.shared else "...mn,k...n->k...m"
        return jnp.asarray(self._by_matrix(np.asarray(block), self._sides.inn, self._sides.out, rule))

    def _pulled(self, block: jax.Array) -> jax.Array:
        """(k, batch?, *out) → (k, batch?, *in)."""
        if not self._known() and not self._sides.shared and self._source.can("pull"):
            return self._source.sweep("pull", block)
        return jnp.asarray(self._by_matrix(np.asarray(block), self._sides.out, self._sides.inn, "...mn,k...m->k...n"))

    def _known(self) -> bool:
        return self._dense is not None

    def _swept(self) -> bool:
        return self._source.can("push") or self._source.can("pull")

    def _precise(self) -> AbstractContextManager[None]:
        return precise(self.dtype == np.float64 or is_wide())

    def _by_matrix(self, block: np.ndarray, old: tuple[int, ...], new: tuple[int, ...], rule: str) -> np.ndarray:
        flat = block.reshape((*block.shape[: block.ndim - len(old)], prod(old)))
        result = np.einsum(rule, dense.working(self._matrix()), dense.working(flat))
        return result.reshape((*result.shape[:-1], *new)).astype(self.dtype)

    @property
    def T(self) -> Transposed:  # noqa: N802  the name that arrays have it under
        """Jᵀ as an operator: `J.T @ u`."""
        return Transposed(self)

    def rows(self, i: Any) -> Any:
        """Row(s) ∂out_i/∂in by flat index, index tuple, or a list of flat indices: (batch, *in) or (batch, k, *in)."""
        chosen, single = self._indices(i, self.out_shape, "rows")
        if self._known() or not self._swept():
            picked = self._matrix()[..., chosen, :].reshape((*self._sides.lead, len(chosen), *self.in_shape))
        else:
            block = rows(self._sides, chosen)
            with self._precise():
                picked = np.moveaxis(np.asarray(self._pulled(jnp.asarray(block))), 0, len(self._sides.lead))
        return self._back(picked.take(0, axis=len(self._sides.lead)) if single else picked)

    def columns(self, j: Any) -> Any:
        """Column(s) ∂out/∂in_j by flat index, index tuple, or a list of flat indices: (batch, *out) or (batch, *out, k)."""
        chosen, single = self._indices(j, self.in_shape, "columns")
        if self._known() or not self._swept():
            picked = self._matrix()[..., chosen].reshape((*self._sides.lead, *self.out_shape, len(chosen)))
        else:
            block = columns(self._sides, chosen)
            with self._precise():
                picked = np.moveaxis(np.asarray(self._pushed(jnp.asarray(block))), 0, -1)
        return self._back(picked[..., 0] if single else picked)

    def _indices(self, index: Any, shape: tuple[int, ...], what: str) -> tuple[np.ndarray, bool]:
        size = prod(shape)
        if isinstance(index, tuple):
            index = int(np.ravel_multi_index(index, shape))
        chosen = np.arange(size)[index] if isinstance(index, slice) else np.atleast_1d(np.asarray(index, dtype=int))
        if len(chosen) and (chosen.min() < -size or chosen.max() >= size):
            raise ShapeError(f"{what}({index!r}): there are {size} {what}, numbered 0 to {size - 1}")
        return chosen % max(size, 1), np.ndim(index) == 0 and not isinstance(index, slice)

    # Questions about the matrix --------------------------------------------------------------------------------

    def gram(self) -> Any:
        """J Jᵀ: (batch, m, m)."""
        left, right = self._halves() or (dense.working(self._matrix()), None)
        middle = left if right is None else left @ (right @ np.swapaxes(right, -1, -2))
        return self._back((middle @ np.swapaxes(left, -1, -2)).astype(self.dtype))

    def normal(self) -> Any:
        """Jᵀ J: (batch, n, n)."""
        left, right = self._halves() or (None, dense.working(self._matrix()))
        middle = right if left is None else (np.swapaxes(left, -1, -2) @ left) @ right
        return self._back((np.swapaxes(right, -1, -2) @ middle).astype(self.dtype))

    def _halves(self) -> Halves | None:
        """Two thin factors, where all of J passes a narrow value and its entries are not there already."""
        found = None if self._known() else self._source.halves()
        return None if found is None else (dense.working(found[0]), dense.working(found[1]))

    def _values(self) -> np.ndarray:
        """All singular values in falling order, those that cannot be other than zero among them."""
        halves = self._halves()
        if halves is None:
            return dense.singular_values(self._matrix())
        s = thin.svd(*halves)[1]
        rest = min(self._sides.m, self._sides.n) - s.shape[-1]
        return np.concatenate([s, np.zeros((*s.shape[:-1], rest), s.dtype)], -1)

    def diagonal(self) -> Any:
        """The entries J[i, i]: (batch, min(m, n))."""
        return self._back(np.diagonal(self._matrix(), axis1=-2, axis2=-1).copy())

    def norm(self, order: str | int | float = "fro") -> Any:
        """A norm of each sample's matrix: "fro", 2 (spectral), 1 or inf. Shape (batch,)."""
        if order in ("fro", 2) and self._halves() is not None:
            return self._back(dense.norm_of_values(self._values(), order))
        return self._back(dense.norm(self._matrix(), order))

    def svd(self, k: int | None = None) -> tuple[Any, Any, Any]:
        """U (batch, m, k), s (batch, k), Vᵀ (batch, k, n): the k largest singular triplets, all by default."""
        halves = None if k is None else self._halves()
        if k is not None and halves is not None and k <= halves[0].shape[-1]:
            u, s, vt = thin.svd(*halves)
            return self._back(u[..., :k]), self._back(s[..., :k]), self._back(vt[..., :k, :])
        if k is not None and self._prefers_iteration(k):
            return tuple(self._back(part) for part in self._iterated(k))
        u, s, vt = dense.svd(self._matrix(), k)
        return self._back(u), self._back(s), self._back(vt)

    def singular_values(self, k: int | None = None) -> Any:
        """Singular values in falling order: (batch, min(m, n)), or the k largest."""
        if k is not None and self._prefers_iteration(k) and self._halves() is None:
            return self._back(self._iterated(k)[1])
        return self._back(self._values()[..., :k])

    def _prefers_iteration(self, k: int) -> bool:
        return not self._known() and self._swept() and min(self._sides.m, self._sides.n) > max(1000, 8 * k)

    def _iterated(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """On products alone, one sample after another."""
        singles: Sequence[Jacobian] = [self] if self.batch is None else [self[b] for b in range(self.batch)]
        found = [dense.iterated(single.to_linear_operator(), k) for single in singles]
        if self.batch is None:
            return found[0]
        return np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), np.stack([f[2] for f in found])

    def rank(self, tolerance: float | None = None) -> Any:
        """How many singular values exceed the tolerance (default: largest · max(m, n) · precision). Shape (batch,)."""
        return self._back(dense.rank(self._values(), (self._sides.m, self._sides.n), tolerance))

    def cond(self) -> Any:
        """Largest over smallest singular value: (batch,)."""
        return self._back(dense.condition(self._values()))

    def logdet(self) -> Any:
        """log |det J| of a square Jacobian: (batch,)."""
        return self._back(dense.logdet(self._matrix()))

    def to_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """One sample's Jacobian as a SciPy operator of shape (m, n), by sweeps alone."""
        if self.batch not in (None, 1):
            raise ShapeError(
                f"a SciPy operator is of one sample and this Jacobian has {self.batch}; take one: J[b].to_linear_operator()"
            )
        sides = self._sides

        def matvec(v: np.ndarray) -> np.ndarray:
            with self._precise():
                block = jnp.asarray(np.reshape(v, (1, *sides.tangent_shape)).astype(self.dtype))
                return np.asarray(self._pushed(block)).reshape(sides.m)

        def rmatvec(u: np.ndarray) -> np.ndarray:
            with self._precise():
                block = jnp.asarray(np.reshape(u, (1, *sides.lead, *sides.out)).astype(self.dtype))
                return np.asarray(self._pulled(block)).reshape(sides.n)

        return scipy.sparse.linalg.LinearOperator(
            (sides.m, sides.n), matvec=matvec, rmatvec=rmatvec, dtype=dense.working(np.zeros(0, self.dtype)).dtype
        )

    def check(self, **options: Any) -> Any:
        """Compare with the framework's own autodiff and with central differences; see `netjac.check`."""
        from netjac.check import check_jacobian

        return check_jacobian(self, self._source.context, **options)

    def plot(self, **options: Any) -> Any:
        """A matplotlib figure of one sample's J; `kind` and the rest as in `netjac.report.plots.plot_jacobian`."""
        from netjac.report.plots import plot_jacobian

        return plot_jacobian(self, **options)

    def __repr__(self) -> str:
        from netjac.report.words import describe

        return describe(self)

    def _repr_html_(self) -> str:
        from netjac.report.words import describe_html

        return describe_html(self)


class Transposed:
    """Jᵀ: products with cotangents, and back."""

    __array_priority__ = 100.0

    def __init__(self, jacobian: Jacobian) -> None:
        self._jacobian = jacobian

    @property
    def shape(self) -> tuple[int, ...]:
        """(batch, *in, *out)."""
        j = self._jacobian
        return (*j.shape[: len(j.shape) - len(j.out_shape) - len(j.in_shape)], *j.in_shape, *j.out_shape)

    @property
    def T(self) -> Jacobian:  # noqa: N802
        return self._jacobian

    def __matmul__(self, u: Any) -> Any:
        """Jᵀu, that is `u @ J`; `J.T @ J` is `J.normal()`."""
        if isinstance(u, Jacobian):
            return self._jacobian.normal() if u is self._jacobian else NotImplemented
        return self._jacobian.__rmatmul__(u)

    def __rmatmul__(self, v: Any) -> Any:
        return self._jacobian.__matmul__(v)

    def __repr__(self) -> str:
        return f"transpose of {self._jacobian!r}"


def _array(value: Any) -> Any:
    return to_numpy(value) if not hasattr(value, "dtype") else value
