"""Computing an answer whole when it fits the memory budget, and in pieces when it does not.

Pieces are runs of samples first and, when a single sample is still too large, runs of rows. All pieces of a kind have
one shape (the last overlaps the one before it), so they share one compiled plan, and each is written into the result
in place: the pieces and the whole are never held together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.calibration import rates
from netjac.compiled import Compiled, Posed, compiled, swept
from netjac.errors import TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.plan.eliminate import Question
from netjac.plan.search import Setting
from netjac.plan.table import memory as in_words
from netjac.precision import precise
from netjac.progress import Progress, tracked
from netjac.tracing import Point, narrowed

Pair = tuple[int, int]
ALWAYS_FITS = 64 * 2**20
FIRST = np.int32(0)
PRECISIONS = ("highest", "high", "default")


@dataclass(frozen=True)
class Options:
    """How to compute: see `netjac.jacobian`. Raises `UnknownNameError`."""

    engine: str = "auto"
    precision: str = "highest"
    memory: int | float | str | None = None
    progress: Progress = None
    with_values: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownNameError.of("precision", str(self.precision), PRECISIONS)


@dataclass(frozen=True)
class Request:
    """Which Jacobians are asked for, by the names of their values: every `of` by every `wrt`. `local`: see `Question`."""

    of: tuple[str, ...]
    wrt: tuple[str, ...]
    local: bool = False

    def at(self, point: Point, rows: int | None = None) -> Question:
        """The values behind the names in this trace; another batch size may number them otherwise."""
        value = point.traced.value

        def made() -> Question:
            return Question(tuple(map(value, self.wrt)), tuple(map(value, self.of)), rows, local=self.local)

        return point.traced.once((self, rows), made)


def setting_of(point: Point, of: int) -> Setting:
    width = point.traced.program.dtype(of).itemsize
    return Setting(width, rates(), point.samples)


def planned(
    point: Point, request: Request, options: Options, samples: bool = True, rows: int | None = None
) -> Compiled:
    """The compiled plan for a request at a point; without `samples`, axis 0 is an axis like any other."""
    traced = point.traced

    def posed() -> Posed:
        question = request.at(point, rows)
        setting = setting_of(point, question.of[0])
        setting = setting if samples else replace(setting, samples=None)
        return Posed(
            traced.identity, question, setting, options.engine, point.precision, options.with_values, point.wide
        )

    asked = traced.once((request, options.engine, options.with_values, samples, rows), posed)
    with precise(point.wide):
        return compiled(traced.program, asked)


def fits_always(needed: int, options: Options) -> bool:
    """So little that the machine need not be asked how much it has."""
    return options.memory is None and needed <= ALWAYS_FITS


def run(
    point: Point, plan: Compiled, start: int = 0, arguments: Sequence[jax.Array] | None = None
) -> tuple[list[jax.Array], dict[Pair, jax.Array]]:
    values, arrays = run_answers(point, plan, start, arguments)
    return values, {(a.of, a.wrt): array for a, array in zip(plan.plan.answers, arrays, strict=True)}


def run_answers(
    point: Point, plan: Compiled, start: int = 0, arguments: Sequence[jax.Array] | None = None
) -> tuple[list[jax.Array], list[jax.Array]]:
    constants = list(point.traced.program.constants.values())
    first = np.int32(start) if start else FIRST
    with precise(point.wide):
        inputs = arguments or point.arguments()
        if plan.choosing is not None and not any(isinstance(x, jax.core.Tracer) for x in (*inputs, *constants)):
            found = plan.choosing.run(inputs, constants, first)
            if found is not None:
                return found
        return plan.run(inputs, constants, first)


def sweep(point: Point, direction: str, wrt: tuple[int, ...], of: int, block: Any) -> Any:
    """A block of vectors through the network's own derivative: see `netjac.compiled.swept`."""
    traced = point.traced
    with precise(point.wide):
        function = swept(traced.program, traced.identity, direction, wrt, of, point.precision)
        return function(point.arguments(), list(traced.program.constants.values()), block)


