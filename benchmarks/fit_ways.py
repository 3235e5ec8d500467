"""The ways to fit: Levenberg–Marquardt of netjac, SciPy and optimistix, L-BFGS, and Adam; each tells its losses over time.

Whatever a way compiles for a start it compiles before its clock runs: `Course.first` says how long the first call took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

import netjac as nj
from benchmarks.contenders import installed
from benchmarks.fit_tasks import Start, Task, network

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
_CHOSEN: dict[str, float] = {}
"""Task → the best of them."""
STEPS = 50
"""Of Adam, in one call."""
FACTORING = ("SciPy", "optimistix")
"""Those that form J and factor it by QR."""
MOST = 2e7
"""Entries of J beyond which they are left out: a single step would take all the time."""


@dataclass
class Course:
    """One way's losses over time on one task, from one start; `first`, the seconds of the first call."""

    way: str
    first: float
    curve: list[tuple[float, float]] = field(default_factory=list)
    peak: int = 0

    def seconds(self, target: float) -> float:
        """To the first loss at or below the target; infinite where none is."""
        return next((seconds for seconds, loss in self.curve if loss <= target), np.inf)

    @property
    def best(self) -> float:
        return min((loss for _, loss in self.curve), default=np.inf)


def by_netjac(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float) -> Course:
    net = nj.network(jax.tree_util.Partial(network, start), batched=True)
    began = time.perf_counter()
    nj.fit(net, X, Y, max_iterations=2, progress=False)
    first = time.perf_counter() - began
    found = nj.fit(net, X, Y, max_seconds=seconds, max_iterations=10**6, target=task.target, progress=False)
    return Course("netjac", first, [(one.seconds, one.loss) for one in found.history if one.accepted])


def by_adam(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float) -> Course:
    """The best of four rates, by the loss that each gets to from the first start in a fifth of the time, not counted."""
    if task.name not in _CHOSEN:
        courses = [_adam(task, X, Y, start, seconds / 5, rate) for rate in RATES]
        _CHOSEN[task.name] = RATES[min(range(len(RATES)), key=lambda place: courses[place].best)]
    return _adam(task, X, Y, start, seconds, _CHOSEN[task.name])


def _adam(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float, rate: float) -> Course:
    """Adam (Kingma & Ba 2014) with its usual constants; the loss of all samples is looked at off the clock."""
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
        lambda s, k: step(s, k, x, y), state, jax.random.split(key, STEPS))[0])  # fmt: skip
    whole, x, y = jax.jit(loss), jnp.asarray(X), jnp.asarray(Y)
    state = (flat, jnp.zeros_like(flat), jnp.zeros_like(flat), jnp.float32(0))
    began = time.perf_counter()
    jax.block_until_ready(many(state, jax.random.key(0), x, y))
    course, spent, number = Course("Adam", time.perf_counter() - began), 0.0, 0
    while spent < seconds and course.best > task.target:
        began = time.perf_counter()
        state = jax.block_until_ready(many(state, jax.random.key(number), x, y))
        spent, number = spent + time.perf_counter() - began, number + 1
        course.curve.append((spent, float(whole(state[0], x, y))))
    return course


class _Over(Exception):  # noqa: N818
    """The time or the task is over."""


def by_lbfgs(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float) -> Course:
    """SciPy's, of twenty pairs."""
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


def by_scipy(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float) -> Course:
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


def by_optimistix(task: Task, X: np.ndarray, Y: np.ndarray, start: Start, seconds: float) -> Course:
    """Its LevenbergMarquardt as it comes (QR of J and the damping), a jitted step at a time; the loss off the clock."""
    import equinox
    import optimistix

    flat, unravel = ravel_pytree(start)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    residuals = lambda p, _: (jnp.ravel(network(unravel(p), x) - y), None)  # noqa: E731
    solver = optimistix.LevenbergMarquardt(rtol=0.0, atol=0.0)
    fixed = {"args": None, "options": {}, "tags": frozenset()}
    told = jax.ShapeDtypeStruct((Y.size,), flat.dtype)
    state, rest = equinox.partition(
        solver.init(residuals, flat, f_struct=told, aux_struct=None, **fixed), equinox.is_array
    )

    @jax.jit  # of the arrays alone: what else a state holds would have every step traced again
    def step(p: Any, state: Any) -> tuple[Any, Any]:
        p, state, _ = solver.step(residuals, p, state=equinox.combine(state, rest), **fixed)
        return p, equinox.filter(state, equinox.is_array)

    whole = jax.jit(lambda p: jnp.mean(residuals(p, None)[0] ** 2))
    began = time.perf_counter()
    jax.block_until_ready(step(flat, state)[0])
    course, spent, p = Course("optimistix", time.perf_counter() - began), 0.0, flat
    while spent < seconds and course.best > task.target:
        began = time.perf_counter()
        p, state = step(p, state)
        jax.block_until_ready(p)
        spent += time.perf_counter() - began
        course.curve.append((spent, float(whole(p))))
    return course


WAYS = {"netjac": by_netjac, "Adam": by_adam, "L-BFGS": by_lbfgs, "SciPy": by_scipy, "optimistix": by_optimistix}


def taking_part(task: Task, Y: np.ndarray) -> tuple[str, ...]:
    """The ways that are installed, and whose matrices are not too large for the task."""
    there = (way for way in WAYS if way != "optimistix" or installed(way))
    return tuple(way for way in there if way not in FACTORING or Y.size * task.parameters <= MOST)
