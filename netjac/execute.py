"""Carrying a plan out: one array operation a step, nothing decided.

`accumulate` is pure and traceable: it runs under `jit` for the public functions and inside any JAX transformation for
`jacobian_function`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, singledispatch
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from netjac.factors.addition import Addition
from netjac.factors.pattern import labels_of
from netjac.factors.product import Product
from netjac.factors.refine import Split, Untie, Whole, spread
from netjac.factors.selection import Alive, Pick
from netjac.factors.taps import Banded, Joined, Placed
from netjac.factors.window import Read
from netjac.graph.program import Equation, Program
from netjac.plan.eliminate import Linearised
from netjac.plan.plan import Plan
from netjac.plan.steps import Action, LocalFactor, Seed, Sweep
from netjac.rules.forward import Way, another_way, other_ways
from netjac.rules.local import Opaque
from netjac.rules.loops import steps_first

Numbers = jax.Array | None

LOOPS = ("scan",)
"""Loops that JAX pulls through."""


Pull = Callable[[jax.Array], tuple[jax.Array, ...]]
Pulled = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class Primal:
    """The network's values, and the pull-backs of loops that were made with them, by equation, result and operands."""

    values: dict[int, Any]
    pulls: dict[Pulled, Pull] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What the steps of one run share: the network, its local Jacobians, the dtype, the first row or column."""

    linearised: Linearised
    primal: Primal
    dtype: Any
    start: Any

    @property
    def values(self) -> dict[int, Any]:
        return self.primal.values


def evaluated(
    plan: Plan, program: Program, inputs: Sequence[Any], constants: Sequence[Any], of: Iterable[int]
) -> Primal:
    """The forward pass to the values `of`.

    A loop that the plan pulls through gives its pull-back as it goes: to linearise it later is to run it again, and XLA does
    not see that two loops are one.
    """
    pulls: dict[Pulled, Pull] = {}
    needed = program.needed(of)
    instead: dict[int, Way] = other_ways(program, needed)
    for step in plan.steps:
        action = step.action
        if isinstance(action, Sweep) and action.direction == "pull":
            eqn = program.equations[action.equation]
            if eqn.name in LOOPS:
                instead[action.equation] = partial(_with_pull, eqn, action, pulls)
    return Primal(program.evaluate(inputs, constants, needed, instead=instead), pulls)


def _with_pull(eqn: Equation, action: Sweep, pulls: dict[Pulled, Pull], operands: Sequence[Any]) -> Sequence[Any]:
    def along(*chosen: Any) -> tuple[Any, Sequence[Any]]:
        results = eqn.bind(*_replaced(operands, action.far, chosen))
        return results[action.near], results

    primals = [jnp.asarray(operands[place]) for place in action.far]
    _, pulls[action.equation, action.near, action.far], results = jax.vjp(along, *primals, has_aux=True)
    return results


def _replaced(operands: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    chosen = dict(zip(places, values, strict=True))
    return [chosen.get(place, operand) for place, operand in enumerate(operands)]


def accumulate(plan: Plan, linearised: Linearised, primal: Primal, dtype: Any, start: Any = 0) -> list[jax.Array]:
    """The numbers of the plan's answers, in order, each with the axes of its pattern's `data`.

    `primal` has every value that the local Jacobians read; `start` is the first row or column of a chunk.
    """
    run = Run(linearised, primal, dtype, start)
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
def _(action: Alive, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return list(action.apply(_numbers(read[0], run.dtype)))


@perform.register
def _(action: Pick, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    assert read[1] is not None
    # Fused into a product, each entry would be looked up again and again (measured: 9.4 → 8.1 ms for 1024 × 1024 × 3).
    return [jax.lax.optimization_barrier(action.apply(_numbers(read[0], run.dtype), read[1]))]


@perform.register
def _(action: Whole | Split, _run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    return [action.apply(read[0])]


@perform.register
def _(action: Sweep, run: Run, read: Sequence[Numbers]) -> list[Numbers]:
    """All vectors of the block at once, along one leading axis, or one behind that of a scan's steps."""
    eqn = run.linearised.program.equations[action.equation]
    inputs = [run.values[n] for n in eqn.operands]
    pulling = action.direction == "pull"
    local = run.linearised.local(action.equation, action.far[0], action.near) if pulling else None
    pattern = action.block
    axes = pattern.inn if pulling else pattern.out
    first = int(steps_first(eqn, action.near, pulling))
    order = (*labels_of(axes[:first]), *action.basis, *labels_of(axes[first:]))
    shape = pattern.in_shape if pulling else pattern.out_shape
    full = spread(_numbers(read[0], run.dtype), pattern.data, order, pattern.sizes)
    block = full.reshape((*shape[:first], -1, *shape[first:]))
    moving = list(action.far) if pulling else [action.near]
    result = action.near if pulling else action.far[0]
    behind = tuple(int(steps_first(eqn, place, not pulling)) for place in action.far)

    way = another_way(run.linearised.program, eqn)

    def along(*chosen: Any) -> Any:
        operands = _replaced(inputs, moving, chosen)
        return (eqn.bind(*operands) if way is None else way(operands))[result]

    primals = tuple(jnp.asarray(inputs[place]) for place in moving)
    swept: Sequence[jax.Array]
    if isinstance(local, Opaque) and local.pull is not None and len(moving) == 1:
        swept = (local.pull(run.values, block),)
    elif pulling:
        pull = run.primal.pulls.get((action.equation, action.near, action.far)) or jax.vjp(along, *primals)[1]
        swept = jax.vmap(pull, first, behind)(block.astype(run.values[eqn.results[result]].dtype))
    else:
        push = jax.vmap(lambda t: jax.jvp(along, primals, (t,))[1], first, behind[0])
        if jnp.iscomplexobj(block):  # pulled back to complex numbers before; the push is linear over real ones
            swept = (jax.lax.complex(push(block.real), push(block.imag)),)
        else:
            swept = (push(block.astype(primals[0].dtype)),)
    return [array.reshape([to.sizes[n] for n in to.data]) for array, to in zip(swept, action.results, strict=True)]
