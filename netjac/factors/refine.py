"""Cutting axes into common atoms, so that two patterns that meet at a value speak of the same indices.

A value of shape (6, 4) may be seen as atoms (6 | 4) by one neighbour and (2·3 | 4) by the other: the first is split.
Atoms that straddle each other, (4·3) against (6·2), have no common refinement: the axis is then made whole on both
sides (`whole`), which costs the ties along it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Axes, Pattern, Window, labels_of

Splits = Mapping[int, tuple[int, ...]]


def common_atoms(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...] | None:
    """Sizes of the coarsest atoms that refine both lists, major first; None where they straddle."""
    bounds = sorted(set(_bounds(left)) | set(_bounds(right)))
    if any(wide % narrow for narrow, wide in pairwise(bounds)):
        return None
    return tuple(wide // narrow for narrow, wide in pairwise(bounds))[::-1]


def _bounds(sizes: Sequence[int]) -> list[int]:
    bounds = [1]
    for size in reversed(sizes):
        bounds.append(bounds[-1] * size)
    return bounds


def parts(size_list: Sequence[int], refined: Sequence[int]) -> list[tuple[int, ...]]:
    """For each size of the list, the refined atoms that make it up."""
    result, rest = [], list(refined)
    for size in size_list:
        taken: list[int] = []
        while prod(taken) < size:
            taken.append(rest.pop(0))
        result.append(tuple(taken))
    return result


@dataclass(frozen=True)
class Split:
    """A pattern with some labels cut into several; the data is reshaped, never moved."""

    pattern: Pattern

    def apply(self, data: jax.Array | None) -> jax.Array | None:
        return None if data is None else data.reshape(self.pattern.data_shape)


def split(pattern: Pattern, splits: Splits) -> tuple[Split, dict[int, tuple[int, ...]]]:
    """Cut each label of `splits` into atoms of the given sizes; also returns which labels came from which."""
    fresh: dict[int, tuple[int, ...]] = {}
    sizes = list(pattern.sizes)
    for label in range(len(pattern.sizes)):
        pieces = splits.get(label, (pattern.sizes[label],))
        if len(pieces) == 1:
            fresh[label] = (label,)
            continue
        fresh[label] = tuple(range(len(sizes), len(sizes) + len(pieces)))
        sizes.extend(pieces)

    def cut(axes: Axes) -> Axes:
        return tuple(tuple(piece for label in axis for piece in fresh[label]) for axis in axes)

    data = tuple(piece for label in pattern.data for piece in fresh[label])
    windows = tuple(_cut(window, fresh, sizes) for window in pattern.windows)
    return Split(Pattern(cut(pattern.out), cut(pattern.inn), data, tuple(sizes), windows)), fresh


def _cut(window: Window, fresh: Mapping[int, tuple[int, ...]], sizes: Sequence[int]) -> Window:
    assert fresh[window.label] == (window.label,), "the label of a window was cut"
    terms = tuple(
        (piece, stride * prod(sizes[n] for n in fresh[label][place + 1 :]))
        for label, stride in window.terms
        for place, piece in enumerate(fresh[label])
    )
    return replace(window, terms=terms)


@dataclass(frozen=True)
class Untie:
    """A factor whose tied `labels` become a label on each side, with the Kronecker delta written out as data."""

    source: Pattern
    labels: tuple[int, ...]
    pattern: Pattern

    def apply(self, data: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
        array = jnp.ones((), dtype) if data is None else data
        present = list(self.source.data)
        for label in self.labels:
            size = self.source.sizes[label]
            if label not in present:
                array = jnp.broadcast_to(array[..., None], (*array.shape, size))
                present.append(label)
            shape = [1] * array.ndim + [size]
            shape[present.index(label)] = size
            array = array[..., None] * jnp.eye(size, dtype=array.dtype).reshape(shape)
            present.append(-1)
        return array


def untie(pattern: Pattern, labels: Sequence[int]) -> Untie:
    """Give each tied label in `labels` a label of its own on the `inn` side.

    >>> from netjac.factors.pattern import diagonal
    >>> untie(diagonal((3,)), (0,)).pattern
    Pattern(out=((0,),), inn=((1,),), data=(0, 1), sizes=(3, 3))
    """
    sizes, data = list(pattern.sizes), list(pattern.data)
    twin: dict[int, int] = {}
    for label in labels:
        twin[label] = len(sizes)
        sizes.append(pattern.sizes[label])
        if label not in data:
            data.append(label)
        data.append(twin[label])
    inn = tuple(tuple(twin.get(label, label) for label in axis) for axis in pattern.inn)
    untied = Pattern(pattern.out, inn, tuple(data), tuple(sizes), pattern.windows)
    return Untie(pattern, tuple(labels), untied)


@dataclass(frozen=True)
class Whole:
    """A factor in which an axis of several untied atoms becomes one atom again."""

    source: Pattern
    merged: tuple[int, ...]
    pattern: Pattern

    def apply(self, data: jax.Array | None) -> jax.Array | None:
        if data is None or not set(self.merged) & set(self.source.data):
            return data
        kept = [label for label in self.source.data if label not in self.merged]
        full = spread(data, self.source.data, (*kept, *self.merged), self.source.sizes)
        return full.reshape(self.pattern.data_shape)


def whole(pattern: Pattern, side: str, axis: int) -> Whole:
    """Join the atoms of one axis of "out" or "inn"; none of them may be tied or be named by a window."""
    axes = getattr(pattern, side)
    merged = axes[axis]
    label = len(pattern.sizes)
    sizes = (*pattern.sizes, prod(pattern.sizes[atom] for atom in merged))
    joined = (*axes[:axis], (label,), *axes[axis + 1 :])
    data = tuple(atom for atom in pattern.data if atom not in merged)
    if set(merged) & set(pattern.data):
        data = (*data, label)
    out, inn = (joined, pattern.inn) if side == "out" else (pattern.out, joined)
    return Whole(pattern, merged, Pattern(out, inn, data, sizes, pattern.windows))


def spread(data: jax.Array, labels: Sequence[int], wanted: Sequence[int], sizes: Sequence[int]) -> jax.Array:
    """The data with exactly the axes `wanted`, in that order, repeated along those it does not have."""
    order = [labels.index(label) for label in wanted if label in labels]
    shape = [sizes[label] if label in labels else 1 for label in wanted]
    array = jnp.transpose(data, order).reshape(shape)
    return jnp.broadcast_to(array, [sizes[label] for label in wanted])


def densify(
    pattern: Pattern, data: jax.Array | None, dtype: jnp.dtype, keep: frozenset[int] = frozenset()
) -> jax.Array:
    """All entries as (*kept tied labels, *out, *in), the `keep` labels left out of both sides; windows are placed already."""
    assert not pattern.windows, "a window reaches the writing out of entries"
    tied = tuple(sorted(pattern.tied - keep))
    array = jnp.ones((), dtype) if data is None else data
    if tied:
        step = untie(pattern, tied)
        array, pattern = step.apply(array, dtype), step.pattern
    outer = tuple(label for label in labels_of(pattern.out) if label in keep)
    wanted = outer + tuple(label for label in labels_of(pattern.out) + labels_of(pattern.inn) if label not in keep)
    return spread(array, pattern.data, wanted, pattern.sizes)
