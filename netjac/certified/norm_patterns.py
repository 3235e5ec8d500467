"""Normalisations in a program, known by their equations: c / √(k Σ c² + ε), with c = x − mean(x) where the mean is taken off.

They are written as c · rsqrt(σ²) or c / √σ², and by some as x · s + (β − mean(x) · s) with s = rsqrt(σ²) · γ. As of a
softmax, what is found is a proof: σ² is of the very c that is divided by σ, and k and ε are numbers that stand in the program.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from netjac.certified.normalisation import Norm, Scale
from netjac.certified.patterns import RESHAPING, equal, keeps, level, producer, same
from netjac.graph.program import Equation, Program

U = 2.0**-52


@dataclass(frozen=True)
class Spread:
    """x · s + (shift − mean · s): a norm times `gain`, plus `shift`."""

    norm: Norm
    gain: int | None
    shift: int | None


def norm(program: Program, eqn: Equation) -> Norm | None:
    """The norm that an equation's result is."""
    if eqn.name not in ("mul", "div"):
        return None
    pairs = [eqn.operands] if eqn.name == "div" else [eqn.operands, eqn.operands[::-1]]
    for c, by in pairs:
        if program.shape(c) == program.shape(eqn.results[0]):
            found = _norm(program, c, by, eqn.name == "div")
            if found is not None:
                return found
    return None


def spread(program: Program, eqn: Equation) -> Spread | None:
    """The norm, its gain and shift that an equation's result is the sum of."""
    if eqn.name != "add":
        return None
    for scaled, rest in (eqn.operands, eqn.operands[::-1]):
        times, minus, shift = producer(program, scaled), producer(program, rest), None
        if minus is not None and minus.name == "add":
            for off, shift in (minus.operands, minus.operands[::-1]):
                found = _spread(program, eqn, times, producer(program, off), shift)
                if found is not None:
                    return found
        found = _spread(program, eqn, times, minus, None)
        if found is not None:
            return found
    return None


def _spread(
    program: Program, eqn: Equation, times: Equation | None, off: Equation | None, shift: int | None
) -> Spread | None:
    """`times` = x · s, `off` = (−mean) · s."""
    if times is None or off is None or times.name != "mul" or off.name != "mul":
        return None
    for x, by in (times.operands, times.operands[::-1]):
        for negative, other in (off.operands, off.operands[::-1]):
            minus = producer(program, negative)
            if minus is None or minus.name != "neg" or not equal(program, by, other):
                continue
            for inverse, gain in _factors(program, by):
                found = _about(program, x, minus.operands[0], inverse)
                if found is not None and program.shape(x) == program.shape(eqn.results[0]):
                    return Spread(found, gain, shift)
    return None


def _factors(program: Program, value: int) -> list[tuple[int, int | None]]:
    eqn = producer(program, value)
    found: list[tuple[int, int | None]] = [(same(program, value), None)]
    if eqn is not None and eqn.name == "mul":
        found += [eqn.operands, eqn.operands[::-1]]  # type: ignore[list-item]
    return found


def _about(program: Program, x: int, mean: int, inverse: int) -> Norm | None:
    """Where 1/σ is of x less the mean."""
    root = producer(program, inverse)
    if root is None or root.name != "rsqrt":
        return None
    found = _square_sum(program, root.operands[0])
    if found is None or not _fits(program, inverse, found):
        return None
    off = producer(program, found.c)
    if off is None or off.name != "sub" or not equal(program, off.operands[0], x):
        return None
    taken = off.operands[1]
    centred = _is_mean(program, mean, x, found.axes)
    # Held fixed within σ, only a mean has no part in σ's derivative: Σ c = 0.
    if not equal(program, _through(program, taken) if centred else taken, mean):
        return None
    return Norm(found.scale(centred), x, mean, inverse, False) if level(program, mean, found.axes) else None


def _norm(program: Program, c: int, by: int, divided: bool) -> Norm | None:
    root = producer(program, by)
    if root is None or root.name != ("sqrt" if divided else "rsqrt"):
        return None
    found = _square_sum(program, root.operands[0])
    if found is None or not equal(program, c, found.c) or not _fits(program, by, found):
        return None
    off = producer(program, c)
    centred = off is not None and off.name == "sub" and _is_mean(program, off.operands[1], off.operands[0], found.axes)
    return Norm(found.scale(centred), c, None, by, divided)


