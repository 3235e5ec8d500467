"""Pooling in 1 to 3 dimensions, channels first; where maxima tie, the first entry of the window has the derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.aten.registry import listed, op


class Indices:
    """Stands for a pool's indices, which nothing here works out; whatever uses them is refused."""


def _windows(rank: int, kernel: Any, stride: Any) -> tuple[list[int], list[int]]:
    sizes = listed(kernel, rank)
    return sizes, listed(stride, rank) if stride not in (None, [], ()) else sizes


def _pads(
    shape: tuple[int, ...], sizes: list[int], strides: list[int], padding: list[int], dilations: list[int], ceil: bool
) -> list[tuple[int, int]]:
    """Padding on both sides; with `ceil` enough behind for a last window that begins inside."""
    pads = []
    for n, size, stride, pad, dilation in zip(shape, sizes, strides, padding, dilations, strict=True):
        reach = dilation * (size - 1) + 1
        behind = pad
        if ceil:
            count = -(-(n + 2 * pad - reach) // stride) + 1
            if (count - 1) * stride >= n + pad:
                count -= 1
            behind = max(pad, (count - 1) * stride + reach - n - pad)
        pads.append((pad, behind))
    return pads


def _max_pool(
    rank: int, x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    sizes, strides = _windows(rank, kernel, stride)
    dilations = listed(dilation, rank)
    pads = _pads(x.shape[-rank:], sizes, strides, listed(padding, rank), dilations, ceil_mode)
    return window_maximum(x, sizes, strides, pads, dilations)


def window_maximum(
    x: Any, sizes: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]], dilations: Sequence[int]
) -> Any:
    """The maximum of each window along the last axes, `pads` before and behind each."""
    lead = x.ndim - len(sizes)
    if any(n != 1 for n in dilations):
        return first_max(window_entries(x, sizes, strides, pads, dilations, -np.inf), -1)
    least = np.array(-np.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min, x.dtype)
    return lax.reduce_window(
        x, least, lax.max, (*(1,) * lead, *sizes), (*(1,) * lead, *strides), [*((0, 0),) * lead, *pads]
    )


def window_entries(
    x: Any,
    sizes: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    filling: float,
) -> Any:
    """The entries of each window side by side along a new last axis; XLA has no transpose of a dilated window maximum."""
    rank, lead = len(sizes), x.ndim - len(sizes)
    x = jnp.pad(x, [*((0, 0),) * lead, *pads], constant_values=filling)
    for place in range(rank):
        axis = lead + place
        reach = dilations[place] * (sizes[place] - 1) + 1
        starts = np.arange(0, x.shape[axis] - reach + 1, strides[place])
        index = starts[:, None] + dilations[place] * np.arange(sizes[place])
        x = jnp.take(x, index, axis=axis)
        x = jnp.moveaxis(x, axis + 1, -1)
    return x.reshape(*x.shape[:-rank], -1)


def first_max(x: Any, axis: int) -> Any:
    """The maximum along an axis, its derivative given to the first entry that attains it."""
    place = jnp.expand_dims(jnp.argmax(x, axis), axis)
    return jnp.take_along_axis(x, place, axis).squeeze(axis)


def _average(
    rank: int,
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    sizes, strides = _windows(rank, kernel, stride)
    padding, dilations = listed(padding, rank), [1] * rank
    pads = _pads(x.shape[-rank:], sizes, strides, padding, dilations, ceil_mode)
    total = window_sum(x, sizes, strides, pads, dilations)
    if divisor_override:
        return total / divisor_override
    counted = [(pad, pad) if count_include_pad else (0, 0) for pad in padding]
    return total / window_counts(x.shape[-rank:], sizes, strides, pads, dilations, counted).astype(x.dtype)


def window_sum(
    x: Any, sizes: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]], dilations: Sequence[int]
) -> Any:
    """The sum of each window along the last axes, `pads` of zeros before and behind each."""
    lead = x.ndim - len(sizes)
    if any(n != 1 for n in dilations):
        return window_entries(x, sizes, strides, pads, dilations, 0).sum(-1)
    window, step = (*(1,) * lead, *sizes), (*(1,) * lead, *strides)
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, step, [*((0, 0),) * lead, *pads])


def window_counts(
    shape: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    counted: Sequence[tuple[int, int]],
) -> np.ndarray:
    """How many entries each window averages: those of the input and of as much padding as is `counted`."""
    total = np.ones((), np.float64)
    for n, size, stride, dilation, (before, behind), (first, last) in zip(
        shape, sizes, strides, dilations, pads, counted, strict=True
    ):
        real = np.zeros(before + n + behind)
        real[before - first : before + n + last] = 1
        starts = np.arange(0, len(real) - dilation * (size - 1), stride)
        total = total[..., None] * np.array([real[s : s + dilation * (size - 1) + 1 : dilation].sum() for s in starts])
    return total


for _rank in (1, 2, 3):
    op(f"max_pool{_rank}d")(lambda *a, _r=_rank, **k: _max_pool(_r, *a, **k))
    op(f"avg_pool{_rank}d")(lambda *a, _r=_rank, **k: _average(_r, *a, **k))
    op(f"adaptive_avg_pool{_rank}d", f"_adaptive_avg_pool{_rank}d")(
        lambda x, size, _r=_rank: _adaptive(_r, x, size, lambda part, axis: part.mean(axis, keepdims=True))
    )
    op(f"adaptive_max_pool{_rank}d")(lambda x, size, _r=_rank: (_adaptive_max(_r, x, size), Indices()))
    op(f"max_pool{_rank}d_with_indices")(lambda *a, _r=_rank, **k: (_max_pool(_r, *a, **k), Indices()))


def _adaptive(rank: int, x: Any, size: Any, reduce: Any) -> Any:
    """Window i of axis n → s covers [⌊i n / s⌋, ⌈(i + 1) n / s⌉)."""
    for place, wanted in enumerate(listed(size, rank)):
        axis = x.ndim - rank + place
        n = x.shape[axis]
        if wanted is None or wanted == n:
            continue
        parts = []
        for i in range(wanted):
            start, stop = i * n // wanted, -(-(i + 1) * n // wanted)
            parts.append(reduce(lax.slice_in_dim(x, start, stop, axis=axis), axis))
        x = parts[0] if wanted == 1 else jnp.concatenate(parts, axis)
    return x


def _adaptive_max(rank: int, x: Any, size: Any) -> Any:
    """The maximum of each window whole, so that of equal entries the first in row-major order wins."""
    places = x.shape[-rank:]
    sizes = [n if wanted is None else wanted for n, wanted in zip(places, listed(size, rank), strict=True)]
    cells = []
    for cell in np.ndindex(*sizes):
        part = x
        for place, (i, n, wanted) in enumerate(zip(cell, places, sizes, strict=True)):
            part = lax.slice_in_dim(part, i * n // wanted, -(-(i + 1) * n // wanted), axis=x.ndim - rank + place)
        cells.append(first_max(part.reshape(*x.shape[:-rank], -1), -1))
    return jnp.stack(cells, -1).reshape(*x.shape[:-rank], *sizes)
