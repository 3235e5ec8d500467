"""A model traced once, and replayed from its jaxpr.

The model's own Python runs a single time, when the function is prepared: its errors come out there, and what the user
does to the model later cannot reach a function that was prepared before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.extend
import jax.numpy as jnp

from netjac.networks.network import Array, Parameters, PureFunction
from netjac.precision import as_held

Traceable = Callable[[dict[str, Array], tuple[Array, ...]], tuple[Array, ...]]


def traced(
    function: Traceable, parameters: Mapping[str, jax.ShapeDtypeStruct], inputs: Sequence[jax.ShapeDtypeStruct]
) -> PureFunction:
    """`function` for parameters and inputs of these shapes and dtypes; others dtypes of parameters are cast to them."""
    names, held = tuple(parameters), tuple(map(as_held, parameters.values()))
    closed = jax.make_jaxpr(lambda values, arrays: function(dict(zip(names, values, strict=True)), arrays))(
        held, tuple(map(as_held, inputs))
    )
    run = jax.extend.core.jaxpr_as_fun(closed)

    def replay(parameters: Parameters, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        values = [jnp.asarray(parameters[name]).astype(spec.dtype) for name, spec in zip(names, held, strict=True)]
        return tuple(run(*values, *inputs))

    return replay
