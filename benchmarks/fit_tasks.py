"""Small regressions, and the networks that are fitted to them: what every way of `benchmarks.fit` starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

Start = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Task:
    """A regression, the sizes of its tanh network's layers, the mean squared error to be reached, and Adam's batch.

    `spread` is that of the first layer's parameters at the start, over the usual one.
    """

    name: str
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    layers: tuple[int, ...]
    target: float
    adam_batch: int | None = None
    spread: float = 1.0

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in zip(self.layers, self.layers[1:], strict=False))


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
    """1797 digits of 8 × 8, in [0, 1]; each is its own target."""
    from sklearn.datasets import load_digits

    X = (load_digits().data / 16).astype("float32")
    return X, X


def small_digits() -> tuple[np.ndarray, np.ndarray]:
    """The same, every 2 × 2 pixels averaged."""
    X = digits()[0].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    return X, X


def _standard(columns: np.ndarray) -> np.ndarray:
    return ((columns - columns.mean(0)) / columns.std(0)).astype("float32")


TASKS = {
    task.name: task
    for task in (
        Task("sinc", sinc, (1, 20, 1), 1e-5, adam_batch=1000, spread=10),
        Task("Mackey–Glass", mackey_glass, (4, 10, 1), 2e-5),
        Task("diabetes", diabetes, (10, 10, 1), 0.25),
        # Two principal components leave 0.0180, six 0.0058; the targets are what Adam or L-BFGS reach in some seconds.
        Task("digits to 2", small_digits, (16, 8, 2, 8, 16), 0.012, adam_batch=128),
        Task("digits to 6", small_digits, (16, 12, 6, 12, 16), 0.0033, adam_batch=128),
        # Its decoder is linear, and six principal components leave 0.02976.
        Task("digits to 6, linearly", digits, (64, 6, 64), 0.0299, adam_batch=128),
    )
}


def started(task: Task, seed: int) -> Start:
    """Weights and biases of each layer, in float32."""
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
    """tanh after every layer but the last."""
    for W, b in layers[:-1]:
        x = jnp.tanh(x @ W + b)
    return x @ layers[-1][0] + layers[-1][1]
