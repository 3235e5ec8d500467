"""The formula's numbers at one input, within a budget of memory that is looked at before anything is formed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import jax
import numpy as np

from netjac.errors import NotDifferentiableError, TooLargeError
from netjac.execute import accumulate, evaluated
from netjac.factors.refine import densify
from netjac.formula.expression import Atom, Expression
from netjac.formula.multiplication import Multiplication
from netjac.formula.symbols import Symbol
from netjac.memory import budget
from netjac.pieces import ALWAYS_FITS, setting_of
from netjac.plan.eliminate import Linearised
from netjac.plan.plan import Plan
from netjac.plan.table import memory as in_words
from netjac.precision import multiplied, precise
from netjac.tracing import Point

T = TypeVar("T")
Memory = int | float | str | None


@dataclass(frozen=True)
class Subject:
    """An expression whose numbers are asked for, between two values of a trace. `named`: its factors' symbols."""

    source: int
    sink: int
    expression: Expression
    equations: Mapping[int, Expression]
    named: Mapping[Atom, Symbol]


@dataclass(frozen=True)
class Calculation:
    """A plan of some matrices of these (rows, columns), and `run`: a point of the trace that it was made for → them, dense."""

    plan: Plan
    dtype: Any
    shapes: tuple[tuple[int, int], ...]
    run: Callable[[Point], list[np.ndarray]]

    @property
    def nbytes(self) -> tuple[int, ...]:
        """What each matrix takes, written out."""
        return tuple(rows * columns * self.dtype.itemsize for rows, columns in self.shapes)


def evaluations(point: Point, subject: Subject) -> list[Calculation]:
    """The Jacobian, multiplied from the left and from the right; first the way that is predicted to take less time."""

    def made() -> list[Calculation]:
        plans: list[Plan] = []
        for order in ("reverse", "forward"):
            planner = _planner(point, subject)
            try:
                plans.append(planner.evaluation(subject.expression, subject.source, subject.sink, order))
            except NotDifferentiableError:  # complex numbers go one way only
                if order == "forward" and not plans:
                    raise
        return [_calculation(point, subject, plan) for plan in sorted(plans, key=lambda plan: plan.seconds)]

    return _once(point, subject, "evaluations", made)


def derivation(point: Point, subject: Subject, steps: Sequence[Expression | None]) -> Calculation:
    """δᵀ after each step: (entries of the output, entries of the value)."""

    def made() -> Calculation:
        return _calculation(point, subject, _planner(point, subject).steps(steps, subject.sink))

    return _once(point, subject, "derivation", made)


def factors(point: Point, subject: Subject, atoms: Sequence[Atom]) -> Calculation:
    """Each factor by itself."""

    def made() -> Calculation:
        return _calculation(point, subject, _planner(point, subject).factors(atoms))

    return _once(point, subject, tuple(atoms), made)


def room(needed: int, memory: Memory) -> int:
    """The budget; at least what is needed where that is so little that the machine need not be asked how much it has."""
    return needed if memory is None and needed <= ALWAYS_FITS else budget(memory)


def refuse_result(result: int, limit: int) -> None:
    """Raises `TooLargeError` where the Jacobian itself does not fit."""
    if result > limit:
        raise TooLargeError(
            f"the Jacobian takes {in_words(result)}, over the memory budget of {in_words(limit)}. Ask for less of it: "
            "`nj.jacobian(...)` as an operator (`J @ v`, `u @ J`, `J.rows(i)`), fewer samples, or a formula with a smaller "
            "`of` or `wrt`; or give a larger memory="
        )


def refuse_working(subject: Subject, way: Calculation, left: int) -> None:
    """Raises `TooLargeError` where what is held at once on the way to the Jacobian does not fit beside it."""
    if way.plan.peak > left:
        step = max(way.plan.steps, key=lambda step: step.pattern.entries)
        raise TooLargeError(
            f"multiplying the formula out takes {in_words(way.plan.peak)} at once, most of it at {_where(step.at, subject)}, "
            f"where {in_words(left)} of the memory budget are left; `nj.jacobian(...)` computes in pieces that fit. Or give "
            "a larger memory="
        )


def written_out(
    what: str, names: Sequence[str], way_out: str, made: Calculation, pieces: Sequence[Point], memory: Memory
) -> list[np.ndarray]:
    """The matrices of a calculation, each (pieces, rows, columns).

    Raises `TooLargeError`, before any is formed, where they and what is held on the way do not fit; it names the largest.
    """
    sizes = [len(pieces) * size for size in made.nbytes]
    beside = made.plan.peak + sum(made.nbytes)
    limit = room(sum(sizes) + beside, memory)
    if sum(sizes) + beside > limit:
        most = max(range(len(sizes)), key=sizes.__getitem__)
        raise TooLargeError(
            f"{what}, written out, take {in_words(sum(sizes))}, and {in_words(beside)} on the way, over the memory budget of "
            f"{in_words(limit)}; the largest is {names[most]} with {in_words(sizes[most])}. Ask for {way_out}, fewer samples, "
            "or a formula with a smaller `of` or `wrt`; `nj.jacobian(...)` as an operator (`J @ v`, `u @ J`) forms none of "
            "them. Or give a larger memory="
        )
    found = [np.empty((len(pieces), *shape), made.dtype) for shape in made.shapes]
    for place, piece in enumerate(pieces):
        for matrices, matrix in zip(found, made.run(piece), strict=True):
            matrices[place] = matrix
    return found


def described(symbol: Symbol) -> str:
    """A factor with its shape and the layer it belongs to."""
    layer = f" of layer {symbol.layer!r}" if symbol.layer else ""
    return f"{symbol.text}{layer} ({symbol.shape[0]} × {symbol.shape[1]})"


def _where(at: str, subject: Subject) -> str:
    values = {str(v): symbol for atom, symbol in subject.named.items() for v in (*atom.inner, atom.head)}
    return described(values[at]) if at in values else "the result"


def _planner(point: Point, subject: Subject) -> Multiplication:
    return Multiplication.of(point.traced.program, setting_of(point, subject.sink), subject.equations)


def _once(point: Point, subject: Subject, what: object, made: Callable[[], T]) -> T:
    with precise(point.wide):
        return point.traced.once(("formula", what, subject.source, subject.sink), made)


def _calculation(point: Point, subject: Subject, plan: Plan) -> Calculation:
    program, linearised, precision = point.traced.program, Linearised(point.traced.program), point.precision
    dtype = program.dtype(subject.sink)
    shapes = tuple((prod(a.pattern.out_shape), prod(a.pattern.in_shape)) for a in plan.answers)

    @jax.jit
    def computed(inputs: Sequence[jax.Array], constants: Sequence[jax.Array]) -> list[jax.Array]:
        with multiplied(precision):
            primal = evaluated(plan, program, inputs, constants, [subject.sink])
            arrays = accumulate(plan, linearised, primal, dtype)
        made = zip(plan.answers, arrays, shapes, strict=True)
        return [densify(a.pattern, array, array.dtype).reshape(shape) for a, array, shape in made]

    def run(at: Point) -> list[np.ndarray]:
        with precise(at.wide):
            found = computed(list(at.arguments()), list(at.traced.program.constants.values()))
            return [np.asarray(array) for array in found]

    return Calculation(plan, dtype, shapes, run)
