"""Writing the steps of a plan: factors that exist only as patterns are multiplied, added and swept, and paid for.

A `Stored` term is a factor whose numbers some register will hold; a `Through` term is an opaque equation. The `Writer`
knows how any two of them make one stored term, and keeps the account.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from math import prod

import jax.numpy as jnp

from netjac.errors import NotDifferentiableError
from netjac.factors.addition import add
from netjac.factors.pattern import Axes, Pattern, identity, labels_of, renumbered
from netjac.factors.product import Product, matched, multiply, straddling
from netjac.factors.refine import common_atoms, untie, whole
from netjac.factors.selection import alive, pick
from netjac.factors.window import bandable, banded, joined, opened, placed, read, unsettled
from netjac.graph.program import Program
from netjac.plan.cost import Rates, nbytes, seconds, sweep_operations, sweep_seconds
from netjac.plan.steps import Action, LocalFactor, Seed, Step, Sweep
from netjac.rules.local import Explicit, Opaque
from netjac.rules.loops import steps_first

PICKING = 4
"""Elementwise operations that picking one entry takes as long as (measured: 0.25 ms for 576 × 576 out of 1024 × 1024)."""


@dataclass(frozen=True)
class Stored:
    register: int
    pattern: Pattern


@dataclass(frozen=True)
class Through:
    equation: int
    operand: int
    result: int
    local: Opaque


Term = Stored | Through


@dataclass
class Writer:
    """Collects steps; `width` is the bytes of one number."""

    program: Program
    width: int
    rates: Rates
    steps: list[Step] = field(default_factory=list)
    registers: int = 0
    at: str = ""

    def emit(self, form: str, reads: tuple[Stored, ...], pattern: Pattern, action: Action, operations: int) -> Stored:
        stored = Stored(self.registers, pattern)
        self._append(form, reads, (stored,), action, operations)
        return stored

    def _append(
        self, form: str, reads: tuple[Stored, ...], writes: tuple[Stored, ...], action: Action, operations: int
    ) -> None:
        free = form == "relabel" or (isinstance(action, Seed) and not action.pattern.data)
        moved = 0 if free else sum(nbytes(term.pattern, self.width) for term in (*reads, *writes))
        if isinstance(action, Sweep):
            eqn = self.program.equations[action.equation]
            cost = sweep_seconds(self.program, eqn, action.direction, operations, moved, self.rates)
        else:
            cost = 0.0 if free else seconds(form, operations, moved, self.rates)
            if isinstance(action, Product):
                cost += 2 * action.turned * self.width / self.rates.bandwidth
        self.registers += len(writes)
        self.steps.append(
            Step(
                form, self.at, tuple(term.register for term in reads), tuple(term.register for term in writes),
                writes[0].pattern, operations, moved, cost, action,
            )
        )  # fmt: skip

    def local(self, equation: int, operand: int, result: int, local: Explicit) -> Stored:
        eqn = self.program.equations[equation]
        linear = local.numbers is None or eqn.name in ("dot_general", "mul", "neg", "sub", "select_n")
        operations = 0 if linear else local.pattern.entries
        form = "relabel" if local.numbers is None else "factor"
        return self.emit(form, (), local.pattern, LocalFactor(equation, operand, result), operations)

    def seed(self, pattern: Pattern, count: int = 0, side: str = "") -> Stored:
        return self.emit("seed", (), pattern, Seed(pattern, count, side), 0)

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

        return self._cheaper(lambda: self._by_sweep(left, right, last), written)

    def alive(self, scaling: Stored, label: int, room: int) -> tuple[Stored, Stored]:
        """The indices at which a scaling is not zero, and its numbers there."""
        plan = alive(scaling.pattern, label, room)
        index, numbers = Stored(self.registers, plan.pattern), Stored(self.registers + 1, plan.pattern)
        self._append("alive", (scaling,), (index, numbers), plan, 4 * scaling.pattern.entries)
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

    def _cheaper(self, *ways: Callable[[], Stored]) -> Stored:
        """By the way that is predicted to take least."""
        return min(ways, key=self.priced)()

    def priced(self, way: Callable[[], object]) -> float:
        """The seconds of the steps that a way would write; none of them is kept."""
        start, registers = len(self.steps), self.registers
        way()
        cost = sum(step.seconds for step in self.steps[start:])
        del self.steps[start:]
        self.registers = registers
        return cost

    def _product(self, left: Stored, right: Stored, last: str) -> Stored:
        left, right = self._facing(left, right)
        for axis in straddling(left.pattern, right.pattern):
            left, right = self._whole(left, "inn", axis), self._whole(right, "out", axis)
        cut, along = self._cut(left, right)
        bands = len([w for w in cut.pattern.windows if bandable(w, cut.pattern, along)])
        ways = [
            partial(self._multiplied, left, cut if count else right, along, count, last) for count in range(bands + 1)
        ]
        return self._cheaper(*ways) if bands else ways[0]()

    def _multiplied(self, left: Stored, right: Stored, along: Collection[int], bands: int, last: str) -> Stored:
        """The product, `bands` of right's windows first joined with what it will sum over."""
        for _ in range(bands):
            right = self._banded(right, along)
        plan = multiply(left.pattern, right.pattern, last)
        return self._settled(self.emit(plan.form, (left, right), plan.pattern, plan, plan.operations))

    def _cut(self, left: Stored, right: Stored) -> tuple[Stored, Collection[int]]:
        """Right in the atoms that it has in common with left where it has windows, and its labels that are summed over."""
        if not right.pattern.windows:
            return right, ()
        ours, cut, pairs = matched(left.pattern, right.pattern)
        along = {theirs for own, theirs in pairs if own not in ours.pattern.out_labels}
        if cut.pattern == right.pattern or not any(bandable(w, cut.pattern, along) for w in cut.pattern.windows):
            return right, along
        return self.emit("relabel", (right,), cut.pattern, cut, 0), along

    def _banded(self, right: Stored, along: Collection[int]) -> Stored:
        place = next(i for i, w in enumerate(right.pattern.windows) if bandable(w, right.pattern, along))
        plan = banded(right.pattern, place, [n for n, _ in right.pattern.windows[place].terms if n in along])
        return self.emit("band", (right,), plan.pattern, plan, plan.pattern.entries)

    def _facing(self, left: Stored, right: Stored) -> tuple[Stored, Stored]:
        """Left without windows where the two meet: right is read through them instead, or they are placed."""
        facing = []
        for axis, labels in enumerate(left.pattern.inn):
            old = right.pattern.out[axis]
            for place, w in enumerate(left.pattern.windows):
                if w.label not in labels:
                    continue
                if len(labels) > 1 or len(old) > 1:
                    return self._facing(self._placed(left, place), right)
                facing.append(w.label)
                sizes = [left.pattern.sizes[n] for n, _ in w.terms]
                plan = read(right.pattern, old[0], sizes, [stride for _, stride in w.terms], w.offset, w.clean)
                form = "relabel" if plan.free else "read"
                right = self.emit(form, (right,), plan.pattern, plan, 0)
        return Stored(left.register, opened(left.pattern, facing)), right

    def _settled(self, term: Stored) -> Stored:
        """Each window with at most one hidden term, and none that nothing else names."""
        while (place := unsettled(term.pattern)) is not None:
            plan = joined(term.pattern, place)
            operations = plan.pattern.entries * plan.copies
            term = self.emit("join", (term,), renumbered(plan.pattern), plan, operations)
        return term

    def _placed(self, term: Stored, place: int) -> Stored:
        plan = placed(term.pattern, place)
        return self.emit("place", (term,), renumbered(plan.pattern), plan, plan.pattern.entries)

    def plain(self, term: Stored) -> Stored:
        """The term without windows: every number at its place."""
        while term.pattern.windows:
            term = self._placed(term, 0)
        return term

    def written(self, term: Through) -> Stored:
        """An opaque local Jacobian as the pattern that its rule knows."""
        assert term.local.written is not None
        return self._settled(self.local(term.equation, term.operand, term.result, term.local.written))

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
        left = self.plain(left)
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
        right = self.plain(right)
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
        self._append(f"{direction} {eqn.name}", (block,), writes, action, operations)
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
        term = self.plain(term)
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
                total, term = self.plain(total), self.plain(term)
                found = self.add(total, term)
            if found is None:
                a, b = self._only_common_ties(total, term)
                found = self.add(a, b)
            if found is None:
                a, b = self._fully_dense(total), self._fully_dense(term)
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

    def _fully_dense(self, term: Stored) -> Stored:
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
