"""`Pattern`: which entries of a local Jacobian can be non-zero, and along which axes its numbers vary.

A local Jacobian ∂u/∂v has the axes of u and the axes of v. Each axis is written as one or more atoms (u's axis of
size 6 may be atoms of 2 and 3), and each atom carries a label:

    a label on both sides    tied: the entry is zero unless both indices agree (a Kronecker delta)
    a label of `out` alone   the Jacobian has that axis of u, whatever the index of v
    a label of `inn` alone   likewise for v

and `data` lists the labels along which the numbers vary. A label that is absent from `data` is shared (tied: I ⊗ W has
no data along I) or constant (the ones of a sum).

    J[b, i; b', j] = δ(b, b') · W[j, i]        out=((0,), (1,))  inn=((0,), (2,))  data=(2, 1)
    relu on (b, i)                             out=((0,), (1,))  inn=((0,), (1,))  data=(0, 1)
    the sum over axis 1 of (b, i)              out=((0,),)       inn=((0,), (1,))  data=()
    (b, i) reshaped to (b·i,)                  out=((0, 1),)     inn=((0,), (1,))  data=()

Axes of size 1 have no atoms at all, so that squeezing and broadcasting sizes of 1 costs nothing. Patterns are plain
data: planning computes with them alone, and execution only follows.

A convolution reads, for the result's position p and the kernel's tap k, the operand's position s·p + d·k + f. Such an
axis has a label whose index follows from others', by a `Window`: the label stands on its side like any other, the numbers
vary along p and k, and k, which is on neither side, is hidden.

    z[p] = Σ_k K[k] v[2p + k − 1]              out=((0,),) inn=((1,),) data=(2,) windows=(Window(1, ((0, 2), (2, 1)), −1),)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Window:
    """index(label) = Σ stride · index(term) + offset; entries that it would put outside the label's extent do not exist.

    `clean`: the numbers are known to be zero there, or no entry falls outside.
    """

    label: int
    terms: tuple[tuple[int, int], ...]
    offset: int
    clean: bool

    def renamed(self, names: Mapping[int, int]) -> Window:
        terms = tuple((names.get(term, term), stride) for term, stride in self.terms)
        return replace(self, label=names.get(self.label, self.label), terms=terms)


@dataclass(frozen=True)
class Pattern:
    """The structure of a local Jacobian; `sizes[label]` is the extent of a label."""

    out: Axes
    inn: Axes
    data: tuple[int, ...]
    sizes: tuple[int, ...]
    windows: tuple[Window, ...] = ()

    @property
    def tied(self) -> frozenset[int]:
        return self.out_labels & self.in_labels

    @property
    def out_labels(self) -> frozenset[int]:
        return frozenset(label for axis in self.out for label in axis)

    @property
    def in_labels(self) -> frozenset[int]:
        return frozenset(label for axis in self.inn for label in axis)

    @property
    def placed(self) -> frozenset[int]:
        """The labels whose index follows from others'."""
        return frozenset(window.label for window in self.windows)

    @property
    def hidden(self) -> frozenset[int]:
        """The labels that only windows name."""
        return frozenset(n for w in self.windows for n, _ in w.terms) - self.out_labels - self.in_labels

    @property
    def meetings(self) -> int:
        """How many pairs of an out and an in index may have an entry."""
        return prod(size for label, size in enumerate(self.sizes) if label not in self.placed)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return tuple(prod(self.sizes[label] for label in axis) for axis in self.out)

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(prod(self.sizes[label] for label in axis) for axis in self.inn)

    @property
    def data_shape(self) -> tuple[int, ...]:
        return tuple(self.sizes[label] for label in self.data)

    @property
    def entries(self) -> int:
        """How many numbers are stored."""
        return prod(self.data_shape)

    @property
    def is_diagonal(self) -> bool:
        """Every label of the side with fewer of them is tied: a scaling, a relabelling, a broadcast or a sum of such."""
        return self.out_labels == self.in_labels

    def transposed(self) -> Pattern:
        return replace(self, out=self.inn, inn=self.out)

    def __str__(self) -> str:
        return f"{_side(self.out, self)} × {_side(self.inn, self)}"


def _side(axes: Axes, pattern: Pattern) -> str:
    letters = "abcdefghklmnopqrstuvwxyz"
    tied = sorted(pattern.tied)
    windows = {window.label: window for window in pattern.windows}

    def word(label: int) -> str:
        if label in windows:
            taps = prod(pattern.sizes[n] for n, _ in windows[label].terms if n in pattern.hidden)
            return f"{taps} of {pattern.sizes[label]}"
        letter = f"{letters[tied.index(label) % len(letters)]}=" if label in tied else ""
        constant = "" if label in pattern.data else "°"
        return f"{letter}{pattern.sizes[label]}{constant}"

    return "(" + ", ".join("·".join(map(word, axis)) or "1" for axis in axes) + ")"


def atoms(shape: Sequence[int], first: int) -> Axes:
    """One fresh label, counting from `first`, for each axis of more than one entry."""
    axes, label = [], first
    for size in shape:
        axes.append((label,) if size != 1 else ())
        label += size != 1
    return tuple(axes)


class Names:
    """Hands out labels, one for each axis of more than one entry."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def new(self, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        self.sizes.append(size)
        return (len(self.sizes) - 1,)


def proper(sizes: Iterable[int]) -> tuple[int, ...]:
    """The sizes that get a label."""
    return tuple(size for size in sizes if size != 1)


def labels_of(axes: Axes) -> tuple[int, ...]:
    return tuple(label for axis in axes for label in axis)


def identity(shape: Sequence[int]) -> Pattern:
    """The Jacobian of a value by itself."""
    axes = atoms(shape, 0)
    return Pattern(axes, axes, (), proper(shape))


def diagonal(shape: Sequence[int], along: Iterable[int] | None = None) -> Pattern:
    """A scaling whose numbers vary along the axes `along` (all of them by default)."""
    axes = atoms(shape, 0)
    chosen = range(len(shape)) if along is None else sorted(along)
    return Pattern(axes, axes, tuple(label for axis in chosen for label in axes[axis]), proper(shape))


def dense(out_shape: Sequence[int], in_shape: Sequence[int]) -> Pattern:
    """A Jacobian with no structure, stored as (*out, *in)."""
    sizes = proper(out_shape) + proper(in_shape)
    out = atoms(out_shape, 0)
    return Pattern(out, atoms(in_shape, len(proper(out_shape))), tuple(range(len(sizes))), sizes)


def renumbered(pattern: Pattern) -> Pattern:
    """The same pattern with labels counted in order of appearance, so that equal structures compare equal."""
    order: dict[int, int] = {}
    inside = (n for window in pattern.windows for n, _ in window.terms)
    for label in (*labels_of(pattern.out), *labels_of(pattern.inn), *inside):
        order.setdefault(label, len(order))
    sizes = [0] * len(order)
    for label, place in order.items():
        sizes[place] = pattern.sizes[label]

    def move(axes: Axes) -> Axes:
        return tuple(tuple(order[label] for label in axis) for axis in axes)

    data = tuple(order[label] for label in pattern.data)
    windows = tuple(window.renamed(order) for window in pattern.windows)
    return Pattern(move(pattern.out), move(pattern.inn), data, tuple(sizes), windows)
