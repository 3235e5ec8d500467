"""The sum of two structured Jacobians of the same value by the same value.

Factors of the same ties add number by number, each repeated along the labels that only the other has. Factors of
different ties (the I + F of a residual connection) stay apart as the terms of a lazy sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax

from netjac.factors.pattern import Axes, Pattern, labels_of
from netjac.factors.refine import Split, common_atoms, parts, split
from netjac.factors.window import aligned


@dataclass(frozen=True)
class Addition:
    """How two factors of the same ties are added; `order` is the result's, in labels of the left one."""

    left: Split
    right: Split
    right_labels: tuple[int, ...]
    pattern: Pattern

    @property
    def operations(self) -> int:
        return self.pattern.entries

    def apply(self, left: jax.Array, right: jax.Array) -> jax.Array:
        order = self.pattern.data
        a = _aligned(left.reshape(self.left.pattern.data_shape), self.left.pattern.data, order)
        b = _aligned(right.reshape(self.right.pattern.data_shape), self.right_labels, order)
        return a + b


def _aligned(array: jax.Array, labels: tuple[int, ...], order: tuple[int, ...]) -> jax.Array:
    present = [label for label in order if label in labels]
    array = array.transpose([labels.index(label) for label in present])
    return array.reshape([array.shape[present.index(label)] if label in labels else 1 for label in order])


def add(left: Pattern, right: Pattern) -> Addition | None:
    """Plan the sum, or None where the ties differ."""
    cuts: tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]] = ({}, {})
    for ours, theirs in (*zip(left.out, right.out, strict=True), *zip(left.inn, right.inn, strict=True)):
        own, other = [left.sizes[n] for n in ours], [right.sizes[n] for n in theirs]
        refined = common_atoms(own, other)
        if refined is None:
            return None
        for cut, labels, sizes, placed in ((cuts[0], ours, own, left.placed), (cuts[1], theirs, other, right.placed)):
            for label, pieces in zip(labels, parts(sizes, refined), strict=True):
                if cut.setdefault(label, pieces) != pieces or (label in placed and len(pieces) > 1):
                    return None
    a, b = split(left, cuts[0])[0], split(right, cuts[1])[0]
    names = _matching(a.pattern, b.pattern)
    hidden = None if names is None else aligned(a.pattern, b.pattern, names)
    if names is None or hidden is None:
        return None
    names.update(hidden)
    right_data = tuple(names[label] for label in b.pattern.data)
    longer, shorter = a.pattern.data, right_data
    if len(longer) < len(shorter):
        longer, shorter = shorter, longer
    missing = tuple(label for label in shorter if label not in longer)
    clean = {w.label for w in a.pattern.windows if w.clean} & {names[w.label] for w in b.pattern.windows if w.clean}
    windows = tuple(replace(w, clean=w.label in clean) for w in a.pattern.windows)
    pattern = Pattern(a.pattern.out, a.pattern.inn, missing + longer, a.pattern.sizes, windows)
    return Addition(a, b, right_data, pattern)


def _matching(left: Pattern, right: Pattern) -> dict[int, int] | None:
    """Right labels → left labels where both tie the same atoms, else None."""
    names: dict[int, int] = {}

    def walk(ours: Axes, theirs: Axes) -> bool:
        pairs = zip(labels_of(ours), labels_of(theirs), strict=True)
        return all(names.setdefault(b, a) == a for a, b in pairs)

    if not (walk(left.out, right.out) and walk(left.inn, right.inn)):
        return None
    return names if len(set(names.values())) == len(names) else None
