"""JᵀJ, or JᵀHJ, from the factors of J: block by block, Σ over samples of (Σ over outputs of δδ′ᵀ) ⊗ (hh′ᵀ).

The sum over a sample's m outputs is taken before the parameters are paired, so that JᵀJ takes about N·M² operations where the
rows of J take N·m·M², and a last layer's block stays the one small matrix that it is for every output.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from netjac.parameters.questions import Arrays, Uses
from netjac.parameters.uses import Contraction


def divided_alike(uses: Uses, rows: tuple[int, ...]) -> bool:
    """Whether every use divides the rows into these axes, as `normal` needs it."""
    return bool(uses) and all(use.layout.rows == rows for use in uses)


@partial(jax.jit, static_argnums=(0, 2))
def normal(uses: Uses, arrays: Arrays, sizes: tuple[int, ...], H: jax.Array | None = None) -> jax.Array:
    """(M, M) for uses that divide the rows into (N, m); with H (N, m, m), or (m, m) for all, JᵀHJ."""
    starts = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    total = jnp.zeros((starts[-1], starts[-1]))
    for a, one in enumerate(uses):
        for other in uses[a:]:
            sum_ = Contraction()
            (out, inn), (across, twin) = sum_.use(one, arrays), sum_.use(other, arrays)
            if H is None:
                sum_.tie(across, out)
            else:
                sum_.tie(across[:1], out[:1])
                sum_.array([*out, across[1]][-H.ndim :], H)
            i, j = one.parameter, other.parameter
            block = sum_.sum([*inn, *twin]).reshape((sizes[i], sizes[j])).astype(total.dtype)
            total = _added(total, block, starts[i], starts[j])
            if one is not other:
                total = _added(total, block.T, starts[j], starts[i])
    return total


def _added(total: jax.Array, block: jax.Array, row: int, column: int) -> jax.Array:
    here = jax.lax.dynamic_slice(total, (row, column), block.shape)
    return jax.lax.dynamic_update_slice(total, here + block, (row, column))
