"""The last layer of a network that ends in one: y = h W + b with parameters W and b of its own.

Proven from the program, not taken from names. Going back from the output, y must be h W, or h W plus b in every row, up to
reshapes; and no other value that y depends on may depend on W or b. So y is affine in them, each output has a column of W to
itself, and h does not change when they do. W may be stored in any order: where each entry lies is read off by sending the
places 0, 1, 2, … through the program.

Two features, two outputs, W stored transposed: `weights` is ((0, 2), (1, 3)), the places of w₁₁, w₁₂, w₂₁ and w₂₂.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import jax.numpy as jnp
import numpy as np

from netjac.graph.program import Program
from netjac.points import PRIMITIVE as POINT
from netjac.precision import precise

IN_ORDER = frozenset({POINT, "reshape", "squeeze", "expand_dims", "copy"})
"""Primitives that leave the numbers as they are and in their order."""
MOVING = IN_ORDER | {"broadcast_in_dim", "transpose"}
"""Those that leave the numbers as they are."""


@dataclass(frozen=True, eq=False)
class Readout:
    """`features` is the value h, (N, q); `parameters` those of W and (if there is one) b. `weights` (q, m) and `bias` (1, m)
    or (0, m) say where each entry lies in its parameter."""

    features: int
    parameters: tuple[int, ...]
    weights: np.ndarray
    bias: np.ndarray


def readout(program: Program, of: int, trainable: Iterable[int]) -> Readout | None:
    """The last layer before a value whose axis 0 counts samples; None where there is none with trainable parameters alone."""
    trainable = {*trainable}
    ways = [*_back(program, of, IN_ORDER)]
    sum_ = _made(program, ways[-1], "add")
    sides = [(ways[-1], None)] if sum_ is None else [(sum_[0], sum_[1]), (sum_[1], sum_[0])]
    for product, added in sides:
        found = _product(program, product, program.shape(of)[0], trainable)
        if found is not None and added is not None:
            found = _with_bias(program, found, added, program.shape(ways[-1]), trainable)
        if found is not None and _dependent(program, of, found.parameters) <= _between(program, found, of):
            return found
    return None


def _product(program: Program, value: int, N: int, trainable: set[int]) -> Readout | None:
    """h W, as a layer without bias."""
    value = [*_back(program, value, IN_ORDER)][-1]
    operands = _made(program, value, "dot_general")
    if operands is None:
        return None
    features, weights = operands
    (over, contracted), batched = program.equations[program.producer[value]].parameters["dimension_numbers"]
    if tuple(over) != (1,) or any(batched) or len(program.shape(features)) != 2 or program.shape(value)[:1] != (N,):
        return None
    parameter, places = _places(program, weights, trainable)
    if parameter is None or not _each_once(places, program.size(parameter)):
        return None
    m = prod(program.shape(value)[1:])
    table = np.moveaxis(places, contracted[0], 0).reshape(-1, m)
    return Readout(features, (parameter,), table, np.zeros((0, m), np.int64))


def _with_bias(
    program: Program, layer: Readout, added: int, shape: tuple[int, ...], trainable: set[int]
) -> Readout | None:
    """The same with a parameter that is added to every row."""
    parameter, places = _places(program, added, trainable)
    if parameter is None or parameter in layer.parameters:
        return None
    m = layer.weights.shape[1]
    rows = np.broadcast_to(places, shape).reshape(-1, m)
    if not (rows == rows[0]).all() or not _each_once(rows[0], program.size(parameter)):
        return None
    return Readout(layer.features, (*layer.parameters, parameter), layer.weights, rows[:1])


def _back(program: Program, value: int, through: frozenset[str]) -> Iterator[int]:
    """A value and what it was made from by such primitives alone."""
    yield value
    while value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name not in through:
            return
        value = eqn.operands[0]
        yield value


def _made(program: Program, value: int, primitive: str) -> tuple[int, ...] | None:
    """The operands, where this primitive made the value."""
    eqn = program.equations[program.producer[value]] if value in program.producer else None
    return eqn.operands if eqn is not None and eqn.name == primitive else None


def _places(program: Program, value: int, trainable: set[int]) -> tuple[int | None, np.ndarray]:
    """The parameter that a value is, moved, and which of its entries stands where."""
    way = [*_back(program, value, MOVING)]
    if way[-1] not in trainable:
        return None, np.zeros(0)
    with precise(True):
        places = jnp.arange(program.size(way[-1])).reshape(program.shape(way[-1]))
        for made in way[-2::-1]:
            (places,) = program.equations[program.producer[made]].bind(places)
        return way[-1], np.asarray(places)


def _each_once(places: np.ndarray, size: int) -> bool:
    return places.size == size and bool((np.sort(places, None) == np.arange(size)).all())


def _dependent(program: Program, of: int, parameters: tuple[int, ...]) -> set[int]:
    """The values on the way to `of` that may change with the parameters, these included."""
    found = {*parameters}
    for index in program.needed([of]):
        if found.intersection(program.equations[index].operands):
            found.update(program.equations[index].results)
    return found


def _between(program: Program, layer: Readout, of: int) -> set[int]:
    """The values of the layer itself: from its parameters and the features, these apart, to its output."""
    found: set[int] = set()
    waiting = [of]
    while waiting:
        value = waiting.pop()
        if value in found or value == layer.features:
            continue
        found.add(value)
        if value in program.producer and value not in layer.parameters:
            waiting += program.equations[program.producer[value]].operands
    return found
