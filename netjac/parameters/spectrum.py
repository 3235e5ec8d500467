"""The largest singular triplets of a parameter Jacobian, and how far off each may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from netjac.linear_algebra import iterated
from netjac.networks.arrays import to_numpy

if TYPE_CHECKING:
    from netjac.parameters.matrix import ParameterJacobian

SMALL = 4096
"""Rows up to which singular values come from the Gram matrix's eigenvalues."""


class Svd(tuple[Any, Any, Any]):
    """(U, s, Vᵀ). `errors`, (k,): within so much of each `s` there is a singular value of J, apart from products' rounding.

    It is the residual √((‖J v − s u‖² + ‖Jᵀ u − s v‖²) / 2) of [0 J; Jᵀ 0] at (u, v), which bounds the distance to an
    eigenvalue of a symmetric matrix (Parlett, The Symmetric Eigenvalue Problem, theorem 4.5.1). Whether one between was missed
    it does not say.
    """

    errors: Any

    def __new__(cls, U: Any, s: Any, Vt: Any, errors: Any) -> Svd:
        found = super().__new__(cls, (U, s, Vt))
        found.errors = errors
        return found


def leading(J: ParameterJacobian, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """U, s, Vᵀ and errors: by the Gram matrix of few rows, else by ARPACK on products alone."""
    if J.shape[0] > SMALL and k < min(J.shape):
        u, s, vt = iterated(J.to_linear_operator(), k)
    else:
        u, s, vt = _from_gram(J, k)
    return u, s, vt, _residuals(J, u, s, vt)


def _from_gram(J: ParameterJacobian, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = J.shape[0]
    values, vectors = scipy.linalg.eigh(to_numpy(J.gram()).astype(np.float64), subset_by_index=(rows - k, rows - 1))
    s = np.sqrt(np.maximum(values[::-1], 0))
    u = vectors[:, ::-1]
    scaled = np.divide(u, s, out=np.zeros_like(u), where=s > 0).astype(J.dtype)
    return u.astype(J.dtype), s.astype(J.dtype), to_numpy(J.T @ scaled).T


def _residuals(J: ParameterJacobian, u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> np.ndarray:
    forward = to_numpy(J @ np.ascontiguousarray(vt.T)) - u * s
    backward = to_numpy(J.T @ np.ascontiguousarray(u)) - vt.T * s
    squares = sum(np.square(part.astype(np.float64)).sum(0) for part in (forward, backward))
    return np.sqrt(squares / 2).astype(J.dtype)
