"""Carrying a plan out: one array operation a step, nothing decided.

`accumulate` is pure and traceable: it runs under `jit` for the public functions and inside any JAX transformation for
`jacobian_function`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from netjac.factors.addition import Addition
from netjac.factors.pattern import labels_of
from netjac.factors.product import Product
from netjac.factors.refine import Split, Untie, Whole, spread
from netjac.factors.window import Banded, Joined, Placed, Read
from netjac.plan.eliminate import Linearised
from netjac.plan.plan import Plan
from netjac.plan.steps import Action, LocalFactor, Seed, Sweep
from netjac.rules.local import Opaque

Numbers = jax.Array | None


class Run:
    """What the steps of one run share: the network's values, its local Jacobians, the dtype, the first row or column."""

    def __init__(self, linearised: Linearised, values: dict[int, Any], dtype: Any, start: Any) -> None:
        self.linearised = linearised
        self.values = values
        self.dtype = dtype
        self.start = start


def accumulate(
    plan: Plan, linearised: Linearised, values: dict[int, Any], dtype: Any, start: Any = 0
) -> list[jax.Array]:
    """The numbers of the plan's answers, in order, each with the axes of its pattern's `data`.

    `values` has every value that the local Jacobians read; `start` is the first row or column of a chunk.
    """
    run = Run(linearised, values, dtype, start)
    registers: dict[int, Numbers] = {}
    for step in plan.steps:
        results = perform(step.action, run, [registers[n] for n in step.reads])
        registers.update(zip(step.writes, results, strict=True))
    return [_numbers(registers[answer.register], dtype) for answer in plan.answers]


def _numbers(array: Numbers, dtype: Any) -> jax.Array:
    return jnp.ones((), dtype) if array is None else jnp.asarray(array)


@singledispatch
def perform(action: Action, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    """The numbers that one step writes."""
    raise TypeError(f"no execution for {type(action).__name__}")


@perform.register
def _(action: Seed, run: Run, _read: Sequence[Numbers]) -> list[Numbers]:
    if not action.count:
        return [None]
    pattern = action.pattern
    inner = pattern.in_labels if action.side == "rows" else pattern.out_labels
    size = prod(pattern.sizes[n] for n in inner - pattern.tied)
    rows = jax.nn.one_hot(run.start + jnp.arange(action.count), size, dtype=run.dtype)
    return [rows.reshape(pattern.data_shape)]


@perform.register
def _(action: LocalFactor, run: Run, _read: Sequence[Numbers]) -> list[Numbers]:
    local = run.linearised.local(action.equation, action.operand, action.result)
    local = local.written if isinstance(local, Opaque) else local
    assert local is not None
    return [None if local.numbers is None else local.numbers(run.values)]


@perform.register
def _(action: Product, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return [action.apply(read[0], read[1], run.dtype)]


@perform.register
def _(action: Addition, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return [action.apply(_numbers(read[0], run.dtype), _numbers(read[1], run.dtype))]


@perform.register
def _(action: Untie | Read | Banded | Joined | Placed, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return [action.apply(read[0], run.dtype)]


@perform.register
def _(action: Whole | Split, _run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return [action.apply(read[0])]


@perform.register
def _(action: Sweep, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    """All vectors of the block at once, along one leading axis."""
    eqn = run.linearised.program.equations[action.equation]
    inputs = [run.values[n] for n in eqn.operands]
    pulling = action.direction == "pull"
    local = run.linearised.local(action.equation, action.far[0], action.near) if pulling else None
    pattern = action.block
    own = labels_of(pattern.inn if pulling else pattern.out)
    full = spread(_numbers(read[0], run.dtype), pattern.data, (*action.basis, *own), pattern.sizes)
    shape = pattern.in_shape if pulling else pattern.out_shape
    block = full.reshape((-1, *shape))
    moving = list(action.far) if pulling else [action.near]
    result = action.near if pulling else action.far[0]

    def along(*chosen: Any) -> Any:
        operands = list(inputs)
        for place, value in zip(moving, chosen, strict=True):
            operands[place] = value
        return eqn.bind(*operands)[result]

    primals = tuple(jnp.asarray(inputs[place]) for place in moving)
    if isinstance(local, Opaque) and local.pull is not None and len(moving) == 1:
        swept = (local.pull(run.values, block),)
    elif pulling:
        value, pull = jax.vjp(along, *primals)
        swept = jax.vmap(pull)(block.astype(value.dtype))
    else:
        swept = (jax.vmap(lambda t: jax.jvp(along, primals, (t,))[1])(block.astype(primals[0].dtype)),)
    basis = [pattern.sizes[n] for n in action.basis]
    return [
        array.reshape((*basis, *(result.sizes[n] for n in result.data[len(basis) :])))
        for array, result in zip(swept, action.results, strict=True)
    ]
