"""How much each feature moves a network's outputs, over any number of samples: sums that a pass adds up.

    s_j = σ_j² · Σ_o J_oj²        of one sample: what feature j moves the outputs by, squared, a standard deviation at a time

σ is the features' standard deviation over the same samples. The sums of Σ_o J_oj² are kept for random groups of samples too,
which is all that a bootstrap of their means needs: of no more samples than groups each is a group of its own, and it is the
ordinary bootstrap.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, replace

import numpy as np

from netjac.analysis.passes import Pass, Run
from netjac.errors import NonFiniteError

GROUPS = 128


@dataclass(frozen=True, eq=False)
class Effects:
    """Means over `samples`, in float64.

    `squares` (n,) is E Σ_o J_oj²; `gram` (n, n) is E JᵀJ and `covariance` (n, n) that of the features, both None unless asked
    for; `scale` (n,) the features' standard deviation, or what was given for it. `group_sums` (groups, n) and `group_sizes`
    are Σ_o J_oj² summed over each group of samples, and how many those are.
    """

    samples: int
    scale: np.ndarray
    squares: np.ndarray
    gram: np.ndarray | None
    covariance: np.ndarray | None
    group_sums: np.ndarray
    group_sizes: np.ndarray

    @property
    def standardised(self) -> np.ndarray:
        """E s_j, (n,)."""
        return self.squares * self.scale**2

    def first(self, n: int) -> Effects:
        """Of the first n features alone."""
        return replace(
            self,
            scale=self.scale[:n],
            squares=self.squares[:n],
            gram=None if self.gram is None else self.gram[:n, :n],
            covariance=None if self.covariance is None else self.covariance[:n, :n],
            group_sums=self.group_sums[:, :n],
        )


def measured(
    through: Pass, scale: np.ndarray | None, output_scale: np.ndarray | None, pairs: bool, seed: int
) -> Effects:
    """One pass over the samples. `scale` (n,) replaces σ, `output_scale` (m,) divides the outputs; `pairs` asks for E JᵀJ.

    `seed` is of the groups, which samples past the first ones fall into at random, so that the samples' order does not matter.

    Raises `NonFiniteError` where a derivative is not finite.
    """
    n = through.n
    sums = _Sums(np.zeros((GROUPS, n)), np.zeros(GROUPS, np.int64), np.zeros((n, n)) if pairs else None, seed)
    features = _Spread(np.zeros(n), np.zeros((n, n) if pairs else n))
    for run in through.runs():
        sums.add(run, output_scale)
        features.add(run.features)
    squares = sums.by_group.sum(0)
    if not np.isfinite(squares).all():
        place = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise NonFiniteError(
            f"∂{through.of}/∂(feature {place}) of {through.network.name!r} is not finite at some sample; find it in "
            "netjac.jacobian, and leave it out"
        )
    spread = features.covariance()
    deviation = np.sqrt(np.diag(spread) if pairs else spread)
    return Effects(
        features.count,
        deviation if scale is None else scale,
        squares / features.count,
        None if sums.gram is None else sums.gram / features.count,
        spread if pairs else None,
        sums.by_group[: features.count],
        sums.sizes[: features.count],
    )


@dataclass
class _Sums:
    """Of the Jacobians: by group, and of all pairs of features."""

    by_group: np.ndarray
    sizes: np.ndarray
    gram: np.ndarray | None
    seed: InitVar[int]

    def __post_init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def add(self, run: Run, output_scale: np.ndarray | None) -> None:
        J = run.jacobian if output_scale is None else run.jacobian / output_scale[:, None]
        squares = np.einsum("bmn,bmn->bn", J, J, dtype=np.float64)
        number, groups = np.arange(run.start, run.start + len(run)), len(self.sizes)
        group = np.where(number < groups, number, self._draw.integers(groups, size=len(run)))
        order = np.argsort(group, kind="stable")
        met, starts = np.unique(group[order], return_index=True)
        self.by_group[met] += np.add.reduceat(squares[order], starts, 0)
        self.sizes += np.bincount(group, minlength=groups)
        if self.gram is not None:
            rows = J.reshape((-1, J.shape[-1])).astype(np.float64)
            self.gram += rows.T @ rows


@dataclass
class _Spread:
    """Of the features: sums about the mean of the first run, so that a large mean costs no digits."""

    total: np.ndarray
    products: np.ndarray
    count: int = 0
    origin: np.ndarray | None = field(default=None)

    def add(self, features: np.ndarray) -> None:
        x = features.astype(np.float64)
        if self.origin is None:
            self.origin = x.mean(0)
        x = x - self.origin
        self.count += len(x)
        self.total += x.sum(0)
        self.products += x.T @ x if self.products.ndim == 2 else np.sum(x * x, 0)

    def covariance(self) -> np.ndarray:
        """The covariance, or the variances alone, by n (not n − 1), which is what scalers divide by."""
        mean = self.total / self.count
        found = self.products / self.count
        found -= np.outer(mean, mean) if found.ndim == 2 else mean * mean
        places = np.arange(len(found))
        if found.ndim == 2:
            found[places, places] = np.maximum(found[places, places], 0)
            return found
        return np.maximum(found, 0)
