"""What is done with windows: reading a factor through them, joining two into one, and putting numbers in their place.

With ∂u/∂v[p; i] = A[p, k] at i = s·p + k and ∂v/∂w[i; j] = B[l] at j = i + l, the product has A[p, k] B[l] at
j = s·p + (k + l). So B is read at the positions that A reaches (`read`), and the two taps k and l are joined into one,
q = k + l, either in B before the product (`banded`, a matrix product with B's band matrix) or after it (`joined`, a sum
of shifted copies). Numbers are put in their place (`placed`) when nothing local is left: then j is an axis like any
other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.factors.pattern import Pattern, Window
from netjac.factors.refine import spread

Terms = tuple[tuple[int, int], ...]


def reach(terms: Terms, sizes: Sequence[int], offset: int = 0) -> tuple[int, int]:
    """The least and the greatest index that the terms come to."""
    ends = [(sizes[n] - 1) * stride for n, stride in terms]
    return offset + sum(min(end, 0) for end in ends), offset + sum(max(end, 0) for end in ends)


def window(label: int, terms: Terms, offset: int, sizes: Sequence[int]) -> Window:
    """A window, clean where it stays inside its label's extent."""
    low, high = reach(terms, sizes, offset)
    return Window(label, terms, offset, low >= 0 and high < sizes[label])


def opened(pattern: Pattern, labels: Sequence[int]) -> Pattern:
    """∂u/∂(what the windows of `labels` read): each such label is written as its terms, which are then free."""
    terms = {w.label: tuple(n for n, _ in w.terms) for w in pattern.windows if w.label in labels}
    inn = tuple(tuple(n for label in axis for n in terms.get(label, (label,))) for axis in pattern.inn)
    return replace(pattern, inn=inn, windows=tuple(w for w in pattern.windows if w.label not in labels))


def shifted(pattern: Pattern, placing: Window, reading: Window) -> tuple[Window, Pattern] | None:
    """A factor that only moves one label of its in side to an axis of its out side, by the window `placing`, with that axis
    written as the label itself, and the window `reading` of the axis as one of that label. None where it does more than that.

    Of v[p] = w[p − 1] read at p = 2q + k are w's entries at 2q + k − 1: a padding before a convolution is the convolution's.
    """
    low, high = reach(placing.terms, pattern.sizes, placing.offset)
    if not _moves(placing) or low < 0 or high >= pattern.sizes[placing.label]:
        return None
    label, stride = placing.terms[0]
    elsewhere = {n for w in pattern.windows if w is not placing for n in (w.label, *dict(w.terms))}
    if label not in pattern.in_labels or label in pattern.out_labels | elsewhere:
        return None
    out = tuple(tuple(label if n == placing.label else n for n in axis) for axis in pattern.out)
    terms = tuple((n, stride * step) for n, step in reading.terms)
    moved = Window(reading.label, terms, stride * (reading.offset - placing.offset), False)
    return moved, replace(pattern, out=out, windows=tuple(w for w in pattern.windows if w is not placing))


@dataclass(frozen=True)
class Read:
    """A factor at the positions that another one's windows reach: label `old` of its out side becomes `terms`.

    Positions outside are zero in the data; `masked` where the data did not vary along the label before.
    """

    source: Pattern
    old: int
    terms: Terms
    offset: int
    pattern: Pattern
    masked: bool

    @property
    def free(self) -> bool:
        """Nothing moves: the numbers do not vary along the label."""
        return not self.masked and self.old not in self.source.data

    def apply(self, data: jax.Array | None, dtype: jnp.dtype) -> jax.Array | None:
        if self.free:
            return data
        size, fresh = self.source.sizes[self.old], [n for n, _ in self.terms]
        if self.masked:
            mask = _taken(jnp.ones((size,), dtype), 0, self.terms, self.offset, self.pattern.sizes)
            if data is None:
                return mask
            return data.reshape((*data.shape, *(1,) * mask.ndim)) * mask
        assert data is not None
        axis = self.source.data.index(self.old)
        assert self.pattern.data[axis : axis + len(fresh)] == tuple(fresh)
        return _taken(data, axis, self.terms, self.offset, self.pattern.sizes)


