"""A traced network read as a chain: affine maps and activations in turn, or the reason why it is none.

A value is a cut when everything after it depends on the input through it alone. Between cuts the program is either affine
(its matrix is read off by evaluating it at the basis vectors, in float64) or an activation, which is recognised by its
values: the piece of program is evaluated at many points and compared with each known activation. What is recognised is
verified as a whole by the caller: recognition may fail, but never be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import UnsupportedOperationError
from netjac.points import PRIMITIVE as POINT
from netjac.precision import precise
from netjac.report.explorer.activations import Activation, recognise
from netjac.tracing import Point

AFFINE = frozenset(
    {"dot_general", "add", "add_any", "sub", "mul", "div", "neg", "reshape", "transpose", "squeeze", "broadcast_in_dim"}
    | {"expand_dims", "convert_element_type", "copy", "copy_p", "stop_gradient", POINT}
)
MIXING = frozenset({"dot_general", "reshape", "transpose"})
LONGEST = 24


@dataclass(frozen=True, eq=False)
class Layer:
    """a = φ(W h + b): `weights` (units, units before), `bias` (units,)."""

    weights: np.ndarray
    bias: np.ndarray
    activation: Activation


def chain_of(point: Point) -> list[Layer]:
    """The layers of a network of one input and one output, at one sample in float64.

    Raises `UnsupportedOperationError` for a network that is no chain of dense layers and known activations.
    """
    if len(point.traced.inputs) != 1 or len(point.traced.outputs) != 1:
        raise UnsupportedOperationError(f"{point.network.name!r} has several inputs or outputs: it is no chain")
    with precise(True):
        return _read(_Cuts(point))


class _Cuts:
    """The program's cut values in order, and the pieces between them as functions."""

    def __init__(self, point: Point) -> None:
        self.program = program = point.traced.program
        (self.start,), (self.end,) = point.traced.inputs.values(), point.traced.outputs.values()
        needed = program.needed([self.end])
        everything = program.evaluate(point.arguments(), list(program.constants.values()), needed)
        self.depends = {self.start}
        self.own = []
        for index in needed:
            eqn = program.equations[index]
            if self.depends.intersection(eqn.operands):
                self.depends.update(eqn.results)
                self.own.append(index)
        self.fixed = {number: value for number, value in everything.items() if number not in self.depends}
        self.values, self.places = self._cut()

    def _cut(self) -> tuple[list[int], list[int]]:
        equations = [self.program.equations[index] for index in self.own]
        last = {operand: place for place, eqn in enumerate(equations) for operand in eqn.operands}
        last[self.end] = len(equations)
        values, places, live = [self.start], [0], {self.start}
        for place, eqn in enumerate(equations):
            live.update(result for result in eqn.results if result in last)
            live = {value for value in live if last[value] > place}
            if len(live) == 1:
                values.append(next(iter(live)))
                places.append(place + 1)
        return values, places

    def names(self, first: int, last: int) -> list[str]:
        return [self.program.equations[i].name for i in self.own[self.places[first] : self.places[last]]]

    def affine(self, at: int) -> bool:
        """Whether the piece from one cut to the next is affine: one affine equation with one operand that varies."""
        eqns = [self.program.equations[i] for i in self.own[self.places[at] : self.places[at + 1]]]
        return len(eqns) == 1 and eqns[0].name in AFFINE and self._linear(eqns[0])

    def _linear(self, eqn: Any) -> bool:
        varying = [place for place, operand in enumerate(eqn.operands) if operand in self.depends]
        return len(varying) == 1 and not (eqn.name == "div" and varying == [1])

    def at(self, first: int, last: int, points: np.ndarray) -> np.ndarray:
        """The piece between two cuts evaluated at (k, size) points: (k, size after), float64."""
        return np.asarray(jax.vmap(self._piece(first, last))(jnp.asarray(points, np.float64)))

    def slopes(self, first: int, last: int, points: np.ndarray) -> np.ndarray:
        """Of a piece that acts entry by entry, its derivative at (k, size) points, with the framework's own at kinks."""
        piece, x = self._piece(first, last), jnp.asarray(points, np.float64)
        return np.asarray(jax.vmap(lambda one: jax.jvp(piece, (one,), (jnp.ones_like(one),))[1])(x))

    def _piece(self, first: int, last: int) -> Callable[[jax.Array], jax.Array]:
        source, target = self.values[first], self.values[last]
        piece = self.own[self.places[first] : self.places[last]]

        def one(x: jax.Array) -> jax.Array:
            given = {**self.fixed, source: x.reshape(self.program.shape(source))}
            return _evaluated(self.program, piece, given)[target].reshape(-1)

        return one

    def size(self, at: int) -> int:
        return self.program.size(self.values[at])


def _evaluated(program: Any, piece: Sequence[int], values: dict[int, Any]) -> dict[int, Any]:
    values = {**program.literals, **values}
    for index in piece:
        eqn = program.equations[index]
        values.update(zip(eqn.results, eqn.bind(*(values[n] for n in eqn.operands)), strict=True))
    return values


def _read(cuts: _Cuts) -> list[Layer]:
    layers: list[Layer] = []
    at = begin = 0
    last = len(cuts.values) - 1
    while at < last:
        found = _activation(cuts, at, last)
        if found is not None:
            activation, after = found
            layers.append(_layer(cuts, begin, at, activation))
            at = begin = after
        elif cuts.affine(at):
            at += 1
        else:
            raise UnsupportedOperationError(
                f"{', '.join(dict.fromkeys(cuts.names(at, at + 1)))} is neither affine nor a known activation"
            )
    if begin < last or not layers:
        layers.append(_layer(cuts, begin, last, Activation("linear")))
    return layers


def _activation(cuts: _Cuts, at: int, last: int) -> tuple[Activation, int] | None:
    """The longest piece from a cut on that is a known activation: 1 / (1 + exp(−z)) is read before −z is."""
    ends = []
    for end in range(at + 1, min(last, at + LONGEST) + 1):
        if "dot_general" in cuts.names(end - 1, end):
            break
        if cuts.size(end) == cuts.size(at) and not all(cuts.affine(k) for k in range(at, end)):
            ends.append(end)
    for end in reversed(ends):
        activation = recognise(partial(cuts.at, at, end), partial(cuts.slopes, at, end), cuts.size(at))
        if activation is not None:
            return activation, end
    return None


def _layer(cuts: _Cuts, first: int, last: int, activation: Activation) -> Layer:
    size = cuts.size(first)
    if first == last:
        return Layer(np.eye(size), np.zeros(size), activation)
    bias = cuts.at(first, last, np.zeros((1, size)))[0]
    return Layer((cuts.at(first, last, np.eye(size)) - bias).T, bias, activation)
