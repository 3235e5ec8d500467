"""Which units never pass a gradient, over any number of samples, by forward passes alone.

A unit is an entry of what a relu-like operation makes: one that chooses between its operand and a constant (relu, relu6, a
threshold). It is dead where it is zero with slope zero at every sample. tanh and sigmoid have no dead units; a layer that ends
in one has the share of its (sample, unit) pairs that are saturated: slope below `SATURATED` of the largest.

    relu(z) at z = [[−1, 2], [−3, −4]], two samples: unit 0 is dead, unit 1 is not
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac import compiled as plans
from netjac.analysis.flow.segments import Segment, origin
from netjac.graph.kind import Kind
from netjac.graph.program import Equation, Program
from netjac.plan.alive import choice
from netjac.precision import multiplied, precise
from netjac.rules import Explicit, linearise
from netjac.tracing import Point

SATURATED = 0.01
SQUASHING = {"tanh": lambda y: 1 - y * y, "logistic": lambda y: 4 * y * (1 - y)}
"""Slopes from the values, as shares of the largest slope."""


@dataclass(frozen=True)
class Gates:
    """What is to be looked at in a layer: chains of equations that choose, one after another, and a tanh or sigmoid."""

    chains: tuple[tuple[tuple[int, Explicit], ...], ...]
    squashed: int | None
    squashing: str = ""

    def values(self, program: Program) -> list[int]:
        found = [program.equations[chain[-1][0]].results[0] for chain in self.chains]
        return found if self.squashed is None else [*found, self.squashed]


def gates(point: Point, piece: Segment) -> Gates:
    """The relu-like operations of a layer, and the tanh or sigmoid that it ends in."""
    with precise(point.wide):
        return point.traced.once(("gates", piece.cut), lambda: _gates(point.traced.kind.program, piece))


def _gates(program: Program, piece: Segment) -> Gates:
    moving = set(piece.by.values())
    chains: dict[int, list[tuple[int, Explicit]]] = {}
    member: dict[int, int] = {}
    for index in piece.equations:
        eqn = program.equations[index]
        operands = {n for n in eqn.operands if n in moving and program.differentiable(n)}
        if moving.intersection(eqn.operands):
            moving.update(eqn.results)
        if len(operands) > 1 and choice(eqn):
            # One branch of several that all pass a gradient: elu's, say, kept from overflowing by a choice of its own.
            for n in operands & member.keys():
                chains.pop(member[n], None)
        local = _by_entry(program, eqn, *operands) if len(operands) == 1 else None
        if local is None:
            continue
        (operand,) = operands
        chain = member.get(operand)
        if local.numbers is not None and choice(eqn) and (eqn.name != "select_n" or eqn.operands[0] in moving):
            if chain is None and not _may_be_zero(program, eqn):
                continue
            chain = index if chain is None else chain
            chains.setdefault(chain, []).append((index, local))
        if chain is not None:
            member[eqn.results[0]] = chain
    end = origin(program, piece.value)
    name = program.equations[program.producer[end]].name if end in moving and end in program.producer else ""
    kept = tuple(tuple(chain) for chain in chains.values())
    return Gates(kept, end, name) if name in SQUASHING else Gates(kept, None)


def _by_entry(program: Program, eqn: Equation, operand: int) -> Explicit | None:
    """The slope of an equation that works entry by entry on one operand."""
    local = linearise(program, eqn, eqn.operands.index(operand), 0) if len(eqn.results) == 1 else None
    known = isinstance(local, Explicit) and local.pattern.out == local.pattern.inn and not local.pattern.windows
    return local if known and isinstance(local, Explicit) else None


def _may_be_zero(program: Program, eqn: Equation) -> bool:
    """Whether what is chosen instead may be 0: the larger of something and −∞ (in a softmax) is no relu."""
    bounds = [program.literals[n] for n in eqn.operands if n in program.literals]
    return eqn.name not in ("max", "min") or not bounds or any(np.any(np.asarray(bound) == 0) for bound in bounds)


@dataclass(eq=False)
class Census:
    """What has been seen so far: for each layer its units' lives, and how many pairs were saturated, of how many."""

    alive: dict[str, list[np.ndarray]] = field(default_factory=dict)
    saturated: dict[str, tuple[int, int]] = field(default_factory=dict)
    samples: int = 0

    def add(self, point: Point, pieces: Sequence[Segment]) -> None:
        """Look at some more samples."""
        found = [(piece, gates(point, piece)) for piece in pieces]
        found = [(piece, gate) for piece, gate in found if gate.chains or gate.squashed is not None]
        self.samples += point.samples or 1
        if not found:
            return
        kind, several = point.traced.kind, (point.samples or 1) > 1
        place = ("census", several, tuple((*piece.by.values(), piece.value, piece.equations) for piece, _ in found))
        look = kind.once(place, lambda: jax.jit(_looking(kind, [gate for _, gate in found], several)))
        with precise(point.wide):
            answers = look(point.arguments(), list(point.traced.program.constants.values()))
        for (piece, gate), (alive, saturated) in zip(found, answers, strict=True):
            if gate.chains:
                known = self.alive.get(piece.name)
                new = [np.asarray(a) for a in alive]
                self.alive[piece.name] = new if known is None else [a | b for a, b in zip(known, new, strict=True)]
            if gate.squashed is not None:
                seen, of = self.saturated.get(piece.name, (0, 0))
                size = point.traced.program.size(gate.squashed)
                self.saturated[piece.name] = (seen + int(np.sum(np.asarray(saturated, np.int64))), of + size)

    def dead_share(self, name: str) -> float | None:
        """The share of a layer's relu-like units that passed nothing at any sample; None where it has none."""
        if name not in self.alive:
            return None
        units = sum(a.size for a in self.alive[name])
        return 1 - sum(int(a.sum()) for a in self.alive[name]) / units

    def units(self, name: str) -> int:
        return sum(a.size for a in self.alive.get(name, ()))

    def saturated_share(self, name: str) -> float | None:
        seen, of = self.saturated.get(name, (0, 0))
        return seen / of if of else None


