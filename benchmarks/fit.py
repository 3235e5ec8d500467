"""`python -m benchmarks.fit`: seconds to a loss on small regressions, by Levenberg–Marquardt, Adam, L-BFGS and SciPy's own.

Every way starts from the same parameters in float32 and is warm: what it compiles, it has compiled before (told apart). Adam
has the best of four rates, by the loss it gets to in a fifth of its time, and that search is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

import netjac as nj
from benchmarks.table import surroundings, table

PICTURE = Path("docs/images/fit.png")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
COLOURS = {"netjac": "#b2182b", "Adam": "#2166ac", "L-BFGS": "#e08214", "SciPy": "#5aae61"}
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Task:
    """A regression, the sizes of its tanh network's layers, the mean squared error to be reached, and Adam's batch."""

    name: str
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    layers: tuple[int, ...]
    target: float
    adam_batch: int | None = None
    spread: float = 1.0


@dataclass
class Course:
    """One way's losses over time on one task, from one start; `first`, what compiling took."""

    way: str
    first: float
    curve: Curve = field(default_factory=list)

    def seconds(self, target: float) -> float:
        """To the first loss at or below the target; infinite where none is."""
        return next((seconds for seconds, loss in self.curve if loss <= target), np.inf)


def sinc() -> tuple[np.ndarray, np.ndarray]:
    """sinc(10x) at 20,000 points, as others have timed it."""
    X = np.linspace(-1, 1, 20_000, dtype="float32")[:, None]
    return X, np.sinc(10 * X)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return _standard(X), _standard(y[:, None])


def mackey_glass() -> tuple[np.ndarray, np.ndarray]:
    """x(t + 6) from x(t), x(t − 6), x(t − 12), x(t − 18); delay 17, by Euler steps of 0.1."""
    steps, delay = 10, 170
    x = [1.2] * (delay + 1)
    for _ in range(1150 * steps):
        late = x[-delay - 1]
        x.append(x[-1] + 0.1 * (0.2 * late / (1 + late**10) - 0.1 * x[-1]))
    series = np.array(x[delay::steps])[118:]
    columns = [series[k : k + 1000] for k in (0, 6, 12, 18, 24)]
    return np.stack(columns[:4], 1).astype("float32"), columns[4][:, None].astype("float32")


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    X = (load_digits().data / 16).astype("float32")
    return X, X


def _standard(columns: np.ndarray) -> np.ndarray:
    return ((columns - columns.mean(0)) / columns.std(0)).astype("float32")


TASKS = {
    task.name: task
    for task in (
        Task("sinc", sinc, (1, 20, 1), 1e-5, adam_batch=1000, spread=10),
        Task("Mackey–Glass", mackey_glass, (4, 10, 1), 2e-5),
        Task("diabetes", diabetes, (10, 10, 1), 0.25),
        Task(
            "digits autoencoder", digits, (64, 6, 64), 0.0299, adam_batch=128
        ),  # six principal components leave 0.02976
    )
}


