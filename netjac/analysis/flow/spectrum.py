"""The singular values of one Jacobian over some samples, and what they say of the gradient that passes it.

All of them by LAPACK where that is cheap; else both ends by Golub-Kahan bidiagonalisation on products alone.

Singular values all near 1 are dynamical isometry (Saxe, McClelland and Ganguli 2014, arXiv 1312.6120; Pennington, Schoenholz
and Ganguli 2017, arXiv 1711.04735). Their mean square is by what factor a gradient's square grows on its way back, on
average over directions: what He et al. (2015, arXiv 1502.01852) hold at 1 by their initialisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netjac.linear_algebra import condition, singular_values

Product = Callable[[np.ndarray], np.ndarray]
"""(samples, n) → (samples, m), or back."""

STEPS, PROBES = 40, 16


@dataclass(frozen=True)
class FlowThresholds:
    """The bounds of the verdicts, in this order.

    "not finite": a singular value is not. "dead": all are zero, or at least `dead` of a layer's relu-like units pass no
    gradient at any sample. "vanishing": the root of the mean σ² is below `vanishing`. "exploding": above `exploding`.
    "isometric": every σ at every sample lies within 1/`isometric` and `isometric`. "ill-conditioned": σmax/σmin is above
    `ill_conditioned` at half of the samples or more. "moderate": none of these.
    """

    dead: float = 0.9
    vanishing: float = 0.1
    exploding: float = 10.0
    isometric: float = 2.0
    ill_conditioned: float = 100.0

    def __str__(self) -> str:
        return (
            f"dead: at least {self.dead:.0%} of the relu-like units pass nothing, or all σ are 0; vanishing: rms σ < "
            f"{self.vanishing:g}; exploding: rms σ > {self.exploding:g}; isometric: every σ within {1 / self.isometric:g} and "
            f"{self.isometric:g}; ill-conditioned: σmax/σmin > {self.ill_conditioned:g}; moderate: none of these"
        )


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of ∂of/∂by at some samples.

    `by` has the names it is taken by, side by side where they are several; `size` is (m, n). `singular_values`, (samples, k) in
    falling order in float64: all min(m, n) where `exact`; else Ritz values, of which the first is at most the largest σ and the
    last at least the smallest, so that `condition` is at least so much. `root_mean_square`, (samples,), of all σ; where
    it is estimated, `error` is its standard error, else 0.

    σ below `resolution`, (samples,), are zero as far as the dtype can tell (largest × max(m, n) × its precision), and a
    condition number that divides by one is infinite. Where an entry of the Jacobian is not finite, all of that sample is NaN.
    """

    of: str
    by: tuple[str, ...]
    size: tuple[int, int]
    singular_values: np.ndarray
    root_mean_square: np.ndarray
    error: np.ndarray
    resolution: np.ndarray
    exact: bool

    @property
    def rms(self) -> float:
        """The root of the mean of σ² over all singular values and samples."""
        return _root_mean_square(self.root_mean_square)

    @property
    def largest(self) -> float:
        """The largest σ of any sample."""
        return float(self.singular_values[:, 0].max())

    @property
    def smallest(self) -> float:
        """The smallest σ of any sample."""
        return float(self.singular_values[:, -1].min())

    @property
    def condition(self) -> float:
        """σmax/σmin, the median over samples; infinite where σmin is zero or cannot be told from it."""
        seen = np.where(self.singular_values > self.resolution[:, None], self.singular_values, 0.0)
        return float(np.median(condition(seen)))

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.singular_values).all())

    def verdict(self, thresholds: FlowThresholds) -> str:
        """What it is by itself: see `FlowThresholds`."""
        if not self.finite:
            return "not finite"
        if self.largest == 0:
            return "dead"
        if self.rms < thresholds.vanishing:
            return "vanishing"
        if self.rms > thresholds.exploding:
            return "exploding"
        if self.smallest >= 1 / thresholds.isometric and self.largest <= thresholds.isometric:
            return "isometric"
        return "ill-conditioned" if self.condition > thresholds.ill_conditioned else "moderate"

    def __repr__(self) -> str:
        about = "" if self.exact else "at most " if self.smallest else ""
        return (
            f"Spectrum of ∂{self.of}/∂({', '.join(self.by)}), {self.size[0]} × {self.size[1]} at "
            f"{len(self.singular_values)} samples: rms σ {self.rms:.4g}, largest {self.largest:.4g}, smallest {about}"
            f"{self.smallest:.4g}"
        )

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph([repr(self)])


def of_matrices(of: str, by: tuple[str, ...], matrices: np.ndarray) -> Spectrum:
    """From all entries, (samples, m, n). Equal matrices are decomposed once."""
    samples, m, n = matrices.shape
    finite = np.isfinite(matrices).all((1, 2))
    alike = samples > 1 and bool((matrices[1:] == matrices[:1]).all())
    values = singular_values(np.where(finite[:, None, None], matrices, 0)[: 1 if alike else samples])
    resolution = values[:, 0] * max(m, n) * np.finfo(values.dtype).eps
    values = np.where(finite[:, None], np.broadcast_to(values, (samples, values.shape[1])).astype(np.float64), np.nan)
    resolution = np.broadcast_to(resolution, (samples,)).astype(np.float64)
    rms = np.array([_root_mean_square(row) for row in values])
    return Spectrum(of, by, (m, n), values, rms, np.zeros(samples), resolution, True)


