"""Convolutions by their kernel: z[b, p, c] = Σ_{k, i} patch[b, p, k, i] W[k, i, c].

∂z[b, p, c]/∂W[k, i, c′] = δ(c, c′) patch[b, p, k, i]: the same outer product as a dense layer's, with the patches of the
input in place of the input, so that samples stay apart. With g groups the channels are atoms (g, c) and the patches
carry g too.

Example, a kernel of 2 over the row v = [1, 2, 3]: the patches are [[1, 2], [2, 3]], and ∂z_p/∂W_k = v_{p+k}.

By their input they are windows: position p and tap k read v at s·p + d·k − f, and the numbers are the kernel's. The plan
chooses between this and a sweep by the primitive's own derivative: a local factor stays local through the first, a
wide block is cheaper by the second unless the kernel shrinks it.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.factors.pattern import Axes, Names, Pattern, labels_of
from netjac.factors.window import window
from netjac.graph.program import Equation, Program
from netjac.precision import on_cpu
from netjac.rules import depthwise, ties
from netjac.rules.forward import is_short
from netjac.rules.local import Explicit, Local, Opaque, Pull, rule
from netjac.rules.patches import MOST_VIEWS, stacked, summed

MOST_AT_ONCE = 2**20
"""Bytes of what all taps are given, up to which images are pulled together: more falls out of the caches."""
FEW, SOME, MANY, SMALL = 4, 16, 32, 128
"""Channels and places by which XLA's own pull of a convolution is slow on a CPU: see `_slow`."""


