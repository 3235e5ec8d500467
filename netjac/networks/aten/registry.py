"""The table of rules, by the operation's full name ("aten.relu.default")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


class DrawsError(Exception):
    """A rule was asked to draw random numbers; the interpreter says so of the module."""


RULES: dict[str, Callable[..., Any]] = {}
Rule = Callable[..., Any]

DTYPES = {
    "torch.float64": jnp.float64,
    "torch.float32": jnp.float32,
    "torch.float16": jnp.float16,
    "torch.bfloat16": jnp.bfloat16,
    "torch.complex128": jnp.complex128,
    "torch.complex64": jnp.complex64,
    "torch.int64": jnp.int64,
    "torch.int32": jnp.int32,
    "torch.int16": jnp.int16,
    "torch.int8": jnp.int8,
    "torch.uint8": jnp.uint8,
    "torch.bool": jnp.bool_,
}


def op(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule; a name without an overload stands for its "default"."""

    def register(rule: Rule) -> Rule:
        for name in names:
            RULES[f"aten.{name}" if "." in name else f"aten.{name}.default"] = rule
        return rule

    return register


def dtype_of(dtype: Any) -> Any:
    """The JAX dtype of a torch dtype, narrowed to 32 bits where JAX is."""
    return jax.dtypes.canonicalize_dtype(DTYPES[str(dtype)])


def listed(value: Any, rank: int) -> list[int]:
    """An int or a short list as one number for each of `rank` axes, as torch's modules take them."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * rank if len(values) == 1 else values


def axes_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The axes that `dim` names; all of them for None or an empty list."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return tuple(range(rank))
    dims = dim if isinstance(dim, list | tuple) else (dim,)
    return tuple(d % rank if rank else 0 for d in dims)
