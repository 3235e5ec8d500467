"""The loss as a function of one vector of parameters: value, slope and curvature, each a jitted function of a run of samples.

Sums over samples are taken in float64 whatever the network computes in. What a run of one size needs is traced once and kept
with the network's trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.compiled import Compiled
from netjac.errors import ShapeError
from netjac.graph.program import Program
from netjac.memory import budget
from netjac.networks.network import Network
from netjac.parameters import questions
from netjac.parameters.factored import Question
from netjac.parameters.kernel import gram
from netjac.pieces import FIRST, Options
from netjac.points import PRIMITIVE as POINT
from netjac.precision import multiplied, precise
from netjac.tracing import computation_dtype
from netjac.training.losses import CrossEntropy, Logistic, Loss, loss_of
from netjac.training.samples import Samples

SHARE = 0.2
"""Of the memory budget, for the rows of J that are held at a time."""
AT_ONCE = 2**27
"""Bytes of such rows beyond which a larger run gains nothing."""

traces = {"fit": 0}
"""How often anything here was traced: once for each function and size of run, however many steps are taken."""

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Run:
    """Samples as JAX holds them, and their place in what is computed."""

    inputs: tuple[jax.Array, ...]
    targets: jax.Array


class Sized:
    """The functions for runs of one size. `theta` is the vector of trainable parameters, `rest` all others by name.

    It is kept with the network's trace, and so holds neither the network nor its data.
    """

    def __init__(self, question: Question, loss: Loss) -> None:
        point = question.point
        self.loss, self.sizes, self.wide, self.precision = loss, question.sizes, point.wide, point.precision
        self.program, self.parameters = point.traced.program, tuple(point.traced.parameters)
        self.constants = list(self.program.constants.values())
        wrt, self.of = question.values(point)
        self.shape = self.program.shape(self.of)
        self.plan: tuple[Compiled, questions.Uses] | None = None
        self._dtypes = [self.program.dtype(n) for n in wrt]
        self._jitted: dict[str, Function] = {}

    @classmethod
    def at(cls, question: Question, loss: Loss) -> Sized:
        """The one that this network, output and loss have for the question's number of samples."""
        place = ("fit", question.of, type(loss), tuple(question.sizes.shapes))
        return question.point.traced.once(place, lambda: cls(question, loss))

    def call(self, function: Function, *arguments: Any) -> Any:
        """`function(self, *arguments)`, jitted and traced once."""
        if function.__name__ not in self._jitted:

            def traced(*given: Any) -> Any:
                traces["fit"] += 1
                return function(self, *given)

            self._jitted[function.__name__] = jax.jit(traced)
        return self._jitted[function.__name__](*arguments)

    @property
    def uses(self) -> questions.Uses:
        assert self.plan is not None
        return self.plan[1]

    # Traceable pieces --------------------------------------------------------------------------------------------

    def inputs(self, theta: jax.Array, rest: dict[str, jax.Array], run: Sequence[jax.Array]) -> list[jax.Array]:
        """The program's own inputs: parameters by name, then the samples."""
        own = {
            name: theta[place].reshape(self.sizes.shapes[name]).astype(dtype)
            for (name, place), dtype in zip(self.sizes.columns.items(), self._dtypes, strict=True)
        }
        return [*(own[name] if name in own else rest[name] for name in self.parameters), *run]

    def outputs(self, theta: jax.Array, rest: Any, run: Any, constants: Any) -> jax.Array:
        """y, in the network's own dtype."""
        with self.computing():
            needed = self.program.needed([self.of])
            return jnp.asarray(self.program.evaluate(self.inputs(theta, rest, run), constants, needed)[self.of])

    def factors(self, theta: jax.Array, rest: Any, run: Any, constants: Any) -> list[jax.Array]:
        """The arrays of J's factors."""
        assert self.plan is not None
        with self.computing():
            arrays: list[jax.Array] = self.plan[0].run(self.inputs(theta, rest, run), constants, FIRST)[1]
            return arrays

    def rows(self, theta: jax.Array, rest: Any, run: Any, constants: Any) -> jax.Array:
        """J, (rows, M)."""
        arrays = self.factors(theta, rest, run, constants)
        with self.computing():
            found: jax.Array = questions.entries(self.uses, arrays, prod(self.shape), self.sizes.each)
            return found

    def computing(self) -> AbstractContextManager[Any]:
        """The context of what the network itself computes: its dtype, its precision."""
        stack = ExitStack()
        stack.enter_context(precise(self.wide))
        stack.enter_context(multiplied(self.precision))
        return stack


