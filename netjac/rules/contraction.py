"""Contractions: z = dot_general(h, W), with z[n, i, j] = Σ_k h[n, i, k] W[n, k, j].

By h, the batch axes n and h's free axes i are tied and shared, and the numbers are W itself:
∂z[n, i, j]/∂h[n′, i′, k] = δ(n, n′) δ(i, i′) W[n, k, j]. By W likewise, with the numbers h: ∂z/∂W is the outer product of
whatever comes from above with h, for free.

Example, z = h W with W of shape (2, 3) and h of shape (4, 2): ∂z/∂h = I₄ ⊗ Wᵀ, 6 numbers for a 12 × 8 Jacobian.

Sums over axes are contractions with ones: z = Σ_k h[i, k] gives δ(i, i′), with no numbers at all.
"""

from __future__ import annotations

from typing import Any

import jax

from netjac.factors.pattern import Pattern, proper
from netjac.graph.program import Equation, Program
from netjac.rules.local import Explicit, Local, rule


@rule("dot_general")
def contraction(program: Program, eqn: Equation, operand: int, _result: int) -> Local:
    moving, fixed = eqn.operands[operand], eqn.operands[1 - operand]
    contracting, batch = eqn.parameters["dimension_numbers"]
    (moving_sum, fixed_sum), (moving_batch, fixed_batch) = (
        (contracting[operand], contracting[1 - operand]),
        (batch[operand], batch[1 - operand]),
    )
    moving_names, sizes = _labelled(program.shape(moving), 0)
    fixed_names: dict[int, int | None] = {
        axis: moving_names[other]
        for axis, other in (*zip(fixed_sum, moving_sum, strict=True), *zip(fixed_batch, moving_batch, strict=True))
    }
    for axis, size in enumerate(program.shape(fixed)):
        if axis not in fixed_names:
            fixed_names[axis] = len(sizes) if size != 1 else None
            sizes.extend(proper((size,)))
    moving_free = [n for n in range(len(moving_names)) if n not in (*moving_sum, *moving_batch)]
    fixed_free = [n for n in range(len(fixed_names)) if n not in (*fixed_sum, *fixed_batch)]
    free = [moving_names[n] for n in moving_free], [fixed_names[n] for n in fixed_free]
    out = [*(moving_names[n] for n in moving_batch), *(free[operand]), *(free[1 - operand])]
    data = tuple(label for axis in range(len(fixed_names)) if (label := fixed_names[axis]) is not None)
    pattern = Pattern(
        tuple(_axis(label) for label in out),
        tuple(_axis(moving_names[n]) for n in range(len(moving_names))),
        data,
        tuple(sizes),
    )
    dtype = program.dtype(eqn.results[0])

    def numbers(values: dict[int, Any]) -> jax.Array:
        return jax.numpy.asarray(values[fixed]).reshape(pattern.data_shape).astype(dtype)

    return Explicit(pattern, numbers, "dot_general")


def _labelled(shape: tuple[int, ...], first: int) -> tuple[dict[int, int | None], list[int]]:
    """Axis → its label, None for axes of size 1; and the sizes of the labels."""
    names: dict[int, int | None] = {}
    sizes: list[int] = []
    for axis, size in enumerate(shape):
        names[axis] = first + len(sizes) if size != 1 else None
        sizes.extend(proper((size,)))
    return names, sizes


def _axis(label: int | None) -> tuple[int, ...]:
    return () if label is None else (label,)


@rule("reduce_sum")
def summation(program: Program, eqn: Equation, _operand: int, _result: int) -> Local:
    names, sizes = _labelled(program.shape(eqn.operands[0]), 0)
    inn = tuple(_axis(names[axis]) for axis in range(len(names)))
    out = tuple(axis for place, axis in enumerate(inn) if place not in eqn.parameters["axes"])
    return Explicit(Pattern(out, inn, (), tuple(sizes)), None, "reduce_sum")
