"""`python -m benchmarks.selection`: planted features found again, by netjac and by the usual ways, in one table.

y is the sum of Friedman's function (Friedman 1991; scikit-learn's make_friedman1) of several blocks of five features,

    10 sin(π x_1 x_2) + 20 (x_3 − ½)² + 10 x_4 + 5 x_5 + noise,

among many more features that do nothing. In the second data set as many of those are near copies of the informative ones. Every
way but mutual information looks at the same trained network; what is timed is the way, not the training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_regression
from sklearn.inspection import permutation_importance
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import netjac as nj
from benchmarks.table import surroundings, table

COPY_NOISE = 0.05
DATA = ("independent", "near copies")


@dataclass(frozen=True)
class Planted:
    """Data in which `source` (n,) says which informative feature each feature is, or is a near copy of; −1 for the rest."""

    X: np.ndarray
    y: np.ndarray
    source: np.ndarray

    @property
    def informative(self) -> int:
        return len(set(self.source) - {-1})


@dataclass(frozen=True)
class Found:
    """One way on one data set: how many were chosen, the part of those that are informative (or near copies), the part of the
    informative features that are among them (or represented by a near copy), and the seconds it took."""

    way: str
    data: str
    seed: int
    chosen: int
    precision: float
    recall: float
    seconds: float


def planted(samples: int, features: int, blocks: int, copies: bool, seed: int) -> Planted:
    """Uniform features in a random order, and y, standardised, with noise of deviation 1 before that."""
    draw = np.random.default_rng(seed)
    X, count = draw.uniform(size=(samples, features)), 5 * blocks
    source = np.full(features, -1)
    source[:count] = np.arange(count)
    if copies:
        X[:, count : 2 * count] = X[:, :count] + COPY_NOISE * draw.standard_normal((samples, count))
        source[count : 2 * count] = np.arange(count)
    first, second, third, fourth, fifth = np.moveaxis(X[:, :count].reshape((samples, blocks, 5)), -1, 0)
    parts = 10 * np.sin(np.pi * first * second) + 20 * (third - 0.5) ** 2 + 10 * fourth + 5 * fifth
    y = parts.sum(1) + draw.standard_normal(samples)
    order = draw.permutation(features)
    return Planted(X[:, order], (y - y.mean()) / y.std(), source[order])


def trained(data: Planted, hidden: tuple[int, ...], seed: int) -> Pipeline:
    network = MLPRegressor(
        hidden_layer_sizes=hidden, alpha=3.0, learning_rate_init=3e-3, max_iter=60, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), network).fit(data.X, data.y)


def ways(data: Planted, model: Pipeline, seed: int) -> dict[str, Callable[[], np.ndarray]]:
    """Each way's choice of as many features as are informative."""
    k = data.informative

    def best(scores: np.ndarray) -> np.ndarray:
        return np.argsort(-scores, kind="stable")[:k]

    return {
        "netjac, rank": lambda: nj.select_features(model, data.X, k).indices,
        "netjac, redundancy": lambda: nj.select_features(model, data.X, k, method="redundancy").indices,
        "permutation importance": lambda: best(
            permutation_importance(model, data.X, data.y, n_repeats=5, random_state=seed).importances_mean
        ),
        "gradient × input": lambda: best(np.abs(np.asarray(nj.jacobian(model, data.X)) * data.X).mean(0)),
        "mutual information": lambda: best(mutual_info_regression(data.X, data.y, random_state=seed)),
    }


def by_test(data: Planted, model: Pipeline, seed: int, shadows: int) -> np.ndarray:
    """The features that do more than shuffled copies, at a false discovery rate of 5 %; their number is not given."""
    selector = nj.NetjacSelector(
        model, n_features_to_select="test", shadows=shadows, correction="fdr", random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return selector.fit(data.X, data.y).selection_.indices


def judged(way: str, kind: str, seed: int, data: Planted, choose: Callable[[], np.ndarray]) -> Found:
    start = time.perf_counter()
    sources = data.source[choose()]
    seconds = time.perf_counter() - start
    hits = sources >= 0
    precision = float(hits.mean()) if len(hits) else 1.0
    return Found(way, kind, seed, len(hits), precision, len(set(sources[hits])) / data.informative, seconds)


def measured(
    samples: int, features: int, blocks: int, hidden: tuple[int, ...], seeds: Sequence[int], shadows: int
) -> list[Found]:
    found = []
    for kind in DATA:
        for seed in seeds:
            data = planted(samples, features, blocks, kind == "near copies", seed)
            model = trained(data, hidden, seed)
            chosen = ways(data, model, seed)
            chosen["netjac, shadows (trains again)"] = lambda d=data, m=model, s=seed: by_test(d, m, s, shadows)
            for way, choose in chosen.items():
                found.append(judged(way, kind, seed, data, choose))
                print(found[-1], file=sys.stderr, flush=True)
    return found


def summary(found: Sequence[Found]) -> str:
    """Means over the seeds; in parentheses the range of the recall."""
    head = ["way", *(f"{kind}: {what}" for kind in DATA for what in ("chosen", "precision", "recall")), "seconds"]
    rows = []
    for way in dict.fromkeys(one.way for one in found):
        row = [way]
        for kind in DATA:
            own = [one for one in found if (one.way, one.data) == (way, kind)]
            recalls = [one.recall for one in own]
            row += [
                f"{np.mean([one.chosen for one in own]):.3g}",
                f"{np.mean([one.precision for one in own]):.2f}",
                f"**{np.mean(recalls):.2f}** ({min(recalls):.2f} to {max(recalls):.2f})",
            ]
        rows.append([*row, f"{np.median([one.seconds for one in found if one.way == way]):.2g}"])
    return table(head, rows)


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    hidden = tuple(int(size) for size in args.hidden.split(","))
    found = measured(args.samples, args.features, args.blocks, hidden, range(args.seeds), args.shadows)
    print(surroundings("float64"))
    print(
        f"\n{5 * args.blocks} informative features of {args.features}, {args.samples} samples, {args.seeds} data sets each, "
        f"an MLP of {args.hidden} hidden units\n"
    )
    print(summary(found))
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=4, help="of five informative features each (default 4)")
    parser.add_argument("--hidden", default="32,32", help="sizes of the network's hidden layers (default %(default)s)")
    parser.add_argument("--shadows", type=int, default=2, help="shuffled copies of all features (default 2)")
    parser.add_argument("--seeds", type=int, default=3, help="data sets of each kind (default 3)")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
