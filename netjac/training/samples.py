"""The samples that are fitted: inputs and targets in runs, from arrays that may lie on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ShapeError
from netjac.networks.arrays import to_numpy
from netjac.networks.network import Network
from netjac.training.losses import Loss


def is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


@dataclass(frozen=True, eq=False)
class Samples:
    """X, a tree of arrays with the samples along axis 0, and Y, their targets."""

    X: Any
    Y: Any
    count: int

    @classmethod
    def of(cls, X: Any, Y: Any) -> Samples:
        """Raises `ShapeError` where there are none, or as many inputs as targets there are not."""
        X, Y = _arrays(X), Y if is_array(Y) else np.asarray(Y)
        leaves = [*jax.tree_util.tree_leaves(X, is_leaf=is_array), Y]
        if any(not len(leaf.shape) for leaf in leaves):
            raise ShapeError("axis 0 must count samples, and a single number was given; give arrays of shape (N, …)")
        counts = {int(leaf.shape[0]) for leaf in leaves}
        if len(counts) > 1:
            raise ShapeError(f"X and Y disagree about the number of samples (axis 0): {sorted(counts)}")
        if not leaves[0].shape[0]:
            raise ShapeError("there are no samples: axis 0 of X is empty")
        return cls(X, Y, counts.pop())

    def inputs(self, which: slice | np.ndarray) -> Any:
        """Some samples as the network takes them, in main memory."""
        return jax.tree_util.tree_map(lambda leaf: _working(to_numpy(leaf[which])), self.X, is_leaf=is_array)

    def run(
        self, network: Network, loss: Loss, which: slice | np.ndarray, out: tuple[int, ...]
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Inputs and targets of some samples as JAX holds them; `out` is the shape of one sample's output."""
        inputs = network.flatten(self.inputs(which))[1]
        Y = loss.targets(to_numpy(self.Y[which]), (inputs[0].shape[0], *out))
        return tuple(map(jnp.asarray, inputs)), jnp.asarray(Y, np.float64)

    def runs(self, size: int) -> Iterator[slice]:
        for start in range(0, self.count, size):
            yield slice(start, min(start + size, self.count))


def _arrays(X: Any) -> Any:
    """Lists of numbers as an array; arrays, and trees of them, as they are."""
    leaves = jax.tree_util.tree_leaves(X, is_leaf=is_array)
    if leaves and all(map(is_array, leaves)):
        return X
    return np.asarray(X)


def _working(array: np.ndarray) -> np.ndarray:
    """Half precision as float32: a fit in less has no steps small enough."""
    return array.astype(np.float32) if str(array.dtype) in ("float16", "bfloat16") else array