def started(task: Task, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    layers = []
    for number, (inputs, outputs) in enumerate(zip(task.layers, task.layers[1:], strict=False)):
        spread = task.spread if number == 0 else 1.0
        W, b = (
            spread * rng.standard_normal((inputs, outputs)) / np.sqrt(inputs),
            spread * rng.standard_normal(outputs) / 2,
        )
        layers.append((W.astype("float32"), (b * (number == 0)).astype("float32")))
    return layers


def network(layers: Any, x: Any) -> Any:
    for W, b in layers[:-1]:
        x = jnp.tanh(x @ W + b)
    return x @ layers[-1][0] + layers[-1][1]


def by_netjac(task: Task, X: np.ndarray, Y: np.ndarray, start: Any, seconds: float) -> Course:
    net = nj.network(jax.tree_util.Partial(network, start), batched=True)
    began = time.perf_counter()
    nj.fit(net, X, Y, max_iterations=2, progress=False)
    first = time.perf_counter() - began
    found = nj.fit(net, X, Y, max_seconds=seconds, max_iterations=10**6, target=task.target, progress=False)
    return Course("netjac", first, [(one.seconds, one.loss) for one in found.history if one.accepted])


def by_adam(task: Task, X: np.ndarray, Y: np.ndarray, start: Any, seconds: float) -> Course:
    courses = [_adam(task, X, Y, start, seconds / 5, rate) for rate in RATES]
    best = min(range(len(RATES)), key=lambda place: min(loss for _, loss in courses[place].curve))
    return _adam(task, X, Y, start, seconds, RATES[best])


def _adam(task: Task, X: np.ndarray, Y: np.ndarray, start: Any, seconds: float, rate: float) -> Course:
    """Adam (Kingma & Ba 2014) with its usual constants, 50 steps a call, the loss of all samples looked at off the clock."""
    flat, unravel = ravel_pytree(start)
    batch = task.adam_batch or len(X)
    loss = lambda p, x, y: jnp.mean((network(unravel(p), x) - y) ** 2)  # noqa: E731

    def step(state: Any, key: Any, x: Any, y: Any) -> tuple[Any, None]:
        p, m, v, t = state
        chosen = jax.random.randint(key, (batch,), 0, len(x)) if batch < len(X) else slice(None)
        g = jax.grad(loss)(p, x[chosen], y[chosen])
        m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
        return (p - rate * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v, t), None

    many = jax.jit(lambda state, key, x, y: jax.lax.scan(
        lambda s, k: step(s, k, x, y), state, jax.random.split(key, 50))[0])  # fmt: skip
    whole, x, y = jax.jit(loss), jnp.asarray(X), jnp.asarray(Y)
    state = (flat, jnp.zeros_like(flat), jnp.zeros_like(flat), jnp.float32(0))
    began = time.perf_counter()
    jax.block_until_ready(many(state, jax.random.key(0), x, y))
    course, spent, number = Course("Adam", time.perf_counter() - began), 0.0, 0
    while spent < seconds and course.seconds(task.target) == np.inf:
        began = time.perf_counter()
        state = jax.block_until_ready(many(state, jax.random.key(number), x, y))
        spent, number = spent + time.perf_counter() - began, number + 1
        course.curve.append((spent, float(whole(state[0], x, y))))
    return course


class _Over(Exception):  # noqa: N818
    """The time or the task is over."""


def by_lbfgs(task: Task, X: np.ndarray, Y: np.ndarray, start: Any, seconds: float) -> Course:
    flat, unravel = ravel_pytree(start)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    both = jax.jit(jax.value_and_grad(lambda p: jnp.mean((network(unravel(p), x) - y) ** 2)))
    began = time.perf_counter()
    jax.block_until_ready(both(flat))
    course = Course("L-BFGS", time.perf_counter() - began)
    began = time.perf_counter()

    def asked(p: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(p.astype("float32"))
        _note(course, began, float(value), task.target, seconds)
        return float(value), np.asarray(gradient, np.float64)

    limits = {"maxiter": 10**7, "maxfun": 10**7, "ftol": 0.0, "gtol": 0.0, "maxcor": 20}
    _until_over(lambda: scipy.optimize.minimize(asked, flat, jac=True, method="L-BFGS-B", options=limits))
    return course


def by_scipy(task: Task, X: np.ndarray, Y: np.ndarray, start: Any, seconds: float) -> Course:
    """MINPACK's Levenberg–Marquardt with J by jax.jacrev."""
    flat, unravel = ravel_pytree(start)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    residuals = jax.jit(lambda p: jnp.ravel(network(unravel(p), x) - y))
    of_one = lambda p, one: network(unravel(p), one)  # noqa: E731
    rows = jax.jit(lambda p: jax.vmap(jax.jacrev(of_one), (None, 0))(p, x).reshape(-1, len(flat)))
    began = time.perf_counter()
    jax.block_until_ready((residuals(flat), rows(flat)))
    course = Course("SciPy", time.perf_counter() - began)
    began = time.perf_counter()

    def asked(p: np.ndarray) -> np.ndarray:
        r = np.asarray(residuals(p.astype("float32")), np.float64)
        _note(course, began, float(np.mean(r * r)), task.target, seconds)
        return r

    jacobian = lambda p: np.asarray(rows(p.astype("float32")), np.float64)  # noqa: E731
    limits = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 10**7}
    _until_over(
        lambda: scipy.optimize.least_squares(asked, np.asarray(flat, np.float64), jacobian, method="lm", **limits)
    )
    return course


def _note(course: Course, began: float, loss: float, target: float, seconds: float) -> None:
    course.curve.append((time.perf_counter() - began, loss))
    if loss <= target or course.curve[-1][0] > seconds:
        raise _Over


def _until_over(run: Callable[[], Any]) -> None:
    try:
        run()
    except _Over:
        return


WAYS = {"netjac": by_netjac, "Adam": by_adam, "L-BFGS": by_lbfgs, "SciPy": by_scipy}


def measured(task: Task, seeds: int, seconds: float) -> dict[str, list[Course]]:
    """Every way from every start, in turn."""
    X, Y = task.data()
    found: dict[str, list[Course]] = {way: [] for way in WAYS}
    for seed in range(seeds):
        for way, run in WAYS.items():
            if way == "SciPy" and Y.size * sum(map(np.size, jax.tree_util.tree_leaves(started(task, 0)))) > 2e7:
                continue
            found[way].append(run(task, X, Y, started(task, seed), seconds))
    return {way: courses for way, courses in found.items() if courses}


def row(task: Task, found: dict[str, list[Course]], seconds: float) -> list[str]:
    ours = median(one.seconds(task.target) for one in found["netjac"])
    cells = [f"{task.name} ({'-'.join(map(str, task.layers))})", f"{task.target:g}"]
    for way in WAYS:
        if way not in found:
            cells.append("–")
            continue
        middle = median(one.seconds(task.target) for one in found[way])
        best = median(min(loss for _, loss in one.curve) for one in found[way])
        told = f"{middle:.3g} s" if np.isfinite(middle) else f"not in {seconds:g} s ({best:.2g})"
        ratio = "" if way == "netjac" or not np.isfinite(middle) else f", {middle / ours:.2g}×"
        cells.append(f"**{told}**" if way == "netjac" else told + ratio)
    return [*cells, f"{median(one.first for one in found['netjac']):.2g} s"]


def drawn(courses: dict[str, dict[str, list[Course]]]) -> Any:
    """Loss over time, a panel a task, a line a start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(courses), 3.6), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(courses), squeeze=False)[0], courses.items(), strict=True):
        for way, several in found.items():
            for number, one in enumerate(several):
                losses = np.minimum.accumulate([loss for _, loss in one.curve])
                label = way if number == 0 else None
                axes.loglog(
                    [max(s, 1e-3) for s, _ in one.curve], losses, color=COLOURS[way], label=label, linewidth=1.2
                )
        axes.axhline(TASKS[name].target, color="0.6", linestyle=":")
        axes.set(title=name, xlabel="seconds")
        axes.grid(alpha=0.25)
        axes.minorticks_off()
    figure.axes[0].set_ylabel("mean squared error, best so far")
    figure.axes[0].legend(frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__)
    parser.add_argument("task", nargs="*", help="of " + ", ".join(TASKS) + "; all by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each way and start (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="starts (default %(default)s)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where it goes (default %(default)s)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.task if name not in TASKS]
    if unknown:
        parser.error(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
    courses, rows = {}, []
    for name in args.task or TASKS:
        courses[name] = measured(TASKS[name], args.seeds, args.seconds)
        rows.append(row(TASKS[name], courses[name], args.seconds))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["network", "mse", "netjac", "Adam", "L-BFGS", "SciPy's LM", "netjac's first call"]
    print(surroundings(), table(head, rows), sep="\n\n")
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    drawn(courses).savefig(args.picture, dpi=110)
    numbers = {
        name: {w: [asdict(one) for one in several] for w, several in found.items()} for name, found in courses.items()
    }
    args.picture.with_suffix(".json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
