"""The product of two structured Jacobians, ∂u/∂w = ∂u/∂v · ∂v/∂w.

After both sides name v's atoms alike, every atom of v is in one of four cases:

    left     right    the product
    tied     tied     tied: numbers are multiplied along it
    tied     dense    out axis of the product, scaled by the left numbers
    dense    tied     in axis of the product, scaled by the right numbers
    dense    dense    contracted: a matrix product; a plain sum where one side has no numbers along it,
                      a multiplication by the atom's size where neither has

so that each product is a relabelling, a scaling, or one dot_general, never more. Which, is known from the patterns
alone (`multiply`); `Product.apply` carries it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.factors.pattern import Axes, Pattern, Window, labels_of, renumbered
from netjac.factors.refine import Split, common_atoms, parts, split

TALL = 128
"""Rows from which a block that is pulled is kept with its in axes outermost (measured: 46 → 34 ms for 16 × 512 × 512)."""

THIN = 64
"""Terms up to which a contraction is a matter of writing its result, and is left in the order of an answer: turning one of
604 MB afterwards took four times as long as the product of 32 terms that made it."""

UNROLLED = 8
"""Terms up to which a contraction at many places is written out (measured: 24 → 10 ms for 4 terms at 346,112 places)."""

HALF = (jnp.float16, jnp.bfloat16)


@dataclass(frozen=True)
class Product:
    """How two factors are multiplied. Labels of both sides are those of `pattern` and of the `contracted` atoms."""

    left: Split
    right: Split
    left_labels: tuple[int, ...]
    right_labels: tuple[int, ...]
    summed_left: tuple[int, ...]
    summed_right: tuple[int, ...]
    contracted: tuple[int, ...]
    scale: int
    order: tuple[int, ...]
    sizes: tuple[int, ...]
    pattern: Pattern
    right_first: bool

    @property
    def form(self) -> str:
        if self.contracted:
            return "product"
        if self.left_labels and self.right_labels:
            return "scale"
        return "sum" if self.summed_left or self.summed_right else "relabel"

    @property
    def operations(self) -> int:
        """Floating-point operations; a fused multiply-add counts as two."""
        result = prod(self.sizes[label] for label in self.order)
        work = 2 * result * prod(self.sizes[label] for label in self.contracted) if self.contracted else 0
        if self.form == "scale" or (self.scale != 1):
            work += result
        for labels, summed in ((self.left_labels, self.summed_left), (self.right_labels, self.summed_right)):
            work += prod(self.sizes[label] for label in labels) if summed else 0
        return work

    @property
    def turned(self) -> int:
        """Entries that have to be transposed before the one matrix product that this is, or the several."""
        left, right = _without(self.left_labels, self.summed_left), _without(self.right_labels, self.summed_right)
        if not self.contracted or _few(self.contracted, left, right, self.sizes):
            return 0
        batch = tuple(n for n in left if n in right and n not in self.contracted)
        sides = [side for side in (left, right) if not _ready(side, batch, self.contracted)]
        return sum(prod(self.sizes[n] for n in side) for side in sides)

    def apply(self, left: jax.Array | None, right: jax.Array | None, dtype: jnp.dtype) -> jax.Array | None:
        a = _prepared(left, self.left, self.left_labels, self.summed_left)
        b = _prepared(right, self.right, self.right_labels, self.summed_right)
        if a is None or b is None:
            result = b if a is None else a
            if result is None:
                return None if self.scale == 1 else jnp.asarray(self.scale, dtype)
            kept = (
                _without(self.left_labels, self.summed_left)
                if b is None
                else _without(self.right_labels, self.summed_right)
            )
            result = jnp.transpose(result, [kept.index(label) for label in self.order])
        else:
            result = self._combine(a, b)
        return result if self.scale == 1 else result * self.scale

    def _combine(self, a: jax.Array, b: jax.Array) -> jax.Array:
        left = _without(self.left_labels, self.summed_left)
        right = _without(self.right_labels, self.summed_right)
        if not self.contracted:
            return _aligned(a, left, self.order) * _aligned(b, right, self.order)
        if self.right_first:
            a, b, left, right = b, a, right, left
        if _few(self.contracted, left, right, self.sizes):
            return self._unrolled(a, b, left, right)
        batch = tuple(label for label in left if label in right and label not in self.contracted)
        dtype = jnp.promote_types(a.dtype, b.dtype)
        a, b = a.astype(dtype), b.astype(dtype)
        shapes = [
            [self.sizes[n] for n in side if n not in self.contracted and n not in batch] for side in (left, right)
        ]
        along, over = (
            [[side.index(n) for n in labels] for side in (left, right)] for labels in (self.contracted, batch)
        )
        if _ready(left, batch, self.contracted) and _ready(right, batch, self.contracted):
            a, along[0] = self._as_matrices(a, left, batch)
            b, along[1] = self._as_matrices(b, right, batch)
            over = [[0], [0]] if batch else [[], []]
        numbers = (along[0], along[1]), (over[0], over[1])
        wide = jnp.float32 if dtype in HALF else dtype
        result = lax.dot_general(a, b, numbers, preferred_element_type=wide).astype(dtype)
        result = result.reshape([*(self.sizes[n] for n in batch), *shapes[0], *shapes[1]])
        natural = [*batch, *(n for n in left if n not in right), *(n for n in right if n not in left)]
        return jnp.transpose(result, [natural.index(label) for label in self.order])

    def _as_matrices(
        self, array: jax.Array, labels: Sequence[int], batch: Sequence[int]
    ) -> tuple[jax.Array, list[int]]:
        """A stack of matrices, and the axis to sum over. XLA would turn an operand of more axes before its product."""
        rest = labels[len(batch) :]
        along = prod(self.sizes[n] for n in self.contracted)
        first = bool(rest) and rest[0] in self.contracted
        stack = [prod(self.sizes[n] for n in batch)] if batch else []
        other = prod(self.sizes[n] for n in rest if n not in self.contracted)
        return array.reshape([*stack, *((along, other) if first else (other, along))]), [len(stack) + (not first)]

    def _unrolled(self, a: jax.Array, b: jax.Array, left: Sequence[int], right: Sequence[int]) -> jax.Array:
        """A contraction of a few terms at each of many places, term by term: dot_general would move all of it first."""
        total: jax.Array | None = None
        axes = [[side.index(label) for label in self.contracted] for side in (left, right)]
        rest = [_without(side, self.contracted) for side in (left, right)]
        for index in np.ndindex(*(self.sizes[label] for label in self.contracted)):
            pieces = [_at(array, own, index) for array, own in zip((a, b), axes, strict=True)]
            term = _aligned(pieces[0], rest[0], self.order) * _aligned(pieces[1], rest[1], self.order)
            total = term if total is None else total + term
        assert total is not None
        return total


def _ready(labels: tuple[int, ...], batch: tuple[int, ...], contracted: tuple[int, ...]) -> bool:
    """Whether an operand lies as a stack of matrices: batch first, what is summed over together, at one end of the rest."""
    rest = [n in contracted for n in labels[len(batch) :]]
    together = sum(a != b for a, b in itertools.pairwise(rest)) <= 1
    return labels[: len(batch)] == batch and together and tuple(n for n in labels if n in contracted) == contracted


def _awkward(first: tuple[int, ...], second: tuple[int, ...], contracted: tuple[int, ...], sizes: Sequence[int]) -> int:
    """Entries of the operands that do not lie as a matrix product, or each of several, reads them: rows of the first, columns
    of the second (measured: 0.8 ms as they should, 1.4 ms otherwise for 512 × 512 × 512)."""
    batch = set(first) & set(second) - set(contracted)
    rest = [n for n in second if n not in batch]
    sides = ((first, first[len(first) - len(contracted) :]), (second, rest[: len(contracted)]))
    return sum(prod(sizes[n] for n in labels) for labels, meeting in sides if set(meeting) != set(contracted))


def _at(array: jax.Array, axes: Sequence[int], index: Sequence[int]) -> jax.Array:
    place: list[int | slice] = [slice(None)] * array.ndim
    for axis, step in zip(axes, index, strict=True):
        place[axis] = step
    return array[tuple(place)]


def _prepared(
    data: jax.Array | None, step: Split, labels: tuple[int, ...], summed: tuple[int, ...]
) -> jax.Array | None:
    array = step.apply(data)
    if array is None:
        return None
    return array.sum([labels.index(label) for label in summed]) if summed else array


def _without(labels: Sequence[int], dropped: Sequence[int]) -> tuple[int, ...]:
    return tuple(label for label in labels if label not in dropped)


def _aligned(array: jax.Array, labels: Sequence[int], order: Sequence[int]) -> jax.Array:
    present = [label for label in order if label in labels]
    array = jnp.transpose(array, [labels.index(label) for label in present])
    return jnp.expand_dims(array, [place for place, label in enumerate(order) if label not in labels])


def straddling(left: Pattern, right: Pattern) -> list[int]:
    """The axes of the middle value whose atoms have no common refinement."""
    return [
        axis
        for axis, (ours, theirs) in enumerate(zip(left.inn, right.out, strict=True))
        if common_atoms([left.sizes[n] for n in ours], [right.sizes[n] for n in theirs]) is None
    ]


def multiply(left: Pattern, right: Pattern, last: str = "in") -> Product:
    """Plan ∂u/∂v · ∂v/∂w. `last` ("in" or "out") is the side whose axes the result should have last in memory.

    The axes of v must have common atoms (`straddling` is empty), and none of left's windows may stand on them: what they
    reach is first read from the right factor (`netjac.factors.window`). Labels that right's windows name are kept.
    """
    left_step, right_step, meeting = matched(left, right)
    a, b = left_step.pattern, right_step.pattern
    names_a, names_b, sizes = _names(a, b, meeting)
    out, inn = _renamed(a.out, names_a), _renamed(b.inn, names_b)
    windows = tuple(w.renamed(n) for n, side in ((names_a, a), (names_b, b)) for w in side.windows)
    kept = {*labels_of(out), *labels_of(inn), *(n for window in windows for n, _ in window.terms)}
    data_a, data_b = (tuple(names[n] for n in side.data) for names, side in ((names_a, a), (names_b, b)))
    gone = [names_a[n] for n in labels_of(a.inn) if names_a[n] not in kept]
    contracted = tuple(n for n in gone if n in data_a and n in data_b)
    scale = prod(sizes[n] for n in gone if n not in data_a and n not in data_b)
    summed_a = tuple(n for n in data_a if n in gone and n not in contracted)
    summed_b = tuple(n for n in data_b if n in gone and n not in contracted)
    present = [n for n in dict.fromkeys((*data_a, *data_b)) if n in kept]
    thin = bool(contracted) and prod(sizes[n] for n in contracted) <= THIN
    rows = (sizes[n] for n in labels_of(out) if n in data_a and n not in labels_of(inn))
    tall = last == "in" and not thin and any(n >= TALL for n in rows)
    lying = _lying(present, out, inn, windows)
    if _few(contracted, data_a, data_b, sizes):
        seen = {n for window in windows for n, _ in window.terms}
        order, right_first = _for_next(lying, out, inn, seen), False
    else:
        order, right_first = _order(lying, out, inn, data_a, data_b, contracted, sizes, "first" if tall else last)
    pattern = renumbered(Pattern(out, inn, tuple(order), tuple(sizes), windows))
    return Product(
        left_step, right_step, data_a, data_b, summed_a, summed_b, contracted, scale, tuple(order), tuple(sizes),
        pattern, right_first,
    )  # fmt: skip


def matched(left: Pattern, right: Pattern) -> tuple[Split, Split, list[tuple[int, int]]]:
    """Both patterns with the same atoms along the middle value, and the pairs of labels that meet there."""
    cuts_left: dict[int, tuple[int, ...]] = {}
    cuts_right: dict[int, tuple[int, ...]] = {}
    for ours, theirs in zip(left.inn, right.out, strict=True):
        own, other = [left.sizes[n] for n in ours], [right.sizes[n] for n in theirs]
        refined = common_atoms(own, other)
        assert refined is not None, "straddling atoms reach a product"
        cuts_left.update(zip(ours, parts(own, refined), strict=True))
        cuts_right.update(zip(theirs, parts(other, refined), strict=True))
    left_step, _ = split(left, cuts_left)
    right_step, _ = split(right, cuts_right)
    pairs = zip(labels_of(left_step.pattern.inn), labels_of(right_step.pattern.out), strict=True)
    return left_step, right_step, list(pairs)


def _names(
    left: Pattern, right: Pattern, meeting: list[tuple[int, int]]
) -> tuple[dict[int, int], dict[int, int], list[int]]:
    """One numbering for the labels of both sides."""
    names_left = {label: place for place, label in enumerate(dict.fromkeys(_all_labels(left)))}
    sizes = [left.sizes[label] for label in names_left]
    names_right = {theirs: names_left[ours] for ours, theirs in meeting}
    for label in _all_labels(right):
        if label not in names_right:
            names_right[label] = len(sizes)
            sizes.append(right.sizes[label])
    return names_left, names_right, sizes


def _all_labels(pattern: Pattern) -> tuple[int, ...]:
    hidden = (n for window in pattern.windows for n, _ in window.terms)
    return (*labels_of(pattern.out), *labels_of(pattern.inn), *hidden)


def _renamed(axes: Axes, names: dict[int, int]) -> Axes:
    return tuple(tuple(names[label] for label in axis) for axis in axes)


def _few(contracted: Sequence[int], left: Sequence[int], right: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether a contraction has so few terms, at places of its own, that it is written out."""
    places = any(n in right and n not in contracted for n in left)
    return bool(contracted) and places and prod(sizes[n] for n in contracted) <= UNROLLED


