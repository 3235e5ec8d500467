"""One use of a parameter as labelled arrays: any question about Σ δ · h is an einsum over them.

The labels are a pattern's own, so that ties are equal labels. Which arrays are contracted first is opt_einsum's choice, by
operations: for the Gram matrix of a dense layer it comes to (δδᵀ) ∘ (hhᵀ), for a layer of many sites to whichever is cheaper of
the rows themselves and the "ghost" form without them (Goodfellow, arXiv 1510.01799; Li et al., arXiv 2110.05679).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Pattern, labels_of
from netjac.factors.product import HALF, matched

Operand = tuple[tuple[int, ...], jax.Array]


@dataclass(frozen=True)
class Layout:
    """What is known of a use before its numbers are: the labels of the result's two sides and of each array.

    `out` and `inn` are the labels of the flat row and of the flat parameter index, in order; `scale` counts what is summed
    without numbers.
    """

    out: tuple[int, ...]
    inn: tuple[int, ...]
    arrays: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    scale: int

    @property
    def rows(self) -> tuple[int, ...]:
        """The row's axes as this use divides them."""
        return tuple(self.sizes[n] for n in self.out)

    @property
    def entries(self) -> tuple[int, ...]:
        """The parameter's axes as this use divides them."""
        return tuple(self.sizes[n] for n in self.inn)


@dataclass(frozen=True)
class Placed:
    """A use of one parameter (by place), and where its numbers lie among the arrays: uses of one δ share them."""

    parameter: int
    layout: Layout
    places: tuple[int, ...]


def layout(upper: Pattern, lower: Pattern | None = None) -> Layout:
    """Of δ · h, or of one factor alone."""
    if lower is None:
        return Layout(labels_of(upper.out), labels_of(upper.inn), (upper.data,), upper.sizes, 1)
    left, right, meeting = matched(upper, lower)
    names = {theirs: ours for ours, theirs in meeting}
    sizes = list(left.pattern.sizes)
    for label, size in enumerate(right.pattern.sizes):
        if label not in names:
            names[label] = len(sizes)
            sizes.append(size)
    out, inn = labels_of(left.pattern.out), tuple(names[n] for n in labels_of(right.pattern.inn))
    data = left.pattern.data, tuple(names[n] for n in right.pattern.data)
    summed = {*labels_of(left.pattern.inn)} - {*out, *inn, *data[0], *data[1]}
    return Layout(out, inn, data, tuple(sizes), prod(sizes[n] for n in summed))


class Contraction:
    """A sum of products over named labels, of as many uses and vectors as are brought into it."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._same: list[int] = []
        self._operands: list[Operand] = []
        self._scalars: list[jax.Array] = []
        self._indices: list[int] = []
        self._scale = 1

    def label(self, size: int) -> int:
        self._sizes.append(size)
        self._same.append(len(self._same))
        return len(self._same) - 1

    def use(self, placed: Placed, arrays: Sequence[jax.Array], part: int | None = None) -> tuple[list[int], list[int]]:
        """Bring a use in, or one part of it: δ (0) or h (1, and what is summed without numbers).

        Gives the labels of its row and of its parameter index.
        """
        one = placed.layout
        names = [self.label(size) for size in one.sizes]
        for k, (labels, place) in enumerate(zip(one.arrays, placed.places, strict=True)):
            if part in (None, k):
                shape = [one.sizes[n] for n in labels]
                self.array([names[n] for n in labels], arrays[place].reshape(shape))
        out, inn = [names[n] for n in one.out], [names[n] for n in one.inn]
        if part is None:
            self._indices += [*out, *inn]
        if part != 0:
            self._scale *= one.scale
        return out, inn

    def meets(self, label: int) -> bool:
        """Whether some array has it."""
        root = self._root(label)
        return any(self._root(n) == root for labels, _ in self._operands for n in labels)

    def array(self, labels: Sequence[int], array: jax.Array) -> None:
        wide = array.astype(jnp.float32) if array.dtype in HALF else array
        if labels:
            self._operands.append((tuple(labels), wide))
        else:
            # Apart from the einsum, so that equal products of several uses are seen to be equal.
            self._scalars.append(wide.reshape(()))

    def tie(self, some: Sequence[int], others: Sequence[int]) -> None:
        """Make two lists of labels the same, one by one."""
        for a, b in zip(some, others, strict=True):
            self._same[self._root(a)] = self._root(b)

    def _root(self, label: int) -> int:
        while self._same[label] != label:
            label = self._same[label]
        return label

    def sum(self, result: Sequence[int]) -> jax.Array:
        """Σ over all labels that the result has not; one that stands in it twice is a diagonal, written out."""
        operands = [([self._root(n) for n in labels], array) for labels, array in self._operands]
        dtype = jnp.result_type(*(array.dtype for array in (*self._scalars, *(array for _, array in operands))))
        roots = [self._root(n) for n in result]
        present = list(dict.fromkeys(n for labels, _ in operands for n in labels))
        wanted = [n for n in dict.fromkeys(roots) if n in present]
        short = {n: place for place, n in enumerate(present)}
        flat = [entry for labels, array in operands for entry in (array, [short[n] for n in labels])]
        path = "optimal" if len(operands) < 8 else "auto"
        if len(wanted) == len(present) and all(len({*labels}) == len(labels) for labels, _ in operands):
            found = _outer(operands, wanted, dtype)
        else:
            found = jnp.einsum(*flat, [short[n] for n in wanted], optimize=path)
        for scalar in self._scalars:
            found = found * scalar
        silent = {self._root(n) for n in self._indices} - {*present} - {*roots}
        return self._spread(found * (self._scale * prod(self._sizes[n] for n in silent)), wanted, roots)

    def _spread(self, found: jax.Array, wanted: Sequence[int], roots: Sequence[int]) -> jax.Array:
        """Along the labels that no array has, and off the diagonals: by broadcasting, which takes no product."""
        first = {root: roots.index(root) for root in roots}
        shape = [self._sizes[n] if first[n] == place and n in wanted else 1 for place, n in enumerate(roots)]
        found = found.reshape(shape)
        for place, root in enumerate(roots):
            if first[root] != place:
                sides = [self._sizes[root] if n in (first[root], place) else 1 for n in range(len(roots))]
                found = found * jnp.eye(self._sizes[root], dtype=found.dtype).reshape(sides)
        return jnp.broadcast_to(found, [self._sizes[n] for n in roots])


def _outer(operands: Sequence[tuple[list[int], jax.Array]], wanted: Sequence[int], dtype: jnp.dtype) -> jax.Array:
    """A product without sums, by broadcasting: XLA writes it where it is put, where a contraction has an array of its own."""
    found = jnp.ones((), dtype)
    for labels, array in operands:
        order = sorted(range(len(labels)), key=lambda place: wanted.index(labels[place]))
        there = [n in labels for n in wanted]
        sizes = iter(jnp.transpose(array, order).shape)
        found = found * jnp.transpose(array, order).reshape([next(sizes) if has else 1 for has in there])
    return found
