"""A piece of a network tried out by itself, at some random x, to see what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from netjac.formula.expression import Atom
from netjac.formula.graph import Graph
from netjac.graph.preactivation import dependent
from netjac.precision import precise

TRIES = 3


@dataclass(frozen=True)
class Trial:
    """The values of a piece at x, and how they move along v."""

    x: np.ndarray
    v: np.ndarray
    values: tuple[np.ndarray, ...]
    moves: tuple[np.ndarray, ...]


def piece_of(graph: Graph, atom: Atom, values: tuple[int, ...]) -> tuple[list[int], set[int]]:
    """The equations that lead from a factor's tail to the values, and what else they read."""
    program = graph.program
    following = dependent(program, {atom.tail})
    needed = program.needed(values)
    only = [n for n in needed if (following - {atom.tail}).intersection(program.equations[n].results)]
    return only, {operand for n in only for operand in program.equations[n].operands} - following


def trials(graph: Graph, atom: Atom, values: tuple[int, ...], spread: float = 2, points: int = 1) -> list[Trial] | None:
    """Some trials of a factor's equations; None where another value that depends on the network's input enters them.

    There are so many that at least `points` entries are tried, of this standard deviation.
    """
    program, point = graph.program, graph.point
    only, fixed = piece_of(graph, atom, values)
    if fixed & graph.moving:
        return None
    with precise(point.wide):
        inputs, constants = point.arguments(), list(program.constants.values())
        known = program.evaluate(inputs, constants, program.needed(fixed))
        given = {value: known[value] for value in fixed}

        @jax.jit
        def piece(x: Any, v: Any) -> Any:
            def computed(x: Any) -> tuple[Any, ...]:
                found = program.evaluate(inputs, constants, only, {**given, atom.tail: x})
                return tuple(found[value] for value in values)

            return jax.jvp(computed, (x,), (v,))

        rng, found = np.random.default_rng(0), []
        for _ in range(max(TRIES, points // program.size(atom.tail))):
            x, v = rng.normal(0.3, spread, (2, *program.shape(atom.tail))).astype(program.dtype(atom.tail))
            at, moves = piece(x, v)
            found.append(Trial(x, v, tuple(map(np.asarray, at)), tuple(map(np.asarray, moves))))
    return found
