"""The structure of each layer's local Jacobian, as the engine sees it: what a drawing's glyphs stand for.

∂layer/∂source is found by eliminating what lies between on patterns alone; nothing is computed. A layer that ends in an
activation has two factors, ∂layer/∂z and ∂z/∂source: φ′(z) and Wᵀ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from netjac.errors import NotDifferentiableError
from netjac.factors.pattern import Pattern, labels_of
from netjac.graph.outline import Node
from netjac.pieces import setting_of
from netjac.plan.account import Stored
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import FREE
from netjac.plan.terms import Writer
from netjac.precision import precise
from netjac.rules.local import Opaque
from netjac.tracing import Point

PICKING = frozenset({"reduce_window_max", "reduce_window_min", "reduce_max", "reduce_min", "gather", "sort", "cummax"})
MOVING = frozenset(
    {"name", "reshape", "transpose", "squeeze", "slice", "pad", "copy", "broadcast_in_dim", "concatenate"}
)


@dataclass(frozen=True)
class LocalFactor:
    """∂head/∂tail of one sample, `rows` × `columns`.

    `kind`: "identity", "selection" (each row has one 1 at most: pooling by maxima, slices, rearrangements), "diagonal", "band"
    (each output has a window of the input), "equal blocks" (I ⊗ W), "blocks", "diagonal + low rank" (softmax, layer norm),
    "dense", "opaque" (only sweeps know it) or "zero".
    """

    head: str
    tail: str
    kind: str
    rows: int
    columns: int


class Locals:
    """The local factors at a point, found when asked for; the point has one sample, so that patterns are one sample's."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.program = point.traced.program
        self.linearised = Linearised(self.program)

    def factors(self, node: Node, source: Node) -> tuple[LocalFactor, ...]:
        """∂node/∂source, from left to right; two where the node has one source and ends in an activation."""
        before = self._before(node, source)
        if before is not None:
            pre = f"{node.name}.pre"
            slope = self._factor(node, node.value, before, (node.name, pre))
            linear = self._factor(node, before, source.value, (pre, source.name))
            if "identity" not in (slope.kind, linear.kind):
                return slope, linear
        return (self._factor(node, node.value, source.value, (node.name, source.name)),)

    def _before(self, node: Node, source: Node) -> int | None:
        if len(node.sources) != 1 or node.name not in self.point.traced.layers:
            return None
        value = self.point.traced.value(f"{node.name}.pre")
        start = self.program.equations[self.program.producer[node.value]].operands[0]
        inside = value in self.program.producer and self.program.producer[value] in node.equations
        return value if inside and value not in (node.value, start, source.value) else None

    def _factor(self, node: Node, head: int, tail: int, names: tuple[str, str]) -> LocalFactor:
        size = self.program.size
        kind = self._kind(node, head, tail)
        return LocalFactor(*names, kind, size(head), size(tail))

    def _kind(self, node: Node, head: int, tail: int) -> str:
        if not (self.program.differentiable(head) and self.program.differentiable(tail)):
            return "zero"
        others = tuple(n for n in self._ends(node) if n != tail and self.program.differentiable(n))
        found = self._terms(head, (tail, *others), node.equations)
        if found is None or self._is_hidden(node, tail):
            return "opaque"
        terms, writer = found
        kind = kind_of([t.pattern for t in terms], all(_is_free(writer, t.register) for t in terms))
        if self._picks(node, tail):
            return "selection"
        return "diagonal + low rank" if kind == "dense" and self._is_corrected(node, head, tail, others) else kind

    def _ends(self, node: Node) -> tuple[int, ...]:
        made = {r for index in node.equations for r in self.program.equations[index].results}
        used = dict.fromkeys(n for index in node.equations for n in self.program.equations[index].operands)
        fixed = {*self.program.literals, *self.program.constants, *self.point.traced.parameters.values()}
        return tuple(n for n in used if n not in made and n not in fixed)

    def _terms(self, head: int, tails: tuple[int, ...], equations: Sequence[int]) -> tuple[list[Stored], Writer] | None:
        """The terms of ∂head/∂tails[0], the other tails held fixed; None where it has no derivative to be had."""
        setting = setting_of(self.point, head)
        writer = Writer(self.program, setting.width, setting.rates)
        question = Question(tails, (head,), local=True)
        with precise(self.point.wide):
            try:
                edges = Edges(self.linearised, question, writer, per_sample=False, only=equations)
            except NotDifferentiableError:
                return None
            for vertex in edges.interior:
                edges.eliminate(vertex, "in")
            return [term for _, j, term in edges.answers() if j == 0], writer

    def _moving(self, node: Node, tail: int) -> dict[int, list[int]]:
        """The equations of the node through which the tail's derivative may go, and by which operands."""
        moved: set[int] = {tail}
        found: dict[int, list[int]] = {}
        for index in node.equations:
            eqn = self.program.equations[index]
            places = [place for place, n in enumerate(eqn.operands) if n in moved]
            live = {r for r in eqn.results if self.program.differentiable(r)}
            if places and live and eqn.name != "stop_gradient":
                moved |= live
                found[index] = places
        return found

    def _is_hidden(self, node: Node, tail: int) -> bool:
        """Whether an equation on the way is one of which nothing is known: no rule, no ties."""
        for index, places in self._moving(node, tail).items():
            eqn = self.program.equations[index]
            if eqn.name in PICKING:
                continue
            for place in places:
                one = self.linearised.local(index, place, 0)
                if isinstance(one, Opaque) and one.written is None and not one.ties and self.program.size(tail) > 1:
                    return True
        return False

    def _picks(self, node: Node, tail: int) -> bool:
        """Whether all that the node does is to pick entries and to move them."""
        names = {self.program.equations[index].name for index in self._moving(node, tail)} - MOVING
        return bool(names) and names <= PICKING

    def _is_corrected(self, node: Node, head: int, tail: int, others: tuple[int, ...]) -> bool:
        """Whether what is left is diagonal when no path may pass a value half as wide as both ends or narrower."""
        most = min(self.program.size(head), self.program.size(tail)) // 2
        program = self.program

        def is_wide(index: int) -> bool:
            return all(program.size(n) > most for n in program.equations[index].results)

        found = self._terms(head, (tail, *others), [index for index in node.equations if is_wide(index)])
        return found is not None and bool(found[0]) and all(t.pattern.out == t.pattern.inn for t in found[0])