@rule("conv_general_dilated")
def convolution(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    if eqn.parameters["batch_group_count"] != 1:
        return NotImplemented
    return by_kernel(program, eqn) if operand else by_input(program, eqn, result)


def by_input(program: Program, eqn: Equation, result: int) -> Local | None:
    pairs = ties.convolution(program, eqn, 0, result)
    if pairs is None:
        return None
    if depthwise.is_depthwise(program, eqn):
        pull = depthwise.pull(program, eqn)
    else:
        pull = _by_residue(program, eqn) or _by_taps(program, eqn)
    return Opaque(tuple(pairs), True, True, eqn.name, pull, _stencil(program, eqn))


def _by_residue(program: Program, eqn: Equation) -> Pull | None:
    """The pull of a convolution of strides s as one of stride 1; None where its strides are 1 already.

    Input position s·q + r is reached by the taps with k − f ≡ r (mod s), from the cotangents around q: one convolution of
    the cotangents gives all residues r as channels, which are then dealt out. XLA's own transpose puts zeros between the
    cotangents instead (45 ms against 6 for 7×7 taps of stride 2, 16 to 3 channels, on 80 images of 32 × 32).
    """
    p = eqn.parameters
    numbers, groups, strides = p["dimension_numbers"], p["feature_group_count"], p["window_strides"]
    old, kernel, new = (program.shape(n) for n in (*eqn.operands, *eqn.results))
    plain = all(n == 1 for n in (*p["lhs_dilation"], *p["rhs_dilation"]))
    if not plain or all(n == 1 for n in strides) or 0 in (*old, *kernel, *new):
        return None
    rank = len(strides)
    extents, places = (
        [shape[n] for n in spec[2:]] for shape, spec in ((old, numbers.lhs_spec), (new, numbers.out_spec))
    )
    taps = [kernel[axis] for axis in numbers.rhs_spec[2:]]
    first = [-p["padding"][axis][0] // strides[axis] for axis in range(rank)]
    last = [(taps[axis] - 1 - p["padding"][axis][0]) // strides[axis] for axis in range(rank)]
    steps = [high - low + 1 for low, high in zip(first, last, strict=True)]
    lengths = [-(-extent // stride) for extent, stride in zip(extents, strides, strict=True)]
    fan = kernel[numbers.rhs_spec[1]]

    def regrouped(weights: jax.Array) -> jax.Array:
        """(out, in, *taps) → (*steps, out of a group, group · residues · in), the steps from the last one back."""
        padding = [(0, 0, 0), (0, 0, 0)]
        for axis in range(rank):
            low = -p["padding"][axis][0] - first[axis] * strides[axis]
            padding.append((low, steps[axis] * strides[axis] - low - taps[axis], 0))
        split = [n for axis in range(rank) for n in (steps[axis], strides[axis])]
        full = lax.pad(weights, jnp.zeros((), weights.dtype), padding).reshape((groups, -1, fan, *split))
        order = [*(3 + 2 * axis for axis in range(rank)), 1, 0, *(4 + 2 * axis for axis in range(rank)), 2]
        return lax.rev(full.transpose(order).reshape((*steps, full.shape[1], -1)), tuple(range(rank)))

    def pull(values: dict[int, Any], block: jax.Array) -> jax.Array:
        weights = regrouped(lax.transpose(jnp.asarray(values[eqn.operands[1]]), numbers.rhs_spec).astype(block.dtype))
        cotangents = jnp.transpose(block, (0, *(1 + numbers.out_spec[n] for n in (0, *range(2, rank + 2), 1))))
        images = cotangents.reshape((-1, *cotangents.shape[2:]))
        padding = [
            (high, length - place - high + step - 1)
            for high, length, place, step in zip(last, lengths, places, steps, strict=True)
        ]
        spec = (0, rank + 1, *range(1, rank + 1))
        layout = lax.ConvDimensionNumbers(spec, (rank + 1, rank, *range(rank)), spec)
        found = lax.conv_general_dilated(
            images, weights, (1,) * rank, padding, dimension_numbers=layout, feature_group_count=groups
        )
        apart = found.reshape((len(found), *lengths, groups, *strides, fan))
        order = [0, *(n for axis in range(rank) for n in (1 + axis, rank + 2 + axis)), rank + 1, 2 * rank + 2]
        dealt = apart.transpose(order).reshape(
            (len(found), *(a * b for a, b in zip(lengths, strides, strict=True)), -1)
        )
        cut = dealt[(slice(None), *(slice(extent) for extent in extents))]
        whole = cut.reshape((len(block), -1, *cut.shape[1:]))
        inner = (0, *range(2, rank + 2), 1)
        places_of = {numbers.lhs_spec[axis]: 1 + at for at, axis in enumerate(inner)}
        return jnp.transpose(whole, (0, *(places_of[axis] for axis in range(rank + 2))))

    return pull


def _by_taps(program: Program, eqn: Equation) -> Pull | None:
    """The pull of a convolution of stride 1 as one matrix product, cotangents times kernel, which says what every place gives
    to each tap, summed where the taps read. None where XLA's own is as fast.
    """
    p = eqn.parameters
    numbers, rank = p["dimension_numbers"], len(p["window_strides"])
    old, kernel, new = (program.shape(n) for n in (*eqn.operands, *eqn.results))
    taps = [kernel[axis] for axis in numbers.rhs_spec[2:]]
    one = (p["feature_group_count"], *p["lhs_dilation"], *p["window_strides"])
    if not on_cpu() or any(n != 1 for n in one) or 0 in (*old, *kernel, *new) or not _slow(program, eqn):
        return None
    if not 1 < prod(taps) <= MOST_VIEWS or program.dtype(eqn.results[0]).itemsize < 4:
        return None
    extents, places = (
        [shape[n] for n in spec[2:]] for shape, spec in ((old, numbers.lhs_spec), (new, numbers.out_spec))
    )
    fan = kernel[numbers.rhs_spec[1]]

    def pulled(weights: jax.Array, images: jax.Array) -> jax.Array:
        """(images, *places, out) → (images, *extents, in)."""
        given = lax.dot_general(images, weights, (((rank + 1,), (0,)), ((), ())), precision=p["precision"]).reshape(
            (-1, *places, *taps, fan)
        )
        return summed(given, taps, extents, p)

    def pull(values: dict[int, Any], block: jax.Array) -> jax.Array:
        kernels = jnp.asarray(values[eqn.operands[1]]).astype(block.dtype)
        order = (numbers.rhs_spec[0], *numbers.rhs_spec[2:], numbers.rhs_spec[1])
        weights = jnp.transpose(kernels, order).reshape((kernel[numbers.rhs_spec[0]], -1))
        cotangents = jnp.transpose(block, (0, *(1 + numbers.out_spec[n] for n in (0, *range(2, rank + 2), 1))))
        images = cotangents.reshape((-1, *cotangents.shape[2:]))
        most = max(1, MOST_AT_ONCE // (prod(places) * weights.shape[1] * block.dtype.itemsize))
        count = -(-len(images) // most)
        size = len(images) // count
        runs = images[: count * size].reshape((count, size, *images.shape[1:]))
        parts = [lax.map(partial(pulled, weights), runs) if count > 1 else pulled(weights, images)]
        parts = [part.reshape((-1, *extents, fan)) for part in parts]
        if count * size < len(images):
            parts.append(pulled(weights, images[count * size :]))
        found = jnp.concatenate(parts).reshape((len(block), -1, *extents, fan))
        inner = (0, *range(2, rank + 2), 1)
        places_of = {numbers.lhs_spec[axis]: 1 + at for at, axis in enumerate(inner)}
        return jnp.transpose(found, (0, *(places_of[axis] for axis in range(rank + 2))))

    return pull


def _slow(program: Program, eqn: Equation) -> bool:
    """Whether XLA's own pull, which convolves the cotangents with the kernel turned round, is slower than one by taps.

    Milliseconds of one core by taps and by XLA, 320 cotangents, 3 × 3 taps. To few channels: 13.5 and 23.6 (32 × 32, 3 from
    16), but 10.3 and 7.2 where they come from many (80 cotangents, 3 from 64). To some channels of a small image that grows:
    1.6 and 2.8 (8 × 8, 16 from 32), 9.5 and 12.9 (13 × 13, 16 from 64), but 16.7 and 16.3 (13 × 13, 32 from 64), 68 and 33
    (28 × 28, 24 from 24). To an image shorter than the kernel: 15 and 2300 (80 cotangents of 2 × 2, 512 from 512).
    """
    p = eqn.parameters
    numbers, kernel, new = p["dimension_numbers"], program.shape(eqn.operands[1]), program.shape(eqn.results[0])
    grows = any(
        2 * max(low, high) != (kernel[axis] - 1) * d
        for (low, high), axis, d in zip(p["padding"], numbers.rhs_spec[2:], p["rhs_dilation"], strict=True)
    )
    to, out_of = kernel[numbers.rhs_spec[1]], kernel[numbers.rhs_spec[0]]
    small = prod(new[axis] for axis in numbers.out_spec[2:]) <= SMALL
    few = to <= FEW and (grows or out_of <= SOME)
    return few or (grows and small and to < MANY) or is_short(program, eqn, "pull")


def _stencil(program: Program, eqn: Equation) -> Explicit | None:
    """∂z[b, p, g·c]/∂v[b, s·p + d·k − f, g·i] = W[k, i, g·c]; where the input is dilated by a, p is a·q − d·k + f at q.

    None where it is dilated along an axis that has strides too.
    """
    p = eqn.parameters
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    old, kernel, new = (program.shape(n) for n in (*eqn.operands, *eqn.results))
    extents = [old[axis] for axis in numbers.lhs_spec[2:]]
    if 1 in extents or 0 in (*old, *kernel, *new):
        return None
    channels, fan = kernel[numbers.rhs_spec[0]], kernel[numbers.rhs_spec[1]]
    names = Names()
    batch, group, channel = names.new(old[numbers.lhs_spec[0]]), names.new(groups), names.new(channels // groups)
    into = names.new(fan)
    places = [names.new(new[axis]) for axis in numbers.out_spec[2:]]
    taps = [names.new(kernel[axis]) for axis in numbers.rhs_spec[2:]]
    ends, windows = [], []
    for axis, extent in enumerate(extents):
        offset, stride, dilation = -p["padding"][axis][0], p["window_strides"][axis], p["rhs_dilation"][axis]
        spread = p["lhs_dilation"][axis]
        if spread != 1:
            if stride != 1 or not places[axis]:
                return None
            ends.append(names.new(extent))
            terms = (*((n, spread) for n in ends[-1]), *((n, -dilation) for n in taps[axis]))
            windows.append(window(places[axis][0], terms, -offset, names.sizes))
            continue
        if (
            not taps[axis]
            and (stride, offset, len(places[axis])) == (1, 0, 1)
            and names.sizes[places[axis][0]] == extent
        ):
            ends.append(places[axis])
            continue
        terms = (*((n, stride) for n in places[axis]), *((n, dilation) for n in taps[axis]))
        if not terms:
            return None
        label = names.new(extent)
        windows.append(window(label[0], terms, offset, names.sizes))
        ends.append(label)
    out = _placed(numbers.out_spec, [batch, group + channel, *places])
    inn = _placed(numbers.lhs_spec, [batch, group + into, *ends])
    # The kernel as it lies: to turn the weights of a large net takes as long as some of its products (45 MB of a ResNet's).
    data = labels_of(_placed(numbers.rhs_spec, [group + channel, into, *taps]))
    pattern = Pattern(out, inn, data, tuple(names.sizes), tuple(windows))

    def weights(values: dict[int, Any]) -> jax.Array:
        return jnp.asarray(values[eqn.operands[1]]).reshape(pattern.data_shape)

    return Explicit(pattern, weights, eqn.name)


def by_kernel(program: Program, eqn: Equation) -> Local:
    p = eqn.parameters
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    kernel, out = program.shape(eqn.operands[1]), program.shape(eqn.results[0])
    channels = kernel[numbers.rhs_spec[0]]
    names = Names()
    group, channel = names.new(groups), names.new(channels // groups)
    batch = names.new(out[numbers.out_spec[0]])
    places = [names.new(out[axis]) for axis in numbers.out_spec[2:]]
    fan = names.new(kernel[numbers.rhs_spec[1]])
    taps = [names.new(kernel[axis]) for axis in numbers.rhs_spec[2:]]
    out_axes = _placed(numbers.out_spec, [batch, group + channel, *places])
    in_axes = _placed(numbers.rhs_spec, [group + channel, fan, *taps])
    data = (*batch, *(n for tap in taps for n in tap), *(n for place in places for n in place), *group, *fan)
    pattern = Pattern(out_axes, in_axes, data, tuple(names.sizes))

    def patches(values: dict[int, Any]) -> jax.Array:
        last = (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1])
        images = jnp.transpose(jnp.asarray(values[eqn.operands[0]]), last)
        sizes = [kernel[axis] for axis in numbers.rhs_spec[2:]]
        found = stacked(images, sizes, [out[axis] for axis in numbers.out_spec[2:]], p)
        return found.reshape(pattern.data_shape)

    return Explicit(pattern, patches, "patches")


def _placed(spec: tuple[int, ...], axes: list[tuple[int, ...]]) -> Axes:
    placed: list[tuple[int, ...]] = [()] * len(spec)
    for axis, labels in zip(spec, axes, strict=True):
        placed[axis] = labels
    return tuple(placed)
