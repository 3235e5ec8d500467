"""The factors of a Jacobian: the local Jacobians of the network's equations between input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from netjac.execute import Primal, accumulate
from netjac.factors.refine import densify
from netjac.pieces import setting_of
from netjac.plan.account import Stored, Term, Through
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import written
from netjac.plan.terms import Writer
from netjac.precision import precise
from netjac.structure import step_names
from netjac.tracing import Point


@dataclass(frozen=True, eq=False)
class Factor:
    """∂head/∂tail of one equation. `form` is its primitive, `pattern` its structure ("opaque" where only sweeps know it)."""

    head: str
    tail: str
    form: str
    pattern: str
    shape: tuple[int, ...]
    _point: Point
    _values: tuple[int, int]

    def to_numpy(self) -> np.ndarray:
        """The local Jacobian, dense: (*head shape, *tail shape), samples written out as axes like any other."""
        head, tail = self._values
        program = self._point.traced.program
        question = Question((tail,), (head,))
        linearised = Linearised(program)
        setting = setting_of(self._point, head)
        writer = Writer(program, setting.width, setting.rates)
        with precise(self._point.wide):
            edges = Edges(linearised, question, writer, per_sample=False, only=[program.producer[head]])
            for vertex in edges.interior:
                edges.eliminate(vertex, "in")
            plan = written("local", edges, writer)
            values = program.evaluate(self._point.arguments(), list(program.constants.values()), program.needed([head]))
            array = accumulate(plan, linearised, Primal(values), program.dtype(head))[0]
            return np.asarray(densify(plan.answers[0].pattern, array, array.dtype)).reshape(self.shape)

    def __repr__(self) -> str:
        return f"∂{self.head}/∂{self.tail}  {self.form}  {self.pattern}"

    def _repr_html_(self) -> str:
        return Factors([self])._repr_html_()


class Factors(tuple[Factor, ...]):
    """Factors, from the output back to the input: a tuple that reads as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no factors"

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ((f"∂{one.head}/∂{one.tail}", one.form, one.pattern, str(one.shape)) for one in self)
        return rows(("factor", "form", "pattern", "shape"), cells)


def factors_of(context: Any) -> Factors:
    """Every edge of the linearised graph, from the output back to the input."""
    point, question = context.point, context.request.at(context.point)
    program = point.traced.program
    setting = setting_of(point, question.of[0])
    with precise(point.wide):
        edges = Edges(Linearised(program), question, Writer(program, setting.width, setting.rates), per_sample=False)
    names = step_names(point)
    found = []
    for head in reversed(edges.interior):
        form = program.equations[program.producer[head]].name if head in program.producer else ""
        for tail, terms in edges.below.get(head, {}).items():
            if tail >= 0 and terms:
                shape = (*program.shape(head), *program.shape(tail))
                pattern = " + ".join(_pattern(term) for term in terms)
                found.append(
                    Factor(names[str(head)], names.get(str(tail), str(tail)), form, pattern, shape, point, (head, tail))
                )
    return Factors(found)


def _pattern(term: Term) -> str:
    if isinstance(term, Stored):
        return str(term.pattern)
    assert isinstance(term, Through)
    return "opaque"
