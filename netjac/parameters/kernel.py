"""The Gram matrix of rows: J J′ᵀ as Σ over the δ of (δδ′ᵀ) ∘ Σ over what meets it of (hh′ᵀ).

A layer's weights and its bias share one δ, and so does whatever else is added to the same value: δδ′ᵀ, (N·m)² numbers, is
multiplied once, and what it is scaled by is summed before. Jacot et al., arXiv 1806.07572; Novak et al., arXiv 2206.08720,
section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp

from netjac.parameters.questions import Arrays, Uses
from netjac.parameters.uses import Contraction, Placed

Pair = tuple[Placed, Placed]
UPPER, LOWER = 0, 1


@partial(jax.jit, static_argnums=(0, 2, 4, 5))
def gram(uses: Uses, arrays: Arrays, others: Uses, theirs: Arrays, rows: int, columns: int) -> jax.Array:
    """J J′ᵀ, (rows, columns): Σ over the parameters of every use here with every use there."""
    total = jnp.zeros((rows, columns))
    for shared, pairs in grouped(uses, others).items():
        if isinstance(shared, Shared):
            scales = [_contracted(pair, arrays, theirs, LOWER) for pair in pairs]
            found = _contracted(pairs[0], arrays, theirs, UPPER) * sum(scales[1:], scales[0])
            found = jnp.broadcast_to(found, shared.shape)
        else:
            found = _contracted(pairs[0], arrays, theirs)
        total = total + found.reshape(total.shape)
    return total


@dataclass(frozen=True)
class Shared:
    """What a δδ′ᵀ is known by: where the two are, which of their axes are rows and which are summed, and how rows divide."""

    one: int
    other: int
    axes: tuple[tuple[bool, int], ...]
    shape: tuple[int, ...]


def grouped(uses: Uses, others: Uses) -> dict[Shared | Pair, list[Pair]]:
    """Pairs of uses of one parameter, by the δδ′ᵀ that they share; a pair that shares none stands alone."""
    found: dict[Shared | Pair, list[Pair]] = {}
    for one, other in product(uses, others):
        if one.parameter == other.parameter:
            found.setdefault(_shared(one, other) or (one, other), []).append((one, other))
    return found


def _shared(one: Placed, other: Placed) -> Shared | None:
    """None where an index that is summed runs through both δ and h."""
    ours, theirs = one.layout, other.layout
    if len(ours.arrays) < 2 or len(theirs.arrays) < 2 or not ours.arrays[UPPER] or not theirs.arrays[UPPER]:
        return None
    if len({*ours.inn}) < len(ours.inn) or len({*theirs.inn}) < len(theirs.inn):
        return None
    name = dict(zip(theirs.inn, ours.inn, strict=True))

    def named(labels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(name.get(n, n + len(ours.sizes)) for n in labels)

    result = (*ours.out, *named(theirs.out))
    upper = (*ours.arrays[UPPER], *named(theirs.arrays[UPPER]))
    lower = {*ours.arrays[LOWER], *named(theirs.arrays[LOWER])}
    summed = {*upper} & lower - {*result}
    if summed or len({*result}) < len(result) or not {*ours.inn} <= {*upper} | lower:
        return None
    axes = tuple((n in result, result.index(n) if n in result else upper.index(n)) for n in upper)
    return Shared(one.places[UPPER], other.places[UPPER], axes, ours.rows + theirs.rows)


def _contracted(pair: Pair, arrays: Arrays, theirs: Arrays, part: int | None = None) -> jax.Array:
    """Over the rows of both, by the axes they are divided into; of one part, an axis that it lacks has length 1."""
    one, other = pair
    sum_ = Contraction()
    (out, inn), (across, same) = sum_.use(one, arrays, part), sum_.use(other, theirs, part)
    sum_.tie(same, inn)
    result = [*out, *across]
    shape = one.layout.rows + other.layout.rows
    if part is None:
        return sum_.sum(result).reshape(shape)
    has = [sum_.meets(n) for n in result]
    found = sum_.sum([n for n, there in zip(result, has, strict=True) if there])
    return found.reshape([size if there else 1 for size, there in zip(shape, has, strict=True)])
