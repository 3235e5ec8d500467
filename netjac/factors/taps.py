"""The hidden taps of a window: joining several into one, and putting the numbers in their place.

A product of A[p, k] at i = s·p + k and B[l] at j = i + l has the window j = s·p + (k + l), whose taps k and l are joined
into one, q = k + l, either in B before the product (`banded`, a matrix product with B's band matrix) or after it
(`joined`, a sum of shifted copies). Numbers are put in their place (`placed`) when nothing local is left: then j is an
axis like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.factors.pattern import Pattern, Window
from netjac.factors.refine import spread
from netjac.factors.window import Terms, moves, reach, substituted


@dataclass(frozen=True)
class Banded:
    """A factor whose hidden taps `tap` become positions q, one row of them for each index of `along`: its band matrix."""

    source: Pattern
    along: tuple[int, ...]
    tap: tuple[int, ...]
    pattern: Pattern
    indicator: tuple[Terms, int, int]

    def apply(self, data: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
        terms, offset, label = self.indicator
        marks = indicator(terms, offset, label, self.pattern.sizes, dtype)
        return _contracted(self.source, data, marks, (*(n for n, _ in terms), label), self.pattern, dtype)


def banded(pattern: Pattern, place: int, along: Sequence[int]) -> Banded:
    """For the window at `place`: the terms `along` and all hidden ones become one hidden term."""
    old = pattern.windows[place]
    taps = tuple(n for n, _ in old.terms if n in pattern.hidden)
    joint = tuple((n, stride) for n, stride in old.terms if n in taps or n in along)
    step, low, length = _lattice(joint, pattern.sizes)
    q = len(pattern.sizes)
    terms = (*(term for term in old.terms if term not in joint), (q, step))
    windows = list(pattern.windows)
    windows[place] = replace(old, terms=terms, offset=old.offset + low)
    rest = [n for n in pattern.data if n not in taps and n not in along]
    places = [n for n in rest if n in pattern.tied or n in {m for w in windows for m, _ in w.terms}]
    # Channels last: the product that sums over the new label writes a block whose innermost axis they are.
    data = (*places, *along, q, *(n for n in rest if n not in places))
    result = Pattern(pattern.out, pattern.inn, data, (*pattern.sizes, length), tuple(windows))
    divided = tuple((n, stride // step) for n, stride in joint)
    return Banded(pattern, tuple(along), taps, result, (divided, -low // step, q))


def bandable(window: Window, pattern: Pattern, along: Collection[int]) -> bool:
    """Whether a window has hidden taps, all its own, beside terms in `along`."""
    names = {n for n, _ in window.terms}
    taps = names & pattern.hidden
    shared = any(taps & {n for n, _ in w.terms} for w in pattern.windows if w is not window)
    return bool(taps and names & set(along)) and not shared


def _lattice(terms: Terms, sizes: Sequence[int]) -> tuple[int, int, int]:
    """The common step of the positions that the terms come to, the least of them, and how many steps they span."""
    step = gcd(*(abs(stride) for _, stride in terms))
    low, high = reach(terms, sizes)
    return step, low, (high - low) // step + 1


def indicator(terms: Terms, offset: int, label: int, sizes: Sequence[int], dtype: jnp.dtype) -> jax.Array:
    """1 where the label's index is Σ stride · term + offset, with one axis a term and the label's last."""
    position = np.full([sizes[n] for n, _ in terms], offset)
    for place, (n, stride) in enumerate(terms):
        shape = [1] * len(terms)
        shape[place] = sizes[n]
        position = position + (stride * np.arange(sizes[n])).reshape(shape)
    return jnp.asarray(position[..., None] == np.arange(sizes[label]), dtype)


def _contracted(
    source: Pattern, data: jax.Array | None, marks: jax.Array, labels: Sequence[int], result: Pattern, dtype: jnp.dtype
) -> jax.Array:
    """Σ data · marks over the labels that the result's data has no more."""
    array = jnp.ones((), dtype) if data is None else data
    return jnp.einsum(array, list(source.data), marks.astype(array.dtype), list(labels), list(result.data))


