"""One use of a parameter as labelled arrays: any question about Σ δ · h is an einsum over them.

The labels are a pattern's own, so that ties are equal labels. Which pairs of arrays are contracted first is opt_einsum's
choice, by operations: for the Gram matrix of a dense layer it comes to (δδᵀ) ∘ (hhᵀ), for one of many sites to whichever of the
instantiated and the "ghost" form is cheaper (Goodfellow, arXiv 1510.01799; Li et al., arXiv 2110.05679).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Pattern, labels_of
from netjac.factors.product import matched

Operand = tuple[tuple[int, ...], jax.Array]


@dataclass(frozen=True)
class Layout:
    """What is known of a use before its numbers are: the labels of the result's two sides and of each array.

    `out` and `inn` are the labels of the flat row and the flat parameter index, in order; `scale` counts what is summed without
    numbers.
    """

    out: tuple[int, ...]
    inn: tuple[int, ...]
    arrays: tuple[tuple[int, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    scale: int


def layout(upper: Pattern, lower: Pattern | None) -> Layout:
    """Of δ · h, or of one factor alone."""
    if lower is None:
        return Layout(labels_of(upper.out), labels_of(upper.inn), (upper.data,), (upper.data_shape,), upper.sizes, 1)
    left, right, meeting = matched(upper, lower)
    names = {theirs: ours for ours, theirs in meeting}
    sizes = list(left.pattern.sizes)
    for label in range(len(right.pattern.sizes)):
        if label not in names:
            names[label] = len(sizes)
            sizes.append(right.pattern.sizes[label])
    inn = tuple(names[n] for n in labels_of(right.pattern.inn))
    out = labels_of(left.pattern.out)
    data = left.pattern.data, tuple(names[n] for n in right.pattern.data)
    summed = {names[n] for n in right.pattern.out_labels} - {*out, *inn, *data[0], *data[1]}
    shapes = left.pattern.data_shape, right.pattern.data_shape
    return Layout(out, inn, data, shapes, tuple(sizes), prod(sizes[n] for n in summed))


@dataclass(frozen=True, eq=False)
class Numbers:
    """A use with its numbers, (of one block of samples)."""

    layout: Layout
    arrays: tuple[jax.Array, ...]

    def operands(self, rename: dict[int, int]) -> list[Operand]:
        """The arrays with their labels under other names."""
        pairs = zip(self.layout.arrays, self.layout.shapes, self.arrays, strict=True)
        return [(tuple(rename[n] for n in labels), array.reshape(shape)) for labels, shape, array in pairs]


class Names:
    """Hands out names for the labels of several uses, and knows their sizes."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self._next = itertools.count()

    def new(self, size: int) -> int:
        name = next(self._next)
        self.sizes[name] = size
        return name

    def of(self, use: Numbers) -> dict[int, int]:
        """Fresh names for all labels of a use."""
        return {label: self.new(size) for label, size in enumerate(use.layout.sizes)}


def contract(names: Names, operands: Sequence[Operand], result: Sequence[int], scale: int = 1) -> jax.Array:
    """Σ over all labels but the result's; a label that stands twice in the result is a diagonal, written out."""
    chosen = list(operands)
    wanted: list[int] = []
    for label in result:
        if label in wanted:
            twin = names.new(names.sizes[label])
            chosen.append(((label, twin), jnp.eye(names.sizes[label], dtype=chosen[0][1].dtype)))
            wanted.append(twin)
        else:
            wanted.append(label)
    present = {n for labels, _ in chosen for n in labels}
    dtype = chosen[0][1].dtype
    chosen += [((n,), jnp.ones(names.sizes[n], dtype)) for n in wanted if n not in present]
    short = {n: place for place, n in enumerate(dict.fromkeys(n for labels, _ in chosen for n in labels))}
    flat = [entry for labels, array in chosen for entry in (array, [short[n] for n in labels])]
    found = jnp.einsum(*flat, [short[n] for n in wanted], optimize="optimal" if len(chosen) < 7 else "auto")
    return found * scale if scale != 1 else found