def _looking(kind: Kind, found: Sequence[Gates], several: bool) -> Any:
    """(arguments, constants) → for each layer (units alive, …), and how many entries of each sample are saturated. `several`:
    axis 0 counts samples."""
    program = kind.program
    wanted = [n for gate in found for n in gate.values(program)]
    needed = program.needed(wanted)

    def look(inputs: Sequence[Any], constants: Sequence[Any]) -> list[Any]:
        plans.counts["traces"] += 1
        with multiplied(kind.precision):
            values = program.evaluate(inputs, constants, needed)
            return [([_alive(program, values, c, several) for c in g.chains], _count(values, g)) for g in found]

    return look


def _alive(program: Program, values: dict[int, Any], chain: Sequence[tuple[int, Explicit]], several: bool) -> Any:
    """Which units pass something: those other than zero, and those whose slopes are, at any sample."""
    last = values[program.equations[chain[-1][0]].results[0]]
    passes = jnp.ones(last.shape, bool)
    for _, local in chain:
        assert local.numbers is not None
        slope = local.numbers(values)
        passes &= jnp.broadcast_to(slope.reshape(last.shape) if slope.size == last.size else slope, last.shape) != 0
    alive = passes | (last != 0)
    return alive.any(0).ravel() if several else alive.ravel()


def _count(values: dict[int, Any], gate: Gates) -> Any:
    """By rows, so that no count outgrows 32 bits."""
    if gate.squashed is None:
        return jnp.zeros((), jnp.int32)
    y = values[gate.squashed]
    low = SQUASHING[gate.squashing](y) < SATURATED
    return low.sum(tuple(range(1, low.ndim))) if low.ndim else low.astype(jnp.int32)


def looked_at(point: Point, pieces: Sequence[Segment]) -> list[int]:
    """The values that a census reads."""
    return [n for piece in pieces for n in gates(point, piece).values(point.traced.program)]


def bytes_each(point: Point) -> int:
    """What a forward pass holds for one sample, at most: every value of the program."""
    program = point.traced.program
    made = {n for eqn in program.equations for n in eqn.results}
    sizes = [program.size(n) * program.dtype(n).itemsize for n in made if hasattr(program.types[n], "shape")]
    return max(1, sum(sizes) // (point.samples or 1))
