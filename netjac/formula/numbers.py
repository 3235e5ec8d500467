"""The factors' numbers: each one's local Jacobian, dense, at one input."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from netjac.execute import Primal, accumulate
from netjac.factors.refine import densify
from netjac.formula.expression import Atom
from netjac.pieces import setting_of
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import written
from netjac.plan.terms import Writer
from netjac.precision import multiplied, precise
from netjac.tracing import Point


def matrices(point: Point, atoms: Iterable[Atom]) -> dict[Atom, np.ndarray]:
    """Atom → its matrix (rows: the entries of the head, columns: those of the tail)."""
    atoms = list(dict.fromkeys(atoms))
    program = point.traced.program
    with precise(point.wide), multiplied(point.precision):
        needed = program.needed([atom.head for atom in atoms])
        primal = Primal(program.evaluate(point.arguments(), list(program.constants.values()), needed))
        linearised = Linearised(program)
        return {atom: _matrix(point, atom, linearised, primal) for atom in atoms}


def _matrix(point: Point, atom: Atom, linearised: Linearised, primal: Primal) -> np.ndarray:
    program, setting = point.traced.program, setting_of(point, atom.head)
    writer = Writer(program, setting.width, setting.rates)
    only = sorted({program.producer[value] for value in (*atom.inner, atom.head)})
    edges = Edges(linearised, Question((atom.tail,), (atom.head,)), writer, per_sample=False, only=only)
    for vertex in reversed(edges.interior):
        edges.eliminate(vertex, "in")
    plan = written("local", edges, writer)
    shape = program.size(atom.head), program.size(atom.tail)
    if not plan.answers:
        return np.zeros(shape, program.dtype(atom.head))
    array = accumulate(plan, linearised, primal, program.dtype(atom.head))[0]
    return np.asarray(densify(plan.answers[0].pattern, array, array.dtype)).reshape(shape)
