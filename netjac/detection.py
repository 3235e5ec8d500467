"""Which entries of a Jacobian can be other than zero, as indices: for networks that gather and scatter, as on graphs.

Each equation's local Jacobian is written as a matrix of zeros and ones, from its rule's pattern, or, for a gather, a scatter
or a slice whose indices are known at this input, from where it puts the numbers 1, 2, 3, …; products and sums of these
matrices follow the graph from `wrt` to `of`. Nothing is left out that could be there: what is not known is full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from netjac.factors.entries import matrix
from netjac.graph.program import Equation, Program
from netjac.rules import linearise
from netjac.rules.local import Local, reading

MOVING = frozenset({"gather", "dynamic_slice", "scatter-add", "scatter_add", "scatter", "dynamic_update_slice"})
"""Primitives that put entries of their first operand, and of updates, where integers say."""

UPDATES = {"scatter-add": 2, "scatter_add": 2, "scatter": 2, "dynamic_update_slice": 1}
"""Of those that write into their first operand, the place of what they write."""

FULLEST = 0.25
"""The share of entries above which a pattern is not followed further: a dense answer is as good."""

BASE = 128
"""Of the digits in which places are sent through equations: bfloat16 holds integers to 256."""

MOST = 10**8
"""Entries of one local Jacobian above which it is not written out."""


def choices(program: Program, of: int, inputs: Sequence[Any], constants: Sequence[Any]) -> dict[int, np.ndarray]:
    """The indices by which entries are moved on the way to a value, as they are at these inputs; none where nothing is."""
    moving = [program.equations[index] for index in program.needed([of]) if program.equations[index].name in MOVING]
    wanted = {n for eqn in moving for n in eqn.operands if not program.differentiable(n)}
    if not wanted:
        return {}
    values = program.evaluate(inputs, constants, program.needed(wanted))
    return {n: np.asarray(values[n]) for n in sorted(wanted)}


def pattern_of(program: Program, chosen: Mapping[int, np.ndarray], wrt: int, of: int) -> scipy.sparse.csr_array | None:
    """The entries of ∂of/∂wrt that can be there, (size of `of`, size of `wrt`), by the indices `chosen`; None where it fills
    up on the way."""
    columns = program.size(wrt)
    reached = {wrt: scipy.sparse.eye_array(columns, dtype=bool, format="csr")}
    for index in program.needed([of]):
        eqn = program.equations[index]
        for which, result in enumerate(eqn.results):
            if result == wrt or not program.differentiable(result):
                continue
            total = None
            for place, operand in enumerate(eqn.operands):
                local = linearise(program, eqn, place, which) if operand in reached else None
                if local is None:
                    continue
                own = _local(program, eqn, place, which, local, chosen)
                if own is None:
                    return None
                one = _ones(own @ reached[operand])
                total = one if total is None else _ones(total + one)
            if total is not None:
                if total.nnz > FULLEST * total.shape[0] * columns and total.shape[0] > 1:
                    return None
                reached[result] = total
    return reached.get(of, scipy.sparse.csr_array((program.size(of), columns), dtype=bool))


def _ones(counted: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    found = counted.tocsr().astype(bool)
    found.sort_indices()
    return found


def _local(
    program: Program, eqn: Equation, operand: int, result: int, local: Local, chosen: Mapping[int, np.ndarray]
) -> scipy.sparse.csr_array | None:
    """One equation's local Jacobian, as zeros and ones; None where that is too many."""
    if eqn.name in MOVING:
        return _moved(program, eqn, operand, chosen)
    pattern = reading(program, eqn, operand, result, local)
    return matrix(pattern, np.ones(pattern.data_shape, bool)) if pattern.meetings <= MOST else None


def _moved(program: Program, eqn: Equation, operand: int, chosen: Mapping[int, np.ndarray]) -> scipy.sparse.csr_array:
    """Where the entries of an operand go: read off the numbers 1, 2, 3, … sent through the equation."""
    shapes = program.shape(eqn.operands[operand]), program.shape(eqn.results[0])
    size, count = (prod(shape) for shape in shapes)
    dtype = program.dtype(eqn.operands[operand])
    given = [
        jnp.asarray(chosen[n]) if n in chosen else jnp.zeros(program.shape(n), program.dtype(n)) for n in eqn.operands
    ]

    def along(moving: jax.Array) -> jax.Array:
        return eqn.bind(*given[:operand], moving, *given[operand + 1 :])[0]

    if operand == UPDATES.get(eqn.name):
        # An update goes to one place, and a place may have many: the transpose tells each its place.
        pull = jax.vjp(along, given[operand])[1]
        found = _sent(lambda block: pull(block)[0], shapes[1], dtype)
        columns = np.flatnonzero(found)
        rows = found[columns] - 1
    else:
        found = _sent(along, shapes[0], dtype)
        rows = np.flatnonzero(found)
        columns = found[rows] - 1
    return scipy.sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), (count, size))


def _sent(through: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """1, 2, 3, … after a linear map that only moves entries (0: none came), digit by digit, as any dtype holds a digit."""
    numbers = np.arange(1, prod(shape) + 1).reshape(shape)
    total: np.ndarray | None = None
    digit = 1
    while total is None or digit <= numbers.size:
        came = np.asarray(through(jnp.asarray(numbers // digit % BASE, dtype)), np.float64).reshape(-1)
        part = digit * np.nan_to_num(came).astype(np.int64)
        total = part if total is None else total + part
        digit *= BASE
    return total
