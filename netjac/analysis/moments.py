"""Moments of derivatives over samples that come once, and how far they may be off.

Sums are kept in float64, apart for `groups` random groups of samples. All groups together give the moments; groups drawn with
replacement give the bootstrap's replicates, without a second pass and without keeping samples (with no more samples than groups
each is its own group, which is Efron's bootstrap). How groups are drawn does not depend on how the samples come: the samples
need not be in random order, only independent of each other.

Entries are summed relative to the first sample's. The variance of N numbers is at least δ²/N, where δ is how far the first is
from their mean, so that its relative error by cancellation is at most about N · 2⁻⁵³, and N times less where the first is as
others are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from netjac.analysis.passes import Run

GROUPS = 128
"""With them a standard error is known to about 1/√(2 · 128) = 6 %."""
BLOCK = 2**17
"""Entries that are taken at a time, few enough to stay in the processor's cache."""


class Moments:
    """Sums over samples: their number, and of y (m), of x (n), of J (m·n, flat) the first and second, and of |J|.

    One row of `sums` is one group, with these side by side. A row is added to in one step, so that an interrupt leaves whole
    samples.
    """

    def __init__(self, m: int, n: int, groups: int, seed: int) -> None:
        self._sums = np.zeros((groups, width(m, n)))
        self._row = np.empty(width(m, n))
        self._m, self._n = m, n
        self._first: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._rng = np.random.default_rng(np.random.SeedSequence((seed, 0)))
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)

    @property
    def count(self) -> int:
        return int(self._sums[:, 0].sum())

    def add(self, run: Run) -> None:
        entries = run.jacobian.reshape((len(run), -1))
        if self._first is None:
            first = (run.values[0], run.features[0], entries[0])
            self._first = tuple(a.astype(np.float64) for a in first)
        self.low = np.minimum(self.low, run.features.min(0))
        self.high = np.maximum(self.high, run.features.max(0))
        for group, rows in self._groups(run):
            self._sums[group] += self._summed(run.values[rows], run.features[rows], entries[rows])

    def _groups(self, run: Run) -> Iterator[tuple[int, np.ndarray]]:
        """The run's samples by group, a block at a time."""
        groups = len(self._sums)
        drawn = (self._rng.random(len(run)) * groups).astype(np.intp)
        number = np.arange(run.start, run.start + len(run))
        drawn = np.where(number < groups, number, drawn)
        order = np.argsort(drawn, kind="stable")
        edges = np.searchsorted(drawn[order], np.arange(groups + 1))
        step = max(1, BLOCK // max(self._m * self._n, 1))
        for group in np.unique(drawn):
            for start in range(edges[group], edges[group + 1], step):
                yield int(group), order[start : min(start + step, edges[group + 1])]

    def _summed(self, y: np.ndarray, x: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """What some samples add to their group's row; good until the next call."""
        assert self._first is not None
        found, begin = self._row, 1
        found[0] = len(y)
        for values, first in zip((y, x, entries), self._first, strict=True):
            size = len(first)
            away = values - first
            np.sum(away, 0, out=found[begin : begin + size])
            np.einsum("si,si->i", away, away, out=found[begin + size : begin + 2 * size])
            begin += 2 * size
        np.sum(np.abs(entries), 0, dtype=np.float64, out=found[begin:])
        return found

    def totals(self) -> Totals:
        """What has been summed so far."""
        assert self._first is not None
        met = self._sums[:, 0] > 0
        sums = self._sums if met.all() else self._sums[met]
        return Totals(self._m, self._n, sums, self._first, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Totals:
    """The sums of the groups that have samples, (groups, 1 + 2m + 2n + 3mn), and the first sample's y, x and J that they are
    relative to; `low` and `high` (n,) are the features' extremes."""

    m: int
    n: int
    sums: np.ndarray
    first: tuple[np.ndarray, np.ndarray, np.ndarray]
    low: np.ndarray
    high: np.ndarray

    @property
    def count(self) -> int:
        return int(self.sums[:, 0].sum())

    @property
    def variance(self) -> np.ndarray:
        """Of the outputs, (m,)."""
        return self._variance(None, 1, self.m)[0]

    @property
    def deviation(self) -> np.ndarray:
        """The features' standard deviations, (n,)."""
        return np.sqrt(self._variance(None, 1 + 2 * self.m, self.n)[0])

    def statistic(self, name: str) -> np.ndarray:
        """ "mean", "std", "rms" or "mean_abs" of each entry of J over all samples, (m, n)."""
        return self._statistic(name, None, slice(0, self.m * self.n)).reshape((self.m, self.n))

    def replicates(self, name: str, draws: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The same of `draws` samples of groups, drawn with replacement: (draws, columns), some columns of m·n at a time.

        "dgsm_share" is mean J² over the variance of that output, both of the same draw; nan where that variance is zero.
        """
        groups = len(self.sums)
        rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
        weights = rng.multinomial(groups, np.full(groups, 1 / groups), draws).astype(float)
        step = max(1, 2**20 // draws)
        variance = self._variance(weights, 1, self.m) if name == "dgsm_share" else np.zeros(0)
        for start in range(0, self.m * self.n, step):
            columns = slice(start, min(start + step, self.m * self.n))
            if name == "dgsm_share":
                of = variance[:, np.arange(columns.start, columns.stop) // self.n]
                yield columns, share(self._statistic("rms", weights, columns) ** 2, of)
            else:
                yield columns, self._statistic(name, weights, columns)

    @cached_property
    def _whole(self) -> np.ndarray:
        """The sums of all groups, as one row."""
        return self.sums.sum(0, keepdims=True)

    def _statistic(self, name: str, weights: np.ndarray | None, columns: slice) -> np.ndarray:
        """Of the groups by their weights, (draws, columns); None: of all, each once."""
        begin, size = 1 + 2 * self.m + 2 * self.n + columns.start, self.m * self.n
        width = columns.stop - columns.start
        if name == "mean_abs":
            return self._average(weights, begin + 2 * size, width)
        away = self._average(weights, begin, width)
        if name == "mean":
            return away + self.first[2][columns]
        variance = np.maximum(self._average(weights, begin + size, width) - away**2, 0)
        return np.sqrt(variance if name == "std" else variance + (away + self.first[2][columns]) ** 2)

    def _average(self, weights: np.ndarray | None, begin: int, width: int) -> np.ndarray:
        """Sums from `begin` on over numbers of samples, (draws, width)."""
        columns = slice(begin, begin + width)
        if weights is None:
            return self._whole[:, columns] / self._whole[:, :1]
        found: np.ndarray = weights @ self.sums[:, columns] / (weights @ self.sums[:, :1])
        return found

    def _variance(self, weights: np.ndarray | None, begin: int, width: int) -> np.ndarray:
        """Of quantities whose sums lie from `begin` on, those of their squares after them, (draws, width)."""
        away = self._average(weights, begin, width)
        return np.maximum(self._average(weights, begin + width, width) - away**2, 0)


def width(m: int, n: int) -> int:
    """Numbers that a group takes."""
    return 1 + 2 * m + 2 * n + 3 * m * n


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)


class Reservoir:
    """A uniform random choice of at most `size` of the Jacobians that come, (size, m, n)."""

    def __init__(self, size: int, seed: int) -> None:
        self._rng = np.random.default_rng(np.random.SeedSequence((seed, 2)))
        self._size = size
        self._keys = np.zeros(0)
        self._rows: list[np.ndarray] = []

    def add(self, run: Run) -> None:
        """Every sample has a random key, and the smallest keys stay."""
        keys = self._rng.random(len(run))
        all_keys = np.concatenate([self._keys, keys])
        chosen = np.argsort(all_keys)[: self._size]
        old = len(self._keys)
        self._rows = [self._rows[i] if i < old else run.jacobian[i - old].copy() for i in chosen]
        self._keys = all_keys[chosen]

    def kept(self, m: int, n: int) -> np.ndarray:
        return np.stack(self._rows) if self._rows else np.zeros((0, m, n))
