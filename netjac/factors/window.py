"""Windows, and reading one factor through another's.

With ∂u/∂v[p; i] = A[p, k] at i = s·p + k and ∂v/∂w[i; j] = B[l] at j = i + l, the product has A[p, k] B[l] at
j = s·p + (k + l): B is read at the positions that A reaches (`read`). What then becomes of the taps k and l is told in
`netjac.factors.taps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from netjac.factors.pattern import Pattern, Window

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
    if not moves(placing) or low < 0 or high >= pattern.sizes[placing.label]:
        return None
    label, stride = placing.terms[0]
    elsewhere = {n for w in pattern.windows if w is not placing for n in (w.label, *dict(w.terms))}
    if label not in pattern.in_labels or label in pattern.out_labels | elsewhere:
        return None
    out = tuple(tuple(label if n == placing.label else n for n in axis) for axis in pattern.out)
    terms = tuple((n, stride * step) for n, step in reading.terms)
    moved = Window(reading.label, terms, stride * (reading.offset - placing.offset), False)
    return moved, replace(pattern, out=out, windows=tuple(w for w in pattern.windows if w is not placing))


def moves(window: Window) -> bool:
    """Whether a window only moves one label, so that its label's index gives the other's."""
    return len(window.terms) == 1 and abs(window.terms[0][1]) == 1


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
    windows = [substituted(w, old, terms, offset, nothing_outside, everything) for w in pattern.windows]
    if kept:
        windows.append(Window(old, terms, offset, clean or varies or inside))
    out = tuple(tuple(n for label in axis for n in (fresh if label == old else (label,))) for axis in pattern.out)
    data = tuple(n for label in pattern.data for n in (fresh if label == old else (label,)))
    if masked:
        data = (*data, *fresh)
    return Read(pattern, old, terms, offset, Pattern(out, pattern.inn, data, everything, tuple(windows)), masked)


def substituted(
    old_window: Window, old: int, terms: Terms, offset: int, nothing_outside: bool, sizes: Sequence[int]
) -> Window:
    """The window with its term `old`, where it has that, written as the Σ stride · label + offset that it is."""
    strides = dict(old_window.terms)
    if old not in strides:
        return old_window
    factor = strides.pop(old)
    longer = (*strides.items(), *((n, factor * stride) for n, stride in terms))
    made = window(old_window.label, longer, old_window.offset + factor * offset, sizes)
    return replace(made, clean=made.clean or (old_window.clean and nothing_outside))


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
