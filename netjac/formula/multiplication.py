"""The formula's products and sums as a plan of the engine.

A factor is never written out on the way: what has been multiplied so far, a block of rows (from the output) or of columns
(from the input), goes through the factor's equations, and keeps what structure it has: an activation scales it, a
convolution sweeps it. So a formula of large layers costs what reverse or forward mode costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from netjac.factors.pattern import identity
from netjac.factors.refine import common_atoms
from netjac.formula.expression import Atom, Expression, Named, Sum
from netjac.graph.program import Program
from netjac.plan import windows
from netjac.plan.account import Stored
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import Answer, Plan, accounted
from netjac.plan.search import Setting
from netjac.plan.terms import Writer
from netjac.rules.shape import reshaping

Terms = list[Stored]
Shape = tuple[int, ...]


@dataclass
class Multiplication:
    """Multiplies blocks by expressions, from the left or from the right. A block is a sum of stored terms.

    `equations`: value → the expression of its Jacobian, in the order of evaluation; `writer` has the steps taken.
    """

    linearised: Linearised
    writer: Writer
    equations: Mapping[int, Expression]

    @classmethod
    def of(cls, program: Program, setting: Setting, equations: Mapping[int, Expression]) -> Multiplication:
        return cls(Linearised(program), Writer(program, setting.width, setting.rates), equations)

    def evaluation(self, expression: Expression, source: int, sink: int, order: str) -> Plan:
        """The plan of ∂sink/∂source: "reverse" from the left, rows of the output; "forward" from the right, columns."""
        reverse = order == "reverse"
        block = self.unit(sink if reverse else source)
        found = self.before(block, expression) if reverse else self._forward(expression, block, {})
        return accounted(order, self.writer, self._answers([found]))

    def steps(self, expressions: Iterable[Expression | None], sink: int) -> Plan:
        """The plan of the block after each of the expressions, which follow one another from the output to the input."""
        block, found = self.unit(sink), []
        for expression in expressions:
            block = block if expression is None else self.before(block, expression)
            found.append(block)
        return accounted("reverse", self.writer, self._answers(found))

    def factors(self, atoms: Iterable[Atom]) -> Plan:
        """The plan of each factor by itself, one answer an atom."""
        return accounted(
            "local", self.writer, self._answers([self._left(atom, self.unit(atom.head)) for atom in atoms])
        )

    def unit(self, value: int) -> Terms:
        return [self.writer.seed(identity(self.linearised.program.shape(value)))]

    def before(self, block: Terms, expression: Expression) -> Terms:
        """block · expression."""
        waiting: dict[int, Terms] = {}
        found = self._reverse(block, expression, waiting)
        return self._settled(found, waiting)

    def _answers(self, blocks: Sequence[Terms]) -> list[Answer]:
        """One for each block that is not zero, `of` its place."""
        found = []
        for place, block in enumerate(blocks):
            if block:
                term = windows.plain(self.writer, self.writer.combined(block))
                found.append(Answer(place, 0, term.register, term.pattern))
        return found

    def _reverse(self, block: Terms, expression: Expression, waiting: dict[int, Terms]) -> Terms:
        """What ends at the expression's input; what is still to be multiplied by a named Jacobian is put in `waiting`."""
        if isinstance(expression, Atom):
            return self._left(expression, block)
        if isinstance(expression, Named):
            waiting[expression.value] = self._sum([*waiting.get(expression.value, []), *block], "inn")
            return []
        if isinstance(expression, Sum):
            return self._sum([t for term in expression.terms for t in self._reverse(block, term, waiting)], "inn")
        for factor in expression.factors[:-1]:
            block = self.before(block, factor)
        return self._reverse(block, expression.factors[-1], waiting) if expression.factors else block

    def _settled(self, found: Terms, waiting: dict[int, Terms]) -> Terms:
        """The blocks that wait for named Jacobians, the last of these first: it is made of those before it."""
        places = {value: place for place, value in enumerate(self.equations)}
        while waiting:
            value = max(waiting, key=places.__getitem__)
            found = [*found, *self._reverse(waiting.pop(value), self.equations[value], waiting)]
        return self._sum(found, "inn")

    def _forward(self, expression: Expression, block: Terms, known: dict[int, Terms]) -> Terms:
        """expression · block; `known` has the named Jacobians times this block."""
        if isinstance(expression, Atom):
            return self._right(expression, block)
        if isinstance(expression, Named):
            if expression.value not in known:
                known[expression.value] = self._forward(self.equations[expression.value], block, known)
            return known[expression.value]
        if isinstance(expression, Sum):
            return self._sum([t for term in expression.terms for t in self._forward(term, block, known)], "out")
        for factor in reversed(expression.factors):
            block = self._forward(factor, block, known)
            known = {}
        return block

    def _left(self, atom: Atom, block: Terms) -> Terms:
        """block · atom, in reverse mode through the atom's equations."""
        edges = self._edges(atom)
        edges.above.get(atom.head, {}).get(edges.sink(0), [])[:] = self._shaped(block, atom.head, "inn")
        for vertex in reversed(edges.interior):
            if vertex != atom.tail:
                edges.eliminate(vertex, "in")
        return [t for t in edges.above.get(atom.tail, {}).get(edges.sink(0), []) if isinstance(t, Stored)]

    def _right(self, atom: Atom, block: Terms) -> Terms:
        """atom · block, in forward mode through the atom's equations."""
        edges = self._edges(atom)
        edges.below.get(atom.tail, {}).get(edges.source(0), [])[:] = self._shaped(block, atom.tail, "out")
        for vertex in edges.interior:
            if vertex != atom.head:
                edges.eliminate(vertex, "out")
        return [t for t in edges.below.get(atom.head, {}).get(edges.source(0), []) if isinstance(t, Stored)]

    def _edges(self, atom: Atom) -> Edges:
        program = self.linearised.program
        only = sorted({program.producer[value] for value in (*atom.inner, atom.head)})
        return Edges(self.linearised, Question((atom.tail,), (atom.head,)), self.writer, per_sample=False, only=only)

    def _shaped(self, block: Terms, value: int, side: str) -> Terms:
        return [self._reshaped(term, self.linearised.program.shape(value), side) for term in block]

    def _reshaped(self, term: Stored, shape: Shape, side: str) -> Stored:
        """The term with the entries of one side under another shape: the formula leaves out what only reshapes."""
        old = term.pattern.in_shape if side == "inn" else term.pattern.out_shape
        if old == shape:
            return term
        if common_atoms(old, shape) is None:
            term, old = self._reshaped(term, (prod(shape),), side), (prod(shape),)
        if side == "inn":
            return self.writer.multiply(term, self.writer.seed(reshaping(old, shape)), "in")
        return self.writer.multiply(self.writer.seed(reshaping(shape, old)), term, "out")

    def _sum(self, terms: Terms, side: str) -> Terms:
        """Terms of one structure as one; what they meet next on this `side` has the shape that the first one has."""
        found: Terms = []
        for one in terms:
            first = terms[0].pattern
            term = self._reshaped(one, first.in_shape if side == "inn" else first.out_shape, side)
            for place, other in enumerate(found):
                total = self.writer.add(other, term)
                if total is not None:
                    found[place] = total
                    break
            else:
                found.append(term)
        return found