class Problem:
    """What is minimised: a network's loss over samples, as a function of its trainable parameters."""

    def __init__(self, network: Network, samples: Samples, loss: str, of: str, options: Options) -> None:
        self.network, self.samples = network, samples
        self._of, self._options = of, options
        self._sized: dict[int, Sized] = {}
        network.flatten(samples.inputs(slice(0, 1)))  # by which a Keras model that was never called is built
        if not network.trainable:
            raise ShapeError(f"{network.name!r} has no trainable parameters; unfreeze some, or give parameters=")
        first = self._question(samples.inputs(slice(0, 1)))
        self.sizes, self.wide = first.sizes, first.point.wide
        self.out = first.point.traced.program.shape(first.values(first.point)[1])[1:]
        self.loss = loss_of(loss, (samples.count, *self.out))
        if isinstance(self.loss, CrossEntropy):
            _refuse_probabilities(first, self.loss)
        self.theta, self.rest = self._start(first)
        self.size = self._fitting(first)

    def _question(self, x: Any) -> Question:
        return Question(self.network, x, self._of, self._options)

    def _start(self, question: Question) -> tuple[jax.Array, dict[str, jax.Array]]:
        traced, point = question.point.traced, question.point
        with precise(point.wide):
            named = dict(zip(traced.parameters, point.arguments(), strict=False))
            own = [jnp.ravel(named.pop(name)) for name in self.sizes.shapes]
            dtype = computation_dtype(point.arrays) or jnp.result_type(*own)
            return jnp.concatenate([jnp.asarray(part, dtype) for part in own]), named

    def _fitting(self, first: Question) -> int:
        """How many samples a run has."""
        if not self.may_part:
            return self.samples.count
        row = sum(self.sizes.each) * 3 * 8 + first.point.traced.program.size(first.values(first.point)[1]) * 16
        room = min(SHARE * budget(self._options.memory), AT_ONCE)
        return int(max(1, min(self.samples.count, room // (row * max(self.sizes.rows, 1)))))

    @cached_property
    def may_part(self) -> bool:
        """Whether samples may be taken a run at a time: none sees another."""
        return self._question(self.samples.inputs(slice(0, min(2, self.samples.count)))).may_part

    @property
    def parameters(self) -> int:
        """M."""
        return sum(self.sizes.each)

    @property
    def outputs(self) -> int:
        """m, of one sample."""
        return self.sizes.rows

    def sized(self, count: int, factored: bool = False) -> Sized:
        """The functions for runs of so many samples; `factored`, with the plan of J's factors."""
        if count not in self._sized or (factored and self._sized[count].plan is None):
            question = self._question(self.samples.inputs(slice(0, count)))
            self._sized[count] = Sized.at(question, self.loss)
            if factored and self._sized[count].plan is None:
                self._sized[count].plan = question.compiled()
        return self._sized[count]

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
    def _kept(self) -> Run | None:
        """The samples themselves where they are one run, so that they are brought to JAX once."""
        if self.count > self.problem.size:
            return None
        return self._run(slice(0, self.count) if self._which is None else self._which)

    def _run(self, which: slice | np.ndarray) -> Run:
        problem = self.problem
        with precise(True):
            return Run(*self._samples.run(problem.network, problem.loss, which, problem.out))

    def runs(self, factored: bool = False) -> Iterator[tuple[Sized, tuple[Any, ...]]]:
        """Every run: its functions, and what they take after `theta`."""
        kept = self._kept
        for run in map(self._run, self._places()) if kept is None else (kept,):
            sized = self.problem.sized(run.targets.shape[0], factored)
            yield sized, (self.problem.rest, run.inputs, run.targets, sized.constants)

    def _places(self) -> Iterable[slice | np.ndarray]:
        if self._which is None:
            return self._samples.runs(self.problem.size)
        return _split(self._which, self.problem.size)

    @property
    def whole(self) -> bool:
        """All in one run."""
        return self._kept is not None

    # Questions -----------------------------------------------------------------------------------------------------

    def value(self, theta: jax.Array) -> float:
        """The loss, summed."""
        return float(sum(float(one) for one in self.each(value, theta)))

    def each(self, function: Function, theta: jax.Array, *more: Any, factored: bool = False) -> Iterator[Any]:
        """`function` of every run, jitted."""
        with precise(True):
            for sized, run in self.runs(factored):
                yield sized.call(function, theta, *run, *more)


def value(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> jax.Array:
    """The loss."""
    return sized.loss.value(_wide(sized.outputs(theta, rest, run, constants)), targets)


def normal(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> tuple[jax.Array, ...]:
    """The loss, Jᵀu, and JᵀHJ."""
    y, J = _linearised(sized, theta, rest, run, constants)
    A = sized.loss.rows(y, J)
    return sized.loss.value(y, targets), J.T @ sized.loss.slope(y, targets).reshape(-1), A.T @ A


def triangular(
    sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any, R: Any
) -> tuple[jax.Array, ...]:
    """The loss, Jᵀu, and R with RᵀR = JᵀHJ of all runs so far: R ← qr([R; J])."""
    y, J = _linearised(sized, theta, rest, run, constants)
    stacked = jnp.concatenate([R, sized.loss.rows(y, J)])
    R = jnp.linalg.qr(stacked, mode="r")
    R = jnp.pad(R, ((0, max(R.shape[1] - R.shape[0], 0)), (0, 0)))
    return sized.loss.value(y, targets), J.T @ sized.loss.slope(y, targets).reshape(-1), R


def kernel(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> tuple[Any, ...]:
    """The loss, Jᵀu, u, H J Jᵀ from the factors of J, and these."""
    y = _wide(sized.outputs(theta, rest, run, constants))
    arrays = sized.factors(theta, rest, run, constants)
    u, count = sized.loss.slope(y, targets), prod(sized.shape)
    with sized.computing():
        K = gram(sized.uses, arrays, sized.uses, arrays, count, count)
    curved = jax.vmap(lambda column: sized.loss.curved(y, column.reshape(y.shape)).reshape(-1), 1, 1)(_wide(K))
    return sized.loss.value(y, targets), pulled_back(sized, arrays, u), u, curved, arrays


def pulled_back(sized: Sized, arrays: Sequence[jax.Array], u: jax.Array) -> jax.Array:
    """Jᵀu from the factors of J."""
    dtype = sized.program.dtype(sized.of)
    with sized.computing():
        parts = questions.pulled(sized.uses, arrays, u.reshape((1, -1)).astype(dtype), sized.sizes.each)
    return _wide(jnp.concatenate(parts, 1)[0])


def slope(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> tuple[jax.Array, ...]:
    """The loss and Jᵀu, by one reverse sweep."""
    y, pull = jax.vjp(lambda at: sized.outputs(at, rest, run, constants), theta)
    u = sized.loss.slope(_wide(y), targets)
    return sized.loss.value(_wide(y), targets), _wide(pull(u.astype(y.dtype))[0])


def curved(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any, v: jax.Array) -> jax.Array:
    """JᵀHJ v, by a forward and a reverse sweep."""
    of = lambda at: sized.outputs(at, rest, run, constants)  # noqa: E731
    y, pushed = jax.jvp(of, (theta,), (v.astype(theta.dtype),))
    _, pull = jax.vjp(of, theta)
    return _wide(pull(sized.loss.curved(_wide(y), _wide(pushed)).astype(y.dtype))[0])


def bent(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any, v: jax.Array) -> Any:
    """H y″ and JᵀH y″, y″ the second derivative of the outputs along v."""
    of = lambda at: sized.outputs(at, rest, run, constants)  # noqa: E731
    along = v.astype(theta.dtype)
    second = jax.jvp(lambda at: jax.jvp(of, (at,), (along,))[1], (theta,), (along,))[1]
    y, pull = jax.vjp(of, theta)
    u = sized.loss.curved(_wide(y), _wide(second))
    return u, _wide(pull(u.astype(y.dtype))[0])


def _linearised(sized: Sized, theta: Any, rest: Any, run: Any, constants: Any) -> tuple[jax.Array, jax.Array]:
    return _wide(sized.outputs(theta, rest, run, constants)), _wide(sized.rows(theta, rest, run, constants))


def _wide(array: jax.Array) -> jax.Array:
    return array.astype(jnp.float64)


def _length(which: slice | np.ndarray) -> int:
    return which.stop - which.start if isinstance(which, slice) else len(which)


def _split(which: slice | np.ndarray, size: int) -> Iterator[slice | np.ndarray]:
    for start in range(0, _length(which), size):
        yield (
            which[start : start + size]
            if isinstance(which, np.ndarray)
            else slice(which.start + start, min(which.start + start + size, which.stop))
        )
