"""J v and Jᵀ u: by sweeps through the network for a few vectors, from the factors for many.

Factors cost about as much as a reverse sweep for each output, and a product from them half a sweep. Which is taken does not
depend on what was asked before, so that the same product is the same to the last bit; who needs many says so (`often`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from netjac.factors.product import HALF
from netjac.memory import budget
from netjac.parameters import questions
from netjac.parameters.factored import SHARE, Question
from netjac.pieces import ALWAYS_FITS, sweep
from netjac.tracing import Point, narrowed


def pushed(question: Question, vectors: np.ndarray, often: bool = False) -> Iterator[tuple[int, np.ndarray]]:
    """J v from (M, k): rows (…, k), with the place of the first of them, run by run of samples."""
    sizes, count = question.sizes, vectors.shape[1]
    # NumPy's, since a jitted function takes them in faster than they are made JAX's one by one.
    tangents = [np.ascontiguousarray(vectors[place].T, question.dtype) for place in sizes.columns.values()]
    if often or not _by_sweeps(question, count, "push"):
        for block in question.blocks():
            yield block.first, np.asarray(questions.pushed(block.uses, block.arrays, tangents, block.rows))
        return
    shaped = [t.reshape((count, *shape)) for t, shape in zip(tangents, sizes.shapes.values(), strict=True)]
    for point, start in _runs(question, count):
        rows = sweep(point, "push", *question.values(point), shaped)
        yield start * sizes.rows, np.asarray(rows).reshape((count, -1)).T


def pulled(question: Question, cotangents: np.ndarray, often: bool = False) -> Iterator[list[np.ndarray]]:
    """Jᵀ u from (N·m, k): (k, size) for each parameter, to be added up over runs of samples."""
    sizes, count = question.sizes, cotangents.shape[1]
    if often or not _by_sweeps(question, count, "pull"):
        for factors in question.blocks():
            own = np.ascontiguousarray(cotangents[factors.first : factors.first + factors.rows].T, question.dtype)
            yield list(map(np.asarray, questions.pulled(factors.uses, factors.arrays, own, sizes.each)))
        return
    for point, start in _runs(question, count):
        wrt, of = question.values(point)
        shape = point.traced.program.shape(of)
        part = cotangents[start * sizes.rows :][: prod(shape)]
        block = np.ascontiguousarray(part.T, question.dtype).reshape((count, *shape))
        yield [np.asarray(part).reshape((count, -1)) for part in sweep(point, "pull", wrt, of, block)]


def _by_sweeps(question: Question, count: int, direction: str) -> bool:
    # In half precision a sweep adds up in half precision.
    return question.dtype not in HALF and count <= question.sizes.rows and question.sweepable(direction)


def _runs(question: Question, count: int) -> Iterator[tuple[Point, int]]:
    """Runs of samples whose values, `count` vectors of them and what reverse mode keeps fit."""
    point = question.point
    fitting = question.samples
    if (needed := _bytes_of_values(point) * (2 + count)) > ALWAYS_FITS or question.memory is not None:
        fitting = max(1, int(fitting * SHARE * budget(question.memory) / needed))
    if fitting >= question.samples or not question.may_part:
        yield point, 0
        return
    for start in range(0, question.samples, fitting):
        yield narrowed(point, start, min(fitting, question.samples - start)), start


def _bytes_of_values(point: Point) -> int:
    """Of all that the network computes on its way."""
    program = point.traced.program

    def counted() -> int:
        results = {result for eqn in program.equations for result in eqn.results}
        return 1 + sum(prod(program.shape(n)) * program.dtype(n).itemsize for n in results)

    return point.traced.once("bytes of values", counted)