def of_products(
    of: str, by: tuple[str, ...], size: tuple[int, int], samples: int, dtype: Any, push: Product, pull: Product
) -> Spectrum:
    """Both ends of the spectrum, and the mean square estimated, from products with J and Jᵀ alone.

    Golub and Kahan (1965) with full reorthogonalisation, `STEPS` steps from one random vector on the smaller side, all samples
    together. A Ritz value lies within the spectrum, so the largest found is a lower bound (a close one after so many steps) and
    the smallest an upper bound, which may be far off where small singular values crowd. The mean square is that of ‖Jᵀu‖²
    over `PROBES` random signs (Hutchinson 1990).
    """
    m, n = size
    forth, back, side, width = (pull, push, m, n) if m <= n else (push, pull, n, m)
    rng = np.random.default_rng(0)
    values = _ritz(forth, back, rng.standard_normal((samples, side)), width, min(STEPS, side), rng)
    squares = np.stack([_squared(forth(rng.choice([-1.0, 1.0], (samples, side)))) / side for _ in range(PROBES)])
    mean = squares.mean(0)
    root = np.sqrt(mean)
    spread = squares.std(0, ddof=1) / np.sqrt(PROBES)
    error = np.divide(spread, 2 * root, out=np.zeros_like(root), where=root > 0)
    # Products round like sums of so many terms, and a Ritz value is no surer than they are.
    resolution = values[:, 0] * max(m, n) * np.finfo(np.float64 if dtype == np.float64 else np.float32).eps
    return Spectrum(of, by, size, values, root, error, resolution, False)


def joined(parts: list[Spectrum]) -> Spectrum:
    """The spectra of runs of samples as one."""
    if len(parts) == 1:
        return parts[0]
    kept = min(part.singular_values.shape[1] for part in parts)
    first = parts[0]
    values = [np.concatenate([p.singular_values[:, : kept - 1], p.singular_values[:, -1:]], 1) for p in parts]
    columns = [(p.root_mean_square, p.error, p.resolution) for p in parts]
    rms, error, resolution = (np.concatenate(column) for column in zip(*columns, strict=True))
    exact = all(part.exact for part in parts)
    return Spectrum(first.of, first.by, first.size, np.concatenate(values), rms, error, resolution, exact)


def _ritz(
    forth: Product, back: Product, start: np.ndarray, width: int, steps: int, rng: np.random.Generator
) -> np.ndarray:
    """Singular values (samples, steps) of the bidiagonal matrix that J is on the Krylov space of `start`.

    Where the space is exhausted early, it goes on in a random direction that is orthogonal to all before.
    """
    samples, side = start.shape
    lefts = [start / np.linalg.norm(start, axis=1, keepdims=True)]
    rights: list[np.ndarray] = []
    bidiagonal = np.zeros((samples, steps, steps))
    for step in range(steps):
        v, length = _added(forth(lefts[-1]), rights, rng.standard_normal((samples, width)))
        rights.append(v)
        bidiagonal[:, step, step] = length
        if step + 1 < steps:
            u, length = _added(back(v), lefts, rng.standard_normal((samples, side)))
            lefts.append(u)
            bidiagonal[:, step + 1, step] = length
    finite = np.asarray(np.isfinite(bidiagonal).all((1, 2)))
    values = singular_values(np.where(finite[:, None, None], bidiagonal, 0))
    return np.where(finite[:, None], values, np.nan)


def _added(product: np.ndarray, known: list[np.ndarray], instead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a product adds to the known directions, a unit vector and its length; `instead`'s, and 0, where it adds nothing."""
    product = np.asarray(product, np.float64)
    rest = _apart(product, known)
    length = np.linalg.norm(rest, axis=1)
    nothing = length <= 1e-12 * np.linalg.norm(product, axis=1)
    rest = np.where(nothing[:, None], _apart(instead, known), rest)
    return rest / np.linalg.norm(rest, axis=1, keepdims=True), np.where(nothing, 0.0, length)


def _apart(vectors: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
    """The part that is orthogonal to known directions; twice is enough (Parlett, section 6.9)."""
    for _ in range(2):
        for direction in known:
            vectors = vectors - (vectors * direction).sum(1, keepdims=True) * direction
    return vectors


def _squared(product: np.ndarray) -> np.ndarray:
    return np.square(np.asarray(product, np.float64)).sum(1)


def _root_mean_square(values: np.ndarray) -> float:
    """Scaled by the largest, so that no square overflows or vanishes."""
    top = float(np.max(values))
    return top * float(np.sqrt(np.mean((values / top) ** 2))) if top > 0 else top