@dataclass(frozen=True)
class Placed:
    """A factor whose window's label becomes free, its numbers varying along it, zero where the window does not reach."""

    source: Pattern
    window: Window
    pattern: Pattern

    def apply(self, data: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
        w = self.window
        marks = indicator(w.terms, w.offset, w.label, self.source.sizes, dtype)
        return _contracted(self.source, data, marks, (*(n for n, _ in w.terms), w.label), self.pattern, dtype)


def placed(pattern: Pattern, place: int) -> Placed:
    """Make the label of the window at `place` free; at least one of its terms stands on a side."""
    chosen = pattern.windows[place]
    windows = tuple(w for w in pattern.windows if w is not chosen)
    gone = {n for n, _ in chosen.terms if n in pattern.hidden and not any(n in dict(w.terms) for w in windows)}
    added = [n for n, _ in chosen.terms if n not in gone and n not in pattern.data]
    data = (*(n for n in pattern.data if n not in gone), *added, chosen.label)
    return Placed(pattern, chosen, replace(pattern, data=data, windows=windows))


@dataclass(frozen=True)
class Joined:
    """A factor in which hidden terms of a window are summed into one position, by shifted copies."""

    source: Pattern
    terms: Terms
    offset: int
    label: int
    pattern: Pattern

    @property
    def copies(self) -> int:
        """How many shifted copies are summed."""
        sizes = sorted(self.source.sizes[n] for n, _ in self.terms)
        return prod(sizes[:-1])

    def apply(self, data: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
        labels = [n for n, _ in self.terms]
        array = jnp.ones((), dtype) if data is None else data
        kept = [n for n in self.source.data if n not in labels]
        assert set(kept) <= set(self.pattern.data)
        axis, size = self.pattern.data.index(self.label), self.pattern.sizes[self.label]
        if not labels:
            order = tuple(n for n in self.pattern.data if n != self.label)
            alone = jnp.expand_dims(spread(array, self.source.data, order, self.source.sizes), axis)
            return _interleaved([(alone, self.offset)], axis, 1, size)
        digits = _digits(self.terms, self.source.sizes)
        if digits is not None:
            before, after = self.pattern.data[:axis], self.pattern.data[axis + 1 :]
            full = spread(array, self.source.data, (*before, *digits, *after), self.source.sizes)
            lying = (*full.shape[:axis], -1, *full.shape[axis + len(digits) :])
            return _moved(full.reshape(lying), axis, self.offset, size)
        longest = max(self.terms, key=lambda term: self.source.sizes[term[0]])
        others = [term for term in self.terms if term != longest]
        order = (*(n for n, _ in others), *(n if n != self.label else longest[0] for n in self.pattern.data))
        full = spread(array, self.source.data, order, self.source.sizes)
        moved = []
        for steps in product(*(range(self.source.sizes[n]) for n, _ in others)):
            shift = self.offset + sum(step * stride for step, (_, stride) in zip(steps, others, strict=True))
            if longest[1] < 0:
                shift += longest[1] * (self.source.sizes[longest[0]] - 1)
            moved.append((lax.rev(full[steps], (axis,)) if longest[1] < 0 else full[steps], shift))
        return _interleaved(moved, axis, abs(longest[1]), size)


def _digits(terms: Terms, sizes: Sequence[int]) -> tuple[int, ...] | None:
    """The labels of terms that count through consecutive positions, each once, as digits: the first changes slowest. None of
    others. Written as one reshape, they need not be interleaved: 6.7 ms to 1 for the unpooled block of a LeNet."""
    count, ordered = 1, sorted(terms, key=lambda term: abs(term[1]))
    for label, stride in ordered:
        if stride != count:
            return None
        count *= sizes[label]
    return tuple(label for label, _ in reversed(ordered))


def _interleaved(moved: Sequence[tuple[jax.Array, int]], axis: int, stride: int, size: int) -> jax.Array:
    """Σ of arrays whose entry i of the axis goes to stride · i + shift of an axis of `size`.

    By residue: shifts that are equal modulo the stride are summed densely, and the sums are dealt out in turn. Padding each
    array with the zeros between its entries would take as many additions for every residue.
    """
    length = -(-size // stride)
    sums = []
    for residue in range(stride):
        own = [(array, (shift - residue) // stride) for array, shift in moved if (shift - residue) % stride == 0]
        total = jnp.zeros_like(_moved(moved[0][0], axis, 0, length))
        for place, (array, step) in enumerate(own):
            piece = _moved(array, axis, step, length)
            total = total + piece if place else piece
        sums.append(total)
    if stride == 1:
        return sums[0]
    dealt = jnp.stack(sums, axis + 1)
    shape = (*dealt.shape[:axis], length * stride, *dealt.shape[axis + 2 :])
    return lax.slice_in_dim(dealt.reshape(shape), 0, size, axis=axis)


def _moved(array: jax.Array, axis: int, step: int, length: int) -> jax.Array:
    """Entry i of the axis at i + step of an axis of `length`, zeros elsewhere."""
    config = [(0, 0, 0)] * array.ndim
    config[axis] = (step, length - step - array.shape[axis], 0)
    return lax.pad(array, jnp.zeros((), array.dtype), config)


def joined(pattern: Pattern, place: int) -> Joined:
    """Sum the hidden terms of the window at `place` into one, or into its label where all of them are hidden."""
    old = pattern.windows[place]
    hidden = tuple(term for term in old.terms if term[0] in pattern.hidden)
    names = {n for n, _ in hidden}
    rest = [n for n in pattern.data if n not in names]
    at = next((place for place, n in enumerate(pattern.data) if n in names), len(pattern.data))
    before = len([n for n in pattern.data[:at] if n not in names])
    others = [w for w in pattern.windows if w is not old]
    if len(hidden) == len(old.terms):
        if moves(old):
            ((name, stride),) = old.terms
            back, offset = ((old.label, stride),), -stride * old.offset
            others = [substituted(w, name, back, offset, True, pattern.sizes) for w in others]
        data = (*rest[:before], old.label, *rest[before:])
        result = replace(pattern, data=data, windows=tuple(others))
        return Joined(pattern, hidden, old.offset, old.label, result)
    step, low, length = _lattice(hidden, pattern.sizes)
    q = len(pattern.sizes)
    terms = (*(term for term in old.terms if term not in hidden), (q, step))
    windows = tuple(replace(w, terms=terms, offset=w.offset + low) if w is old else w for w in pattern.windows)
    data = (*rest[:before], q, *rest[before:])
    result = Pattern(pattern.out, pattern.inn, data, (*pattern.sizes, length), windows)
    divided = tuple((n, stride // step) for n, stride in hidden)
    return Joined(pattern, divided, -low // step, q, result)


def entangled(pattern: Pattern, place: int) -> int | None:
    """The place of a window that has to be placed before the hidden terms of the one at `place` are summed: one that shares
    a hidden term with it, unless it can be written by the new label."""
    own = pattern.windows[place]
    names = {n for n, _ in own.terms} & pattern.hidden
    others = (i for i, w in enumerate(pattern.windows) if w is not own and names & {n for n, _ in w.terms})
    return None if moves(own) else next(others, None)


def unsettled(pattern: Pattern) -> int | None:
    """The place of a window with several hidden terms, or with no other; None where each is as simple as can be."""
    for place, w in enumerate(pattern.windows):
        hidden = sum(n in pattern.hidden for n, _ in w.terms)
        if hidden > 1 or hidden == len(w.terms):
            return place
    return None
