"""Convolutions by their kernel: z[b, p, c] = Σ_{k, i} patch[b, p, k, i] W[k, i, c].

∂z[b, p, c]/∂W[k, i, c′] = δ(c, c′) patch[b, p, k, i]: the same outer product as a dense layer's, with the patches of the
input in place of the input, so that samples stay apart. With g groups the channels are atoms (g, c) and the patches
carry g too.

Example, a kernel of 2 over the row v = [1, 2, 3]: the patches are [[1, 2], [2, 3]], and ∂z_p/∂W_k = v_{p+k}.

By their input, convolutions are opaque here: their own transposes are pushed and pulled through.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax

from netjac.factors.pattern import Axes, Pattern
from netjac.graph.program import Equation, Program
from netjac.rules.local import Explicit, Local, rule


@rule("conv_general_dilated")
def by_kernel(program: Program, eqn: Equation, operand: int, _result: int) -> Local | None:
    p = eqn.parameters
    if operand == 0 or p["batch_group_count"] != 1:
        return NotImplemented
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