def _taken(data: jax.Array, axis: int, terms: Terms, offset: int, sizes: Sequence[int]) -> jax.Array:
    """Axis `axis` replaced by one axis a term: entry Σ stride · term + offset, zero outside."""
    low, high = reach(terms, sizes, offset)
    before, after = max(0, -low), max(0, high + 1 - data.shape[axis])
    padding = [(before, after, 0) if place == axis else (0, 0, 0) for place in range(data.ndim)]
    padded = lax.pad(data, jnp.zeros((), data.dtype), padding) if before or after else data
    if not terms:
        return lax.index_in_dim(padded, offset + before, axis, keepdims=False)
    longest = max(range(len(terms)), key=lambda i: sizes[terms[i][0]])
    label, stride = terms[longest]
    others = [term for place, term in enumerate(terms) if place != longest]
    pieces = []
    for steps in product(*(range(sizes[n]) for n, _ in others)):
        start = offset + before + sum(step * s for step, (_, s) in zip(steps, others, strict=True))
        first, last = start, start + stride * (sizes[label] - 1)
        piece = lax.slice_in_dim(padded, min(first, last), max(first, last) + 1, abs(stride), axis)
        pieces.append(lax.rev(piece, (axis,)) if stride < 0 else piece)
    if not others:
        return pieces[0]
    stacked = jnp.stack(pieces, axis + 1)
    split = stacked.reshape((*stacked.shape[: axis + 1], *(sizes[n] for n, _ in others), *stacked.shape[axis + 2 :]))
    return jnp.moveaxis(split, axis, axis + longest)


def read(pattern: Pattern, old: int, sizes: Sequence[int], strides: Sequence[int], offset: int, clean: bool) -> Read:
    """Replace the out label `old` by labels of the given sizes, of which it is Σ stride · label + offset.

    `clean`: whatever this is multiplied by is zero where that falls outside.
    """
    fresh = tuple(range(len(pattern.sizes), len(pattern.sizes) + len(sizes)))
    terms = tuple(zip(fresh, strides, strict=True))
    everything = (*pattern.sizes, *sizes)
    low, high = reach(terms, everything, offset)
    inside = low >= 0 and high < pattern.sizes[old]
    varies, kept = old in pattern.data, old in pattern.in_labels
    masked = not (varies or kept or clean or inside)
    nothing_outside = clean or varies or masked or inside
    windows = [_substituted(w, old, terms, offset, nothing_outside, everything) for w in pattern.windows]
    if kept:
        windows.append(Window(old, terms, offset, clean or varies or inside))
    out = tuple(tuple(n for label in axis for n in (fresh if label == old else (label,))) for axis in pattern.out)
    data = tuple(n for label in pattern.data for n in (fresh if label == old else (label,)))
    if masked:
        data = (*data, *fresh)
    return Read(pattern, old, terms, offset, Pattern(out, pattern.inn, data, everything, tuple(windows)), masked)


def _substituted(
    old_window: Window, old: int, terms: Terms, offset: int, nothing_outside: bool, sizes: Sequence[int]
) -> Window:
    strides = dict(old_window.terms)
    if old not in strides:
        return old_window
    factor = strides.pop(old)
    longer = (*strides.items(), *((n, factor * stride) for n, stride in terms))
    made = window(old_window.label, longer, old_window.offset + factor * offset, sizes)
    return replace(made, clean=made.clean or (old_window.clean and nothing_outside))


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
        if _moves(old):
            ((name, stride),) = old.terms
            back, offset = ((old.label, stride),), -stride * old.offset
            others = [_substituted(w, name, back, offset, True, pattern.sizes) for w in others]
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


def _moves(window: Window) -> bool:
    """Whether a window only moves one label, so that its label's index gives the other's."""
    return len(window.terms) == 1 and abs(window.terms[0][1]) == 1


def entangled(pattern: Pattern, place: int) -> int | None:
    """The place of a window that has to be placed before the hidden terms of the one at `place` are summed: one that shares
    a hidden term with it, unless it can be written by the new label."""
    own = pattern.windows[place]
    names = {n for n, _ in own.terms} & pattern.hidden
    others = (i for i, w in enumerate(pattern.windows) if w is not own and names & {n for n, _ in w.terms})
    return None if _moves(own) else next(others, None)


def unsettled(pattern: Pattern) -> int | None:
    """The place of a window with several hidden terms, or with no other; None where each is as simple as can be."""
    for place, w in enumerate(pattern.windows):
        hidden = sum(n in pattern.hidden for n, _ in w.terms)
        if hidden > 1 or hidden == len(w.terms):
            return place
    return None


def aligned(left: Pattern, right: Pattern, names: Mapping[int, int]) -> dict[int, int] | None:
    """Right hidden labels → left ones where the windows are the same under `names`, else None."""
    found: dict[int, int] = {}
    ours = {w.label: w for w in left.windows}
    if len(ours) != len(right.windows):
        return None
    for other in right.windows:
        mine = ours.get(names[other.label])
        if mine is None or mine.offset != other.offset or len(mine.terms) != len(other.terms):
            return None
        strides = dict(mine.terms)
        for n, stride in other.terms:
            options = [names[n]] if n in names else [m for m in strides if m in left.hidden and strides[m] == stride]
            if len(options) != 1 or strides.get(options[0]) != stride or left.sizes[options[0]] != right.sizes[n]:
                return None
            if n not in names and found.setdefault(n, options[0]) != options[0]:
                return None
    return found
