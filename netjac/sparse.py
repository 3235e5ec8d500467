"""A Jacobian as a sparse matrix, without a dense one on the way.

Each term of a local answer is a pattern and its numbers, which are its entries. Where the plan's answer is dense but entries
go where indices say (a graph net), or masks leave little (local attention), the pattern is found as indices, and a few products
give the entries.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from netjac.colouring import Colouring, coloured
from netjac.compiled import sweepable
from netjac.detection import FULLEST, choices, pattern_of
from netjac.errors import TooLargeError
from netjac.factors.entries import matrix
from netjac.memory import budget
from netjac.pieces import Options, Request, fits_always, planned, run_answers, sweep
from netjac.plan.table import memory as in_words
from netjac.precision import precise
from netjac.reach import Reach, masks, reach_of
from netjac.tracing import Point, narrowed


def sparse(point: Point, request: Request, options: Options, sample: int | None) -> scipy.sparse.csr_array | None:
    """A local request's one answer for one sample (for all together, None) as CSR; None where it is not known to be sparse.

    Entries that the structure allows are stored whether or not they are zero, so that the pattern does not change with x.
    Raises `TooLargeError`.
    """
    if sample is not None and point.samples != 1:
        if not point.apart(request.at(point).of[0]):
            return None
        point = narrowed(point, sample, 1)
    plan = planned(point, request, options)
    patterns = [answer.pattern for answer in plan.plan.answers]
    program, question = point.traced.program, request.at(point)
    shape = (program.size(question.of[0]), program.size(question.wrt[0]))
    width = program.dtype(question.of[0]).itemsize
    stored = sum(pattern.meetings for pattern in patterns)
    if 2 * stored >= prod(shape):
        colouring = by_indices(point, request) or by_masks(point, request)
        return None if colouring is None else _compressed(point, request, options, colouring)
    _afford(stored * (width + 16) + plan.plan.peak, options)
    _, arrays = run_answers(point, plan)
    total = scipy.sparse.csr_array(shape, dtype=program.dtype(question.of[0]))
    for place, (pattern, array) in enumerate(zip(patterns, arrays, strict=True)):
        one = matrix(pattern, np.asarray(array))
        total = total + one if place else one
    return total


def _afford(needed: int, options: Options) -> None:
    if not fits_always(needed, options) and needed > (limit := budget(options.memory)):
        raise TooLargeError(
            f"the sparse Jacobian takes {in_words(needed)} with what it is made from, over the memory budget of "
            f"{in_words(limit)}. Ask for `J @ v`, `J.rows(i)`, or give a larger memory="
        )


def by_indices(point: Point, request: Request) -> Colouring | None:
    """The pattern of a request's one Jacobian of all samples together, with its colours, where indices tell it to be sparse."""
    program, question = point.traced.program, request.at(point)
    of, wrt = question.of[0], question.wrt[0]
    with precise(point.wide):
        chosen = choices(program, of, point.arguments(), list(program.constants.values()))
    if not chosen:
        return None
    told = blake2b(b"".join(array.tobytes() for array in chosen.values())).digest()
    ways = [sweepable(program, direction, wrt, of) for direction in ("push", "pull")]

    def made() -> Colouring | None:
        with precise(point.wide):
            pattern = pattern_of(program, chosen, wrt, of)
        return coloured(pattern, *ways) if pattern is not None and any(ways) else None

    return _kept(point, request, told, made)


def masked(point: Point, request: Request) -> Reach | None:
    """What masks leave of a request's one Jacobian of all samples together, along the axis of which they leave least; None
    where they leave all of it."""
    program, question = point.traced.program, request.at(point)
    of, wrt = question.of[0], question.wrt[0]
    axes = [axis for axis, size in enumerate(program.shape(wrt)) if size > 1]
    if not axes or not masks(program, wrt, of):
        return None
    with precise(point.wide):
        values = program.evaluate(point.arguments(), list(program.constants.values()), program.needed([of]))
        found = [reach for axis in axes if (reach := reach_of(program, values, wrt, of, axis)) is not None]
    least = min(found, key=lambda reach: reach.entries, default=None)
    return least if least is not None and least.entries < program.size(of) * program.size(wrt) else None


def by_masks(point: Point, request: Request) -> Colouring | None:
    """The same pattern as indices, with its colours, where it is sparse enough for that."""
    reach = masked(point, request)
    program, question = point.traced.program, request.at(point)
    of, wrt = question.of[0], question.wrt[0]
    ways = [sweepable(program, direction, wrt, of) for direction in ("push", "pull")]
    if reach is None or reach.entries > FULLEST * program.size(of) * program.size(wrt) or not any(ways):
        return None
    told = blake2b(reach.interval.low.tobytes() + reach.interval.high.tobytes()).digest()
    return _kept(point, request, told, lambda: coloured(reach.pattern(), *ways))


def _kept(point: Point, request: Request, told: bytes, make: Callable[[], Colouring | None]) -> Colouring | None:
    """Only the last colouring: where indices or masks are an input, every call may have others."""
    known = point.traced.known.get(("colouring", request))
    if known is None or known[0] != told:
        known = point.traced.known["colouring", request] = told, make()
    found: Colouring | None = known[1]
    return found


def _compressed(point: Point, request: Request, options: Options, colouring: Colouring) -> scipy.sparse.csr_array:
    """The entries from one product a colour, all in one sweep. Raises `TooLargeError`."""
    traced, question = point.traced, request.at(point)
    of, wrt = question.of[0], question.wrt[0]
    pushing = colouring.direction == "push"
    near, far = (wrt, of) if pushing else (of, wrt)
    dtype, program = traced.program.dtype(of), traced.program
    _afford(colouring.count * (program.size(near) + program.size(far)) * dtype.itemsize, options)
    with precise(point.wide):
        block: Any = jnp.asarray(colouring.seeds(dtype).reshape((-1, *program.shape(near))))
        products = sweep(point, colouring.direction, (wrt,), of, [block] if pushing else block)
    return colouring.entries(np.asarray(products if pushing else products[0]).reshape((colouring.count, -1)))
