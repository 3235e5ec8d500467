"""Convolutions by their kernel: z[b, p, c] = Σ_{k, i} patch[b, p, k, i] W[k, i, c].

∂z[b, p, c]/∂W[k, i, c′] = δ(c, c′) patch[b, p, k, i]: the same outer product as a dense layer's, with the patches of the
input in place of the input, so that samples stay apart. With g groups the channels are atoms (g, c) and the patches
carry g too.

Example, a kernel of 2 over the row v = [1, 2, 3]: the patches are [[1, 2], [2, 3]], and ∂z_p/∂W_k = v_{p+k}.

By their input, convolutions are opaque here: blocks are pushed and pulled through them. Where the kernel has fewer
taps and input channels than output channels, a pull is one matrix product with the kernel, which shrinks the block
first, and a sum of shifted copies, one a tap; on a CPU that takes a fifth of the time of XLA's own transpose.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.factors.pattern import Axes, Pattern
from netjac.graph.program import Equation, Program
from netjac.precision import on_cpu
from netjac.rules import ties
from netjac.rules.local import Explicit, Local, Opaque, rule


@rule("conv_general_dilated")
def convolution(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    if eqn.parameters["batch_group_count"] != 1:
        return NotImplemented
    return by_kernel(program, eqn) if operand else by_input(program, eqn, result)


def by_input(program: Program, eqn: Equation, result: int) -> Local | None:
    p = eqn.parameters
    numbers, kernel = p["dimension_numbers"], program.shape(eqn.operands[1])
    channels = kernel[numbers.rhs_spec[0]]
    shrinks = prod(kernel) <= channels * channels
    if not shrinks or p["feature_group_count"] != 1 or any(n != 1 for n in p["lhs_dilation"]) or not on_cpu():
        return NotImplemented

    def pull(values: dict[int, Any], block: jax.Array) -> jax.Array:
        weights = lax.transpose(jnp.asarray(values[eqn.operands[1]]), numbers.rhs_spec)
        cotangents = jnp.transpose(block, (0, *(1 + axis for axis in numbers.out_spec)))
        places = tuple(range(3, cotangents.ndim))
        columns = lax.dot_general(cotangents, weights.astype(block.dtype), (((2,), (0,)), ((), ())))
        total = _shifted(columns, weights.shape, program.shape(eqn.operands[0]), eqn, places)
        return jnp.transpose(total, (0, *(1 + axis for axis in _inverse(numbers.lhs_spec))))

    return Opaque(tuple(ties.convolution(program, eqn, 0, result) or ()), True, True, eqn.name, pull)


def _shifted(
    columns: jax.Array, kernel: tuple[int, ...], old: tuple[int, ...], eqn: Equation, places: tuple[int, ...]
) -> jax.Array:
    """(k, batch, *places, in channels, *taps) → (k, batch, in channels, *input places): every tap at its own offset."""
    p = eqn.parameters
    rank = len(places)
    extents = [old[axis] for axis in p["dimension_numbers"].lhs_spec[2:]]
    total: Any = 0
    for tap in product(*(range(n) for n in kernel[2:])):
        piece = columns[(..., *tap)]
        config = [(0, 0, 0), (0, 0, 0)]
        for axis in range(rank):
            stride, dilation = p["window_strides"][axis], p["rhs_dilation"][axis]
            low = tap[axis] * dilation - p["padding"][axis][0]
            taken = (piece.shape[2 + axis] - 1) * stride + 1
            config.append((low, extents[axis] - low - taken, stride - 1))
        total = total + lax.pad(piece, jnp.zeros((), piece.dtype), [*config, (0, 0, 0)])
    return jnp.moveaxis(total, -1, 2)


def _inverse(spec: tuple[int, ...]) -> list[int]:
    return [spec.index(axis) for axis in range(len(spec))]


def by_kernel(program: Program, eqn: Equation) -> Local:
    p = eqn.parameters
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    kernel, out = program.shape(eqn.operands[1]), program.shape(eqn.results[0])
    channels = kernel[numbers.rhs_spec[0]]
    names = _Names()
    group, channel = names.new(groups), names.new(channels // groups)
    batch = names.new(out[numbers.out_spec[0]])
    places = [names.new(out[axis]) for axis in numbers.out_spec[2:]]
    fan = names.new(kernel[numbers.rhs_spec[1]])
    taps = [names.new(kernel[axis]) for axis in numbers.rhs_spec[2:]]
    out_axes = _placed(numbers.out_spec, [batch, group + channel, *places])
    in_axes = _placed(numbers.rhs_spec, [group + channel, fan, *taps])
    data = (*batch, *group, *fan, *(n for tap in taps for n in tap), *(n for place in places for n in place))
    pattern = Pattern(out_axes, in_axes, data, tuple(names.sizes))

    def patches(values: dict[int, Any]) -> jax.Array:
        lhs = lax.transpose(jax.numpy.asarray(values[eqn.operands[0]]), numbers.lhs_spec)
        found = lax.conv_general_dilated_patches(
            lhs,
            [kernel[axis] for axis in numbers.rhs_spec[2:]],
            p["window_strides"],
            p["padding"],
            p["lhs_dilation"],
            p["rhs_dilation"],
            precision=lax.Precision.HIGHEST,
        )
        return found.reshape(pattern.data_shape)

    return Explicit(pattern, patches, "patches")


class _Names:
    """Hands out labels; axes of size 1 get none."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def new(self, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        self.sizes.append(size)
        return (len(self.sizes) - 1,)


def _placed(spec: tuple[int, ...], axes: list[tuple[int, ...]]) -> Axes:
    placed: list[tuple[int, ...]] = [()] * len(spec)
    for axis, labels in zip(spec, axes, strict=True):
        placed[axis] = labels
    return tuple(placed)
