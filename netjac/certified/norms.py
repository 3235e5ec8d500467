"""Upper bounds of spectral norms that hold in spite of rounding.

With the right singular vectors V of A as computed, B = A V has nearly orthogonal columns, so that the largest row sum of
|Bᵀ B| is close to ‖B‖², and ‖A‖ ≤ ‖B‖ / σ_min(V), where σ_min(V)² ≥ 1 − ‖I − Vᵀ V‖_∞ (Rump, Verified bounds for singular
values, 2011). What the products may be wrong by is added.

    A = [[3, 0], [0, 4]]: Bᵀ B = diag(16, 9), ‖A‖ ≤ 4 + some 1e-15
"""

from __future__ import annotations

import numpy as np

from netjac.certified.interval import UNIT, gamma


def spectral(matrix: np.ndarray) -> np.ndarray:
    """An upper bound of ‖A‖₂ for each of (…, m, n) in float64; infinite where A is not finite."""
    a = np.asarray(matrix, np.float64)
    if 0 in a.shape[-2:]:
        return np.zeros(a.shape[:-2])
    if a.shape[-1] > a.shape[-2]:
        a = np.swapaxes(a, -1, -2)
    finite = np.asarray(np.isfinite(a).all((-2, -1)))
    a = np.where(finite[..., None, None], a, 0.0)
    v = np.swapaxes(np.linalg.svd(a, full_matrices=False)[2], -1, -2)
    b, g = a @ v, 2 * gamma(max(a.shape[-2:]))
    off = g * np.sqrt((np.square(np.abs(a) @ np.abs(v))).sum((-2, -1)))
    size = np.sqrt(_row_sum(_transposed(b) @ b) + g * _row_sum(np.abs(_transposed(b)) @ np.abs(b)))
    skew = _row_sum(_transposed(v) @ v - np.eye(v.shape[-1])) + g * _row_sum(np.abs(_transposed(v)) @ np.abs(v))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (size + off) / np.sqrt(1 - skew) * (1 + 16 * g)
    return np.where(finite & (skew < 1), found, np.inf)


def between(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """An upper bound of ‖A‖₂ over all A with lower ≤ A ≤ upper: ‖mid‖ + ‖rad‖, or that of the largest magnitudes."""
    with np.errstate(invalid="ignore"):
        mid = 0.5 * lower + 0.5 * upper
        rad = np.maximum(upper - mid, mid - lower) * (1 + 4 * UNIT) + UNIT * np.abs(mid)
    most = np.maximum(np.abs(lower), np.abs(upper))
    return np.minimum((spectral(mid) + spectral(rad)) * (1 + 2 * UNIT), spectral(most))


def at_least(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """A lower bound of ‖A‖₂ over all A with lower ≤ A ≤ upper: ‖mid v‖ / ‖v‖ − ‖rad‖ for a good v; zero at least."""
    if 0 in lower.shape[-2:]:
        return np.zeros(lower.shape[:-2])
    with np.errstate(invalid="ignore"):
        mid = 0.5 * lower + 0.5 * upper
        rad = np.maximum(upper - mid, mid - lower) * (1 + 4 * UNIT) + UNIT * np.abs(mid)
    finite = np.isfinite(mid + rad).all((-2, -1))
    mid = np.where(finite[..., None, None], mid, 0.0)
    v = np.linalg.svd(mid, full_matrices=False)[2][..., :1, :]
    g = 2 * gamma(sum(mid.shape[-2:]))
    stretched = np.sqrt(np.square((mid * v).sum(-1)).sum(-1))
    lost = g * np.sqrt(np.square((np.abs(mid) * np.abs(v)).sum(-1)).sum(-1))
    length = np.sqrt(np.square(v).sum((-2, -1)))
    found = (stretched - lost) / length * (1 - g) - spectral(rad) * (1 + g)
    return np.where(finite, np.maximum(found, 0.0), 0.0)


def _transposed(a: np.ndarray) -> np.ndarray:
    return np.swapaxes(a, -1, -2)


def _row_sum(a: np.ndarray) -> np.ndarray:
    return np.abs(a).sum(-1).max(-1) * (1 + gamma(a.shape[-1]))
