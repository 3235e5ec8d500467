"""JᵀJ, or JᵀHJ, from the factors of J: block by block, Σ over samples of (Σ over outputs of δδ′ᵀ) ⊗ (hh′ᵀ).

The sum over a sample's m outputs is taken before the parameters are paired, so that JᵀJ takes about N·M² operations where the
rows of J take N·m·M², and a last layer's block stays the one small matrix that it is for every output.

Where each parameter index belongs either to δ or to h, as in a dense layer, the block is a product of two matrices with a row a
sample: the entries of δHδ′ᵀ, and those of hh′ᵀ. Both are symmetric for a layer with itself, and half of each is multiplied: of
2 units and 3 inputs, 3 · 6 sums in the place of 36.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from netjac.parameters.questions import Arrays, Uses
from netjac.parameters.uses import Contraction, Layout, Placed

PAIRED = 4
"""Units, and inputs, from which a layer's pairs are multiplied where there is one output, whose rows of J are no more than the
samples. Of 10 units and 10 inputs that took a third of the time, of 10 and 4 four fifths, of 20 and 1 sixteen times."""


def divided_alike(uses: Uses, rows: tuple[int, ...]) -> bool:
    """Whether every use divides the rows into these axes, as `normal` needs it."""
    return bool(uses) and all(use.layout.rows == rows for use in uses)


@partial(jax.jit, static_argnums=(0, 2))
def normal(uses: Uses, arrays: Arrays, sizes: tuple[int, ...], H: jax.Array | None = None) -> jax.Array:
    """(M, M) for uses that divide the rows into (N, m), or (N,) for one output; with H (N, m, m), or (m, m) for all, JᵀHJ."""
    starts = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    total = jnp.zeros((starts[-1], starts[-1]))
    for a, one in enumerate(uses):
        for other in uses[a:]:
            i, j = one.parameter, other.parameter
            apart = _apart(one.layout) and _apart(other.layout)
            found = (_by_samples if apart else _contracted)(one, other, arrays, H)
            block = found.reshape((sizes[i], sizes[j])).astype(total.dtype)
            total = _added(total, block, starts[i], starts[j])
            if one is not other:
                total = _added(total, block.T, starts[j], starts[i])
    return total


def _contracted(one: Placed, other: Placed, arrays: Arrays, H: jax.Array | None) -> jax.Array:
    """The block of two uses, by whichever order takes the fewest operations."""
    sum_ = Contraction()
    (out, inn), (across, twin) = sum_.use(one, arrays), sum_.use(other, arrays)
    if H is None:
        sum_.tie(across, out)
    else:
        sum_.tie(across[:1], out[:1])
        sum_.array([*out, across[1]][-H.ndim :], H)
    return sum_.sum([*inn, *twin])


def _apart(layout: Layout) -> bool:
    """Whether every index is δ's or h's alone, one run of them each, and only δ, which differs from sample to sample, tells a
    sample's outputs apart."""
    if len(layout.arrays) != 2 or len(layout.out) not in (1, 2) or layout.out[0] not in layout.arrays[0]:
        return False
    sample, *output = layout.out
    upper, lower = ({*labels} - {sample} for labels in layout.arrays)
    if not output and min(prod(layout.sizes[n] for n in side) for side in (upper, lower)) < PAIRED:
        return False
    of_upper = [n in upper for n in layout.inn]
    changes = sum(a != b for a, b in pairwise(of_upper))
    known = upper | lower <= {*output, *layout.inn}
    return (
        known
        and not upper & lower
        and not lower.intersection(output)
        and changes < 2
        and {*layout.inn} <= upper | lower
    )


def _by_samples(one: Placed, other: Placed, arrays: Arrays, H: jax.Array | None) -> jax.Array:
    """The block of two uses whose indices are apart."""
    (upper, lower), (across, twin) = _parts(one, arrays), _parts(other, arrays)
    pushed = across if H is None else H @ across
    weights, lower, twin = (
        jnp.swapaxes(upper, 1, 2) @ pushed,
        lower.T,
        twin.T,
    )  # samples last, where products are fastest
    if one is other:
        (rows, where), (columns, there) = _half(upper.shape[2]), _half(len(lower))
        found = (lower[columns[0]] * lower[columns[1]]) @ weights[:, *rows]
        block = found[there][:, :, where]
    else:
        pairs = (lower[:, None] * twin).reshape((-1, lower.shape[1]))
        block = (pairs @ weights.reshape((len(weights), -1))).reshape((len(lower), len(twin), *weights.shape[1:]))
    first, second = (2, 0) if _delta_first(one.layout) else (0, 2), (3, 1) if _delta_first(other.layout) else (1, 3)
    return block.transpose((*first, *second))


def _parts(one: Placed, arrays: Arrays) -> tuple[jax.Array, jax.Array]:
    """δ (N, m, its indices) and h (N, its indices), written out."""
    layout, found = one.layout, []
    for part in (0, 1):
        sum_ = Contraction()
        out, inn = sum_.use(one, arrays, part)
        own = [name for n, name in zip(layout.inn, inn, strict=True) if n in layout.arrays[part]]
        rows = out if part == 0 else out[:1]
        divided = (layout.rows[0], prod(layout.rows[1:])) if part == 0 else layout.rows[:1]
        found.append(sum_.sum([*rows, *own]).reshape((*divided, -1)))
    return found[0], found[1]


def _delta_first(layout: Layout) -> bool:
    return not layout.inn or layout.inn[0] in layout.arrays[0]


def _half(size: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The entries on and above the diagonal of a symmetric matrix, and where among them each of its entries is."""
    rows, columns = np.triu_indices(size)
    where = np.zeros((size, size), np.int64)
    where[rows, columns] = where[columns, rows] = np.arange(len(rows))
    return (rows, columns), where


def _added(total: jax.Array, block: jax.Array, row: int, column: int) -> jax.Array:
    here = jax.lax.dynamic_slice(total, (row, column), block.shape)
    return jax.lax.dynamic_update_slice(total, here + block, (row, column))
