"""What is asked of a run of samples: the loss, its slope and its curvature by the parameters, each as one jitted function.

Sums over samples are taken in float64 whatever the network computes in. What a run of one size needs is traced once for all
networks of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import accumulate
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from netjac.compiled import Compiled
from netjac.graph.kind import Kind
from netjac.parameters import questions
from netjac.parameters.factored import Question
from netjac.parameters.kernel import gram
from netjac.parameters.normal import divided_alike
from netjac.parameters.normal import normal as paired
from netjac.pieces import FIRST
from netjac.precision import multiplied, precise
from netjac.training.losses import Loss

traces = {"fit": 0}
"""How often anything here was traced: once for each function and size of run, however many steps are taken."""

Function = Callable[..., Any]


class Sized:
    """The functions for runs of one size. `theta` is the vector of trainable parameters, `rest` all others in order.

    It is kept for all networks of the kind, and so holds neither a network nor its data.
    """

    def __init__(self, kind: Kind, parameters: Sequence[int], wrt: tuple[int, ...], of: int, loss: Loss) -> None:
        self.loss, self.kind, self.of = loss, kind, of
        self.program, self.shape = kind.program, kind.program.shape(of)
        self.outputs_each = prod(self.shape[1:])
        self.each = tuple(self.program.size(n) for n in wrt)
        self.plan: tuple[Compiled, questions.Uses] | None = None
        ends = accumulate(self.each)
        self._trained = {n: slice(end - size, end) for n, size, end in zip(wrt, self.each, ends, strict=True)}
        self._parameters = tuple(parameters)
        self._jitted: dict[Function, Function] = {}

    @classmethod
    def at(cls, question: Question, loss: Loss) -> Sized:
        """The one that this kind of network, output and loss have for the question's number of samples."""
        traced, (wrt, of) = question.point.traced, question.values(question.point)
        parameters = tuple(traced.parameters.values())
        place = ("fit", parameters, wrt, of, type(loss))
        return traced.kind.once(place, lambda: cls(traced.kind, parameters, wrt, of, loss))

    def call(self, function: Function, *arguments: Any) -> Any:
        """`function(self, *arguments)`, jitted and traced once."""
        if function not in self._jitted:

            def traced(*given: Any) -> Any:
                traces["fit"] += 1
                return function(self, *given)

            self._jitted[function] = jax.jit(traced)
        return self._jitted[function](*arguments)

    @property
    def uses(self) -> questions.Uses:
        assert self.plan is not None
        return self.plan[1]

    @property
    def paired(self) -> bool:
        """Whether JᵀHJ is made from the factors of J: many outputs, which every factor has as an axis of their own."""
        return many(self.outputs_each) and divided_alike(self.uses, (self.shape[0], self.outputs_each))

    # Traceable pieces --------------------------------------------------------------------------------------------

    def inputs(self, theta: jax.Array, rest: Sequence[jax.Array], run: Sequence[jax.Array]) -> list[jax.Array]:
        """The program's own inputs: parameters, then the samples."""
        own = {
            n: theta[place].reshape(self.program.shape(n)).astype(self.program.dtype(n))
            for n, place in self._trained.items()
        }
        others = iter(rest)
        return [*(own[n] if n in own else next(others) for n in self._parameters), *run]

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
            found: jax.Array = questions.entries(self.uses, arrays, prod(self.shape), self.each)
            return found

    def computing(self) -> AbstractContextManager[Any]:
        """The context of what the network itself computes: its dtype, its precision."""
        stack = ExitStack()
        stack.enter_context(precise(self.kind.wide))
        stack.enter_context(multiplied(self.kind.precision))
        return stack


def value(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> jax.Array:
    """The loss."""
    return sized.loss.value(_wide(sized.outputs(theta, rest, run, constants)), targets)


def normal(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> tuple[jax.Array, ...]:
    """The loss, Jᵀu, and JᵀHJ."""
    if sized.paired:
        return _paired(sized, theta, rest, run, targets, constants)
    y, J = _linearised(sized, theta, rest, run, constants)
    A = sized.loss.rows(y, J)
    return sized.loss.value(y, targets), J.T @ sized.loss.slope(y, targets).reshape(-1), A.T @ A


def _paired(sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any) -> tuple[jax.Array, ...]:
    """The same from the factors of J, in float64, without its rows."""
    y = _wide(sized.outputs(theta, rest, run, constants))
    arrays = sized.factors(theta, rest, run, constants)
    H = sized.loss.blocks(y.reshape((y.shape[0], -1)))
    A = paired(sized.uses, [_wide(array) for array in arrays], sized.each, H)
    return sized.loss.value(y, targets), pulled_back(sized, arrays, sized.loss.slope(y, targets)), A


def triangular(
    sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any, R: jax.Array | None
) -> tuple[jax.Array, ...]:
    """The loss, Jᵀu, and R with RᵀR = JᵀHJ of this run and (by their R) of those before: R ← qr([R; J])."""
    y, J = _linearised(sized, theta, rest, run, constants)
    rows = sized.loss.rows(y, J)
    R = jnp.linalg.qr(rows if R is None else jnp.concatenate([R, rows]), mode="r")
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
        parts = questions.pulled(sized.uses, arrays, u.reshape((1, -1)).astype(dtype), sized.each)
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


def many(outputs: int) -> bool:
    """So many that pairing parameters after the sum over outputs should pay, by operations."""
    return outputs >= 4