@dataclass(frozen=True)
class _Squares:
    """factor · Σ c² + more."""

    c: int
    axes: tuple[int, ...]
    kept: bool
    factor: tuple[float, float] = (1.0, 1.0)
    more: float = 0.0

    def scale(self, centred: bool) -> Scale:
        return Scale(self.axes, self.factor, self.more, centred)


def _square_sum(program: Program, value: int) -> _Squares | None:
    eqn = producer(program, value)
    if eqn is None:
        return None
    if eqn.name == "reduce_sum":
        c = _root(program, eqn.operands[0])
        return None if c is None else _Squares(c, tuple(sorted(eqn.parameters["axes"])), False)
    inner = _square_sum(program, eqn.operands[0]) if eqn.operands else None
    if inner is None:
        return None
    if eqn.name in RESHAPING and len(eqn.operands) == 1:
        put = not inner.kept and keeps(program, eqn, program.shape(inner.c), inner.axes)
        return _Squares(inner.c, inner.axes, True, inner.factor, inner.more) if put else None
    number = _number(program, eqn.operands[1]) if len(eqn.operands) == 2 else None
    if number is None or not np.isfinite(number):
        return None
    low, high = inner.factor
    if eqn.name == "add" and number >= 0 and not inner.more:
        return _Squares(inner.c, inner.axes, inner.kept, inner.factor, number)
    if eqn.name in ("div", "mul") and number > 0 and not inner.more:
        by = 1 / number if eqn.name == "div" else number
        factor = low * by * (1 - 2 * U), high * by * (1 + 2 * U)
        return _Squares(inner.c, inner.axes, inner.kept, factor, inner.more)
    return None


def _root(program: Program, value: int) -> int | None:
    """c of c²."""
    eqn = producer(program, value)
    if eqn is None:
        return None
    square = eqn.name == "square" or (eqn.name == "integer_pow" and eqn.parameters["y"] == 2)
    square = square or (eqn.name == "mul" and equal(program, *eqn.operands))
    return same(program, eqn.operands[0]) if square else None


def _fits(program: Program, inverse: int, found: _Squares) -> bool:
    """Whether 1/σ has one number a group, its axes being there."""
    shape, full = program.shape(inverse), program.shape(found.c)
    kept = tuple(1 if axis in found.axes else size for axis, size in enumerate(full))
    return found.kept and shape == kept and prod(full) > prod(kept)


def _is_mean(program: Program, mean: int, x: int, axes: tuple[int, ...]) -> bool:
    """Whether a value is Σ x / n over the axes, n as it should be."""
    eqn = producer(program, _through(program, mean))
    while eqn is not None and eqn.name in RESHAPING and len(eqn.operands) == 1:
        if not keeps(program, eqn, program.shape(x), axes):
            return False
        eqn = producer(program, eqn.operands[0])
    if eqn is None or eqn.name != "div":
        return False
    shape = program.shape(x)
    total = producer(program, eqn.operands[0])
    if total is not None and total.name in RESHAPING and keeps(program, total, shape, axes):
        total = producer(program, total.operands[0])
    if total is None or total.name != "reduce_sum" or tuple(sorted(total.parameters["axes"])) != axes:
        return False
    count = _number(program, eqn.operands[1])
    return count == prod(shape[axis] for axis in axes) and equal(program, total.operands[0], x)


def _through(program: Program, value: int) -> int:
    """Of what a derivative is not taken: its number is the same."""
    eqn = producer(program, value)
    return eqn.operands[0] if eqn is not None and eqn.name == "stop_gradient" else value


def _number(program: Program, value: int) -> float | None:
    eqn = producer(program, value)
    while eqn is not None and eqn.name in ("broadcast_in_dim", "convert_element_type"):
        value = eqn.operands[0]
        eqn = producer(program, value)
    value = same(program, value)
    return float(program.literals[value]) if value in program.literals else None
