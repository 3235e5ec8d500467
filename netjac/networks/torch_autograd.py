"""A function of JAX arrays as an operation of torch's autograd, differentiable once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import torch
from torch.autograd.function import once_differentiable

from netjac.networks.arrays import like, to_jax
from netjac.precision import precise

Run = Callable[[Sequence[Any], Sequence[jax.Array]], jax.Array]


@dataclass(frozen=True, eq=False)
class Operation:
    """`run(arguments, constants)`, a pure function of arrays; `wide` where it computes in float64."""

    run: Run
    arguments: tuple[Any, ...]
    constants: tuple[jax.Array, ...]
    wide: bool


def recorded(values: Sequence[Any]) -> list[torch.Tensor | None]:
    """The tensors among the values, None for all else; an empty list where torch would record nothing of them."""
    tensors = [value if isinstance(value, torch.Tensor) else None for value in values]
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return tensors if wanted else []


def beside(result: torch.Tensor, inputs: Sequence[Any]) -> torch.Tensor:
    """The result on the device of the first tensor among the inputs."""
    return next((result.to(t.device) for t in inputs if isinstance(t, torch.Tensor)), result)


def differentiable(operation: Operation, tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """The operation's result as a tensor that backpropagates to `tensors`, one for each argument (None: fixed)."""
    return _Differentiable.apply(operation, *tensors)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, *tensors: torch.Tensor | None) -> torch.Tensor:
        moving = tuple(place for place, needed in enumerate(ctx.needs_input_grad[1:]) if needed)
        with precise(operation.wide):
            result, ctx.pull = _linearised(operation.run, moving)(operation.arguments, operation.constants)
        ctx.moving, ctx.wide = moving, operation.wide
        ctx.save_for_backward(*tensors)  # the pull-back may read their memory: torch refuses it once one was written to
        return like(result, tensors[moving[0]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with precise(ctx.wide):
            found = dict(zip(ctx.moving, _pulled(ctx.pull, to_jax(cotangent.contiguous())), strict=True))
            grads = [
                like(found[place], tensor).to(tensor.dtype) if place in found else None
                for place, tensor in enumerate(ctx.saved_tensors)
            ]
        return None, *grads


@lru_cache(maxsize=128)
def _linearised(run: Run, moving: tuple[int, ...]) -> Callable[..., tuple[jax.Array, Any]]:
    """The result and its pull-back by the moving arguments, jitted; the pull-back carries what it needs of the forward pass."""

    def both(arguments: Sequence[Any], constants: Sequence[jax.Array]) -> tuple[jax.Array, Any]:
        def along(*values: Any) -> jax.Array:
            given = list(arguments)
            for place, value in zip(moving, values, strict=True):
                given[place] = value
            return run(given, constants)

        return jax.vjp(along, *(arguments[place] for place in moving))

    return jax.jit(both)


@jax.jit
def _pulled(pull: Callable[[jax.Array], tuple[jax.Array, ...]], cotangent: jax.Array) -> tuple[jax.Array, ...]:
    return pull(cotangent)
