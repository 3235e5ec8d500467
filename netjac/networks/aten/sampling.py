"""Values of an image at places that the network itself works out, in any number of dimensions.

A place between entries takes a weighted sum of those around it, y = Σ w(x − i) x_i along each axis: of two by the hat function,
of four by Keys' cubic, or the nearest. What lies beyond the ends is 0, the end's entry, or the entry that it mirrors.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.registry import op

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")


@op("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(x: Any, grid: Any, mode: int, padding: int, corners: bool) -> Any:
    return grid_sample(x, grid, MODES[mode], PADDINGS[padding], corners)


def grid_sample(x: Any, grid: Any, mode: str, padding: str, corners: bool) -> Any:
    """(b, c, *places), (b, *places', axes) → (b, c, *places'); the grid names the last axis first, −1 and 1 its ends."""
    rank, taps = x.ndim - 2, []
    for axis, n in enumerate(x.shape[2:]):
        at = grid[..., rank - 1 - axis]
        at = (at + 1) / 2 * (n - 1) if corners else ((at + 1) * n - 1) / 2
        taps.append([_within(i, weight, n, padding, corners) for i, weight in _taps(at, mode)])
    total: Any = 0
    for chosen in product(*taps):
        entries = jax.vmap(lambda image, *place: image[(slice(None), *place)])(x, *(i for i, _ in chosen))
        weight = chosen[0][1]
        for _, more in chosen[1:]:
            weight = weight * more
        total = total + entries * weight[:, None]
    return total


def _taps(at: Any, mode: str) -> list[tuple[Any, Any]]:
    """Entries around each place, as whole numbers, and their weights."""
    if mode == "nearest":
        return [(jnp.round(at).astype(int), jnp.ones_like(at))]
    low = jnp.floor(at)
    part, first = at - low, low.astype(int)
    if mode == "linear":
        return [(first, 1 - part), (first + 1, part)]
    if mode != "cubic":
        raise NotImplementedError(f"mode {mode!r}")
    a = -0.75

    def near(t: Any) -> Any:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1

    def far(t: Any) -> Any:
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a

    weights = (far(part + 1), near(part), near(1 - part), far(2 - part))
    return [(first - 1 + i, weight) for i, weight in enumerate(weights)]


def _within(i: Any, weight: Any, n: int, padding: str, corners: bool) -> tuple[Any, Any]:
    """The entry that stands for one beyond the ends, and its weight."""
    if padding == "zeros":
        return jnp.clip(i, 0, n - 1), jnp.where((i >= 0) & (i < n), weight, 0)
    if padding == "border":
        return jnp.clip(i, 0, n - 1), weight
    period = max(2 * n - 2, 1) if corners else 2 * n
    turned = jnp.mod(i, period)
    return jnp.where(turned < n, turned, (period if corners else period - 1) - turned), weight
