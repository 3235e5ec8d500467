"""The factors of ∂output/∂parameters at a network's input, and in which pieces of the batch they fit the memory budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.compiled import Compiled, ready, sweepable
from netjac.errors import ShapeError
from netjac.jacobian import input_names, output_names, refuse_integers
from netjac.memory import budget
from netjac.parameters.questions import Uses
from netjac.parameters.uses import Placed, layout
from netjac.pieces import ALWAYS_FITS, Options, Request, run_answers, setting_of
from netjac.plan.eliminate import Linearised
from netjac.plan.eliminate import Question as Asked
from netjac.plan.held import held
from netjac.plan.plan import Plan
from netjac.precision import multiplied, precise
from netjac.progress import tracked
from netjac.tracing import Point, meet, narrowed

SHARE = 0.25
"""Of the memory budget, for factors: what is asked of them needs room too."""


@dataclass(frozen=True)
class Factors:
    """The uses of all parameters by one run of samples, with their arrays; `first` is the first of its rows."""

    uses: Uses
    arrays: list[jax.Array]
    first: int
    rows: int


@dataclass(frozen=True)
class Sizes:
    """The parameters by name, in order, each with its shape, and the rows that one sample has."""

    shapes: dict[str, tuple[int, ...]]
    rows: int

    @property
    def columns(self) -> dict[str, slice]:
        """Name → where its entries lie among the columns."""
        found, start = {}, 0
        for name, size in zip(self.shapes, self.each, strict=True):
            found[name] = slice(start, start + size)
            start += size
        return found

    @property
    def each(self) -> tuple[int, ...]:
        return tuple(prod(shape) for shape in self.shapes.values())


def _held(point: Point) -> Point:
    """The same with small inputs in JAX's hands, so that no product has to bring them there again."""
    if sum(array.nbytes for array in point.arrays) > ALWAYS_FITS:
        return point
    with precise(point.wide):
        return dataclasses.replace(point, arrays=tuple(map(jnp.asarray, point.arrays)))


class Question:
    """One output by all trainable parameters at X, by its factors."""

    def __init__(self, model: Any, X: Any, of: str, options: Options) -> None:
        self.point = _held(meet(model, X, options.precision))
        ofs, _ = output_names(self.point, of)
        if len(ofs) > 1:
            raise ShapeError(f"a parameter matrix is of one output, and there are {', '.join(ofs)}; name one with of=")
        if self.point.samples is None:
            raise ShapeError(
                f"{self.point.network.name!r} has no axis of samples; make it a network with nj.network(f, batched=True)"
            )
        self.of = ofs[0]
        names, _ = input_names(self.point, "parameters")
        refuse_integers(self.point, ofs, names)
        program, value = self.point.traced.program, self.point.traced.value
        shape = program.shape(value(ofs[0]))
        if shape[:1] != (self.point.samples,):
            raise ShapeError(
                f"axis 0 of {ofs[0]!r} does not count samples: its shape is {shape}; name another with of="
            )
        self.dtype = np.dtype(program.dtype(value(ofs[0])))
        self.sizes = Sizes({name: program.shape(value(name)) for name in names}, prod(shape[1:]))
        self._request, self._options = Request(tuple(ofs), tuple(names), local=True), options
        self._whole: Factors | None = None

    @property
    def samples(self) -> int:
        assert self.point.samples is not None
        return self.point.samples

    @property
    def memory(self) -> int | float | str | None:
        return self._options.memory

    def values(self, point: Point) -> tuple[tuple[int, ...], int]:
        """The parameters and the output in a trace."""
        question = self._request.at(point)
        return question.wrt, question.of[0]

    def sweepable(self, direction: str) -> bool:
        """Whether the network has this direction's derivative by every parameter."""
        wrt, of = self.values(self.point)
        program = self.point.traced.program
        place = ("sweepable", direction, wrt, of)
        return self.point.traced.once(place, lambda: all(sweepable(program, direction, one, of) for one in wrt))

    def blocks(self, told: bool = True) -> Iterator[Factors]:
        """The factors of all samples, a run of them at a time where all do not fit; those that do are kept.

        `told`: the runs are counted for whoever watches the progress.
        """
        if self._whole is not None:
            yield self._whole
            return
        taken = self._fitting()
        if taken >= self.samples:
            self._whole = self._made(self.point, 0)
            yield self._whole
            return
        starts = list(range(0, self.samples, taken))
        for start in tracked(starts, self._options.progress if told else False, "samples"):
            count = min(taken, self.samples - start)
            yield self._made(narrowed(self.point, start, count), start)

    def of_samples(self, first: int, last: int) -> Factors:
        """The factors of a run of samples, of more where the network lets samples see each other."""
        if (first, last) == (0, self.samples) or not self.may_part:
            return self._whole or self._made(self.point, 0)
        return self._made(narrowed(self.point, first, last - first), first)

    @property
    def may_part(self) -> bool:
        """Whether samples may be taken a run at a time."""
        return self.point.apart(self._request.at(self.point).of[0])

    def _fitting(self) -> int:
        """How many samples' factors fit at a time."""
        if not self.may_part:
            return self.samples
        peak = _planned(self.point, self._request.at(self.point))[0].peak
        room = SHARE * budget(self._options.memory)
        return self.samples if peak <= room else max(1, int(self.samples * room / peak))

    def compiled(self, point: Point | None = None) -> tuple[Compiled, Uses]:
        """What computes the arrays, and what they are."""
        point = point or self.point
        return compiled_factors(point, self._request.at(point))

    def _made(self, point: Point, start: int) -> Factors:
        compiled, uses = self.compiled(point)
        arrays = run_answers(point, compiled)[1]
        assert point.samples is not None
        return Factors(uses, arrays, start * self.sizes.rows, point.samples * self.sizes.rows)

    def asking(self) -> AbstractContextManager[Any]:
        """The context in which questions are put to the factors: their dtype, their precision."""
        stack = ExitStack()
        stack.enter_context(precise(self.point.wide))
        stack.enter_context(multiplied(self.point.precision))
        return stack


def compiled_factors(point: Point, question: Asked) -> tuple[Compiled, Uses]:
    """What computes the factors of one value by some parameters in a trace, and what they are."""
    plan, uses = _planned(point, question)
    identity = ("held", point.traced.identity, question, setting_of(point, question.of[0]), point.wide)
    return ready(identity, plan, point.traced.program, question, frozenset(), point.precision), uses


def _planned(point: Point, question: Asked) -> tuple[Plan, Uses]:
    def made() -> tuple[Plan, Uses]:
        plan, uses = held(Linearised(point.traced.program), question, setting_of(point, question.of[0]))
        places = {answer.register: place for place, answer in enumerate(plan.answers)}
        return plan, tuple(
            Placed(
                use.wrt,
                layout(*(factor.pattern for factor in use.factors)),
                tuple(places[factor.register] for factor in use.factors),
            )
            for use in uses
        )

    return point.traced.once(("held", question), made)
