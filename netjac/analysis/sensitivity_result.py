"""`Sensitivity`: statistics of ∂output/∂feature over samples, with intervals, as arrays, tables, pictures and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.analysis.moments import Totals, share
from netjac.errors import MissingExtraError, NonFiniteError, ShapeError, UnknownNameError
from netjac.networks.arrays import to_numpy

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

STATISTICS = ("mean", "std", "rms", "mean_abs", "dgsm", "dgsm_bound")
SCALES = (None, "std", "range")
BOUNDS = ("uniform", "normal")
DRAWS, DRAWS_OF_WIDE, WIDE = 1000, 250, 2**15
Interval = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Bound:
    """How a feature is distributed, for the bound of its total Sobol index: `ranges` (n, 2) or deviations (n,), None: those of
    the samples."""

    kind: str
    ranges: np.ndarray | None

    @classmethod
    def of(cls, kind: str, ranges: Any, features: Sequence[str]) -> Bound:
        """Raises `UnknownNameError`, `ShapeError`, `NonFiniteError`."""
        if kind not in BOUNDS:
            raise UnknownNameError.of("bound", str(kind), BOUNDS)
        if ranges is None:
            return cls(kind, None)
        if isinstance(ranges, Mapping):
            for name in (*ranges, *features):
                if name not in features:
                    raise UnknownNameError.of("feature", str(name), features)
                if name not in ranges:
                    raise ShapeError(f"ranges has nothing for the feature {name!r}; give one for each feature")
            ranges = [ranges[name] for name in features]
        shape = (len(features), 2) if kind == "uniform" else (len(features),)
        try:
            found = np.broadcast_to(np.asarray(to_numpy(ranges), np.float64), shape)
        except ValueError:
            wanted = "(low, high) of each feature" if kind == "uniform" else "each feature's standard deviation"
            raise ShapeError(f"ranges has shape {np.shape(ranges)}, and must be {shape}: {wanted}") from None
        if not np.isfinite(found).all():
            raise NonFiniteError("ranges holds numbers that are not finite; give those of the features' distributions")
        if (np.diff(found, axis=1) if kind == "uniform" else found).min(initial=1) <= 0:
            raise ShapeError("ranges holds an empty range; give low < high, or standard deviations above zero")
        return cls(kind, found)

    def factors(self, totals: Totals) -> np.ndarray:
        """What ν / Var f is multiplied by, (n,): (b−a)²/π², or σ²."""
        if self.kind == "normal":
            return np.square(totals.deviation if self.ranges is None else self.ranges)
        width = totals.high - totals.low if self.ranges is None else self.ranges[:, 1] - self.ranges[:, 0]
        return np.square(width / pi)

    def __str__(self) -> str:
        kind = "uniform on" if self.kind == "uniform" else "normal with"
        what = "ranges" if self.kind == "uniform" else "standard deviations"
        return f"features independent and {kind} the {what} {'seen' if self.ranges is None else 'given'}"


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """How the m outputs change with the n features, over `count` samples. Arrays are (m, n) in float64, flat in C order.

    `mean` (signed), `std` (population), `rms`, `mean_abs` are in units of output per feature, or, with `scale`, of output per
    standard deviation or range of the feature. `dgsm` is rms², `dgsm_bound` the bound of the total Sobol index that it gives
    (no unit, the same at every scale; nan for an output that does not vary). `kept` (k, m, n) is a random choice of the
    samples' own derivatives, at the same scale.
    """

    model: str
    of: str
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    out_shape: tuple[int, ...]
    in_shapes: tuple[tuple[int, ...], ...]
    scale: str | None
    bound: Bound
    confidence: float | None
    seed: int
    totals: Totals
    derivatives: np.ndarray
    _known: dict[Any, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many samples there were."""
        return self.totals.count

    @property
    def mean(self) -> np.ndarray:
        return self._statistic("mean")

    @property
    def std(self) -> np.ndarray:
        return self._statistic("std")

    @property
    def rms(self) -> np.ndarray:
        return self._statistic("rms")

    @property
    def mean_abs(self) -> np.ndarray:
        return self._statistic("mean_abs")

    @property
    def dgsm(self) -> np.ndarray:
        return self._statistic("dgsm")

    @property
    def dgsm_bound(self) -> np.ndarray:
        return self._statistic("dgsm_bound")

    @property
    def kept(self) -> np.ndarray:
        return self.derivatives * self._factors

    def statistic(self, name: str) -> np.ndarray:
        """One of "mean", "std", "rms", "mean_abs", "dgsm", "dgsm_bound", (m, n). Raises `UnknownNameError`."""
        if name not in STATISTICS:
            raise UnknownNameError.of("statistic", str(name), STATISTICS)
        return self._statistic(name)

    def interval(self, name: str) -> Interval:
        """The lower and upper end of a statistic's bootstrap interval, each (m, n), in the statistic's own units.

        Percentiles of 1,000 draws of groups of samples (250 where m·n exceeds 32,768). nan where there are fewer than two
        samples, and where some draw has an output that does not vary. Raises `UnknownNameError`, and `ShapeError` when
        `confidence` was None.
        """
        self.statistic(name)
        if self.confidence is None:
            raise ShapeError("no intervals were kept, for confidence=None; ask netjac.sensitivity for them, say 0.95")
        if (name, "interval") not in self._known:
            self._known[name, "interval"] = self._interval(name)
        found: Interval = self._known[name, "interval"]
        return found

    def maps(self, name: str = "mean") -> np.ndarray:
        """A statistic in the shapes of output and input, (*out, *in): for images, a map of the image for each output."""
        if len(self.in_shapes) != 1:
            raise ShapeError(
                f"there are {len(self.in_shapes)} inputs, which have no common shape; use the arrays (m, n)"
            )
        return self.statistic(name).reshape((*self.out_shape, *self.in_shapes[0]))

    def ranking(self, output: int | str | None = None, by: str = "rms") -> list[tuple[str, float]]:
        """The features and their values, the largest magnitude first. `output`: a name or number; needed where m > 1."""
        values = self.statistic(by)[self.output(output)]
        order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")
        return [(self.feature_names[j], float(values[j])) for j in order]

    def output(self, output: int | str | None) -> int:
        """The number of an output. Raises `UnknownNameError`, `ShapeError`."""
        m = len(self.output_names)
        if output is None and m != 1:
            raise ShapeError(f"there are {m} outputs; name one, such as {self.output_names[0]!r}")
        if isinstance(output, str):
            if output not in self.output_names:
                raise UnknownNameError.of("output", output, self.output_names)
            return self.output_names.index(output)
        if not -m <= (output or 0) < m:
            raise ShapeError(f"there is no output {output}: there are {m}, numbered 0 to {m - 1}")
        return (output or 0) % m

    def table(self) -> pandas.DataFrame:
        """One row for each output and feature: the statistics, and of each with `confidence` `…_low` and `…_high`."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", "a table of sensitivities") from None
        return pandas.DataFrame(self._columns())

    def to_csv(self, path: str | Path | None = None) -> str:
        """The same table as text, written to `path` if given."""
        columns = self._columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return _written(text.getvalue(), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """All of it as JSON: what was computed, names, each statistic as m lists of n, intervals; null where undefined."""
        told = {
            "model": self.model,
            "of": self.of,
            "samples": self.count,
            "scale": self.scale,
            "bound": str(self.bound),
            "confidence": self.confidence,
            "outputs": self.output_names,
            "features": self.feature_names,
            "statistics": {name: _plain(self.statistic(name)) for name in STATISTICS},
            "intervals": {
                name: {"low": _plain(self.interval(name)[0]), "high": _plain(self.interval(name)[1])}
                for name in self._with_intervals
            },
        }
        return _written(json.dumps(told, ensure_ascii=False, allow_nan=False), path)

    def plot(self, kind: str | None = None, output: int | str | None = None, **options: Any) -> Figure:
        """A matplotlib figure: "plane", "bars", "density" or "maps"; see `netjac.report.sensitivity.plot`."""
        from netjac.report.sensitivity import plot

        return plot(self, kind, output, **options)

    def __repr__(self) -> str:
        from netjac.report.sensitivity import describe

        return describe(self)

    def _repr_html_(self) -> str:
        from netjac.report.sensitivity import describe_html

        return describe_html(self)

    @property
    def _with_intervals(self) -> tuple[str, ...]:
        return () if self.confidence is None else STATISTICS

    @property
    def _factors(self) -> np.ndarray:
        """What a derivative by each feature is multiplied by, (n,)."""
        if self.scale == "std":
            return self.totals.deviation
        return self.totals.high - self.totals.low if self.scale == "range" else np.ones(self.totals.n)

    def _statistic(self, name: str) -> np.ndarray:
        if name not in self._known:
            own = {key: self.totals.statistic(key) for key in ("mean", "std", "rms", "mean_abs")}
            scaled = {key: values * self._factors for key, values in own.items()}
            variance = self.totals.variance[:, None]
            bound = share(own["rms"] ** 2 * self.bound.factors(self.totals), variance)
            self._known.update(scaled, dgsm=scaled["rms"] ** 2, dgsm_bound=bound)
        found: np.ndarray = self._known[name]
        return found

    def _interval(self, name: str) -> Interval:
        if name == "dgsm":
            low, high = self.interval("rms")
            return low**2, high**2
        m, n = self.totals.m, self.totals.n
        ends = np.full((2, m * n), np.nan)
        if self.count > 1:
            assert self.confidence is not None
            tails = [(1 - self.confidence) / 2, (1 + self.confidence) / 2]
            draws = DRAWS if m * n <= WIDE else DRAWS_OF_WIDE
            source = "dgsm_share" if name == "dgsm_bound" else name
            for columns, drawn in self.totals.replicates(source, draws, self.seed):
                ends[:, columns] = _quantiles(drawn, tails)
        factors = self.bound.factors(self.totals) if name == "dgsm_bound" else self._factors
        low, high = ends.reshape((2, m, n)) * factors
        return low, high

    def _columns(self) -> dict[str, list[Any]]:
        m, n = self.totals.m, self.totals.n
        columns: dict[str, list[Any]] = {
            "output": [name for name in self.output_names for _ in range(n)],
            "feature": list(self.feature_names) * m,
        }
        for name in STATISTICS:
            columns[name] = self.statistic(name).ravel().tolist()
            if name in self._with_intervals:
                for end, values in zip(("low", "high"), self.interval(name), strict=True):
                    columns[f"{name}_{end}"] = values.ravel().tolist()
        return columns


class Interrupted(KeyboardInterrupt):
    """The computation was interrupted; `so_far` is the `Sensitivity` of the samples until then."""

    def __init__(self, so_far: Sensitivity) -> None:
        super().__init__(f"interrupted after {so_far.count:,} samples, whose result is this exception's .so_far")
        self.so_far = so_far


def _quantiles(drawn: np.ndarray, tails: list[float]) -> np.ndarray:
    """As `numpy.quantile` over the draws, (tails, columns); a full sort is four times as fast as its selection."""
    ordered = np.sort(np.ascontiguousarray(drawn.T), axis=1)
    places = np.array(tails) * (ordered.shape[1] - 1)
    below = places.astype(int)
    part = places - below
    found: np.ndarray = (ordered[:, below] * (1 - part) + ordered[:, below + 1] * part).T
    return np.where(np.isnan(ordered[:, -1]), np.nan, found)


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[value if np.isfinite(value) else None for value in row] for row in values.tolist()]


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
