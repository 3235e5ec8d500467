"""A factor as a sparse matrix, written from its pattern and numbers without a dense array on the way.

The indices follow from the pattern alone: a label's index times its stride for every axis it stands on, and a window's sum
for the label that it places. They are kept for as long as patterns like it are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import scipy.sparse

from netjac.factors.pattern import Axes, Pattern, labels_of
from netjac.factors.window import Terms, reach

KEPT = 2**22


def matrix(pattern: Pattern, data: np.ndarray) -> scipy.sparse.csr_array:
    """The entries of one factor as CSR of shape (∏ out, ∏ in)."""
    indices = _indices(pattern) if pattern.meetings <= KEPT else _indices.__wrapped__(pattern)
    order = [pattern.data.index(label) for label in indices.labels if label in pattern.data]
    shape = [pattern.sizes[label] if label in pattern.data else 1 for label in indices.labels]
    full = np.broadcast_to(data.transpose(order).reshape(shape), indices.shape)
    values = full.reshape(-1) if indices.inside is None else full.reshape(-1)[indices.inside]
    size = (prod(pattern.out_shape), prod(pattern.in_shape))
    return scipy.sparse.csr_array((values, indices.columns, indices.starts), size)


@dataclass(frozen=True)
class Indices:
    """Numbers spread over `labels` are the entries in CSR's order, those `inside` (a mask, or their places in that order where
    it is another one; None: all of them)."""

    labels: tuple[int, ...]
    shape: tuple[int, ...]
    inside: np.ndarray | None
    columns: np.ndarray
    starts: np.ndarray


@lru_cache(maxsize=16)
def _indices(pattern: Pattern) -> Indices:
    (row, _), (column, _) = (_flat(axes, pattern) for axes in (pattern.out, pattern.inn))
    outs = tuple(n for n in labels_of(pattern.out) if n not in pattern.placed)
    rest = sorted({*row, *column} - {*outs}, key=lambda n: (-abs(column.get(n, 0)), n))
    labels = (*outs, *rest)
    shape = tuple(pattern.sizes[n] for n in labels)
    columns = _positions(pattern.inn, pattern, labels)
    inside = np.ones(shape, bool)
    for w in pattern.windows:
        low, high = reach(w.terms, pattern.sizes, w.offset)
        if low < 0 or high >= pattern.sizes[w.label]:
            inside &= _within(w.terms, w.offset, labels, pattern.sizes, w.label)
    if len(outs) < len(labels_of(pattern.out)):
        return _sorted(pattern, labels, _positions(pattern.out, pattern, labels), columns, inside)
    kind = columns.dtype
    counts = inside.sum(tuple(range(len(outs), len(labels)))).reshape(-1)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(kind)
    if inside.all():
        return Indices(labels, shape, None, columns.reshape(-1), starts)
    chosen = inside.reshape(-1)
    return Indices(labels, shape, chosen, columns.reshape(-1)[chosen], starts)


def _sorted(
    pattern: Pattern, labels: tuple[int, ...], rows: np.ndarray, columns: np.ndarray, inside: np.ndarray
) -> Indices:
    """Entries whose rows do not come in order, put in order."""
    places = np.flatnonzero(inside)
    row, column = rows.reshape(-1)[places], columns.reshape(-1)[places]
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(prod(pattern.out_shape) + 1)).astype(columns.dtype)
    return Indices(labels, inside.shape, places[order], column[order], starts)


def _flat(axes: Axes, pattern: Pattern) -> tuple[dict[int, int], int]:
    """A side's flat index, Σ stride · label + offset, by the labels that no window places."""
    windows = {w.label: w for w in pattern.windows}
    strides: dict[int, int] = {}
    offset = 0
    for label, stride in _strides(axes, pattern).items():
        terms = windows[label].terms if label in windows else ((label, 1),)
        offset += stride * windows[label].offset if label in windows else 0
        for term, step in terms:
            strides[term] = strides.get(term, 0) + stride * step
    return strides, offset


def _positions(axes: Axes, pattern: Pattern, labels: tuple[int, ...]) -> np.ndarray:
    """A side's flat index at every combination of the labels' indices."""
    strides, offset = _flat(axes, pattern)
    shape = tuple(pattern.sizes[n] for n in labels)
    most = max(prod(pattern.in_shape), prod(pattern.out_shape), prod(shape))
    kind = np.int64 if most >= 2**31 else np.int32
    found = np.full(shape, offset, kind)
    for place, label in enumerate(labels):
        found += (np.arange(shape[place], dtype=kind) * strides.get(label, 0)).reshape(_along(place, len(labels)))
    return found


def _strides(axes: Axes, pattern: Pattern) -> dict[int, int]:
    """Label → its stride in the flat index of a side."""
    found, stride = {}, 1
    for label in reversed(labels_of(axes)):
        found[label] = stride
        stride *= pattern.sizes[label]
    return found


def _along(place: int, rank: int) -> tuple[int, ...]:
    return tuple(-1 if axis == place else 1 for axis in range(rank))


def _within(terms: Terms, offset: int, labels: tuple[int, ...], sizes: tuple[int, ...], label: int) -> np.ndarray:
    """Where a window stays inside its label's extent, to be broadcast over `labels`."""
    position = np.full((1,) * len(labels), offset)
    for n, stride in terms:
        position = position + (stride * np.arange(sizes[n])).reshape(_along(labels.index(n), len(labels)))
    return (position >= 0) & (position < sizes[label])
