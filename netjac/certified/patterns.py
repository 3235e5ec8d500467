"""Softmaxes in a program, known by their equations whoever wrote them: shares eᵘ / Σ eᵘ, their logarithms, log Σ eᵘ.

What is found is a proof, not a likeness, as bounds rest on it: the same exponentials above as below, summed over whole axes.
A shift that is the same all along these axes, such as the largest entry, changes no share and is looked through:

    m = max(u);  e = exp(u − m);  s = Σ e;  e / s is the share,  (u − m) − log s its logarithm,  log s + m the log of the sum
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from netjac.graph.program import Equation, Program

SAME = frozenset({"name", "copy", "copy_p"})
RESHAPING = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims"})
ELEMENTARY = frozenset({
    "exp", "sub", "add", "mul", "div", "neg", "square", "reduce_sum", "reduce_max", "max", "broadcast_in_dim", "reshape",
    "stop_gradient", "integer_pow",
})  # fmt: skip
"""What may be computed twice in one program, and be the same, their parameters being plain numbers."""
Kind = Literal["share", "log share", "log sum"]


@dataclass(frozen=True)
class Softmax:
    """A result that is `kind` of the softmax of the value `logits` over its `axes`, gone, or of size 1, in a log sum."""

    kind: Kind
    logits: int
    axes: tuple[int, ...]


@dataclass(frozen=True)
class _Sum:
    """exp(`exponent`) summed over `axes`; `kept`: they are still there, of size 1 or repeated."""

    exponent: int
    exponential: int
    axes: tuple[int, ...]
    kept: bool


def softmax(program: Program, eqn: Equation) -> Softmax | None:
    """What of a softmax an equation's result is; None where it is nothing of that."""
    finders = {"div": _share, "sub": _log_share, "add": _log_sum, "log": _log}
    find = finders.get(eqn.name)
    return None if find is None else find(program, eqn)


def _share(program: Program, eqn: Equation) -> Softmax | None:
    above, below = eqn.operands
    total = _total(program, below)
    if total is None or not total.kept or not equal(program, above, total.exponential):
        return None
    return _found(program, "share", eqn, _unshifted(program, total.exponent, total.axes), total.axes)


def _log_share(program: Program, eqn: Equation) -> Softmax | None:
    shifted, below = eqn.operands
    total = _logarithm(program, below)
    if total is None or not total.kept or not equal(program, shifted, total.exponent):
        return None
    return _found(program, "log share", eqn, _unshifted(program, total.exponent, total.axes), total.axes)


def _found(program: Program, kind: Kind, eqn: Equation, logits: int, axes: tuple[int, ...]) -> Softmax | None:
    whole = program.shape(logits) == program.shape(eqn.results[0])
    return Softmax(kind, logits, axes) if whole else None


def _log(program: Program, eqn: Equation) -> Softmax | None:
    total = _logarithm(program, eqn.results[0])
    if total is None or not _once(program, eqn, total):
        return None
    return Softmax("log sum", total.exponent, total.axes)


def _once(program: Program, eqn: Equation, total: _Sum) -> bool:
    """Whether a result has every sum once."""
    shape = program.shape(total.exponent)
    return program.size(eqn.results[0]) * prod(shape[axis] for axis in total.axes) == prod(shape)


def _log_sum(program: Program, eqn: Equation) -> Softmax | None:
    """The logarithm and, put back, the shift that was taken off."""
    for log, shift in (eqn.operands, eqn.operands[::-1]):
        total = _logarithm(program, log)
        if total is None or program.shape(log) != program.shape(eqn.results[0]) or not _once(program, eqn, total):
            continue
        off = producer(program, total.exponent)
        if off is not None and off.name == "sub" and level(program, off.operands[1], total.axes):
            put_back = _entries(program, off.operands[1]) == _entries(program, shift)
            if put_back and program.shape(off.operands[0]) == program.shape(total.exponent):
                return Softmax("log sum", same(program, off.operands[0]), total.axes)
    return None


def _logarithm(program: Program, value: int) -> _Sum | None:
    eqn = producer(program, value)
    if eqn is not None and eqn.name == "log":
        return _total(program, eqn.operands[0])
    if eqn is not None and eqn.name in RESHAPING and len(eqn.operands) == 1:
        total = _logarithm(program, eqn.operands[0])
        return None if total is None else _keeping(program, eqn, total)
    return None


