"""The reference networks: one table and one seed, so that every framework differentiates the same function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    """`layers`: ("dense", width, activation), ("conv", channels, kernel, padding, activation), ("pool",), ("flatten",) or
    ("block", heads), a causal pre-norm transformer block. `shape` is one sample's. `left_out` are ways that were seen to
    take seconds or gigabytes for what others do in milliseconds, or to give no answer in 100 s."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[tuple, ...]
    batch: int
    left_out: tuple[str, ...] = ()


def _dense(*widths, activation):
    return (*(("dense", width, activation) for width in widths[:-1]), ("dense", widths[-1], None))


FORWARD = ("jax jacfwd", "torch vmap(jacfwd)")
WORKLOADS = {
    w.name: w
    for w in (
        Workload("mlp_classifier", (784,), _dense(512, 512, 10, activation="relu"), 256, FORWARD),
        Workload("autoencoder", (784,), _dense(512, 32, 512, 784, activation="relu"), 8),
        Workload("square_single", (1024,), _dense(1024, 1024, 1024, 1024, activation="relu"), 1),
        Workload("square_batch", (512,), _dense(512, 512, 512, 512, activation="tanh"), 16),
        Workload("field", (3,), _dense(128, 128, 128, 128, 2, activation="tanh"), 4096),
        Workload("small_cnn", (28, 28, 1), (("conv", 32, 3, "VALID", "relu"), ("pool",), ("flatten",), ("dense", 10, None)),
                 64, FORWARD),
        Workload("lenet", (28, 28, 1), (("conv", 32, 3, "VALID", "relu"), ("pool",), ("conv", 64, 3, "VALID", "relu"),
                 ("pool",), ("flatten",), ("dense", 128, "relu"), ("dense", 10, None)), 32, FORWARD),
        Workload("image_to_image", (32, 32, 1), (("conv", 16, 3, "SAME", "relu"), ("conv", 16, 3, "SAME", "relu"),
                 ("conv", 1, 3, "SAME", None)), 1),
        Workload("transformer", (64, 64), (("block", 4),), 1, ("tensorflow batch_jacobian",)),
        Workload("tiny", (4,), _dense(5, 3, activation="tanh"), 2),
    )
}  # fmt: skip


def drawn(workload: Workload, seed: int = 0) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
    """Weights of every layer, (in, out) or (h, w, in, out), and the batch of inputs; float32."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, fan: float) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(fan)).astype("float32")

    weights: list[tuple[np.ndarray, ...]] = []
    shape = workload.shape
    for kind, *rest in workload.layers:
        if kind == "dense":
            weights.append((draw(shape[-1], rest[0], fan=shape[-1]), draw(rest[0], fan=100.0)))
            shape = (*shape[:-1], rest[0])
        elif kind == "conv":
            channels, kernel, padding = rest[:3]
            fan = kernel**2 * shape[-1]
            weights.append((draw(kernel, kernel, shape[-1], channels, fan=fan), draw(channels, fan=100.0)))
            cut = kernel - 1 if padding == "VALID" else 0
            shape = (shape[0] - cut, shape[1] - cut, channels)
        elif kind == "pool":
            weights.append(())
            shape = (shape[0] // 2, shape[1] // 2, shape[2])
        elif kind == "flatten":
            weights.append(())
            shape = (int(np.prod(shape)),)
        else:
            d = shape[-1]
            weights.append((*(draw(d, d, fan=d) for _ in range(4)), draw(d, 4 * d, fan=d), draw(4 * d, d, fan=4 * d)))
    return weights, rng.standard_normal((workload.batch, *workload.shape)).astype("float32")
