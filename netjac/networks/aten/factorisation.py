"""Linear algebra: factors of matrices, determinants, solutions, distances between rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.reduction import norm
from netjac.networks.aten.registry import op


def _fine(x: Any) -> Any:
    """The count of failures that LAPACK gives beside its answer."""
    return jnp.zeros(x.shape[:-2], jnp.int32)


@op("linalg_cholesky", "cholesky")
def cholesky(x: Any, upper: bool = False) -> Any:
    return jnp.linalg.cholesky(x, upper=upper)


@op("linalg_cholesky_ex")
def cholesky_and_count(x: Any, upper: bool = False, *_: Any, **__: Any) -> Any:
    return cholesky(x, upper), _fine(x)


@op("linalg_inv", "inverse")
def inverse(x: Any) -> Any:
    return jnp.linalg.inv(x)


@op("linalg_inv_ex")
def inverse_and_count(x: Any, *_: Any, **__: Any) -> Any:
    return inverse(x), _fine(x)


@op("_linalg_eigh")
def symmetric_eigen(x: Any, lower: str = "L", vectors: bool = True) -> Any:
    values, vectors_ = jnp.linalg.eigh(x, lower, symmetrize_input=False)
    return values, vectors_


@op("_linalg_svd")
def singular_values(x: Any, full: bool = False, vectors: bool = True, *_: Any, **__: Any) -> Any:
    if not vectors:
        return None, jnp.linalg.svd(x, compute_uv=False), None
    return tuple(jnp.linalg.svd(x, full_matrices=full))


@op("linalg_qr")
def qr(x: Any, mode: str = "reduced") -> Any:
    return tuple(jnp.linalg.qr(x, mode))


@op("_linalg_det")
def determinant(x: Any) -> Any:
    return jnp.linalg.det(x), None, None


@op("_linalg_slogdet")
def log_determinant(x: Any) -> Any:
    sign, log = jnp.linalg.slogdet(x)
    return sign, log, None, None


@op("linalg_pinv", "linalg_pinv.atol_rtol_tensor")
def pseudoinverse(x: Any, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    if atol is not None:
        raise NotImplementedError("an absolute tolerance")
    return jnp.linalg.pinv(x, rtol=rtol if rcond is None else rcond, hermitian=hermitian)


@op("linalg_solve")
def solution(a: Any, b: Any, left: bool = True) -> Any:
    one = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    columns = b[..., None] if one else b
    if left:
        x = jnp.linalg.solve(a, columns)
    else:
        x = jnp.swapaxes(jnp.linalg.solve(jnp.swapaxes(a, -1, -2), jnp.swapaxes(columns, -1, -2)), -1, -2)
    return x[..., 0] if one else x


@op("_linalg_solve_ex")
def solution_and_count(a: Any, b: Any, left: bool = True, *_: Any, **__: Any) -> Any:
    return solution(a, b, left), None, None, _fine(a)


@op("linalg_solve_triangular")
def triangular_solution(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    lead = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(m, (*lead, *m.shape[-2:])) for m in (a, b))
    return jax.lax.linalg.triangular_solve(a, b, left_side=left, lower=not upper, unit_diagonal=unitriangular)


@op("linalg_householder_product")
def householder_product(x: Any, scales: Any) -> Any:
    return jax.lax.linalg.householder_product(x, scales)


@op("linalg_matrix_exp")
def matrix_exponential(x: Any) -> Any:
    return jax.scipy.linalg.expm(x)


@op("_cdist_forward", "cdist")
def distances(a: Any, b: Any, p: float = 2.0, mode: Any = None) -> Any:
    """(…, n, k), (…, m, k) → (…, n, m): the p-norms of the differences; where two rows are one the derivative is 0."""
    return norm(a[..., :, None, :] - b[..., None, :, :], p, -1)


@op("_pdist_forward")
def distances_within(x: Any, p: float = 2.0) -> Any:
    first, second = jnp.triu_indices(x.shape[0], 1)
    return norm(x[first] - x[second], p, -1)
