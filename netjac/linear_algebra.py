"""Linear algebra on a Jacobian's matrix, sample by sample, on the host.

Half precision is worked on in float32. Everything takes (…, m, n) and treats leading axes as samples.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse.linalg

from netjac.errors import ShapeError


def working(matrix: np.ndarray) -> np.ndarray:
    """At least float32, which is what LAPACK knows."""
    return matrix if matrix.dtype in (np.float32, np.float64) else matrix.astype(np.float32)


def norm(matrix: np.ndarray, order: str | int | float) -> np.ndarray:
    """The norm of each sample's matrix: "fro", 2, 1 or inf."""
    a = working(matrix)
    if order == "fro":
        return np.sqrt(np.sum(np.square(a), axis=(-2, -1)))
    if order == 2:
        return norm_of_values(singular_values(a), order)
    if order in (1, "1"):
        return np.abs(a).sum(-2).max(-1)
    if order in (np.inf, "inf"):
        return np.abs(a).sum(-1).max(-1)
    raise ShapeError(f"norm({order!r}) is not one of 'fro', 2, 1, inf")


def norm_of_values(values: np.ndarray, order: str | int | float) -> np.ndarray:
    """ "fro" or 2, from the singular values (…, k) in falling order."""
    if order == "fro":
        return np.sqrt(np.sum(np.square(values), -1))
    return values[..., 0] if values.shape[-1] else np.zeros(values.shape[:-1], values.dtype)


def singular_values(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(working(matrix), compute_uv=False)


def svd(matrix: np.ndarray, k: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U (…, m, k), singular values (…, k) in falling order, Vᵀ (…, k, n)."""
    u, s, vt = np.linalg.svd(working(matrix), full_matrices=False)
    return u[..., :, :k], s[..., :k], vt[..., :k, :]


def iterated(operator: scipy.sparse.linalg.LinearOperator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest singular triplets, as `svd` has them, of an operator that knows its products alone, by ARPACK."""
    u, s, vt = scipy.sparse.linalg.svds(operator, k=k, random_state=0)
    order = np.argsort(s)[::-1]
    return u[:, order], s[order], vt[order]


def rank(values: np.ndarray, shape: tuple[int, int], tolerance: float | None) -> np.ndarray:
    """Singular values above `tolerance` (by default the largest × max(m, n) × the dtype's precision)."""
    if tolerance is None:
        bound = values.max(-1, initial=0.0, keepdims=True) * max(shape) * np.finfo(values.dtype).eps
    else:
        bound = np.asarray(tolerance)
    return (values > bound).sum(-1)


def condition(values: np.ndarray) -> np.ndarray:
    """Largest over smallest singular value; infinite where the smallest is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values[..., -1] > 0, values[..., 0] / values[..., -1], np.inf)


def logdet(matrix: np.ndarray) -> np.ndarray:
    """log |det J| of each sample; −inf where J is singular."""
    if matrix.shape[-1] != matrix.shape[-2]:
        m, n = matrix.shape[-2:]
        raise ShapeError(
            f"logdet needs a square Jacobian, this one is {m} × {n}; the volume it scales by is "
            "0.5 * slogdet(J.gram()) (m ≤ n) or 0.5 * slogdet(J.normal()) (m ≥ n)"
        )
    return np.linalg.slogdet(working(matrix))[1]
