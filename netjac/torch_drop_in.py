"""`torch_jacobian_function`: a module's Jacobian as a torch operation, for losses that contain it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from netjac.compiled import Compiled
from netjac.errors import MissingExtraError, ShapeError
from netjac.jacobian import ask_one
from netjac.networks import network_of
from netjac.pieces import Options


def torch_jacobian_function(
    module: Any, *, wrt: str = "input", of: str = "output", engine: str = "auto", precision: str = "highest"
) -> Callable[..., Any]:
    """The function that computes a torch module's Jacobian as a tensor which can be backpropagated.

    `torch_jacobian_function(module)(*inputs)` is the tensor (batch, *out, *in) that `vmap(torch.func.jacrev)` gives, on the
    first input's device. Its gradient goes to the inputs and to the module's parameters that require one, through
    `backward` or `torch.autograd.grad`, so that a loss may hold a penalty on J. Once: a gradient of that gradient is refused
    by torch. `wrt` and `of` are names as in `netjac.jacobian`, one of each. The module is in eval mode for it, and
    parameters and buffers are read at every call.

    Raises what `netjac.jacobian` raises, and `ShapeError` where several inputs or outputs are meant.
    """
    try:
        from netjac.networks.torch import TorchNetwork
        from netjac.networks.torch_autograd import Operation, beside, differentiable, recorded
    except ImportError:
        raise MissingExtraError.of("torch", "torch", "torch_jacobian_function") from None
    network = network_of(module)
    if not isinstance(network, TorchNetwork):
        raise ShapeError(
            f"torch_jacobian_function takes a torch.nn.Module, and {network.name!r} is a {network.framework} model; use "
            "netjac.jacobian_function for JAX functions, netjac.jacobian for all others"
        )

    def jacobian(*inputs: Any) -> Any:
        asked = ask_one(network, inputs, wrt, of, Options(engine, precision))
        point = asked.point
        known = {**network.named_parameters(), **network.buffers(), **dict(zip(point.names, point.given, strict=True))}
        tensors = recorded([known.get(name) for name in (*point.traced.parameters, *point.names)])
        if not tensors:
            return beside(asked.jacobian((0, 0)).to_torch(), inputs)
        run = _array_of(asked.compiled, asked.shape((0, 0)))
        constants = tuple(point.traced.program.constants.values())
        return differentiable(Operation(run, point.arguments(), constants, point.wide), tensors)

    return jacobian


@lru_cache(maxsize=128)
def _array_of(compiled: Compiled, shape: tuple[int, ...]) -> Callable[[Sequence[Any], Sequence[jax.Array]], jax.Array]:
    """The dense array of the only answer, zeros where the plan has none."""

    def run(arguments: Sequence[Any], constants: Sequence[jax.Array]) -> jax.Array:
        arrays = compiled.run(arguments, constants, 0)[1]
        return arrays[0] if arrays else jnp.zeros(shape)

    return run
