"""Views, permutations, joining and splitting, padding, casts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import dtype_of, listed, op


@op("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy")
def view(x: Any, size: Any) -> Any:
    return x.reshape(tuple(size))


@op("flatten.using_ints")
def flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    start, end = start % max(x.ndim, 1), end % max(x.ndim, 1)
    return x.reshape((*x.shape[:start], -1, *x.shape[end + 1 :]))


@op("unflatten.int")
def unflatten(x: Any, dim: int, sizes: Any) -> Any:
    dim %= x.ndim
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


@op("permute", "permute_copy")
def permute(x: Any, dims: Any) -> Any:
    return jnp.transpose(x, dims)


@op("transpose.int", "transpose_copy.int", "swapaxes")
def transpose(x: Any, a: int, b: int) -> Any:
    return jnp.swapaxes(x, a, b) if x.ndim else x


@op("t", "numpy_T", "mT")
def matrix_transpose(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2) if x.ndim > 1 else x


@op("movedim.int", "movedim.intlist")
def movedim(x: Any, source: Any, target: Any) -> Any:
    return jnp.moveaxis(x, source, target)


@op("squeeze", "squeeze.dim", "squeeze.dims")
def squeeze(x: Any, dim: Any = None) -> Any:
    dims = range(x.ndim) if dim is None else listed(dim, 1)
    return jnp.squeeze(x, tuple(d % x.ndim for d in dims if x.ndim and x.shape[d] == 1))


@op("unsqueeze")
def unsqueeze(x: Any, dim: int) -> Any:
    return jnp.expand_dims(x, dim)


@op("expand", "expand_copy")
def expand(x: Any, size: Any, **_: Any) -> Any:
    lead = len(size) - x.ndim
    return jnp.broadcast_to(x, [x.shape[i - lead] if n == -1 else n for i, n in enumerate(size)])


@op("expand_as")
def expand_as(x: Any, other: Any) -> Any:
    return jnp.broadcast_to(x, other.shape)


@op("broadcast_tensors")
def broadcast_tensors(tensors: Any) -> Any:
    return jnp.broadcast_arrays(*tensors)


@op("repeat")
def repeat(x: Any, repeats: Any) -> Any:
    return jnp.tile(x, tuple(repeats))


@op("repeat_interleave.self_int")
def repeat_interleave(x: Any, repeats: int, dim: int | None = None, **_: Any) -> Any:
    return jnp.repeat(x, repeats, axis=dim)


@op("cat", "concat")
def cat(tensors: Any, dim: int = 0) -> Any:
    kept = [t for t in tensors if not (t.ndim == 1 and t.shape[0] == 0)] or tensors[:1]
    return jnp.concatenate(kept, dim)


@op("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    return jnp.stack(tensors, dim)


@op("split.Tensor", "split_copy.Tensor")
def split(x: Any, size: int, dim: int = 0) -> Any:
    starts = range(0, x.shape[dim], size)
    return [lax.slice_in_dim(x, s, min(s + size, x.shape[dim]), axis=dim) for s in starts]


@op("split_with_sizes", "split_with_sizes_copy")
def split_with_sizes(x: Any, sizes: Any, dim: int = 0) -> Any:
    parts, start = [], 0
    for size in sizes:
        parts.append(lax.slice_in_dim(x, start, start + size, axis=dim))
        start += size
    return parts


@op("chunk")
def chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    return split(x, -(-x.shape[dim] // chunks), dim)


@op("unbind.int")
def unbind(x: Any, dim: int = 0) -> Any:
    return [lax.index_in_dim(x, i, dim, keepdims=False) for i in range(x.shape[dim])]


@op("flip")
def flip(x: Any, dims: Any) -> Any:
    return jnp.flip(x, dims)


@op("roll")
def roll(x: Any, shifts: Any, dims: Any = ()) -> Any:
    return jnp.roll(x, shifts, tuple(dims) or None)


@op("tril")
def tril(x: Any, diagonal: int = 0) -> Any:
    return jnp.tril(x, diagonal)


@op("triu")
def triu(x: Any, diagonal: int = 0) -> Any:
    return jnp.triu(x, diagonal)


@op("diagonal", "diagonal_copy")
def diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return jnp.diagonal(x, offset, dim1, dim2)


@op("unfold", "unfold_copy")
def unfold(x: Any, dim: int, size: int, step: int) -> Any:
    dim %= x.ndim
    starts = jnp.arange(0, x.shape[dim] - size + 1, step)
    windows = jnp.take(x, starts[:, None] + jnp.arange(size), axis=dim)
    return jnp.moveaxis(windows, dim + 1, -1)


@op("pixel_shuffle")
def pixel_shuffle(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    x = x.reshape(*lead, c // r**2, r, r, h, w)
    n = len(lead)
    x = jnp.transpose(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return x.reshape(*lead, c // r**2, h * r, w * r)


@op("pixel_unshuffle")
def pixel_unshuffle(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    x = x.reshape(*lead, c, h // r, r, w // r, r)
    n = len(lead)
    x = jnp.transpose(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return x.reshape(*lead, c * r**2, h // r, w // r)


@op("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(x: Any, groups: int) -> Any:
    b, c = x.shape[:2]
    return jnp.swapaxes(x.reshape(b, groups, c // groups, *x.shape[2:]), 1, 2).reshape(x.shape)


def _pairs(pad: Any, rank: int) -> list[tuple[int, int]]:
    """torch's list, last axis first, as one pair for each axis."""
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


