"""Which positions along one axis of the input a value can depend on, where masks say: causal and local attention.

Every entry of every value between the two carries an interval of positions, from `low` to `high`, of the one axis that is
followed. At the input it is its own position. A local Jacobian takes to each result the hull of the intervals that it reads;
where a mask that does not depend on the input chooses a constant, nothing is read.

Example, causal attention over tokens 0, 1, 2: the score of query t and key s has [min(t, s), max(t, s)], is masked for s > t,
and the softmax over s has the hull, [0, t]. A weight p[t, s] behind the mask is 0, so that out[t] = Σ p[t, s] v[s] reads v at
s ≤ t alone: [0, t], and half of the (t, s) blocks of ∂out/∂in are zero.

A weight is taken for 0 where it comes from a masked entry and is 0 at the input in hand; a mask that leaves more than zeros
(a fill of −1 instead of −10⁹) leaves the interval as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import scipy.sparse

from netjac.factors.pattern import Pattern, labels_of
from netjac.graph.program import Equation, Program
from netjac.rules import linearise
from netjac.rules.local import Local, reading

WEIGHTED = ("dot_general", "mul")
"""Primitives whose local Jacobian by one operand has the other's entries for numbers."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Positions low … high for every entry of a value; none where low > high."""

    low: np.ndarray
    high: np.ndarray

    def hull(self, other: Interval) -> Interval:
        return Interval(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def without(self, blank: np.ndarray, size: int) -> Interval:
        return Interval(np.where(blank, size, self.low), np.where(blank, -1, self.high))


@dataclass(frozen=True, eq=False)
class Reach:
    """What each entry of a value (axes of `interval`) can depend on: positions along `axis` of an input of shape `inn`."""

    axis: int
    inn: tuple[int, ...]
    interval: Interval

    @cached_property
    def entries(self) -> int:
        """How many entries of the Jacobian can be other than zero."""
        widths = np.maximum(self.interval.high.astype(np.int64) - self.interval.low + 1, 0)
        return int(widths.sum()) * (prod(self.inn) // self.inn[self.axis])

    @property
    def kind(self) -> str:
        """ "causal": along some axis of the value no entry depends on positions after its own; else "sparse"."""
        high, size = self.interval.high, self.inn[self.axis]
        own = (np.arange(size).reshape([-1 if a == axis else 1 for a in range(high.ndim)])
               for axis, n in enumerate(high.shape) if n == size)  # fmt: skip
        return "causal" if any(bool((high <= positions).all()) for positions in own) else "sparse"

    def pattern(self) -> scipy.sparse.csr_array:
        """The entries that can be there, (size of the value, size of the input), as ones."""
        size, after = self.inn[self.axis], prod(self.inn[self.axis + 1 :])
        places = np.arange(size)
        low, high = self.interval.low.reshape(-1, 1), self.interval.high.reshape(-1, 1)
        along = scipy.sparse.csr_array((places >= low) & (places <= high))
        before = np.ones((1, prod(self.inn[: self.axis])), bool)
        return scipy.sparse.csr_array(
            scipy.sparse.kron(before, scipy.sparse.kron(along, np.ones((1, after), bool))), dtype=bool
        )


def masks(program: Program, wrt: int, of: int) -> list[int]:
    """The predicates on the way to `of` that choose between values and do not depend on `wrt`."""
    moved = {wrt}
    needed = program.needed([of])
    for index in needed:
        eqn = program.equations[index]
        if moved.intersection(eqn.operands):
            moved.update(eqn.results)
    choosing = (program.equations[index] for index in needed if program.equations[index].name == "select_n")
    return sorted({eqn.operands[0] for eqn in choosing if eqn.operands[0] not in moved})


def reach_of(program: Program, values: Mapping[int, Any], wrt: int, of: int, axis: int) -> Reach | None:
    """The positions along `axis` of `wrt` that `of` depends on, the program's `values` in hand; None where it does not depend.

    Only paths that derivatives take count.
    """
    following = _Following(program, values, set(masks(program, wrt, of)), program.shape(wrt)[axis])
    shape = program.shape(wrt)
    own = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape)
    following.intervals[wrt] = Interval(own, own)
    for index in program.needed([of]):
        following.step(program.equations[index])
    found = following.intervals.get(of)
    return None if found is None else Reach(axis, shape, found)


class _Following:
    """The intervals of the values met so far, and the entries that a mask has filled with a constant."""

    def __init__(self, program: Program, values: Mapping[int, Any], masks: set[int], size: int) -> None:
        self.program, self.values, self.masks, self.size = program, values, masks, size
        self.intervals: dict[int, Interval] = {}
        self.filled: dict[int, np.ndarray] = {}

    def step(self, eqn: Equation) -> None:
        chosen = self._choice(eqn)
        for which, result in enumerate(eqn.results):
            if result in self.intervals or not self.program.differentiable(result):
                continue
            total: Interval | None = None
            for place, operand in enumerate(eqn.operands):
                if operand not in self.intervals:
                    continue
                local = linearise(self.program, eqn, place, which)
                if local is None:
                    continue
                one = self._carried(eqn, place, which, local)
                if chosen is not None:
                    one = one.without(chosen != place - 1, self.size)
                total = one if total is None else total.hull(one)
            if total is not None:
                self.intervals[result] = total
            self._fill(eqn, which, chosen)

    def _choice(self, eqn: Equation) -> np.ndarray | None:
        """Which case is taken at each entry, where a mask says."""
        if eqn.name != "select_n" or eqn.operands[0] not in self.masks:
            return None
        predicate = np.asarray(self.values[eqn.operands[0]]).astype(np.int64)
        return np.broadcast_to(predicate, self.program.shape(eqn.results[0]))

    def _fill(self, eqn: Equation, which: int, chosen: np.ndarray | None) -> None:
        """A mask fills what it gives a constant; that is passed on entry by entry, and by a softmax, written with a derivative
        of its own."""
        result = eqn.results[which]
        shape = self.program.shape(result)
        found = np.zeros(shape, bool)
        if chosen is not None:
            found |= np.isin(chosen, [place for place, n in enumerate(eqn.operands[1:]) if n not in self.intervals])
        for place, operand in enumerate(eqn.operands):
            local = linearise(self.program, eqn, place, which) if operand in self.filled else None
            if local is None:
                continue
            if eqn.name == "custom_jvp_call" and self.program.shape(operand) == shape:
                found |= self.filled[operand]
            elif eqn.name not in WEIGHTED or self.program.shape(operand) == shape:
                found |= self._moved(reading(self.program, eqn, place, which, local), self.filled[operand])
        if found.any():
            self.filled[result] = found

    def _moved(self, pattern: Pattern, filled: np.ndarray) -> np.ndarray:
        """Filled where every entry that is read is."""
        kept = Interval(np.where(filled, 1, 0), np.where(filled, -1, 0))
        return _hull(pattern, kept, None, 1).high < 0

    def _carried(self, eqn: Equation, operand: int, result: int, local: Local) -> Interval:
        pattern = reading(self.program, eqn, operand, result, local)
        blank = None
        if eqn.name in WEIGHTED and not pattern.windows:
            other = eqn.operands[1 - operand]
            if other in self.filled:
                zero = self.filled[other] & (np.asarray(self.values[other]) == 0)
                blank = zero.reshape(pattern.data_shape) if zero.any() and zero.size == pattern.entries else None
        return _hull(pattern, self.intervals[eqn.operands[operand]], blank, self.size)


def _hull(pattern: Pattern, interval: Interval, blank: np.ndarray | None, size: int) -> Interval:
    """The intervals behind a local Jacobian; `blank` marks numbers of it that are zero. A window reads all of its axis."""
    ins, outs = labels_of(pattern.inn), labels_of(pattern.out)
    over = tuple(n for n in ins if n in outs and n not in pattern.placed)
    if blank is not None:
        over = tuple(n for n in ins if n in pattern.data)
    away = tuple(place for place, n in enumerate(ins) if n not in over)
    split = [pattern.sizes[n] for n in ins]
    low, high = interval.low.reshape(split).min(away), interval.high.reshape(split).max(away)
    if blank is not None:
        along = [over.index(n) for n in pattern.data if n in over]
        shape = [pattern.sizes[n] if n in over else 1 for n in pattern.data]
        joint = Interval(low.transpose(along).reshape(shape), high.transpose(along).reshape(shape))
        met = joint.without(blank, size)
        gone = tuple(place for place, n in enumerate(pattern.data) if n not in outs)
        low, high = met.low.min(gone), met.high.max(gone)
        over = tuple(n for n in pattern.data if n in outs)
    order = [over.index(n) for n in outs if n in over]
    shape = [pattern.sizes[n] if n in over else 1 for n in outs]
    full = [pattern.sizes[n] for n in outs]
    low, high = (np.broadcast_to(a.transpose(order).reshape(shape), full) for a in (low, high))
    return Interval(low.reshape(pattern.out_shape), high.reshape(pattern.out_shape))
