"""What a store was written for, as digests that are equal in every process: the network, its weights, the samples."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import jax
import numpy as np

from netjac.precision import precise
from netjac.scale.feed import Samples
from netjac.scale.rows import Rows
from netjac.tracing import Point, meet, narrowed

SIZE = 16


def of_samples(x: Samples) -> bytes:
    """Of a run of inputs."""
    return of_arrays(sorted(x.items())) if isinstance(x, dict) else of_arrays([("", x)])


def of_rows(rows: Rows, x: Samples) -> dict[str, str]:
    """Of all but the samples, part by part."""
    point = meet(rows.network, x, rows.options.precision)
    return {
        "question": f"∂{rows.of}/∂{rows.wrt}, precision {rows.options.precision}",
        "layout": f"{rows.per} × {rows.inner}, {rows.dtype}",
        "weights": of_weights(point),
        "program": of_program(point, rows.of),
    }


def of_weights(point: Point) -> str:
    """Of all that the network holds in numbers: parameters, frozen ones too, and arrays closed over."""
    named = list(point.network.parameters.items())
    constants = [(str(n), array) for n, array in point.traced.program.constants.items()]
    with precise(True):  # else float64 is read rounded
        return of_arrays([*named, *constants]).hex()


def of_program(point: Point, name: str) -> str:
    """Of the computation of one value for one sample, as XLA is given it."""
    one = narrowed(point, 0, 1)
    program, of = one.traced.program, one.traced.value(name)
    needed = program.needed([of])

    def evaluated(inputs: Sequence[Any], constants: Sequence[Any]) -> Any:
        return program.evaluate(inputs, constants, needed)[of]

    with precise(one.wide):
        text = jax.jit(evaluated).lower(one.arguments(), list(program.constants.values())).as_text()
    return blake2b(text.encode(), digest_size=SIZE).hexdigest()


def of_arrays(named: Sequence[tuple[str, Any]]) -> bytes:
    """Of arrays with their names, dtypes and shapes."""
    state = blake2b(digest_size=SIZE)
    for name, value in named:
        array = np.ascontiguousarray(value)
        state.update(f"{name}:{array.dtype}:{array.shape};".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.digest()