def kind_of(patterns: Sequence[Pattern], free: bool) -> str:
    """The kind of a sum of factors with these patterns; `free`: its numbers are all 1."""
    if not patterns:
        return "zero"
    if all(p.is_diagonal and not p.windows and labels_of(p.out) == labels_of(p.inn) for p in patterns):
        return "identity" if free and len(patterns) == 1 else "diagonal"
    if free and len(patterns) == 1 and _is_picking(patterns[0]):
        return "selection"
    if all(map(_is_banded, patterns)):
        return "band"
    tied = frozenset.intersection(*(p.tied for p in patterns)) if len(patterns) == 1 else frozenset()
    if tied:
        return "blocks" if tied & set(patterns[0].data) else "equal blocks"
    return "dense"


def _is_picking(pattern: Pattern) -> bool:
    """Whether the place in the output says which one entry of the input is read."""
    known = set(pattern.out_labels)
    for window in pattern.windows:
        terms = {term for term, _ in window.terms}
        if window.label in pattern.out_labels and len(terms) == 1:
            known |= terms
        elif terms <= pattern.out_labels:
            known.add(window.label)
    return pattern.in_labels <= known


def _is_banded(pattern: Pattern) -> bool:
    """Windows that do not cover all of an axis, or axes cut into tiles."""
    for window in pattern.windows:
        reached = prod(pattern.sizes[n] for n, _ in window.terms if n in pattern.hidden)
        if reached < pattern.sizes[window.label]:
            return True
    return any(set(axis) & pattern.tied and set(axis) - pattern.tied for axis in pattern.inn)


def _is_free(writer: Writer, register: int) -> bool:
    """Whether no step that leads to a register computes anything."""
    made = {number: step for step in writer.steps for number in step.writes}
    waiting, seen = [register], set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        if made[number].form not in FREE:
            return False
        waiting.extend(made[number].reads)
    return True
