"""A layer's block of JᵀJ as a Kronecker product, where it is one exactly.

Σ over rows of (δ ⊗ h)(δ ⊗ h)ᵀ is (Σ δδᵀ) ⊗ (Σ hhᵀ) where no row tells δ and h apart: for the last layer, whose δ is the same at
all samples, for a bias, and for a single sample. Elsewhere it is an approximation (K-FAC: Martens & Grosse, arXiv 1503.05671),
which is not made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np

from netjac.parameters.questions import Arrays
from netjac.parameters.uses import Contraction, Placed


def kronecker(uses: Sequence[Placed], arrays: Arrays) -> list[np.ndarray] | None:
    """Matrices whose Kronecker product in this order is the block of JᵀJ of one parameter; None where there are none."""
    if len(uses) != 1:
        return None
    one = uses[0].layout
    met = [{n for n in labels if one.sizes[n] > 1} for labels in one.arrays]
    if len(met) == 2 and met[0] & met[1]:
        return None
    owner = {n: part for part, labels in enumerate(one.arrays) for n in labels}
    runs = [(part, list(labels)) for part, labels in groupby(one.inn, lambda n: owner.get(n, -1 - n))]
    if len({part for part, _ in runs}) < len(runs):
        return None
    found = [
        np.asarray(_factor(uses[0], arrays, part, labels)) if part >= 0 else _without_numbers(uses[0], labels[0])
        for part, labels in runs
    ]
    scale = 1.0
    for part in {*range(len(met))} - {part for part, _ in runs}:
        scale *= float(_factor(uses[0], arrays, part, [])[0, 0])
    for n in {*one.out} - {*one.inn} - {*owner}:
        scale *= one.sizes[n]
    return [found[0] * scale, *found[1:]] if found else [np.full((1, 1), scale)]


def added(one: list[np.ndarray] | None, other: list[np.ndarray] | None) -> list[np.ndarray] | None:
    """The product that is the sum of two; None where that is none."""
    if one is None or other is None:
        return None
    differ = [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if not np.array_equal(a, b)]
    if len(differ) > 1:
        return None
    place = differ[0] if differ else 0
    return [a + b if k == place else a for k, (a, b) in enumerate(zip(one, other, strict=True))]


def _factor(placed: Placed, arrays: Arrays, part: int, labels: Sequence[int]) -> jax.Array:
    """Σ over the rows of one part with itself, over the parameter's axes that it has."""
    sum_ = Contraction()
    names = []
    (out, inn), (same, twin) = sum_.use(placed, arrays, part), sum_.use(placed, arrays, part)
    sum_.tie(same, out)
    for side in (inn, twin):
        names += [side[placed.layout.inn.index(n)] for n in labels]
    size = int(np.prod([placed.layout.sizes[n] for n in labels]))
    return jnp.reshape(sum_.sum(names), (size, size))


def _without_numbers(placed: Placed, label: int) -> np.ndarray:
    """Of an axis that no array has: each row's own, or the same in all."""
    size = placed.layout.sizes[label]
    return np.eye(size) if label in placed.layout.out else np.ones((size, size))
