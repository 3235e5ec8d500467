"""Factors at some of the indices of an axis: those at which a scaling is not zero, known once its numbers are.

A relu that is 0 at most units scales most rows of the factor below it, and most columns of the one above, by 0. `Alive`
finds the units that are left, as many as a size that was fixed beforehand has room for, and `Pick` takes them out of the
factors on both sides, so that the products are of small dense matrices.

    φ′ = (1, 0, 0, 1, 0, 1), room for 4        index (0, 3, 5, ·), numbers (1, 1, 1, 0)

Room that is left over stands for no unit: its numbers are 0, whatever its index says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from netjac.factors.pattern import Pattern, labels_of
from netjac.factors.refine import spread


@dataclass(frozen=True)
class Alive:
    """A scaling with one axis cut down to the entries that are not zero; all its other labels are `outer`."""

    source: Pattern
    label: int
    pattern: Pattern

    @property
    def outer(self) -> tuple[int, ...]:
        return tuple(n for n in labels_of(self.source.out) if n != self.label)

    def counts(self, data: jax.Array) -> jax.Array:
        """The most entries that are not zero along the axis, at any place of the others."""
        return (self._rows(data) != 0).sum(-1).max(initial=0)

    def apply(self, data: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The indices (*outer, room) of entries that are not zero, in rising order, and the numbers there."""
        rows = self._rows(data)
        flat = rows.reshape((-1, rows.shape[-1]))
        alive = flat != 0
        room = self.pattern.sizes[self.label]
        places = jnp.where(alive, jnp.cumsum(alive, -1, dtype=jnp.int32) - 1, room)
        numbered = jnp.broadcast_to(jnp.arange(flat.shape[1], dtype=jnp.int32), flat.shape)
        empty = jnp.zeros((flat.shape[0], room), jnp.int32)
        index = empty.at[jnp.arange(flat.shape[0])[:, None], places].set(numbered, mode="drop")
        filled = jnp.arange(room) < alive.sum(-1, keepdims=True)
        numbers = jnp.where(filled, jnp.take_along_axis(flat, index, -1), 0)
        shape = (*rows.shape[:-1], room)
        return index.reshape(shape), numbers.reshape(shape)

    def _rows(self, data: jax.Array) -> jax.Array:
        return spread(data, self.source.data, (*self.outer, self.label), self.source.sizes)


def alive(scaling: Pattern, label: int, room: int) -> Alive:
    """Plan the cutting down of a scaling's axis to `room` entries; the numbers then lie along (*outer, label)."""
    sizes = tuple(room if n == label else size for n, size in enumerate(scaling.sizes))
    outer = tuple(n for n in labels_of(scaling.out) if n != label)
    return Alive(scaling, label, replace(scaling, data=(*outer, label), sizes=sizes))


@dataclass(frozen=True)
class Pick:
    """A factor at the indices of an `Alive` along `label`; `outer` are its own labels for the outer axes of those indices."""

    source: Pattern
    label: int
    outer: tuple[int, ...]
    pattern: Pattern

    def apply(self, data: jax.Array, index: jax.Array) -> jax.Array:
        labels, sizes = self.source.data, self.pattern.sizes
        place = labels.index(self.label)
        if set(self.outer) & set(labels):
            fresh = tuple(n for n in self.outer if n not in labels)
            labels = (*fresh, *labels)
            array = spread(data, self.source.data, labels, self.source.sizes)
            along = tuple(n for n in labels if n in self.outer or n == self.label)
            shape = [sizes[n] if n in along else 1 for n in labels]
            where = spread(index, (*self.outer, self.label), along, sizes).reshape(shape)
            taken = jnp.take_along_axis(array, where, labels.index(self.label), mode="clip")
        else:
            taken = jnp.take(data, index, axis=place, mode="clip")
            labels = (*labels[:place], *self.outer, *labels[place:])
        return jnp.transpose(taken, [labels.index(n) for n in self.pattern.data])


def pick(source: Pattern, label: int, outer: tuple[int, ...], room: int) -> Pick:
    """Plan the picking. `label` is one that the numbers vary along and that only one side has.

    The numbers stay in the order they are in: to turn them while picking costs more than all else about it.
    """
    place = source.data.index(label)
    fresh = tuple(n for n in outer if n not in source.data)
    data = (*source.data[:place], *fresh, *source.data[place:])
    sizes = tuple(room if n == label else size for n, size in enumerate(source.sizes))
    return Pick(source, label, outer, replace(source, data=data, sizes=sizes))
