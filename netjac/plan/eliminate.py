"""Vertex elimination: a Jacobian is accumulated by removing one value of the graph after another.

To eliminate v is to give each pair of a predecessor p and a successor s the edge ∂s/∂p += ∂s/∂v · ∂v/∂p (Griewank and
Walther, Evaluating Derivatives, ch. 9). From the outputs backwards this is reverse mode, from the inputs forwards it is
forward mode, and any other order is as right; only the cost differs. Here edges are patterns, so an order is tried
without computing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from netjac.errors import NotDifferentiableError
from netjac.factors.pattern import Pattern, dense, identity
from netjac.graph.program import Program
from netjac.plan import windows
from netjac.plan.account import Stored, Term, Through
from netjac.plan.terms import Writer
from netjac.rules import linearise
from netjac.rules.local import Explicit, Local, Opaque


@dataclass(frozen=True)
class Question:
    """Which Jacobians are asked for, of a program: every `of` value by every `wrt` value.

    `rows` or `columns`: only that many of the (per-sample) rows or columns at a time, the first given at run time.
    `local`: the answers are left as they are found, each term of a sum by itself and windows not placed.
    """

    wrt: tuple[int, ...]
    of: tuple[int, ...]
    rows: int | None = None
    columns: int | None = None
    local: bool = False


class Linearised:
    """The local Jacobians of a program's equations, found when first asked for."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._found: dict[tuple[int, int, int], Local | None] = {}

    def local(self, equation: int, operand: int, result: int) -> Local | None:
        place = equation, operand, result
        if place not in self._found:
            self._found[place] = linearise(self.program, self.program.equations[equation], operand, result)
        return self._found[place]