def _total(program: Program, value: int) -> _Sum | None:
    eqn = producer(program, value)
    if eqn is None:
        return None
    if eqn.name == "abs":
        return _total(program, eqn.operands[0])
    if eqn.name in RESHAPING and len(eqn.operands) == 1:
        total = _total(program, eqn.operands[0])
        return None if total is None else _keeping(program, eqn, total)
    if eqn.name != "reduce_sum":
        return None
    exponential = same(program, eqn.operands[0])
    exp = producer(program, exponential)
    if exp is None or exp.name != "exp":
        return None
    return _Sum(same(program, exp.operands[0]), exponential, tuple(sorted(eqn.parameters["axes"])), False)


def _keeping(program: Program, eqn: Equation, total: _Sum) -> _Sum | None:
    put = not total.kept and keeps(program, eqn, program.shape(total.exponent), total.axes)
    return _Sum(total.exponent, total.exponential, total.axes, True) if put else None


def keeps(program: Program, eqn: Equation, full: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether all that an equation does is to put axes back that were summed in a value of shape `full`."""
    new = program.shape(eqn.results[0])
    left = tuple(axis for axis in range(len(full)) if axis not in axes)
    if len(new) != len(full) or program.shape(eqn.operands[0]) != tuple(full[axis] for axis in left):
        return False
    if eqn.name == "broadcast_in_dim":
        put = tuple(eqn.parameters["broadcast_dimensions"]) == left and all(new[axis] == full[axis] for axis in left)
        return put and all(new[axis] in (1, full[axis]) for axis in axes)
    ones = tuple(1 if axis in axes else size for axis, size in enumerate(full))
    return new == ones and eqn.parameters.get("dimensions") in (None, axes)


def _unshifted(program: Program, value: int, axes: tuple[int, ...]) -> int:
    """Without what is taken off, or put on, all along the axes alike."""
    while True:
        eqn = producer(program, value)
        if eqn is None or eqn.name not in ("sub", "add"):
            return value
        whole = program.shape(eqn.operands[0]) == program.shape(value)
        if not (whole and level(program, eqn.operands[1], axes)):
            return value
        value = same(program, eqn.operands[0])


def level(program: Program, value: int, axes: tuple[int, ...]) -> bool:
    """Whether a value is the same all along the axes."""
    shape = program.shape(value)
    if not shape or all(shape[axis] == 1 for axis in axes):
        return True
    eqn = producer(program, value)
    if eqn is None:
        return False
    if eqn.name == "stop_gradient":
        return level(program, eqn.operands[0], axes)
    if eqn.name != "broadcast_in_dim" or len(eqn.operands) != 1:
        return False
    inner, places = program.shape(eqn.operands[0]), tuple(eqn.parameters["broadcast_dimensions"])
    return all(axis not in places or inner[places.index(axis)] == 1 for axis in axes)


def _entries(program: Program, value: int) -> int:
    """The value whose entries, in their order, these are, axes of size 1 put in or repeated."""
    while True:
        eqn = producer(program, value)
        if eqn is None or eqn.name not in RESHAPING or len(eqn.operands) != 1:
            return value
        old = [size for size in program.shape(eqn.operands[0]) if size != 1]
        if old != [size for size in program.shape(value) if size != 1]:
            return value
        places = tuple(eqn.parameters.get("broadcast_dimensions", ()))
        if list(places) != sorted(places):
            return value
        value = same(program, eqn.operands[0])


def equal(program: Program, a: int, b: int) -> bool:
    """Whether two values are the same, or computed in the same way of the same."""
    a, b = same(program, a), same(program, b)
    if a == b:
        return True
    if a in program.literals and b in program.literals:
        return program.types[a].dtype == program.types[b].dtype and bool(program.literals[a] == program.literals[b])
    if a not in program.producer or b not in program.producer:
        return False
    one, other = (program.equations[program.producer[n]] for n in (a, b))
    alike = one.primitive is other.primitive and one.results.index(a) == other.results.index(b)
    if not alike or len(one.operands) != len(other.operands) or str(one.parameters) != str(other.parameters):
        return False
    if one.name not in ELEMENTARY:
        return False
    return all(equal(program, x, y) for x, y in zip(one.operands, other.operands, strict=True))


def same(program: Program, value: int) -> int:
    while value in program.producer and program.equations[program.producer[value]].name in SAME:
        value = program.equations[program.producer[value]].operands[0]
    return value


def producer(program: Program, value: int) -> Equation | None:
    value = same(program, value)
    return program.equations[program.producer[value]] if value in program.producer else None
