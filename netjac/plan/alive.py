"""Leaving out dead units: where a scaling that may be zero stands between two factors, both are cut down to the rest.

How many units are left is not known when the plan is made. So a plan is made for a size (`Setting.alive`), and
`netjac.alive` takes one whose sizes fit what the forward pass has shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax

from netjac.factors.pattern import Axes, Pattern
from netjac.factors.selection import alive
from netjac.graph.program import Equation
from netjac.plan.account import Stored, Term
from netjac.plan.eliminate import Edges
from netjac.plan.steps import LocalFactor
from netjac.rules.loops import bodies

CHOOSING = frozenset({"max", "min", "select_n", "clamp"})
"""Primitives whose derivative is 0 at many entries."""

SMALLEST = 128
"""Units below which a product is too small for any of them to be worth leaving out."""


@dataclass(frozen=True)
class Scaling:
    """The one scaling between a value `tail` and its function `head`, along the axis `axis` that can be cut down."""

    tail: int
    head: int
    axis: int
    term: Stored

    @property
    def label(self) -> int:
        return self.term.pattern.out[self.axis][0]

    @property
    def units(self) -> int:
        return self.term.pattern.sizes[self.label]

    def alive(self, numbers: jax.Array) -> jax.Array:
        """How many units its numbers leave, the most at any place of the other axes."""
        return alive(self.term.pattern, self.label, self.units).counts(numbers)


def scalings(edges: Edges) -> list[Scaling]:
    """Those that may be zero and that only stored factors with numbers along their axis meet, on both sides."""
    found = []
    for head in edges.interior:
        below = edges.below.get(head, {})
        if len(below) == 1:
            tail, terms = next(iter(below.items()))
            scaling = _scaling(edges, tail, head, terms)
            if scaling is not None:
                found.append(scaling)
    return found


def _scaling(edges: Edges, tail: int, head: int, terms: list[Term]) -> Scaling | None:
    term = terms[0]
    if len(terms) > 1 or tail not in edges.below or len(edges.above[tail]) > 1 or not isinstance(term, Stored):
        return None
    pattern = term.pattern
    wide = [a for a, labels in enumerate(pattern.out) if sum(pattern.sizes[n] for n in labels) >= SMALLEST]
    single = all(len(labels) < 2 for labels in pattern.out)
    if pattern.out != pattern.inn or pattern.windows or not single or not wide:
        return None
    axis = wide[-1]
    if pattern.out[axis][0] not in pattern.data or not _chooses(edges, term.register):
        return None
    lowers = [t for group in edges.below[tail].values() for t in group]
    uppers = [t for group in edges.above.get(head, {}).values() for t in group]
    sides = [*((t, "out") for t in lowers), *((t, "inn") for t in uppers)]
    if all(isinstance(t, Stored) and _pickable(t.pattern, side, pattern, axis) for t, side in sides):
        return Scaling(tail, head, axis, term)
    return None


def _chooses(edges: Edges, register: int) -> bool:
    """Whether the numbers of a scaling come from a primitive that chooses."""
    written = {number: step for step in edges.writer.steps for number in step.writes}
    waiting = [register]
    while waiting:
        step = written[waiting.pop()]
        if isinstance(step.action, LocalFactor) and choice(edges.program.equations[step.action.equation]):
            return True
        waiting.extend(step.reads)
    return False


def choice(eqn: Equation) -> bool:
    """Whether a primitive, or one in its body, chooses between values."""
    return eqn.name in CHOOSING or any(choice(inner) for body in bodies(eqn) for inner in body.equations)


def _pickable(pattern: Pattern, side: str, scaling: Pattern, axis: int) -> bool:
    """One label along the axis, of this side only, that the numbers vary along, and the outer axes whole."""
    axes: Axes = getattr(pattern, side)
    if [len(labels) for labels in axes] != [len(labels) for labels in scaling.out]:
        return False
    label = axes[axis][0]
    named = {n for w in pattern.windows for n in (w.label, *(term for term, _ in w.terms))}
    outer = {n for a, labels in enumerate(axes) for n in labels if a != axis}
    return label in pattern.data and label not in pattern.tied and not named & {label, *outer}


def cut_down(edges: Edges, rooms: Mapping[int, int]) -> None:
    """Cut each scaling, by its head, down to so many units, and the factors on both sides of it with it."""
    for scaling in scalings(edges):
        if scaling.head not in rooms:
            continue
        room = rooms[scaling.head]
        edges.writer.at = str(scaling.head)
        index, numbers = edges.writer.alive(scaling.term, scaling.label, room)
        edges.above[scaling.tail][scaling.head][0] = numbers
        sides = ((edges.below[scaling.tail], "out"), (edges.above[scaling.head], "inn"))
        for neighbours, side in sides:
            for terms in neighbours.values():
                terms[:] = [
                    edges.writer.picked(t, side, scaling.axis, index, room) for t in terms if isinstance(t, Stored)
                ]
