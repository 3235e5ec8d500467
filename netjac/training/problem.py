"""The loss as a function of one vector of parameters, over samples that are taken in runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ShapeError
from netjac.graph.program import Program
from netjac.memory import budget
from netjac.networks.network import Network
from netjac.parameters.factored import Question
from netjac.parameters.normal import divided_alike
from netjac.pieces import Options
from netjac.points import PRIMITIVE as POINT
from netjac.precision import precise
from netjac.tracing import computation_dtype
from netjac.training.functions import Function, Sized, many, value
from netjac.training.losses import CrossEntropy, Logistic, loss_of
from netjac.training.projection import Separated
from netjac.training.samples import Samples

T = TypeVar("T")
SHARE = 0.2
"""Of the memory budget, for the rows of J that are held at a time."""
AT_ONCE = 2**27
"""Bytes of such rows beyond which a larger run gains nothing."""


@dataclass(frozen=True, eq=False)
class Run:
    """Samples as JAX holds them, and their place in what is computed."""

    inputs: tuple[jax.Array, ...]
    targets: jax.Array


class Problem:
    """What is minimised: a network's loss over samples, as a function of its trainable parameters."""

    def __init__(self, network: Network, samples: Samples, loss: str, of: str, options: Options) -> None:
        self.network, self.samples = network, samples
        self._of, self._options = of, options
        self._asked: tuple[int, Question] | None = None
        self._sized: dict[int, tuple[Sized, list[jax.Array]]] = {}
        self._separated: dict[int, Separated | None] = {}
        network.flatten(samples.inputs(slice(0, 1)))  # by which a Keras model that was never called is built
        if not network.trainable:
            raise ShapeError(f"{network.name!r} has no trainable parameters; unfreeze some, or give parameters=")
        # Of one sample an axis of samples has no extent, and is not seen.
        first = self._few = self._question(min(2, samples.count))
        self.sizes, self.wide = first.sizes, first.point.wide
        self.out = first.point.traced.program.shape(first.values(first.point)[1])[1:]
        self.loss = loss_of(loss, (samples.count, *self.out))
        if isinstance(self.loss, CrossEntropy):
            _refuse_probabilities(first, self.loss)
        self.theta, self.rest = self._start(first)
        self.size = self._fitting()

    def _question(self, count: int) -> Question:
        """Of the first so many samples; the last one is kept, for as long as the same is asked for."""
        if self._asked is None or self._asked[0] != count:
            inputs = self.samples.inputs(slice(0, count))
            self._asked = count, Question(self.network, inputs, self._of, self._options)
        return self._asked[1]

    def _start(self, question: Question) -> tuple[jax.Array, list[jax.Array]]:
        traced, point = question.point.traced, question.point
        with precise(point.wide):
            named = dict(zip(traced.parameters, point.arguments(), strict=False))
            own = [named.pop(name) for name in self.sizes.shapes]
            dtype = computation_dtype(point.arrays) or jnp.result_type(*own)
            # One array from the host, where each operation of JAX by itself takes as long as a step of a small fit.
            theta = jnp.asarray(np.concatenate([np.ravel(np.asarray(part)).astype(dtype) for part in own]))
            return theta, [*named.values()]

    def _fitting(self) -> int:
        """How many samples a run has: as many as fit, in runs of about equal size."""
        count = self.samples.count
        if not self.may_part:
            return count
        M, m = sum(self.sizes.each), self.sizes.rows
        sample = m * (3 * 8 * M + 16)
        if count > 1 and many(self.outputs) and divided_alike(self._few.compiled()[1], (2, m)):
            widest = max(max(shape, default=1) for shape in self.sizes.shapes.values())
            sample = 3 * 8 * (M + m * widest + widest**2)
        most = int(max(1, min(count, self.room // sample)))
        return ceil(count / ceil(count / most))

    @cached_property
    def room(self) -> float:
        """Bytes for what is held of samples at a time."""
        return min(SHARE * budget(self._options.memory), AT_ONCE)

    @property
    def bytes(self) -> int:
        """Of one sample's inputs and, in float64, its targets."""
        inputs = jax.tree_util.tree_leaves(self.samples.inputs(slice(0, 1)))
        return sum(array.nbytes for array in inputs) + 8 * self.outputs

    @cached_property
    def may_part(self) -> bool:
        """Whether samples may be taken a run at a time: none sees another."""
        return self._few.may_part

    @property
    def parameters(self) -> int:
        """M."""
        return sum(self.sizes.each)

    @property
    def outputs(self) -> int:
        """m, of one sample."""
        return self.sizes.rows

    def sized(self, count: int) -> Sized:
        """The functions for runs of so many samples."""
        return self._with_constants(count)[0]

    def constants(self, count: int) -> list[jax.Array]:
        """What the program of such a run closes over."""
        return self._with_constants(count)[1]

    def _with_constants(self, count: int) -> tuple[Sized, list[jax.Array]]:
        def made(question: Question) -> tuple[Sized, list[jax.Array]]:
            return Sized.at(question, self.loss), [*question.point.traced.program.constants.values()]

        return self._kept_at(self._sized, count, made)

    def factored(self, count: int) -> Sized:
        """The same with the plan of J's factors."""
        sized = self.sized(count)
        if sized.plan is None:
            with precise(self.wide):
                sized.plan = self._question(count).compiled()
        return sized

    def separated(self, count: int) -> Separated | None:
        """Those of the last layer apart from the rest; None where there is no such layer."""
        sized = self.sized(count)
        return self._kept_at(self._separated, count, lambda question: Separated.at(question, sized))

    def _kept_at(self, table: dict[int, T], count: int, make: Callable[[Question], T]) -> T:
        if count not in table:
            with precise(self.wide):  # not as the sums are, among which a new size comes up
                table[count] = make(self._question(count))
        return table[count]

    def part(self, which: slice | np.ndarray | None = None) -> Part:
        """Some samples, or all."""
        return Part(self, self.samples, which)

    def beside(self, samples: Samples) -> Part:
        """Other samples, for the same loss."""
        other = Problem(self.network, samples, self.loss.name, self._of, self._options)
        return Part(other, samples, None)

    def told(self, total: float, samples: int) -> float:
        return self.loss.reported(total, samples, self.outputs)


def _refuse_probabilities(question: Question, loss: CrossEntropy) -> None:
    """Raises `ShapeError` where the outputs went through a softmax or a sigmoid already: a second one has another minimum."""
    point, program = question.point, question.point.traced.program
    of = question.values(point)[1]
    if isinstance(loss, Logistic):
        squashed = _made_by(program, of) == "logistic"
    else:
        with precise(point.wide):
            y = program.evaluate(point.arguments(), list(program.constants.values()), program.needed([of]))[of]
            squashed = bool(jnp.min(y) >= 0) and bool(jnp.all(jnp.abs(jnp.sum(y, -1) - 1) < 1e-4))
    if squashed:
        layer = next((name for name, value in reversed(point.traced.layers.items()) if value == of), question.of)
        raise ShapeError(
            f"{question.of!r} of {point.network.name!r} are probabilities, and cross-entropy is taken of logits; give the "
            f"value before its activation, such as of='{layer}.pre'"
        )


def _made_by(program: Program, value: int) -> str:
    """The primitive behind a value, names and changes of shape and dtype apart."""
    while value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name not in (POINT, "reshape", "squeeze", "convert_element_type", "broadcast_in_dim"):
            return eqn.name
        value = eqn.operands[0]
    return ""


class Part:
    """Samples over which the loss is summed: all of them, run by run, or a batch that is one run."""

    def __init__(self, problem: Problem, samples: Samples, which: slice | np.ndarray | None) -> None:
        self.problem, self._samples, self._which = problem, samples, which
        self.count = samples.count if which is None else _length(which)

    @cached_property
    def _kept(self) -> list[Run] | None:
        """The samples themselves where they are few, so that they are brought to JAX once."""
        if self.count > self.problem.size and self.count * self.problem.bytes > self.problem.room:
            return None
        return [*map(self._run, self._places())]

    def _run(self, which: slice | np.ndarray) -> Run:
        problem = self.problem
        with precise(True):
            return Run(*self._samples.run(problem.network, problem.loss, which, problem.out))

    def runs(self, functions: Callable[[int], T]) -> Iterator[tuple[T, tuple[Any, ...]]]:
        """Every run: its functions (one of `Problem`'s methods), and what they take after `theta`."""
        for run in map(self._run, self._places()) if self._kept is None else self._kept:
            count = run.targets.shape[0]
            yield functions(count), (self.problem.rest, run.inputs, run.targets, self.problem.constants(count))

    def _places(self) -> Iterable[slice | np.ndarray]:
        if self._which is None:
            return self._samples.runs(self.problem.size)
        return _split(self._which, self.problem.size)

    @property
    def whole(self) -> bool:
        """All in one run."""
        return self.count <= self.problem.size

    # Questions -----------------------------------------------------------------------------------------------------

    def value(self, theta: jax.Array) -> float:
        """The loss, summed."""
        return float(sum(float(one) for one in self.each(value, theta)))

    def each(self, function: Function, theta: jax.Array, *more: Any, factored: bool = False) -> Iterator[Any]:
        """`function` of every run, jitted."""
        with precise(True):
            for sized, run in self.runs(self.problem.factored if factored else self.problem.sized):
                yield sized.call(function, theta, *run, *more)


def _length(which: slice | np.ndarray) -> int:
    return which.stop - which.start if isinstance(which, slice) else len(which)


def _split(which: slice | np.ndarray, size: int) -> Iterator[slice | np.ndarray]:
    for start in range(0, _length(which), size):
        yield (
            which[start : start + size]
            if isinstance(which, np.ndarray)
            else slice(which.start + start, min(which.start + start + size, which.stop))
        )