class Edges:
    """The linearised graph between the asked-for values: vertex → vertex → terms whose sum is the local Jacobian.

    Each asked-for value has a vertex of its own beside the program's, `source(i)` and `sink(i)`, joined by an identity
    (or by some of its rows or columns), so that one that others are computed from is treated like any other. `only` limits
    the graph to some equations.
    """

    def __init__(
        self,
        linearised: Linearised,
        question: Question,
        writer: Writer,
        per_sample: bool,
        only: Sequence[int] | None = None,
    ) -> None:
        self.program = linearised.program
        self.equations = self.program.needed(question.of) if only is None else only
        self.writer = writer
        self.question = question
        self.below: dict[int, dict[int, list[Term]]] = {}
        self.above: dict[int, dict[int, list[Term]]] = {}
        active = self._active()
        for i, value in enumerate(question.wrt):
            if value in active:
                self._connect(self.source(i), value, self._selection(value, question.columns, "columns", per_sample))
        for i, value in enumerate(question.of):
            if value in active:
                self._connect(value, self.sink(i), self._selection(value, question.rows, "rows", per_sample))
        self._connect_equations(linearised, active)

    def source(self, i: int) -> int:
        return -1 - i

    def sink(self, i: int) -> int:
        return len(self.program.types) + i

    @property
    def interior(self) -> list[int]:
        """The values still to be eliminated, in the order they are computed in."""
        bound = len(self.program.types)
        values = {v for v in (*self.below, *self.above) if 0 <= v < bound}
        produced = self.program.producer
        return sorted(values, key=lambda v: (produced.get(v, -1), v))

    def _active(self) -> set[int]:
        """The values that depend on a `wrt` and that an `of` depends on, by their derivatives."""
        program, wrt = self.program, set(self.question.wrt)
        reached = {v for v in wrt if program.differentiable(v)}
        for index in self.equations:
            eqn = program.equations[index]
            for result in eqn.results:
                if result not in wrt and program.differentiable(result) and reached.intersection(eqn.operands):
                    reached.add(result)
        wanted = {v for v in self.question.of if v in reached}
        for index in reversed(self.equations):
            eqn = program.equations[index]
            if any(r in wanted and r not in wrt for r in eqn.results):
                wanted.update(o for o in eqn.operands if o in reached)
        return wanted

    def _connect_equations(self, linearised: Linearised, active: set[int]) -> None:
        for index in self.equations:
            eqn = self.program.equations[index]
            for which, result in enumerate(eqn.results):
                if result not in active or result in self.question.wrt:
                    continue
                for place, operand in enumerate(eqn.operands):
                    local = linearised.local(index, place, which) if operand in active else None
                    if isinstance(local, Explicit):
                        self._connect(operand, result, self.writer.local(index, place, which, local))
                    elif isinstance(local, Opaque):
                        if not (local.pushes or local.pulls):
                            raise NotDifferentiableError(
                                f"{eqn.name} has neither a forward nor a reverse derivative in JAX (a while loop around "
                                "a custom_vjp function, say); give it a fixed number of turns or a custom_jvp"
                            )
                        self._connect(operand, result, Through(index, place, which, local))

    def _selection(self, value: int, count: int | None, side: str, per_sample: bool) -> Stored:
        """The identity at an asked-for value, or `count` of its rows or columns, one-hot along all axes but samples."""
        shape = self.program.shape(value)
        if count is None:
            return self.writer.seed(identity(shape))
        inner = shape[1:] if per_sample else shape
        one_hot = dense((count,), inner)
        samples: tuple[tuple[int, ...], ...] = ()
        sizes = one_hot.sizes
        if per_sample:
            samples = ((len(sizes),),) if shape[0] != 1 else ((),)
            sizes += (shape[0],) if shape[0] != 1 else ()
        pattern = Pattern((*samples, *one_hot.out), (*samples, *one_hot.inn), one_hot.data, sizes)
        return self.writer.seed(pattern if side == "rows" else pattern.transposed(), count, side)

    def _connect(self, tail: int, head: int, term: Term) -> None:
        terms = self.above.setdefault(tail, {}).setdefault(head, [])
        self.below.setdefault(head, {})[tail] = terms
        if isinstance(term, Stored):
            for place, other in enumerate(terms):
                if isinstance(other, Stored) and (total := self.writer.add(other, term)):
                    terms[place] = total
                    return
        terms.append(term)

    def price(self, vertex: int, last: str) -> float:
        """The seconds that eliminating a value would take now, sums with other edges apart; nothing is kept."""
        below = self.below.get(vertex, {})
        others = [t for terms in below.values() for t in terms]

        pulled = partial(self.writer.multiply, last=last)

        def tried() -> None:
            for uppers in self.above.get(vertex, {}).values():
                for upper in self._gathered(uppers, others, pulled):
                    self._through(upper, below, last)

        return self.writer.priced(tried)

    def eliminate(self, vertex: int, last: str) -> None:
        """Remove a value, multiplying each factor above it with each below; `last` is the side that grows next."""
        self.writer.at = str(vertex)
        below, above = self.below.pop(vertex, {}), self.above.pop(vertex, {})
        for tail in below:
            del self.above[tail][vertex]
        for head in above:
            del self.below[head][vertex]
        lowers = [t for terms in below.values() for t in terms]
        for head, uppers in above.items():
            for upper in self._gathered(uppers, lowers, partial(self.writer.multiply, last=last)):
                for tail, term in self._through(upper, below, last):
                    self._connect(tail, head, term)

    def _gathered(
        self, terms: list[Term], others: list[Term], multiply: Callable[[Stored, Term], Stored]
    ) -> list[Term]:
        """One stored term where blocks are about to be swept: two sweeps would cost twice."""
        stored = [t for t in terms if isinstance(t, Stored)]
        sweeps = [t for t in others if isinstance(t, Through)]
        if len(stored) < 2 or not sweeps:
            return terms

        def together() -> None:
            total = self.writer.combined(stored)
            for through in sweeps:
                multiply(total, through)

        def apart() -> None:
            for term, through in product(stored, sweeps):
                multiply(term, through)

        only = any(through.local.written is None for through in sweeps)
        if not only and self.writer.priced(apart) < self.writer.priced(together):
            return terms
        return [self.writer.combined(stored), *(t for t in terms if isinstance(t, Through))]

    def _through(self, upper: Term, below: dict[int, list[Term]], last: str) -> list[tuple[int, Stored]]:
        made: list[tuple[int, Stored]] = []
        sweeps: dict[tuple[int, int], dict[int, tuple[int, Through]]] = {}

        def pushed(right: Stored, left: Term) -> Stored:
            return self.writer.multiply(left, right, last)

        for tail, lowers in below.items():
            for lower in self._gathered(lowers, [upper], pushed):
                plain = isinstance(lower, Through) and lower.local.pulls and lower.local.written is None
                if plain and isinstance(lower, Through) and isinstance(upper, Stored):
                    sweeps.setdefault((lower.equation, lower.result), {})[lower.operand] = (tail, lower)
                else:
                    made.append((tail, self.writer.multiply(upper, lower, last)))
        for (equation, result), places in sweeps.items():
            assert isinstance(upper, Stored)
            found = self.writer.pull(upper, equation, result, {p: term for p, (_, term) in places.items()})
            made += [(places[p][0], term) for p, term in found.items()]
        return made

    def is_plain(self, vertex: int) -> bool:
        """Only scalings and relabellings on both sides, few enough that removing it adds no edges."""
        below, above = self.below.get(vertex, {}), self.above.get(vertex, {})
        terms = [t for edges in (below, above) for group in edges.values() for t in group]
        if not all(isinstance(t, Stored) and t.pattern.is_diagonal for t in terms):
            return False
        return len(below) * len(above) <= len(below) + len(above)

    def answers(self) -> list[tuple[int, int, Stored]]:
        """(place in `of`, place in `wrt`, the accumulated Jacobian) where it is not zero; one a term where they stay local."""
        found: list[tuple[int, int, Stored]] = []
        for i in range(len(self.question.of)):
            for j in range(len(self.question.wrt)):
                terms = self.above.get(self.source(j), {}).get(self.sink(i))
                if not terms:
                    continue
                self.writer.at = "answer"
                stored = [self.writer.stored(term) for term in terms]
                whole = stored if self.question.local else [windows.plain(self.writer, self.writer.combined(stored))]
                found += [(i, j, term) for term in whole]
        return found
