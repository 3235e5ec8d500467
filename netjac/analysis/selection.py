"""`select_features`: the features that a network's outputs depend on, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netjac.analysis.effects import Effects, measured
from netjac.analysis.passes import Pass, over
from netjac.analysis.significance import adjusted, p_values
from netjac.analysis.subset import greedy
from netjac.errors import MissingExtraError, ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.plan.table import memory as in_words
from netjac.progress import Progress

METHODS = ("rank", "redundancy")
SHOWN = 20


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of n features, numbered from 0 in the order of the input's entries (C order), inputs one after another.

    `indices` (k,): the chosen ones, best first. `importance` (n,): the root mean square, over samples, of what a standard
    deviation of the feature moves the outputs by, √(σ_j² E Σ_o J_oj²), in the outputs' units. `explained` (k,): the part of the
    bound on the outputs' variance (docs/selection.md) that is accounted for by the chosen ones up to each. `p` (n,): of the
    hypothesis that `null` states, `adjusted` by `correction`. `rule` says how they were chosen.
    """

    indices: np.ndarray
    names: tuple[str, ...]
    importance: np.ndarray
    explained: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray
    null: str
    correction: str
    samples: int
    rule: str

    @property
    def support(self) -> np.ndarray:
        """Whether each feature was chosen, (n,) booleans."""
        found = np.zeros(len(self.importance), bool)
        found[self.indices] = True
        return found

    @property
    def selected(self) -> tuple[str, ...]:
        """The names of the chosen ones, best first."""
        return tuple(self.names[j] for j in self.indices)

    def transform(self, X: Any) -> np.ndarray:
        """The chosen columns of X (samples, n), in their own order. Raises `ShapeError` for another number of columns."""
        array = np.asarray(X)
        if array.ndim != 2 or array.shape[1] != len(self.importance):
            raise ShapeError(
                f"X has shape {array.shape}; give (samples, {len(self.importance)}), the features chosen from"
            )
        return array[:, self.support]

    def rows(self) -> list[dict[str, Any]]:
        """The chosen features as plain data, best first."""
        return [
            {
                "feature": self.names[j],
                "index": int(j),
                "importance": float(self.importance[j]),
                "explained": float(self.explained[place]),
                "p": float(self.p[j]),
                "adjusted_p": float(self.adjusted[j]),
            }
            for place, j in enumerate(self.indices)
        ]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "rule": self.rule,
            "samples": self.samples,
            "features": len(self.importance),
            "null": self.null,
            "correction": self.correction,
            "selected": self.rows(),
            "importance": self.importance.tolist(),
            "p": self.p.tolist(),
            "adjusted_p": self.adjusted.tolist(),
        }

    def table(self) -> Any:
        """The chosen features as a pandas DataFrame, best first. Raises `MissingExtraError` without pandas."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", "a table of the selection") from None
        columns = ["feature", "index", "importance", "explained", "p", "adjusted_p"]
        return pandas.DataFrame(self.rows(), columns=columns)

    def lines(self) -> list[str]:
        head = f"{len(self.indices)} of {len(self.importance)} features, {self.rule}; {self.samples} samples"
        rows = self.rows()[:SHOWN]
        width = max((len(row["feature"]) for row in rows), default=7)
        told = [head, f"  {'feature':<{width}}  importance  explained  adjusted p"] if rows else [head]
        told += [
            f"  {row['feature']:<{width}}  {row['importance']:>10.4g}  {row['explained']:>9.1%}  {row['adjusted_p']:>10.2g}"
            for row in rows
        ]
        if len(self.indices) > SHOWN:
            told.append(f"  and {len(self.indices) - SHOWN} more")
        return [*told, f"  p of: {self.null}; corrected by {self.correction!r}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from netjac.report.html import preformatted

        return preformatted(str(self))


@dataclass(frozen=True)
class Rule:
    """How features are chosen: `k`, or `threshold` (of the largest importance), or those with a corrected p up to `alpha`.

    Raises `ShapeError` and `UnknownNameError` for what makes no sense.
    """

    k: int | None = None
    method: str = "rank"
    threshold: float | None = None
    alpha: float = 0.05
    correction: str = "holm"

    def __post_init__(self) -> None:
        _refuse_rules(self.k, self.method, self.threshold)
        if not 0 < self.alpha < 1:
            raise ShapeError(f"alpha={self.alpha} is no level of a test; give a number between 0 and 1")
        adjusted(np.zeros(0), self.correction)


def select_features(
    model: Any,
    X: Any,
    k: int | None = None,
    *,
    method: str = "rank",
    threshold: float | None = None,
    alpha: float = 0.05,
    negligible: float = 0.1,
    correction: str = "holm",
    of: str = "output",
    scale: Any = "std",
    output_scale: Any = None,
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Selection:
    """The features that the outputs of a model depend on, by its exact Jacobian at every sample of X.

    `X`: whatever a pass over data takes: an array (samples, …), a DataFrame, a Zarr array, batches one by one. How many are
    chosen: `k`; or those whose importance is at least `threshold` times the largest; or, with neither, those whose corrected p
    is at most `alpha`. `method`: "rank" takes the largest importances; "redundancy" takes one after another what adds most to
    those chosen, given how well they predict it (needs `k`; less than k come back where the others are determined).

    The p-values are of the hypothesis that a feature's effect is at most `negligible` times that of an average feature, by a
    bootstrap over independent samples, for this very network; `correction`: "holm", "fdr" or "none". `scale`: "std", the
    features' standard deviations over X, or (n,) in place of them. `output_scale`: (m,), what the outputs are divided by;
    without it they count as they come, so outputs in different units need it. `seed`: of the bootstrap; the rest is as in
    `netjac.jacobian`.

    Raises `ShapeError`, `UnknownNameError`, `TooLargeError` (an n × n matrix that does not fit), and what `netjac.jacobian`
    raises.
    """
    rule = Rule(k, method, threshold, alpha, correction)
    if not negligible > 0:
        raise ShapeError(f"negligible={negligible} is part of an average effect; give a number above 0")
    through = over(model, X, of=of, precision=precision, memory=memory, progress=progress)
    names = _names(through, feature_names)
    own_scale = None if isinstance(scale, str) and scale == "std" else _vector("scale", scale, through.n)
    effects = effects_of(through, rule, seed, own_scale, _vector("output_scale", output_scale, through.m))
    null = f"the effect is at most {negligible:g} times that of an average feature"
    return chosen(effects, p_values(effects, negligible, seed), null, rule, names)


def effects_of(
    through: Pass,
    rule: Rule,
    seed: int,
    scale: np.ndarray | None = None,
    output_scale: np.ndarray | None = None,
) -> Effects:
    """What the rule needs to know of the features. Raises `ShapeError` for a k past n, and `TooLargeError`."""
    pairs, budgeted = rule.method == "redundancy", budget(through.options.memory)
    if pairs and 4 * 8 * through.n**2 > budgeted:
        raise TooLargeError(
            f"{through.n} features make matrices of {in_words(8 * through.n**2)}, four of which are over the memory budget; "
            "use method='rank', or give a larger memory="
        )
    if rule.k is not None and not 1 <= rule.k <= through.n:
        raise ShapeError(f"k={rule.k} of {through.n} features cannot be chosen; give 1 to {through.n}")
    return measured(through, scale, output_scale, pairs, seed)


def chosen(effects: Effects, p: np.ndarray, null: str, rule: Rule, names: tuple[str, ...]) -> Selection:
    """The features that the rule chooses."""
    corrected = adjusted(p, rule.correction)
    importance = np.sqrt(effects.standardised)
    choose = _without_redundancy if rule.method == "redundancy" else _largest
    indices, explained, told = choose(effects, corrected, rule)
    return Selection(indices, names, importance, explained, p, corrected, null, rule.correction, effects.samples, told)


def _without_redundancy(effects: Effects, _: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray, str]:
    assert rule.k is not None
    assert effects.gram is not None
    assert effects.covariance is not None
    deviation = np.sqrt(np.diag(effects.covariance))
    ratio = np.divide(effects.scale, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    indices, explained = greedy(effects.gram, effects.covariance * np.outer(ratio, ratio), rule.k)
    return np.array(indices, np.int64), np.array(explained), "each by what it adds to those before"


def _largest(effects: Effects, corrected: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray, str]:
    squares = effects.standardised
    order = np.argsort(-squares, kind="stable")
    if rule.k is not None:
        kept, told = order[: rule.k], "those with the largest effect"
    elif rule.threshold is not None:
        kept = order[squares[order] >= rule.threshold**2 * squares.max()]
        told = f"those with an effect of at least {rule.threshold:g} of the largest"
    else:
        kept, told = order[corrected[order] <= rule.alpha], f"those found to do something (adjusted p ≤ {rule.alpha:g})"
    total = squares.sum()
    return kept, np.cumsum(squares[kept]) / (total if total > 0 else 1.0), told


def _refuse_rules(k: int | None, method: str, threshold: float | None) -> None:
    if method not in METHODS:
        raise UnknownNameError.of("method", method, METHODS)
    if k is not None and threshold is not None:
        raise ShapeError("k and threshold both say how many features to take; give one of them")
    if k is not None and (isinstance(k, bool) or int(k) != k):
        raise ShapeError(f"k={k!r} is no number of features; give a whole number")
    if threshold is not None and not 0 < threshold <= 1:
        raise ShapeError(f"threshold={threshold} is a part of the largest effect; give a number above 0, at most 1")
    if method == "redundancy" and k is None:
        raise ShapeError("method='redundancy' adds one feature after another; say how many with k")


def _vector(argument: str, given: Any, size: int) -> np.ndarray | None:
    if given is None:
        return None
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise ShapeError(f"{argument}={given!r} is no list of numbers; give {size} positive numbers") from None
    if found.shape != (size,) or not np.all(np.isfinite(found) & (found > 0)):
        raise ShapeError(f"{argument} has shape {found.shape}; give {size} positive numbers, one for each")
    return found


def _names(through: Pass, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        if through.columns is not None:
            return through.columns
        if len(through.in_shapes) == 1:
            return tuple(f"x{j}" for j in range(through.n))
        return tuple(f"{name}[{j}]" for name, shape in through.in_shapes.items() for j in range(int(np.prod(shape))))
    if len(given) != through.n:
        raise ShapeError(f"{len(given)} feature_names were given for {through.n} features; give one for each")
    return tuple(map(str, given))