def computed(
    point: Point, request: Request, plan: Compiled, options: Options
) -> tuple[list[jax.Array], dict[Pair, jax.Array]]:
    """The `of` values and the dense Jacobians, within the memory budget. Raises `TooLargeError`."""
    width = point.traced.program.dtype(request.at(point).of[0]).itemsize
    result = sum(prod(jacobian_shape(point, request, plan, (a.of, a.wrt))) for a in plan.plan.answers) * width
    if fits_always(result + plan.plan.peak, options):
        return run(point, plan)
    limit = budget(options.memory)
    if result > limit:
        raise TooLargeError(
            f"the Jacobian takes {in_words(result)}, over the memory budget of {in_words(limit)}. Ask for less of it: "
            "`J @ v`, `u @ J`, `J.rows(i)`, fewer samples, or a smaller `of`; or give a larger memory="
        )
    if result + plan.plan.peak <= limit:
        return run(point, plan)
    values = run(point, planned(point, Request(request.of, ()), options))[0]
    options = replace(options, with_values=False)
    found = {}
    for answer in plan.plan.answers:
        pair = answer.of, answer.wrt
        alone = Request((request.of[pair[0]],), (request.wrt[pair[1]],))
        by_sample = pair in plan.tied or request.wrt[pair[1]] in point.traced.parameters
        found[pair] = _in_pieces(point, alone, by_sample and point.samples is not None, options, limit - result)
    return values, found


def jacobian_shape(point: Point, request: Request, plan: Compiled, pair: Pair) -> tuple[int, ...]:
    """(batch, *out, *in) where samples are independent, else the full (*out, *in) with every axis of both."""
    program, question = point.traced.program, request.at(point)
    inner = program.shape(question.wrt[pair[1]])
    return (*program.shape(question.of[pair[0]]), *(inner[1:] if pair in plan.tied else inner))


def _in_pieces(point: Point, request: Request, by_sample: bool, options: Options, room: int) -> jax.Array:
    """One Jacobian, by runs of samples, where none sees another, and of rows, into one array."""
    whole = planned(point, request, options, by_sample)
    shape = jacobian_shape(point, request, whole, (0, 0))
    samples = point.samples if by_sample and point.samples else 1
    out = point.traced.program.shape(request.at(point).of[0])
    rows, inner = prod(out) // samples, shape[len(out) :]
    fitting = max(2, int(samples * room / max(whole.plan.peak, 1)))
    taken = min(samples, fitting) if point.apart(request.at(point).of[0]) else samples
    small = narrowed(point, 0, taken) if taken < samples else point
    plan, run_rows = _fitted(small, request, by_sample, options, room, rows)
    pieces = [(s, r) for s in _starts(samples, taken) for r in _starts(rows, run_rows)]
    with precise(point.wide):
        result = jnp.zeros((samples, rows, *inner), point.traced.program.dtype(request.at(point).of[0]))
    for sample, row in tracked(pieces, options.progress, "Jacobian"):
        part = narrowed(point, sample, taken) if taken < samples else point
        piece = next(iter(run(part, plan, row)[1].values()))
        with precise(point.wide):
            result = _write(result, piece.reshape(taken, run_rows, *inner), sample, row)
    with precise(point.wide):
        return result.reshape(shape)


def _fitted(
    point: Point, request: Request, by_sample: bool, options: Options, room: int, rows: int
) -> tuple[Compiled, int]:
    """The plan with as many rows at a time as there is room for. Raises `TooLargeError` when not one fits."""
    plan, taken = planned(point, request, options, by_sample), rows
    while plan.plan.peak > room:
        if taken == 1:
            raise TooLargeError(
                f"a single row of the Jacobian needs {in_words(plan.plan.peak)} of working memory where "
                f"{in_words(room)} of the budget are left; give a larger memory= or a smaller network"
            )
        taken = max(1, min(taken // 2, int(taken * room / plan.plan.peak)))
        plan = planned(point, request, options, by_sample, taken)
    return plan, taken


def _starts(total: int, taken: int) -> list[int]:
    return [min(start, total - taken) for start in range(0, total, taken)]


@partial(jax.jit, donate_argnums=0)
def _write(result: jax.Array, piece: jax.Array, sample: jax.Array, row: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(result, piece, (sample, row, *(0,) * (result.ndim - 2)))
