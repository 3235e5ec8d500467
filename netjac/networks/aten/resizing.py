"""Upsampling and interpolation, channels first: each axis is a product with a matrix of weights made of sizes alone."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.networks.aten.registry import op


def _sizes(x: Any, size: Any, factors: Any, rank: int) -> tuple[list[int], list[float | None]]:
    old = x.shape[-rank:]
    if size is not None:
        return list(size), [None] * rank
    return [int(np.floor(n * f)) for n, f in zip(old, factors, strict=True)], list(factors)


def _positions(new: int, old: int, factor: float | None, align: bool) -> np.ndarray:
    """Where each new entry lies among the old ones (pixel centres, or corner on corner with `align`)."""
    if align:
        return np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    return (np.arange(new) + 0.5) * (1 / factor if factor else old / new) - 0.5


def _linear(new: int, old: int, factor: float | None, align: bool) -> np.ndarray:
    place = np.maximum(_positions(new, old, factor, align), 0)
    low = np.minimum(np.floor(place).astype(int), old - 1)
    high, part = np.minimum(low + 1, old - 1), np.clip(place - low, 0, 1)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), low), 1 - part)
    np.add.at(weights, (np.arange(new), high), part)
    return weights


def _cubic(new: int, old: int, factor: float | None, align: bool, a: float = -0.75) -> np.ndarray:
    """Keys' cubic convolution with a = −0.75, edges repeated."""
    place = _positions(new, old, factor, align)
    low = np.floor(place).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        t = np.abs(place - (low + tap))
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        np.add.at(weights, (np.arange(new), np.clip(low + tap, 0, old - 1)), np.where(t <= 1, near, far))
    return weights


def _weighted(x: Any, matrices: list[np.ndarray]) -> Any:
    rank = len(matrices)
    for place, weights in enumerate(matrices):
        x = weighted(x, weights, x.ndim - rank + place)
    return x


def weighted(x: Any, weights: np.ndarray, axis: int) -> Any:
    """Sums along one axis: entry i is Σ_j weights[i, j] x_j."""
    return jnp.moveaxis(jnp.tensordot(x, jnp.asarray(weights, x.dtype), ((axis,), (1,))), -1, axis)


def _nearest(x: Any, size: Any, factors: Any, rank: int, exact: bool) -> Any:
    new, scales = _sizes(x, size, factors, rank)
    for place, (n, factor) in enumerate(zip(new, scales, strict=True)):
        axis = x.ndim - rank + place
        old = x.shape[axis]
        step = np.float32(1 / factor if factor else old / n)
        source = np.floor((np.arange(n, dtype=np.float32) + np.float32(0.5 if exact else 0)) * step).astype(int)
        x = jnp.take(x, np.minimum(source, old - 1), axis=axis)
    return x


for _rank in (1, 2, 3):
    op(f"upsample_nearest{_rank}d.vec")(lambda x, size, factors, _r=_rank: _nearest(x, size, factors, _r, False))
    op(f"_upsample_nearest_exact{_rank}d.vec")(lambda x, size, factors, _r=_rank: _nearest(x, size, factors, _r, True))


def _by_axis(kind: Any, rank: int) -> Any:
    def resize(x: Any, size: Any, align: bool, factors: Any) -> Any:
        new, scales = _sizes(x, size, factors, rank)
        olds = x.shape[-rank:]
        return _weighted(x, [kind(n, old, f, align) for n, old, f in zip(new, olds, scales, strict=True)])

    return resize


op("upsample_linear1d.vec")(_by_axis(_linear, 1))
op("upsample_bilinear2d.vec")(_by_axis(_linear, 2))
op("upsample_trilinear3d.vec")(_by_axis(_linear, 3))
op("upsample_bicubic2d.vec")(_by_axis(_cubic, 2))
