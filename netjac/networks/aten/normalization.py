"""Normalisation layers, in inference mode."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import op


def _channels(x: Any, vector: Any) -> Any:
    return vector.reshape((1, -1) + (1,) * (x.ndim - 2))


def _scaled(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _standard(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    mean = x.mean(axes, keepdims=True)
    variance = jnp.square(x - mean).mean(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + eps)


def batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float) -> Any:
    scale = lax.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    y = (x - _channels(x, mean)) * _channels(x, scale)
    return y if bias is None else y + _channels(x, bias)


@op("_native_batch_norm_legit_no_training")
def batch_norm_without_training(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, _momentum: float, eps: float
) -> Any:
    return batch_norm(x, weight, bias, mean, variance, eps), None, None


@op("_native_batch_norm_legit.no_stats")
def batch_norm_on_the_batch(x: Any, weight: Any, bias: Any, _training: bool, _momentum: float, eps: float) -> Any:
    y = _standard(x, (0, *range(2, x.ndim)), eps)
    y = y if weight is None else y * _channels(x, weight)
    return y if bias is None else y + _channels(x, bias), None, None


@op("batch_norm", "cudnn_batch_norm")
def any_batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Any:
    if training or mean is None:
        return batch_norm_on_the_batch(x, weight, bias, True, momentum, eps)[0]
    return batch_norm(x, weight, bias, mean, variance, eps)


@op("_weight_norm_interface")
def weight_norm(direction: Any, length: Any, dim: int = 0) -> Any:
    axes = tuple(axis for axis in range(direction.ndim) if axis != dim % direction.ndim)
    lengths = jnp.sqrt(jnp.square(direction).sum(axes, keepdims=True))
    return direction * (length / lengths), lengths


@op("layer_norm")
def layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    return _scaled(_standard(x, tuple(range(-len(shape), 0)), eps), weight, bias)


@op("native_layer_norm")
def native_layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    return layer_norm(x, shape, weight, bias, eps), None, None


@op("rms_norm")
def rms_norm(x: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    mean = jnp.square(x).mean(tuple(range(-len(shape), 0)), keepdims=True)
    return _scaled(x * lax.rsqrt(mean + eps), weight, None)


@op("group_norm")
def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    split = x.reshape(x.shape[0], groups, -1)
    y = _standard(split, (2,), eps).reshape(x.shape)
    y = y if weight is None else y * _channels(x, weight)
    return y if bias is None else y + _channels(x, bias)


@op("native_group_norm")
def native_group_norm(x: Any, weight: Any, bias: Any, _n: Any, _c: Any, _hw: Any, groups: int, eps: float) -> Any:
    return group_norm(x, groups, weight, bias, eps), None, None


@op("instance_norm")
def instance_norm(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, use_input: bool, _momentum: float, eps: float, *_: Any
) -> Any:
    if not use_input and mean is not None:
        return batch_norm(x, weight, bias, mean, variance, eps)
    y = _standard(x, tuple(range(2, x.ndim)), eps)
    y = y if weight is None else y * _channels(x, weight)
    return y if bias is None else y + _channels(x, bias)