@op("constant_pad_nd")
def constant_pad(x: Any, pad: Any, value: Any = 0) -> Any:
    config = [(low, high, 0) for low, high in _pairs(pad, x.ndim)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


@op("pad")
def pad(x: Any, pads: Any, mode: str = "constant", value: Any = None) -> Any:
    if mode == "constant":
        return constant_pad(x, pads, value or 0)
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return jnp.pad(x, _pairs(pads, x.ndim), mode=modes[mode])


for _rank in (1, 2, 3):
    op(f"reflection_pad{_rank}d")(lambda x, pads: pad(x, pads, "reflect"))
    op(f"replication_pad{_rank}d")(lambda x, pads: pad(x, pads, "replicate"))


@op("im2col")
def im2col(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """(b, c, h, w) → (b, c · taps, places)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (listed(v, 2) for v in (kernel, dilation, padding, stride))
    patches = lax.conv_general_dilated_patches(
        x, (kh, kw), (sh, sw), [(ph, ph), (pw, pw)], rhs_dilation=(dh, dw), precision=lax.Precision.HIGHEST
    )
    return patches.reshape(*patches.shape[:2], -1)


@op("col2im")
def col2im(x: Any, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """(b, c · taps, places) → (b, c, h, w), overlapping places summed."""
    (h, w), (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (listed(v, 2) for v in (size, kernel, dilation, padding, stride))
    rows, columns = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    parts = x.reshape(x.shape[0], -1, kh, kw, rows, columns)
    image = jnp.zeros((x.shape[0], parts.shape[1], h + 2 * ph, w + 2 * pw), x.dtype)
    for i in range(kh):
        for j in range(kw):
            area = (slice(i * dh, i * dh + sh * rows, sh), slice(j * dw, j * dw + sw * columns, sw))
            image = image.at[(slice(None), slice(None), *area)].add(parts[:, :, i, j])
    return image[:, :, ph : ph + h, pw : pw + w]


@op("_to_copy", "to.dtype", "to.dtype_layout", "type_as")
def cast(x: Any, dtype: Any = None, **_: Any) -> Any:
    """Between float32 and float64 a value stays in the dtype of the computation; to and from half it is rounded."""
    if dtype is None:
        return x
    target = x.dtype if hasattr(dtype, "shape") else dtype_of(dtype)
    half = jnp.finfo(target).bits == 16 if jnp.issubdtype(target, jnp.floating) else False
    if jnp.issubdtype(x.dtype, jnp.floating) and jnp.issubdtype(target, jnp.floating):
        return x.astype(target) if half or jnp.finfo(x.dtype).bits == 16 else x
    return x.astype(jnp.result_type(float) if jnp.issubdtype(target, jnp.floating) else target)