def _lying(present: Iterable[int], out: Axes, inn: Axes, windows: Sequence[Window]) -> list[int]:
    """The labels as the axes name them, those that a window hides where the window stands: behind the channels they would
    be what the loop over them runs along, and every entry would be fetched from another line of the cache."""
    named = {window.label: [n for n, _ in window.terms] for window in windows}
    ends = [m for n in (*labels_of(out), *labels_of(inn)) for m in (n, *named.get(n, ()))]
    return [n for n in dict.fromkeys((*ends, *present)) if n in present]


def _for_next(along: list[int], out: Axes, inn: Axes, seen: set[int]) -> list[int]:
    """The order in which the next product takes a local block without moving it: places, samples, taps, what it sums over.

    What it sums over (channels) is innermost, so that the loop that writes the block runs along it and looks at the numbers of
    a place once, not once a tap (measured: 15.7 → 6.0 ms for the whole of a conv-pool-dense net, 64 × 10 × 28 × 28).
    """
    outs, ins = set(labels_of(out)), set(labels_of(inn))

    def rank(label: int) -> int:
        if label in outs and label in ins:
            return 1
        if label in outs:
            return 0 if label in seen else 3
        return 2

    return sorted(along, key=rank)


def _order(
    present: list[int],
    out: Axes,
    inn: Axes,
    data_a: tuple[int, ...],
    data_b: tuple[int, ...],
    contracted: tuple[int, ...],
    sizes: Sequence[int],
    last: str,
) -> tuple[list[int], bool]:
    """The result's order in memory: as dot_general leaves it, or for a scaling with the side `last` innermost.

    "first" puts the in axes outermost, unless the operands lie better the other way round: a block of many rows is
    multiplied faster with the weights on the left.
    """
    if contracted:
        shared = set(data_a) & set(data_b) & set(present)
        gain = _awkward(data_a, data_b, contracted, sizes) - _awkward(data_b, data_a, contracted, sizes)
        right_first = last == "out" or (gain > 0 if shared else last == "first" and gain >= 0)
        first, second = (data_b, data_a) if right_first else (data_a, data_b)
        batch = [n for n in first if n in second and n in present]
        free = [n for n in (*first, *second) if n in present and n not in batch]
        return [*batch, *free], right_first
    if not data_a or not data_b:
        return [n for n in (*data_a, *data_b) if n in present], False
    outs, ins = set(labels_of(out)), set(labels_of(inn))

    def rank(label: int) -> int:
        if label in outs and label in ins:
            return 1
        inside = label not in outs
        if last == "first":
            return 0 if inside else 2
        return 3 if inside == (last == "in") else 2

    return sorted(present, key=rank), False
