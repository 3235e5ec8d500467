"""Pooling: u_p is the maximum (or sum) of v over window p.

With windows that neither overlap nor leave anything out, an axis of v is two atoms, (window, place in it), and the
Jacobian ties the windows: ∂u[p]/∂v[p′, k] = δ(p, p′) · w[p, k]. For a maximum w is 1 at the winner and 0 elsewhere (of
equal entries the first wins, as in XLA and in torch); for a sum it is 1 everywhere and no number is stored. Other windows
have the same numbers, at the positions s·p + d·k − f.

Example, max over pairs of v = [3, 1, 4, 4]: w = [[1, 0], [1, 0]], for a Jacobian of 2 × 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.factors.pattern import Names, Pattern, labels_of
from netjac.factors.window import window
from netjac.graph.program import Equation, Program
from netjac.rules.local import TIES, Explicit, Local, Opaque, rule
from netjac.rules.loops import directions


@rule("reduce_window_sum")
def sums(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    pattern = tiling(program, eqn) or overlapping(program, eqn)
    return NotImplemented if pattern is None else Explicit(pattern, None, eqn.name)


@rule("reduce_window_max", "reduce_window_min")
def extremes(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    sums_pattern = tiling(program, eqn)
    if sums_pattern is None:
        return _swept_or_written(program, eqn, operand, result)
    in_window = [label for axis in _split(program, eqn) for label in axis[1:] if label is not None]
    places = [label for label in range(len(sums_pattern.sizes)) if label not in in_window]
    pattern = Pattern(sums_pattern.out, sums_pattern.inn, (*places, *in_window), sums_pattern.sizes)
    dtype = program.dtype(eqn.results[0])
    pick = jnp.argmax if eqn.name == "reduce_window_max" else jnp.argmin

    def winners(values: dict[int, Any]) -> jax.Array:
        split = jnp.asarray(values[eqn.operands[0]]).reshape(sums_pattern.sizes)
        windows = jnp.transpose(split, (*places, *in_window)).reshape((*pattern.data_shape[: len(places)], -1))
        return jax.nn.one_hot(pick(windows, -1), windows.shape[-1], dtype=dtype).reshape(pattern.data_shape)

    return Explicit(pattern, winners, eqn.name)


def _swept_or_written(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    windows = overlapping(program, eqn)
    pairs = TIES[eqn.name](program, eqn, operand, result)
    if windows is None or pairs is None:
        return NotImplemented
    places = labels_of(windows.out)
    taps = tuple(sorted(windows.hidden))
    pattern = replace(windows, data=(*places, *taps))
    top = eqn.name == "reduce_window_max"
    dtype = program.dtype(eqn.results[0])

    def winners(values: dict[int, Any]) -> jax.Array:
        array = jnp.asarray(values[eqn.operands[0]])
        least = jnp.asarray(-jnp.inf if top else jnp.inf, array.dtype)
        padding = [(low, high, 0) for low, high in eqn.parameters["padding"]]
        found = lax.pad(array, least, padding)
        for axis in reversed(range(array.ndim)):
            found = _unrolled(found, eqn, axis, program.shape(eqn.results[0])[axis])
        rank = array.ndim
        order = [2 * axis for axis in range(rank)] + [2 * axis + 1 for axis in range(rank)]
        flat = jnp.transpose(found, order).reshape((*program.shape(eqn.results[0]), -1))
        pick = jnp.argmax(flat, -1) if top else jnp.argmin(flat, -1)
        return jax.nn.one_hot(pick, flat.shape[-1], dtype=dtype).reshape(pattern.data_shape)

    pushes, pulls = directions(eqn)
    return Opaque(tuple(pairs), pushes, pulls, eqn.name, written=Explicit(pattern, winners, eqn.name))


def _unrolled(array: jax.Array, eqn: Equation, axis: int, count: int) -> jax.Array:
    """The axis as two: window and place in it."""
    p = eqn.parameters
    stride, dilation = p["window_strides"][axis], p["window_dilation"][axis]
    steps = (lax.slice_in_dim(array, k * dilation, k * dilation + (count - 1) * stride + 1, stride, axis)
             for k in range(p["window_dimensions"][axis]))  # fmt: skip
    return jnp.stack(list(steps), axis + 1)


def overlapping(program: Program, eqn: Equation) -> Pattern | None:
    """The pattern of a sum over any windows, None where there is none, the operand is dilated, or an axis has one entry."""
    p = eqn.parameters
    old, new = program.shape(eqn.operands[0]), program.shape(eqn.results[0])
    if any(n != 1 for n in p["base_dilation"]) or 0 in new:
        return None
    names = Names()
    out, inn, windows = [], [], []
    for axis, size in enumerate(new):
        taken = p["window_dimensions"][axis], p["window_strides"][axis], p["padding"][axis][0]
        place = names.new(size)
        out.append(place)
        if taken == (1, 1, 0) and size == old[axis]:
            inn.append(place)
            continue
        terms = tuple((n, taken[1]) for n in place)
        terms += tuple((n, p["window_dilation"][axis]) for n in names.new(taken[0]))
        if not terms or old[axis] == 1:
            return None
        label = names.new(old[axis])
        windows.append(window(label[0], terms, -taken[2], names.sizes))
        inn.append(label)
    return Pattern(tuple(out), tuple(inn), (), tuple(names.sizes), tuple(windows))


def tiling(program: Program, eqn: Equation) -> Pattern | None:
    """The pattern of a window sum, None where the windows do not tile their axes. Labels are v's atoms in order."""
    p = eqn.parameters
    windows = zip(
        program.shape(eqn.operands[0]), p["window_dimensions"], p["window_strides"], p["padding"], strict=True
    )
    dilated = any(n != 1 for n in (*p["base_dilation"], *p["window_dilation"]))
    if dilated or any(n % size or size != stride or any(pad) for n, size, stride, pad in windows):
        return None
    axes = _split(program, eqn)
    sizes = tuple(
        n
        for size, window in zip(program.shape(eqn.operands[0]), p["window_dimensions"], strict=True)
        for n in (size // window, window)
        if n != 1
    )
    inn = tuple(tuple(label for label in axis if label is not None) for axis in axes)
    out = tuple(axis[:1] if axis[0] is not None else () for axis in axes)
    return Pattern(out, inn, (), sizes)  # type: ignore[arg-type]


def _split(program: Program, eqn: Equation) -> list[tuple[int | None, ...]]:
    """For each axis the label of its windows (None if there is one) and, where they are wider than 1, of places in them."""
    axes: list[tuple[int | None, ...]] = []
    label = 0
    for size, width in zip(program.shape(eqn.operands[0]), eqn.parameters["window_dimensions"], strict=True):
        outer = label if size != width else None
        label += outer is not None
        axes.append((outer, label) if width != 1 else (outer,))
        label += width != 1
    return axes
