"""Writing the steps of a plan: factors that exist only as patterns are multiplied, added and swept, and paid for.

The `Writer` knows how any two terms make one stored term.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from math import prod

import jax.numpy as jnp

from netjac.errors import NotDifferentiableError
from netjac.factors.addition import add
from netjac.factors.pattern import Axes, Pattern, identity, labels_of, renumbered
from netjac.factors.product import multiply, straddling
from netjac.factors.refine import common_atoms, untie, whole
from netjac.factors.selection import alive, pick
from netjac.factors.taps import bandable
from netjac.plan import windows
from netjac.plan.account import Account, Stored, Term, Through
from netjac.plan.cost import sweep_operations
from netjac.plan.steps import Sweep
from netjac.rules.loops import steps_first

PICKING = 4
"""Elementwise operations that picking one entry takes as long as (measured: 0.25 ms for 576 × 576 out of 1024 × 1024)."""


@dataclass
class Writer(Account):
    """Knows how any two terms make one stored term."""

    def multiply(self, left: Term, right: Term, last: str) -> Stored:
        """left · right as one stored term, by the cheaper way where there are two."""
        if isinstance(left, Stored) and isinstance(right, Stored):
            return self._product(left, right, last)
        if isinstance(left, Through) and isinstance(right, Through):
            return self.multiply(*self._one_stored(left, right), last)
        through = left if isinstance(left, Through) else right
        assert isinstance(through, Through)
        if through.local.written is None:
            return self._by_sweep(left, right, last)

        def written() -> Stored:
            own = self.written(through)
            return self.multiply(own if left is through else left, own if right is through else right, last)

        return self.cheaper(lambda: self._by_sweep(left, right, last), written)

    def alive(self, scaling: Stored, label: int, room: int) -> tuple[Stored, Stored]:
        """The indices at which a scaling is not zero, and its numbers there."""
        plan = alive(scaling.pattern, label, room)
        index, numbers = Stored(self.registers, plan.pattern), Stored(self.registers + 1, plan.pattern)
        self.append("alive", (scaling,), (index, numbers), plan, 4 * scaling.pattern.entries)
        return index, numbers

    def picked(self, term: Stored, side: str, axis: int, index: Stored, room: int) -> Stored:
        """A factor at these indices along one axis of its out or in side."""
        axes = getattr(term.pattern, side)
        outer = tuple(n for a, labels in enumerate(axes) for n in labels if a != axis)
        plan = pick(term.pattern, axes[axis][0], outer, room)
        return self.emit("pick", (term, index), plan.pattern, plan, PICKING * plan.pattern.entries)

    def _by_sweep(self, left: Term, right: Term, last: str) -> Stored:
        if isinstance(left, Stored):
            assert isinstance(right, Through)
            if right.local.pulls:
                return self.pull(left, right.equation, right.result, {right.operand: right})[right.operand]
            return self.multiply(left, self._materialised(right, "push"), last)
        assert isinstance(right, Stored)
        if left.local.pushes:
            return self.push(right, left)
        return self.multiply(self._materialised(left, "pull"), right, last)

    def _product(self, left: Stored, right: Stored, last: str) -> Stored:
        left, right = windows.facing(self, left, right)
        for axis in straddling(left.pattern, right.pattern):
            left, right = self._whole(left, "inn", axis), self._whole(right, "out", axis)
        cut, along = windows.cut(self, left, right)
        bands = len([w for w in cut.pattern.windows if bandable(w, cut.pattern, along)])
        ways = [
            partial(self._multiplied, left, cut if count else right, along, count, last) for count in range(bands + 1)
        ]
        return self.cheaper(*ways) if bands else ways[0]()

    def _multiplied(self, left: Stored, right: Stored, along: Collection[int], bands: int, last: str) -> Stored:
        """The product, `bands` of right's windows first joined with what it will sum over."""
        for _ in range(bands):
            right = windows.band(self, right, along)
        plan = multiply(left.pattern, right.pattern, last)
        return windows.settled(self, self.emit(plan.form, (left, right), plan.pattern, plan, plan.operations))

    def written(self, term: Through) -> Stored:
        """An opaque local Jacobian as the pattern that its rule knows."""
        assert term.local.written is not None
        return windows.settled(self, self.local(term.equation, term.operand, term.result, term.local.written))

    def _one_stored(self, left: Through, right: Through) -> tuple[Term, Term]:
        """Of two opaque equations in a row, the cheaper one written out."""
        if left.local.written is not None:
            return self.written(left), right
        if right.local.written is not None:
            return left, self.written(right)
        outs = self.program.size(self.program.equations[left.equation].results[left.result])
        ins = self.program.size(self.program.equations[right.equation].operands[right.operand])
        pulling = left.local.pulls and right.local.pulls
        pushing = left.local.pushes and right.local.pushes
        if pulling and (outs <= ins or not pushing):
            return self._materialised(left, "pull"), right
        if pushing:
            return left, self._materialised(right, "push")
        return self._materialised(left, "pull" if left.local.pulls else "push"), right

    def _materialised(self, term: Through, direction: str) -> Stored:
        """An opaque local Jacobian written out, by sweeping an identity through it."""
        eqn = self.program.equations[term.equation]
        seeded = eqn.results[term.result] if direction == "pull" else eqn.operands[term.operand]
        if jnp.issubdtype(self.program.dtype(seeded), jnp.complexfloating):
            raise NotDifferentiableError(
                f"{eqn.name} computes with complex numbers, whose local Jacobians cannot be written out; use "
                "engine='reverse' or 'auto'"
            )
        if direction == "pull":
            one = self.seed(identity(self.program.shape(eqn.results[term.result])))
            return self.pull(one, term.equation, term.result, {term.operand: term})[term.operand]
        return self.push(self.seed(identity(self.program.shape(eqn.operands[term.operand]))), term)

    def stored(self, term: Term) -> Stored:
        if isinstance(term, Stored):
            return term
        if term.local.written is not None:
            return self.written(term)
        return self._materialised(term, "pull" if term.local.pulls else "push")

    def pull(self, left: Stored, equation: int, result: int, terms: dict[int, Through]) -> dict[int, Stored]:
        """∂u/∂(each operand) from ∂u/∂result, in one sweep for operands that keep the same ties."""
        left = windows.plain(self, left)
        found: dict[int, Stored] = {}
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, term in terms.items():
            kept = {out for _, out in term.local.ties}
            loose = tuple(sorted({n for a, axis in enumerate(left.pattern.inn) if a not in kept for n in axis}
                                 & left.pattern.tied))  # fmt: skip
            groups.setdefault(loose, []).append(place)
        for loose, places in groups.items():
            block = self._untied(left, loose)
            plans = [self._swept(block.pattern, terms[place], "pull") for place in places]
            self._sweep("pull", block, equation, result, tuple(places), plans, found)
        return found

    def push(self, right: Stored, term: Through) -> Stored:
        """∂result/∂w from ∂operand/∂w."""
        right = windows.plain(self, right)
        kept = {inn for inn, _ in term.local.ties}
        loose = {n for a, axis in enumerate(right.pattern.out) if a not in kept for n in axis} & right.pattern.tied
        flipped = self._untied(right, tuple(sorted(loose)))
        plan = self._swept(flipped.pattern.transposed(), term, "push").transposed()
        found: dict[int, Stored] = {}
        self._sweep("push", flipped, term.equation, term.operand, (term.result,), [plan], found)
        return found[term.result]

    def _sweep(
        self, direction: str, block: Stored, equation: int, near: int, far: tuple[int, ...], plans: list[Pattern],
        found: dict[int, Stored],
    ) -> None:  # fmt: skip
        eqn = self.program.equations[equation]
        pattern = block.pattern
        own = pattern.in_labels if direction == "pull" else pattern.out_labels
        basis = tuple(n for n in pattern.data if n not in own)
        vectors = prod(pattern.sizes[n] for n in basis)
        operations = vectors * sweep_operations(self.program, eqn)
        action = Sweep(direction, equation, near, far, pattern, basis, tuple(plans))
        writes = tuple(Stored(self.registers + i, plan) for i, plan in enumerate(plans))
        self.append(f"{direction} {eqn.name}", (block,), writes, action, operations)
        found.update(zip(far, writes, strict=True))

    def _swept(self, block: Pattern, term: Through, direction: str) -> Pattern:
        """The block's pattern on the far side: tied axes keep their labels, the others get their own, all with data.

        Written for a pull; a push is handed the transposed block.
        """
        eqn = self.program.equations[term.equation]
        far = eqn.operands[term.operand] if direction == "pull" else eqn.results[term.result]
        ties = dict(term.local.ties) if direction == "pull" else {out: inn for inn, out in term.local.ties}
        sizes = list(block.sizes)
        axes: list[tuple[int, ...]] = []
        for axis, size in enumerate(self.program.shape(far)):
            if axis in ties:
                axes.append(block.inn[ties[axis]])
            elif size == 1:
                axes.append(())
            else:
                axes.append((len(sizes),))
                sizes.append(size)
        basis = [n for n in block.data if n not in block.in_labels]
        pulling = direction == "pull"
        first = steps_first(eqn, term.operand if pulling else term.result, not pulling)
        data = (*labels_of(tuple(axes[:first])), *basis, *labels_of(tuple(axes[first:])))
        return renumbered(Pattern(block.out, tuple(axes), data, tuple(sizes)))

    def _untied(self, term: Stored, labels: tuple[int, ...]) -> Stored:
        if not labels:
            return term
        plan = untie(term.pattern, labels)
        return self.emit("untie", (term,), plan.pattern, plan, plan.pattern.entries)

    def _whole(self, term: Stored, side: str, axis: int) -> Stored:
        """The axis as one atom, its ties written out."""
        term = windows.plain(self, term)
        labels = getattr(term.pattern, side)[axis]
        term = self._untied(term, tuple(n for n in labels if n in term.pattern.tied))
        if len(getattr(term.pattern, side)[axis]) < 2:
            return term
        plan = whole(term.pattern, side, axis)
        pattern = renumbered(plan.pattern)
        return self.emit("untie", (term,), pattern, plan, pattern.entries)

    def add(self, left: Stored, right: Stored) -> Stored | None:
        """The sum, or None where the ties differ."""
        plan = add(left.pattern, right.pattern)
        if plan is None:
            return None
        return self.emit("add", (left, right), renumbered(plan.pattern), plan, plan.operations)

    def combined(self, terms: list[Stored]) -> Stored:
        """The sum of several terms as one, ties that not all of them share written out."""
        total = terms[0]
        for other in terms[1:]:
            term = other
            found = self.add(total, term)
            if found is None and (total.pattern.windows or term.pattern.windows):
                total, term = windows.plain(self, total), windows.plain(self, term)
                found = self.add(total, term)
            if found is None:
                a, b = self._only_common_ties(total, term)
                found = self.add(a, b)
            if found is None:
                a, b = self.fully_dense(total), self.fully_dense(term)
                found = self.add(a, b)
            assert found is not None
            total = found
        return total

    def _only_common_ties(self, left: Stored, right: Stored) -> tuple[Stored, Stored]:
        ours, theirs = _tie_places(left.pattern), _tie_places(right.pattern)
        common = set(ours.values()) & set(theirs.values())
        left = self._untied(left, tuple(n for n, place in ours.items() if place not in common))
        right = self._untied(right, tuple(n for n, place in theirs.items() if place not in common))
        for side in ("out", "inn"):
            for axis in range(len(getattr(left.pattern, side))):
                if _straddle(left.pattern, right.pattern, side, axis):
                    left, right = self._whole(left, side, axis), self._whole(right, side, axis)
        return left, right

    def fully_dense(self, term: Stored) -> Stored:
        """Every axis one atom of its own, ties written out."""
        term = self._untied(term, tuple(sorted(term.pattern.tied)))
        for side in ("out", "inn"):
            for axis in range(len(getattr(term.pattern, side))):
                term = self._whole(term, side, axis)
        return term


def _straddle(left: Pattern, right: Pattern, side: str, axis: int) -> bool:
    ours, theirs = getattr(left, side)[axis], getattr(right, side)[axis]
    return common_atoms([left.sizes[n] for n in ours], [right.sizes[n] for n in theirs]) is None


def _tie_places(pattern: Pattern) -> dict[int, tuple[int, int, int, int, int]]:
    """Tied label → where it sits: (out axis, entries below it there, its size, in axis, entries below it there)."""

    def places(axes: Axes) -> dict[int, tuple[int, int]]:
        return {
            label: (place, prod(pattern.sizes[n] for n in axis[at + 1 :]))
            for place, axis in enumerate(axes)
            for at, label in enumerate(axis)
        }

    outs, ins = places(pattern.out), places(pattern.inn)
    return {n: (*outs[n], pattern.sizes[n], *ins[n]) for n in sorted(pattern.tied)}
