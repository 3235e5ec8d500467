"""Certified bounds: how wide they are and how long they take, beside plain interval arithmetic and the samples' own spread.

    python -m benchmarks.bounds

Plain interval arithmetic is netjac's own with every line thrown away. No enclosure can be narrower than what samples show, so
the columns are widths as multiples of that.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

import netjac as nj
from netjac.certified import curves, enclosed, linear, polynomials

RADII = (0.001, 0.01, 0.1)
SHAPES = {"10-32-32-4": (10, 32, 32, 4), "20-64-64-64-10": (20, 64, 64, 64, 10)}
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "softplus": jax.nn.softplus}
SAMPLES, DRAWN, RUNS = 16, 1000, 7


def net(widths: tuple[int, ...], activation: Callable, twin: bool = False) -> nj.Network:
    """A twin is the same written otherwise, as networks that are alike share what is compiled for them."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s) * np.sqrt(2 / s[0]) for s in pairwise(widths)]

    def apply(x):
        for W in weights[:-1]:
            x = activation(x @ W)
        x = x @ weights[-1]
        return 2 * (x / 2) if twin else x

    return nj.network(apply, batched=True)


def spread(model: nj.Network, x: np.ndarray, radius: float) -> np.ndarray:
    """Largest less smallest derivative among samples of each box."""
    rng = np.random.default_rng(1)
    low, high = np.full((1,), np.inf), np.full((1,), -np.inf)
    for _ in range(DRAWN):
        J = np.asarray(nj.jacobian(model, x + radius * rng.choice((-1, -0.5, 0.5, 1), x.shape)))
        low, high = np.minimum(low, J), np.maximum(high, J)
    return high - low


def timed(model: nj.Network, x: np.ndarray, radius: float) -> tuple[np.ndarray, float, float]:
    """Widths, seconds of the first call, median seconds of later ones."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        lower, upper = nj.bounds(model, x, radius)
        seconds.append(time.perf_counter() - start)
    return upper - lower, seconds[0], statistics.median(seconds[1:])


def without_lines(widths: tuple[int, ...], activation: Callable, x: np.ndarray, radius: float) -> tuple:
    """The same in plain interval arithmetic: what was known of the line is not used to narrow a value."""
    kept = enclosed.settled

    def plain(value, slope, _):
        return enclosed.Enclosed(value, slope)

    try:
        curves.settled = linear.settled = polynomials.settled = plain
        return timed(net(widths, activation, twin=True), x, radius)
    finally:
        curves.settled = linear.settled = polynomials.settled = kept


def main() -> None:
    print(f"{'net':<16}{'':<10}{'radius':>8}{'lines':>9}{'intervals':>11}{'first s':>9}{'ms':>8}{'ms, intervals':>15}")
    for name, widths in SHAPES.items():
        x = np.random.default_rng(2).standard_normal((SAMPLES, widths[0]))
        for called, activation in ACTIVATIONS.items():
            model = net(widths, activation)
            for radius in RADII:
                seen = spread(model, x, radius).mean()
                ours, first, median = timed(model, x, radius)
                plain, _, plain_median = without_lines(widths, activation, x, radius)
                print(
                    f"{name:<16}{called:<10}{radius:>8}{ours.mean() / seen:>9.3g}{plain.mean() / seen:>11.3g}"
                    f"{first:>9.2g}{1e3 * median:>8.3g}{1e3 * plain_median:>15.3g}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
