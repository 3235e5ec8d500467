"""Resize and Upsample: each axis is a product with a matrix of weights, or a choice of entries, made of sizes alone.

Entry i of an axis that changes its size lies at a place x_i among the old entries, which the coordinate mode says. Its value
is Σ_j w(j − x_i) x_j with the hat function or Keys' cubic (with `antialias` stretched where the axis shrinks), places beyond
the ends taken as the ends, or left out with `exclude_outside`. Places are worked out in float32, as ONNX Runtime does,
because they decide which entry is nearest.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.networks.aten.resizing import weighted
from netjac.networks.onnx_operators.registry import Node, integers, operator, places


@operator("Resize", known=(1, 2, 3))
def resize(node: Node, x: Any, *given: Any) -> Any:
    roi, scales, sizes = ((None, *given) if node.opset < 11 else given) + (None,) * (3 - len(given) - (node.opset < 11))
    axes = places(node.get("axes"), x.ndim)
    old = [x.shape[axis] for axis in axes]
    factors, new = _measured(node, old, scales, sizes)
    mode = "asymmetric" if node.opset < 11 else node.get("coordinate_transformation_mode", "half_pixel")
    outside: list[tuple[int, np.ndarray]] = []
    for place, axis in enumerate(axes):
        if factors[place] == 1 and mode != "tf_crop_and_resize":
            continue
        ends = (0.0, 1.0) if roi is None or not roi.size else (float(roi[place]), float(roi[place + len(axes)]))
        at = _positions(mode, new[place], old[place], factors[place], ends)
        if mode == "tf_crop_and_resize":
            outside.append((axis, (at < 0) | (at > old[place] - 1)))
        x = _along(node, x, axis, at, factors[place])
    for axis, beyond in outside:
        mask = beyond.reshape((-1,) + (1,) * (x.ndim - axis - 1))
        x = jnp.where(mask, jnp.asarray(node.get("extrapolation_value", 0.0), x.dtype), x)
    return x


@operator("Upsample", known=(1,))
def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    """The older form of Resize: places are counted from the first entry's."""
    factors = [float(f) for f in (node.attributes["scales"] if scales is None else scales)]
    for axis, factor in enumerate(factors):
        if factor != 1:
            n = x.shape[axis]
            x = _along(node, x, axis, _positions("asymmetric", int(n * factor), n, factor, (0, 1)), factor, "floor")
    return x


def _measured(node: Node, old: list[int], scales: Any, sizes: Any) -> tuple[list[float], list[int]]:
    """The factor and the new size of each axis."""
    if sizes is None or not sizes.size:
        factors = [float(f) for f in scales]
        return factors, [int(np.floor(n * f)) for n, f in zip(old, factors, strict=True)]
    new = integers(sizes)
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    factors = [m / n for m, n in zip(new, old, strict=True)]
    if policy == "stretch":
        return factors, new
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(old), [int(np.floor(n * factor + 0.5)) for n in old]


def _positions(mode: str, new: int, old: int, factor: float, ends: tuple[float, float]) -> np.ndarray:
    i, f = np.arange(new, dtype=np.float32), np.float32(factor)
    if mode == "align_corners":
        return i * (old - 1) / max(new - 1, 1)
    if mode == "asymmetric":
        return i / f
    if mode == "tf_crop_and_resize":
        first, last = np.float32(ends[0]), np.float32(ends[1])
        middle = np.full(new, (first + last) / 2)
        return (middle if new == 1 else first + i * (last - first) / (new - 1)) * (old - 1)
    if mode == "pytorch_half_pixel" and new == 1:
        return i * 0
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + np.float32(0.5)) / f - np.float32(0.5)
    if mode == "half_pixel_symmetric":
        half, n = np.float32(0.5), np.float32(old)
        return n * half * (1 - np.float32(new) / (f * n)) + (i + half) / f - half
    raise NotImplementedError(f"coordinate_transformation_mode {mode!r}")


def _along(node: Node, x: Any, axis: int, at: np.ndarray, factor: float, rounding: str | None = None) -> Any:
    old, mode = x.shape[axis], node.get("mode", "nearest")
    if mode == "nearest":
        if node.kind == "Resize" and node.opset < 11 and factor < 1:
            raise NotImplementedError(
                "nearest entries of an axis that shrinks, on which runtimes differ before opset 11"
            )
        default = "floor" if node.opset < 11 else "round_prefer_floor"
        chosen = _rounded(at, rounding or node.get("nearest_mode", default))
        return jnp.take(x, np.clip(chosen, 0, old - 1), axis=axis)
    cubic = mode == "cubic"
    stretch = min(factor, 1.0) if node.get("antialias", 0) else 1.0
    base = np.where(at == np.floor(at), at - 1, np.floor(at))
    first = int(np.floor((-2 if cubic else -1) / stretch)) + 1
    taps = base[:, None].astype(int) + np.arange(first, 2 - first)
    weights = _kernel(cubic, node.get("cubic_coeff_a", -0.75), stretch * (taps - at[:, None].astype(np.float64)))
    if node.get("exclude_outside", 0):
        weights = np.where((taps < 0) | (taps >= old), 0, weights)
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((len(at), old))
    np.add.at(matrix, (np.arange(len(at))[:, None], np.clip(taps, 0, old - 1)), weights)
    return weighted(x, matrix, axis)


def _rounded(at: np.ndarray, how: str) -> np.ndarray:
    below = np.floor(at)
    part = at - below
    up = {"floor": part > 1, "ceil": part > 0, "round_prefer_floor": part > 0.5, "round_prefer_ceil": part >= 0.5}
    if how not in up:
        raise NotImplementedError(f"nearest_mode {how!r}")
    return (below + up[how]).astype(int)


def _kernel(cubic: bool, a: float, distance: np.ndarray) -> np.ndarray:
    """The hat function, or Keys' cubic convolution (1981, equation 15) with the coefficient a."""
    t = np.abs(distance)
    if not cubic:
        return np.clip(1 - t, 0, 1)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))
