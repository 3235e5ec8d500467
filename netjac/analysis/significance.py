"""Does a feature do anything? A bootstrap test of its effect against a stated part of the average one.

A trained network moves, ever so little, with every feature, so "the derivative is zero" is never true and always rejected with
enough samples. What is tested is

    H0_j:  E s_j  ≤  δ² · mean_k E s_k          s_j = σ_j² Σ_o J_oj², of one sample

"the root mean square effect of feature j is at most δ times that of an average feature", one-sided, for this one network, over
samples drawn independently as the given ones were. It says nothing of another network trained on the same data.

The statistic is the mean of d_j = s_j − δ² mean_k s_k over groups of samples, studentised; its distribution under H0 is that of
(d* − d)/se* over resampled groups (bootstrap-t: Efron & Tibshirani 1993, ch. 12 and 16; Hall 1992, second-order accurate).
p = (1 + #{t* ≥ t}) / (1 + resamples).

`beside_shadows` tests something else: whether a network that is trained on shuffled copies of the features beside them does
more with a feature than with those.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from netjac.analysis.effects import Effects
from netjac.errors import UnknownNameError

CORRECTIONS = ("holm", "fdr", "none")
LEAST_RESAMPLES, MOST_RESAMPLES = 999, 50_000
RESAMPLES_A_FEATURE = 40
WORK = 5e10
"""Resamples times groups times features, at most: some seconds."""
ROOM = 2**22
"""Resamples times features at once."""


def p_values(effects: Effects, negligible: float, seed: int, resamples: int | None = None) -> np.ndarray:
    """p of H0_j for each feature, (n,), with δ = `negligible`.

    By default 40 resamples a feature, so that Holm's correction can get below 0.05; but 1999 at least and 50,000 at most, and
    of tens of thousands of features fewer, as many as take some seconds.
    """
    scaled = effects.group_sums * effects.scale**2
    d = scaled - negligible**2 * scaled.mean(1, keepdims=True)
    sizes = effects.group_sizes.astype(np.float64)
    if resamples is None:
        wanted = np.clip(RESAMPLES_A_FEATURE * d.shape[1], 1999, MOST_RESAMPLES)
        resamples = int(max(LEAST_RESAMPLES, min(wanted, WORK / d.size)))
    centre, error = _mean_and_error(np.ones((1, len(d))), d, sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, centre / error, np.where(centre > 0, np.inf, -np.inf))[0]
    draw, above = np.random.default_rng((seed, 1)), np.zeros(d.shape[1])
    step = max(16, min(500, ROOM // d.shape[1]))
    for start in range(0, resamples, step):
        number = min(step, resamples - start)
        counts = draw.multinomial(len(d), np.full(len(d), 1 / len(d)), number).astype(np.float64)
        means, errors = _mean_and_error(counts, d, sizes)
        with np.errstate(invalid="ignore"):
            above += np.count_nonzero(means - centre >= t * errors, 0)
    return np.where(t == -np.inf, 1.0, (1 + above) / (1 + resamples))


def adjusted(p: np.ndarray, correction: str) -> np.ndarray:
    """p-values corrected for there being many.

    "holm" (Holm 1979) bounds the chance of any false finding, whatever the dependence; "fdr" (Benjamini & Hochberg 1995) the
    expected part of false ones among the findings, for independent or positively dependent features; "none" does nothing.
    """
    if correction not in CORRECTIONS:
        raise UnknownNameError.of("correction", correction, CORRECTIONS)
    if correction == "none" or not len(p):
        return p
    if correction == "fdr":
        return scipy.stats.false_discovery_control(p, method="bh")
    order = np.argsort(p)
    found = np.empty_like(p)
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return found


def beside_shadows(importance: np.ndarray, shadows: np.ndarray) -> np.ndarray:
    """p of "the feature has no more to do with y than chance", (n,): p_j = (1 + #{shadows ≥ importance_j}) / (1 + #shadows).

    `shadows` (any number,) are the importances, in the same network, of copies of the features that were shuffled before it was
    trained. A feature that is independent of y and of all other features is exchangeable with its own copy, and with all copies
    as far as the features are alike once standardised; one that is correlated with features that matter is not, and may be
    found. The idea of shadows is Boruta's (Kursa & Rudnicki 2010).
    """
    above = np.searchsorted(np.sort(-shadows), -importance, side="right")
    return (1 + above) / (1 + len(shadows))


def least_p(features: int, shadows: int, correction: str) -> float:
    """The least corrected p that `beside_shadows` can give one of `features`."""
    return (features if correction == "holm" else 1) / (1 + shadows)


def _mean_and_error(counts: np.ndarray, d: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of resampled groups (each row of `counts` says how often each is taken) the mean per sample, and its standard error.

    The groups' sizes differ by one sample, so the mean is a ratio of sums; its error is that of d_g − size_g · mean.
    """
    number = counts @ sizes
    mean = (counts @ d) / number[:, None]
    squares = counts @ (d * d) - 2 * mean * (counts @ (d * sizes[:, None])) + mean**2 * (counts @ sizes**2)[:, None]
    return mean, np.sqrt(np.maximum(squares, 0)) / number[:, None]
