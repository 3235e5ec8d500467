"""Views, permutations, joining and splitting, padding, and arrays made of a shape."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.onnx_operators.registry import Node, integers, operator, places


@operator("Reshape", known=(1,))
def reshape(node: Node, x: Any, shape: Any = None) -> Any:
    """0 is the size that x has there, unless `allowzero`."""
    sizes = node.attributes["shape"] if shape is None else integers(shape)
    if not node.get("allowzero", 0):
        sizes = [x.shape[place] if n == 0 else n for place, n in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(node: Node, x: Any) -> Any:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape((int(np.prod(x.shape[:axis], dtype=np.int64)), -1) if x.size else _flat(x.shape, axis))


def _flat(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    return int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis:], dtype=np.int64))


@operator("Transpose")
def transpose(node: Node, x: Any) -> Any:
    return jnp.transpose(x, node.get("perm"))


@operator("Squeeze", known=(1,))
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    given = node.get("axes") if axes is None else integers(axes)
    if given is None:
        return jnp.squeeze(x)
    return jnp.squeeze(x, places(given, x.ndim))


@operator("Unsqueeze", known=(1,))
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    given = node.attributes["axes"] if axes is None else integers(axes)
    return jnp.expand_dims(x, places(given, x.ndim + len(given)))


@operator("Concat")
def concatenate(node: Node, *parts: Any) -> Any:
    return jnp.concatenate(parts, node.get("axis", 1))


@operator("Split", known=(1,))
def split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.get("axis", 0) % x.ndim
    if sizes is not None or "split" in node.attributes:
        parts = node.attributes["split"] if sizes is None else integers(sizes)
    else:
        count = node.get("num_outputs", len(node.proto.output))
        each = -(-x.shape[axis] // count)
        parts = [min(each, x.shape[axis] - i * each) for i in range(count)]
    ends = np.cumsum([0, *parts]).tolist()
    return tuple(lax.slice_in_dim(x, a, b, axis=axis) for a, b in pairwise(ends))


@operator("Slice", known=(1, 2, 3, 4))
def cut(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first = node.attributes["starts"] if starts is None else integers(starts)
    last = node.attributes["ends"] if ends is None else integers(ends)
    along = places(node.get("axes", range(len(first))) if axes is None else axes, x.ndim)
    stride = [1] * len(first) if steps is None else integers(steps)
    for axis, start, end, step in zip(along, first, last, stride, strict=True):
        x = _cut(x, axis, start, end, step)
    return x


def _cut(x: Any, axis: int, start: int, end: int, step: int) -> Any:
    chosen = range(x.shape[axis])[slice(start, _end(end, step, x.shape[axis]), step)]
    if not len(chosen):
        return lax.slice_in_dim(x, 0, 0, axis=axis)
    if step > 0:
        return lax.slice_in_dim(x, chosen[0], chosen[-1] + 1, step, axis=axis)
    return jnp.flip(lax.slice_in_dim(x, chosen[-1], chosen[0] + 1, -step, axis=axis), axis)


def _end(end: int, step: int, n: int) -> int | None:
    """Behind the first entry, going back, is what ONNX writes as a number below −n."""
    return None if step < 0 and end < -n else end


@operator("Pad", known=(1, 3), fixed=(2,))
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """Negative pads take entries off."""
    amounts = node.get("pads") or node.get("paddings") if pads is None else integers(pads)
    filling = node.get("value", 0.0) if value is None or not value.size else value.reshape(-1)[0]
    along = places(axes, x.ndim)
    pairs = [(0, 0)] * x.ndim
    for place, axis in enumerate(along):
        pairs[axis] = (amounts[place], amounts[place + len(along)])
    mode = node.get("mode", "constant")
    if mode == "constant":
        return lax.pad(x, jnp.asarray(filling, x.dtype), [(low, high, 0) for low, high in pairs])
    x = lax.slice(
        x, [max(-low, 0) for low, _ in pairs], [n - max(-high, 0) for n, (_, high) in zip(x.shape, pairs, strict=True)]
    )
    more = [(max(low, 0), max(high, 0)) for low, high in pairs]
    return jnp.pad(x, more, mode={"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode])


@operator("Expand", known=(1,))
def expand(node: Node, x: Any, shape: Any) -> Any:
    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, tuple(integers(shape))))


@operator("Tile", known=(1, 2))
def tile(node: Node, x: Any, repeats: Any, axis: Any = None) -> Any:
    if node.opset >= 6:
        return jnp.tile(x, tuple(integers(repeats)))
    counts = [1] * x.ndim
    counts[integers(axis)[0]] = integers(repeats)[0]
    return jnp.tile(x, counts)


@operator("ConstantOfShape", "Range", known=(0, 1, 2))
def made(node: Node, *sizes: Any) -> Any:
    """With known sizes, ONNX's reference has made it before a rule is asked."""
    raise NotImplementedError("its reference is missing")


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    r = node.attributes["blocksize"]
    if node.get("mode", "DCR") == "DCR":
        x = x.reshape(n, r, r, c // r**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // r**2, h * r, w * r)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    r = node.attributes["blocksize"]
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = x.reshape(n, c, h // r, r, w // r, r).transpose(order)
    return x.reshape(n, c * r**2, h // r, w // r)


@operator("Trilu", known=(1,))
def triangle(node: Node, x: Any, k: Any = None) -> Any:
    shift = 0 if k is None else integers(k)[0]
    return jnp.triu(x, shift) if node.get("upper", 1) else jnp.tril(x, shift)


@operator("EyeLike")
def eye_like(node: Node, x: Any) -> Any:
    rows, columns = x.shape
    return jnp.eye(rows, columns, node.get("k", 0), x.dtype)


operator("Col2Im", known=(1, 2))(lambda node, x, image, block: _overlapped(node, x, integers(image), integers(block)))


def _overlapped(node: Node, x: Any, image: list[int], block: list[int]) -> Any:
    """(b, c · taps, places) → (b, c, *image), overlapping places summed."""
    rank = len(image)
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    pads = node.get("pads") or [0] * 2 * rank
    around = [n + pads[i] + pads[i + rank] for i, n in enumerate(image)]
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, d, s in zip(around, block, dilations, strides, strict=True)]
    parts = x.reshape(x.shape[0], -1, *block, *counts)
    y = jnp.zeros((x.shape[0], parts.shape[1], *around), x.dtype)
    for tap in np.ndindex(*block):
        area = tuple(slice(t * d, t * d + s * n, s) for t, d, s, n in zip(tap, dilations, strides, counts, strict=True))
        y = y.at[(slice(None), slice(None), *area)].add(parts[(slice(None), slice(None), *tap)])
    return y[(slice(None), slice(None), *(slice(p, p + n) for p, n in zip(pads, image, strict=False)))]
