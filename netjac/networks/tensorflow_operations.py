"""TensorFlow operations as JAX functions, where tf2jax has none or differs from TensorFlow in the derivative.

Each entry takes a node of the graph and returns the function of its inputs. Values known while tracing (shapes, axes,
counters) are NumPy arrays and have to stay so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import UnsupportedOperationError

Function = Callable[..., Any]
Parser = Callable[[Any], Function]


def _plain(function: Function) -> Parser:
    return lambda node: function


def _first_at_ties(wins: Function, known: Function) -> Function:
    """Maximum or minimum as TensorFlow differentiates it: at a tie all of the derivative goes to the first argument."""

    def function(x: Any, y: Any) -> Any:
        if isinstance(x, np.ndarray | np.generic) and isinstance(y, np.ndarray | np.generic):
            return known(x, y)
        return jnp.where(wins(x, y), x, y)

    return function


def _relu6(x: Any) -> Any:
    return jnp.where((x > 0) & (x < 6), x, jax.lax.stop_gradient(jnp.clip(x, 0, 6)))


def _leaky_relu(node: Any) -> Function:
    slope = node.attr["alpha"].f  # rounded to float32 by the graph, as TensorFlow itself uses it
    return lambda x: jnp.where(x > 0, x, slope * x)


def _convolution3d(node: Any) -> Function:
    strides, dilations, padding, layout = _window(node)
    numbers = (layout, "DHWIO", layout)

    def function(x: Any, kernel: Any) -> Any:
        groups = x.shape[layout.index("C")] // kernel.shape[3]
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, rhs_dilation=dilations, dimension_numbers=numbers, feature_group_count=groups
        )

    return function


def _transposed_convolution3d(node: Any) -> Function:
    """Conv3DBackpropInputV2: what pulls a cotangent back through the convolution whose input has the given sizes."""
    convolution = _convolution3d(node)

    def function(sizes: Any, kernel: Any, cotangent: Any) -> Any:
        like = jax.ShapeDtypeStruct(tuple(int(size) for size in sizes), cotangent.dtype)
        return jax.linear_transpose(lambda x: convolution(x, kernel), like)(cotangent)[0]

    return function


def _max_pooling3d(node: Any) -> Function:
    sizes, strides = tuple(node.attr["ksize"].list.i), tuple(node.attr["strides"].list.i)
    padding = node.attr["padding"].s.decode()
    return lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, sizes, strides, padding)


def _average_pooling3d(node: Any) -> Function:
    sizes, strides = tuple(node.attr["ksize"].list.i), tuple(node.attr["strides"].list.i)
    padding = node.attr["padding"].s.decode()

    def function(x: Any) -> Any:
        def total(y: Any) -> Any:
            return jax.lax.reduce_window(y, 0.0, jax.lax.add, sizes, strides, padding)

        return total(x) / (total(np.ones(x.shape, x.dtype)) if padding == "SAME" else int(np.prod(sizes)))

    return function


def _window(node: Any) -> tuple[tuple[int, ...], tuple[int, ...], str, str]:
    layout = node.attr["data_format"].s.decode()
    spatial = [axis for axis, letter in enumerate(layout) if letter in "DHW"]
    strides = tuple(node.attr["strides"].list.i[axis] for axis in spatial)
    dilations = tuple(node.attr["dilations"].list.i[axis] for axis in spatial)
    return strides, dilations, node.attr["padding"].s.decode(), layout


def _mirror_pad(node: Any) -> Function:
    mode = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}[node.attr["mode"].s.decode()]
    return lambda x, widths: jnp.pad(x, np.asarray(widths), mode=mode)


def _resize_bicubic(node: Any) -> Function:
    if not node.attr["half_pixel_centers"].b:
        raise UnsupportedOperationError(f"node {node.name!r}: ResizeBicubic is supported with half_pixel_centers only")

    def function(images: Any, size: Any) -> Any:
        rows, columns = (_cubic_weights(images.shape[i + 1], int(size[i])).astype(images.dtype) for i in (0, 1))
        return jnp.einsum("yh,bhwc,xw->byxc", rows, images, columns, precision="highest")

    return function


def _cubic_weights(sources: int, targets: int) -> np.ndarray:
    """(targets, sources): Keys' cubic convolution, positions rounded to 1/1024 of a source as TensorFlow does it."""
    position = (np.arange(targets) + 0.5) * (np.float32(sources) / np.float32(targets)) - 0.5
    base = np.floor(position)
    fraction = np.rint((position - base) * 1024) / 1024
    weights = np.zeros((targets, sources))
    for tap in range(-1, 3):
        x = np.abs(fraction - tap)
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        index = (base + tap).astype(int)
        inside = (index >= 0) & (index < sources)
        weights[np.arange(targets)[inside], index[inside]] += np.where(x <= 1, near, far)[inside]
    return weights / weights.sum(1, keepdims=True)


def _depth_to_space(node: Any) -> Function:
    block = node.attr["block_size"].i

    def function(x: Any) -> Any:
        b, h, w, c = x.shape
        split = x.reshape(b, h, w, block, block, c // block**2)
        return split.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * block, w * block, c // block**2)

    return function


def _space_to_depth(node: Any) -> Function:
    block = node.attr["block_size"].i

    def function(x: Any) -> Any:
        b, h, w, c = x.shape
        split = x.reshape(b, h // block, block, w // block, block, c)
        return split.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // block, w // block, c * block**2)

    return function


def _list_set_item(xs: Any, index: Any, item: Any) -> Any:
    """A list of tensors is one array; before its first item it has no shape but its length."""
    whole = jnp.zeros((xs.shape[0], *item.shape), item.dtype) if xs.size == 0 else jnp.asarray(xs)
    return whole.at[index].set(item)


def _select(condition: Any, x: Any, y: Any) -> Any:
    """SelectV2, which broadcasts as NumPy does."""
    known = all(isinstance(value, np.ndarray | np.generic) for value in (condition, x, y))
    return np.where(condition, x, y) if known else jnp.where(condition, x, y)


OPERATIONS: dict[str, Parser] = {
    "Maximum": _plain(_first_at_ties(lambda x, y: x >= y, np.maximum)),
    "Minimum": _plain(_first_at_ties(lambda x, y: x <= y, np.minimum)),
    "Relu6": _plain(_relu6),
    "LeakyRelu": _leaky_relu,
    "Selu": _plain(jax.nn.selu),
    "Softsign": _plain(jax.nn.soft_sign),
    "Conv3D": _convolution3d,
    "Conv3DBackpropInputV2": _transposed_convolution3d,
    "MaxPool3D": _max_pooling3d,
    "AvgPool3D": _average_pooling3d,
    "MirrorPad": _mirror_pad,
    "ResizeBicubic": _resize_bicubic,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "MatrixInverse": _plain(jnp.linalg.inv),
    "MatrixDeterminant": _plain(jnp.linalg.det),
    "MatrixSolve": _plain(jnp.linalg.solve),
    "SelectV2": _plain(_select),
    "TensorListSetItem": _plain(_list_set_item),
    "Xlogy": _plain(jax.scipy.special.xlogy),
}
