"""Pieces of a network at one input, differentiated: each layer by its inputs, and the output by every layer in one sweep.

The output by all layers is one reverse sweep for each entry of the output: at each layer something is added, and what is
pulled back to what was added is ∂output/∂layer, through every path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac import compiled as plans
from netjac.analysis.flow.segments import Segment
from netjac.calibration import rates
from netjac.compiled import Compiled, Posed, compiled, sweepable, swept
from netjac.graph.kind import Kind
from netjac.pieces import FIRST
from netjac.plan.eliminate import Question
from netjac.plan.search import Setting
from netjac.precision import multiplied, precise
from netjac.tracing import Point


@dataclass(eq=False)
class Sweeps:
    """The derivatives of a network's pieces at a point whose samples do not see each other, or that has one alone.

    Matrices are (samples, m, n) in main memory, the columns of several inputs side by side.
    """

    point: Point
    pieces: tuple[Segment, ...]
    of: int

    @property
    def samples(self) -> int:
        return self.point.samples or 1

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The inputs of the network that have a derivative."""
        traced = self.point.traced
        return tuple(v for v in traced.inputs.values() if traced.program.differentiable(v))

    def width(self, values: Sequence[int]) -> int:
        """Entries of one sample of all these values."""
        return sum(self.point.traced.program.size(v) for v in values) // self.samples

    @cached_property
    def values(self) -> dict[int, jax.Array]:
        """What the layers' values are, and all else that pieces start from."""
        kind = self.point.traced.kind
        program = kind.program
        wanted = tuple(dict.fromkeys(n for piece in self.pieces for n in (*piece.by.values(), *piece.rest)))
        needed = program.needed(wanted)

        def run(inputs: Sequence[Any], constants: Sequence[Any]) -> list[Any]:
            plans.counts["traces"] += 1
            with multiplied(kind.precision):
                known = program.evaluate(inputs, constants, needed)
            return [known[n] for n in wanted]

        jitted = kind.once(("flow values", wanted), lambda: jax.jit(run))
        with precise(self.point.wide):
            return dict(zip(wanted, jitted(self.point.arguments(), self.constants), strict=True))

    @cached_property
    def constants(self) -> list[Any]:
        return list(self.point.traced.program.constants.values())

    # A layer by its inputs -------------------------------------------------------------------------------------

    def local(self, piece: Segment) -> np.ndarray:
        """∂layer/∂inputs, by netjac's own plan. Where its samples are not proven apart, of one sample at a time only."""
        plan = self.plan(piece)
        question = self.question(piece)
        inputs = [self.values[n] for n in (*piece.by.values(), *piece.rest)]
        constants = [self.point.traced.program.constants[n] for n in piece.constants]
        with precise(self.point.wide):
            arrays = plan.run(inputs, constants, FIRST)[1]
        found = {answer.wrt: np.asarray(array) for answer, array in zip(plan.plan.answers, arrays, strict=True)}
        m = piece.program.size(question.of[0]) // self.samples
        sides = []
        for place, value in enumerate(question.wrt):
            shape = (self.samples, m, piece.program.size(value) // self.samples)
            dtype = piece.program.dtype(question.of[0])
            sides.append(found[place].reshape(shape) if place in found else np.zeros(shape, dtype))
        return np.concatenate(sides, -1) if len(sides) > 1 else sides[0]

    def apart(self, piece: Segment) -> bool:
        """Whether the plan's answers are per sample."""
        plan = self.plan(piece)
        return self.samples == 1 or all((a.of, a.wrt) in plan.tied for a in plan.plan.answers)

    def question(self, piece: Segment) -> Question:
        return Question(piece.program.inputs[: len(piece.by)], piece.program.outputs)

    def plan(self, piece: Segment) -> Compiled:
        """The piece's plan; equal pieces have the same."""
        width = piece.program.dtype(piece.program.outputs[0]).itemsize
        setting = Setting(width, rates(), self.point.samples)
        question, point = self.question(piece), self.point
        posed = Posed(piece.identity, question, setting, "structured", point.precision, False, point.wide)

        def made() -> Compiled:
            with precise(point.wide):
                return compiled(piece.program, posed)

        return point.traced.once(("flow plan", piece.cut), made)

    # The output by a layer -------------------------------------------------------------------------------------

    def can_pull(self, value: int) -> bool:
        return sweepable(self.point.traced.program, "pull", value, self.of)

    def rows(self, layers: tuple[int, ...], first: int, count: int) -> list[np.ndarray]:
        """`count` rows of ∂output/∂(each layer), from row `first` on: one array (samples, count, n) for each."""
        kind = self.point.traced.kind
        pull = kind.once(("flow rows", layers, self.of), lambda: jax.jit(tapped(kind, layers, self.of)))
        with precise(self.point.wide):
            found = pull(self.point.arguments(), self.constants, self.seeds(first, count))
        return [np.moveaxis(np.asarray(a).reshape(count, self.samples, -1), 0, 1) for a in found]

    def seeds(self, first: int, count: int) -> np.ndarray:
        """Cotangents (count, *output), each 1 at one entry of every sample."""
        m = self.width([self.of])
        rows = np.zeros((count, m))
        rows[np.arange(count), first + np.arange(count)] = 1
        return self._of_every_sample(rows)

    def signs(self, count: int) -> np.ndarray:
        """Cotangents (count, *output) of random signs, always the same."""
        return self._of_every_sample(np.random.default_rng(0).choice([-1.0, 1.0], (count, self.width([self.of]))))

    def _of_every_sample(self, rows: np.ndarray) -> np.ndarray:
        program = self.point.traced.program
        shape = program.shape(self.of)
        own = shape if self.samples == 1 else (1, *shape[1:])
        return np.broadcast_to(rows.reshape(-1, *own), (len(rows), *shape)).astype(program.dtype(self.of))

    def products(self, wrt: tuple[int, ...], of: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Products with ∂of/∂wrt and its transpose, (samples, …) each way, by sweeps through the network."""
        traced = self.point.traced
        arguments = self.point.arguments()
        return _products(traced.program, traced.identity, self.point, wrt, of, arguments, self.constants, self.samples)

    def local_products(self, piece: Segment) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The same of a layer by its inputs."""
        inputs = [self.values[n] for n in (*piece.by.values(), *piece.rest)]
        constants = [self.point.traced.program.constants[n] for n in piece.constants]
        question = self.question(piece)
        return _products(
            piece.program, piece.identity, self.point, question.wrt, question.of[0], inputs, constants, self.samples
        )


def tapped(kind: Kind, layers: tuple[int, ...], of: int) -> Callable[..., list[Any]]:
    """∂of/∂(each layer) through every path, as a function: arguments, constants, cotangents (k, *of)
    → (k, *layer) for each."""
    program = kind.program
    needed = program.needed([of])
    taps = {program.producer[v]: place for place, v in enumerate(layers) if v in program.producer}

    def pulled(inputs: Sequence[Any], constants: Sequence[Any], block: Any) -> list[Any]:
        plans.counts["traces"] += 1

        def along(*added: Any) -> Any:
            moved = list(inputs)
            for value, extra in zip(layers, added, strict=True):
                if value in program.inputs:
                    moved[program.inputs.index(value)] = moved[program.inputs.index(value)] + extra
            tapped = {index: _adding(program, index, layers, added) for index in taps}
            return jnp.asarray(program.evaluate(moved, constants, needed, instead=tapped)[of])

        with multiplied(kind.precision):
            zeros = [jnp.zeros(program.shape(v), program.dtype(v)) for v in layers]
            value, pull = jax.vjp(along, *zeros)
            return list(jax.vmap(pull)(jnp.asarray(block, value.dtype)))

    return pulled


def _adding(
    program: Any, index: int, layers: tuple[int, ...], added: Sequence[Any]
) -> Callable[[list[Any]], list[Any]]:
    """An equation to whose results that are layers something is added."""
    eqn = program.equations[index]

    def evaluate(operands: list[Any]) -> list[Any]:
        results = eqn.bind(*operands)
        return [
            result + added[layers.index(number)] if number in layers else result
            for number, result in zip(eqn.results, results, strict=True)
        ]

    return evaluate


def _products(
    program: Any,
    identity: Hashable,
    point: Point,
    wrt: tuple[int, ...],
    of: int,
    inputs: Any,
    constants: Any,
    samples: int,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    sizes = [prod(program.shape(v)) // samples for v in wrt]
    edges = np.cumsum(sizes)[:-1]

    def push(vectors: np.ndarray) -> np.ndarray:
        parts = np.split(vectors, edges, 1)
        blocks = [
            np.asarray(p, program.dtype(v)).reshape(1, *program.shape(v)) for p, v in zip(parts, wrt, strict=True)
        ]
        with precise(point.wide):
            run = swept(program, identity, "push", wrt, of, point.precision)
            return np.asarray(run(inputs, constants, blocks)).reshape(samples, -1)

    def pull(vectors: np.ndarray) -> np.ndarray:
        block = np.asarray(vectors, program.dtype(of)).reshape(1, *program.shape(of))
        with precise(point.wide):
            run = swept(program, identity, "pull", wrt, of, point.precision)
            return np.concatenate([np.asarray(a).reshape(samples, -1) for a in run(inputs, constants, block)], 1)

    return push, pull
