"""Least squares in float64 to published answers: netjac, optimistix and SciPy from the same starts.

Digits are those to which every parameter agrees with its certified value: −log10 of the largest relative error, 11 at most, as
many as are certified. Times are warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import netjac as nj
from benchmarks.contenders import installed
from benchmarks.nist import PROBLEMS, Reference
from benchmarks.table import milliseconds, table

CERTIFIED = 11.0
"""Digits of a certified value."""
MOST = 10_000
"""Steps that any way may take."""
Solution = tuple[np.ndarray, int]


@dataclass(frozen=True)
class Solved:
    """What a way found for a problem: `squares`, the residual sum of squares, and `steps`, each a linear system or a try."""

    b: np.ndarray
    squares: float
    steps: int
    seconds: float

    def digits(self, problem: Reference) -> float:
        error = float(np.max(np.abs(self.b / np.array(problem.certified) - 1)))
        return min(CERTIFIED, max(0.0, -np.log10(error))) if error > 0 else CERTIFIED

    def matches(self, problem: Reference) -> bool:
        """Whether the sum of squares is the certified one, to a billionth of it, or zero where that is zero."""
        return bool(np.isclose(self.squares, problem.squares, rtol=1e-9, atol=1e-16))


def by_netjac(problem: Reference, start: np.ndarray) -> Callable[[], Solution]:
    network = nj.network(jax.tree_util.Partial(problem.model, start), batched=True)

    def solve() -> Solution:
        found = nj.fit(network, problem.x, problem.y, max_iterations=MOST, progress=False)
        (b,) = found.parameters.values()
        return b, len(found.history)

    return solve


def by_optimistix(problem: Reference, start: np.ndarray) -> Callable[[], Solution]:
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)

    @jax.jit
    def solve(b: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = optimistix.least_squares(_residuals(problem), solver, b, max_steps=MOST, throw=False)
        return found.value, found.stats["num_steps"]

    def call() -> Solution:
        b, steps = solve(jnp.asarray(start))
        return np.asarray(b), int(steps)

    return call


def by_scipy(problem: Reference, start: np.ndarray) -> Callable[[], Solution]:
    """MINPACK's, with J by JAX."""
    residuals = jax.jit(lambda b: _residuals(problem)(b, None))
    jacobian = jax.jit(jax.jacfwd(lambda b: _residuals(problem)(b, None)))
    limits = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": MOST, "x_scale": "jac"}

    def call() -> Solution:
        found = scipy.optimize.least_squares(
            lambda b: np.asarray(residuals(b)), start, lambda b: np.asarray(jacobian(b)), method="lm", **limits
        )
        return found.x, int(found.nfev)

    return call


def _residuals(problem: Reference) -> Callable[[Any, Any], Any]:
    return lambda b, _: jnp.ravel(problem.model(b, jnp.asarray(problem.x)) - problem.y)


WAYS = {"netjac": by_netjac, "optimistix": by_optimistix, "SciPy": by_scipy}


def solved(problem: Reference, start: np.ndarray, way: str) -> Solved:
    """The second call of a way, and what it found."""
    with jax.enable_x64(True):
        call = WAYS[way](problem, start)
        call()
        began = time.perf_counter()
        b, steps = call()
        seconds = time.perf_counter() - began
        return Solved(b, float(np.sum(np.square(_residuals(problem)(b, None)))), steps, seconds)


def report() -> str:
    """Every problem from every start: digits, steps and time of each way, and who is left out."""
    there = [way for way in WAYS if way != "optimistix" or installed(way)]
    rows = []
    for problem in PROBLEMS:
        for number, start in enumerate(problem.starts, 1):
            found = {way: solved(problem, np.array(start), way) for way in there}
            name = problem.name if len(problem.starts) == 1 else f"{problem.name}, start {number}"
            rows.append([name, f"{problem.squares:.5g}", *(told(one, problem) for one in found.values())])
    head = ["problem", "certified sum of squares", *there]
    left_out = [f"{way}: left out, not installed" for way in WAYS if way not in there]
    return "\n\n".join([table(head, rows), *left_out])


def told(one: Solved, problem: Reference) -> str:
    reached = "" if one.matches(problem) else f"sum of squares {one.squares:.5g}, "
    return f"{reached}{one.digits(problem):.1f} digits, {one.steps} steps, {milliseconds(one.seconds)}"


if __name__ == "__main__":
    print(report())
