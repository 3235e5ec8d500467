"""Convolutions of every channel by itself, as sums over the taps of shifted views times a number a channel.

XLA has no fast code for them on CPUs. One core's milliseconds, by XLA and as a sum, of 10 cotangents for each of 8 images:

    7 × 7 taps, 32 channels of 32 × 32              17.4 and 0.92, pulled 186 and 11
    3 × 3 taps, 96 channels of 16 × 16               4.5 and 0.24, pulled  48 and 1.9
    the same with strides of 2                       1.4 and 0.17, pulled 154 and 1.7

The pull is such a sum too, of the cotangents put as far apart as the strides, with the taps from the last one back:

    z_p = Σ_k w_k v_{s·p + d·k − f},   ∂v_e = Σ_k w_k u_p over all s·p + d·k − f = e
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.graph.program import Equation, Program
from netjac.precision import on_cpu
from netjac.rules.patches import MOST_VIEWS


def is_depthwise(program: Program, eqn: Equation) -> bool:
    """Whether every channel is convolved by itself, with so few taps that each view may be an operation of its own."""
    p = eqn.parameters
    numbers, old, kernel = p["dimension_numbers"], *(program.shape(n) for n in eqn.operands)
    groups, channels = p["feature_group_count"], old[numbers.lhs_spec[1]]
    if not on_cpu() or p["batch_group_count"] != 1 or groups == 1 or groups != channels:
        return False
    return 0 not in (*old, *kernel, *program.shape(eqn.results[0])) and prod(_taps(program, eqn)) <= MOST_VIEWS


def convolved(program: Program, eqn: Equation, images: Any, kernel: Any) -> jax.Array:
    """The convolution itself."""
    p, dtype = eqn.parameters, program.dtype(eqn.results[0])
    lhs, out = p["dimension_numbers"].lhs_spec, p["dimension_numbers"].out_spec
    images, weights = jnp.asarray(images), _weights(program, eqn, kernel)
    copies = weights.shape[-1] // images.shape[lhs[1]]
    if copies > 1:
        images = jnp.repeat(images, copies, lhs[1])
    dilations = list(zip(p["window_strides"], p["lhs_dilation"], p["rhs_dilation"], strict=True))
    found = _summed(_as(images, lhs, out), weights, out, program.shape(eqn.results[0]), p["padding"], dilations)
    return found.astype(dtype)


def pull(program: Program, eqn: Equation) -> Callable[[dict[int, Any], jax.Array], jax.Array] | None:
    """A block of cotangents (k, *out) by the images; None where the images themselves are put apart."""
    p = eqn.parameters
    lhs, out = p["dimension_numbers"].lhs_spec, p["dimension_numbers"].out_spec
    if any(spread != 1 for spread in p["lhs_dilation"]):
        return None
    old, new, taps = program.shape(eqn.operands[0]), program.shape(eqn.results[0]), _taps(program, eqn)
    channels = old[lhs[1]]
    edges, dilations = [], []
    for axis, (tap, stride, d, (low, _)) in enumerate(
        zip(taps, p["window_strides"], p["rhs_dilation"], p["padding"], strict=True)
    ):
        extent, place = old[lhs[2 + axis]], new[out[2 + axis]]
        edges.append((d * (tap - 1) - low, extent + low - ((place - 1) * stride + 1)))
        dilations.append((1, stride, d))
    shape = list(new)
    for axis in range(len(taps)):
        shape[out[2 + axis]] = old[lhs[2 + axis]]

    def pulled(values: dict[int, Any], block: jax.Array) -> jax.Array:
        weights = jnp.flip(_weights(program, eqn, values[eqn.operands[1]]), tuple(range(len(taps)))).astype(block.dtype)

        def one(u: jax.Array) -> jax.Array:
            found = _summed(u, weights, out, shape, edges, dilations)
            if weights.shape[-1] > channels:
                found = found.reshape((*shape[: out[1]], channels, -1, *shape[out[1] + 1 :])).sum(out[1] + 1)
            return _as(found, out, lhs).astype(block.dtype)

        return jax.vmap(one)(block)

    return pulled


def _taps(program: Program, eqn: Equation) -> list[int]:
    kernel = program.shape(eqn.operands[1])
    return [kernel[axis] for axis in eqn.parameters["dimension_numbers"].rhs_spec[2:]]


def _weights(program: Program, eqn: Equation, kernel: Any) -> jax.Array:
    """(*taps, channels of the result)."""
    spec = eqn.parameters["dimension_numbers"].rhs_spec
    turned = jnp.transpose(jnp.asarray(kernel), (*spec[2:], spec[1], spec[0]))
    return turned.reshape((*turned.shape[:-2], turned.shape[-1]))


def _as(array: jax.Array, spec: Sequence[int], wanted: Sequence[int]) -> jax.Array:
    """From one order of (batch, channels, *places) to another."""
    if tuple(spec) == tuple(wanted):
        return array
    return jnp.transpose(array, [spec[tuple(wanted).index(axis)] for axis in range(len(spec))])


def _summed(
    images: jax.Array,
    weights: jax.Array,
    spec: Sequence[int],
    shape: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilations: Sequence[tuple[int, int, int]],
) -> jax.Array:
    """Σ over taps of weights · views, of this shape; `dilations` has strides, and by how much images and taps are put apart.
    Summed in float32 at least."""
    wide = jnp.promote_types(images.dtype, jnp.float32)
    edges = [(0, 0, 0)] * images.ndim
    for axis, (low, high), (_, spread, _) in zip(spec[2:], padding, dilations, strict=True):
        edges[axis] = (low, high, spread - 1)
    padded = lax.pad(images.astype(wide), np.zeros((), wide), edges)
    along = [1] * images.ndim
    along[spec[1]] = weights.shape[-1]
    total: Any = 0
    for tap in np.ndindex(*weights.shape[:-1]):
        read = [slice(None)] * images.ndim
        for axis, at, (stride, _, d) in zip(spec[2:], tap, dilations, strict=True):
            read[axis] = slice(at * d, at * d + (shape[axis] - 1) * stride + 1, stride)
        total = total + padded[tuple(read)] * weights[tap].astype(wide).reshape(along)
    return jnp.asarray(total)
