"""Pooling over windows that tile their axes: u_p is the maximum (or sum) of v over window p.

With windows that neither overlap nor leave anything out, an axis of v is two atoms, (window, place in it), and the
Jacobian ties the windows: ∂u[p]/∂v[p′, k] = δ(p, p′) · w[p, k]. For a maximum w is 1 at the winner and 0 elsewhere (of
equal entries the first wins, as in XLA and in torch); for a sum it is 1 everywhere and no number is stored.

Example, max over pairs of v = [3, 1, 4, 4]: w = [[1, 0], [1, 0]], for a Jacobian of 2 × 4.

Windows that overlap or leave a rest are opaque here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Pattern
from netjac.graph.program import Equation, Program
from netjac.rules.local import Explicit, Local, rule


@rule("reduce_window_sum")
def sums(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    pattern = tiling(program, eqn)
    return NotImplemented if pattern is None else Explicit(pattern, None, eqn.name)


@rule("reduce_window_max", "reduce_window_min")
def extremes(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    sums_pattern = tiling(program, eqn)
    if sums_pattern is None:
        return NotImplemented
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
    for size, window in zip(program.shape(eqn.operands[0]), eqn.parameters["window_dimensions"], strict=True):
        outer = label if size != window else None
        label += outer is not None
        axes.append((outer, label) if window != 1 else (outer,))
        label += window != 1
    return axes
