"""The rows of a run of samples as one compiled program in bytes: what is sent to other machines.

It is StableHLO (`jax.export`), so the network's own framework, its code and its file stay at home: a worker needs netjac and
JAX, and nothing of the user's is unpickled there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from netjac.compiled import Compiled
from netjac.errors import NonFiniteError, UnsupportedOperationError
from netjac.jacobian import ask_one
from netjac.parameters import questions
from netjac.parameters.factored import Question
from netjac.precision import multiplied, precise
from netjac.scale import identity
from netjac.scale.feed import Samples
from netjac.scale.rows import Rows
from netjac.tracing import Point

PLATFORMS = ("cpu", "cuda")
Run = Callable[[Sequence[Any], Sequence[Any]], jax.Array]


@dataclass(frozen=True)
class Shipped:
    """`rows(x, …)` for runs of up to `size` samples; shorter ones are filled up, so that nothing is compiled twice.

    `weights` are arrays, or the files that they lie in; `per` counts a sample's rows; `token` is equal for equal programs with
    equal weights.
    """

    program: bytes
    weights: tuple[np.ndarray | Path, ...]
    names: tuple[str, ...]
    size: int
    per: int
    dtype: str
    wide: bool
    token: str

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """(n·per, …) of n ≤ `size` samples, the inputs in the order of `names`. Raises `NonFiniteError`."""
        count = len(arrays[0])
        for name, array in zip(self.names, arrays, strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NonFiniteError(f"input {name!r} holds a number that is not finite; remove or replace it")
        with precise(self.wide):
            full = [jnp.asarray(_filled(array, self.size)) for array in arrays]
            found = np.asarray(self._loaded.call(self._placed, full))
        return found[: count * self.per].astype(self.dtype, copy=False)

    @cached_property
    def _loaded(self) -> Any:
        return jax.export.deserialize(bytearray(self.program))

    @cached_property
    def _placed(self) -> list[jax.Array]:
        with precise(self.wide):
            return [jnp.asarray(np.load(w, mmap_mode="r") if isinstance(w, Path) else w) for w in self.weights]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def shipped(rows: Rows, x: Samples, place: Callable[[np.ndarray], np.ndarray | Path]) -> Shipped:
    """The program for as many samples as `x` has, its weights where `place` puts them.

    Raises `UnsupportedOperationError` where the network calls back into Python.
    """
    point, run = posed(rows, x)[:2]
    arguments, constants = point.arguments(), list(point.traced.program.constants.values())
    count = len(arguments) - len(point.arrays)
    weights = [*arguments[:count], *constants]

    def function(weights: list[Any], arrays: list[Any]) -> jax.Array:
        return run((*weights[:count], *arrays), weights[count:]).reshape((-1, *rows.inner))

    with precise(point.wide), multiplied(point.precision):
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (weights, list(arguments[count:])))
        try:
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)
        except (NotImplementedError, ValueError) as error:
            raise UnsupportedOperationError(
                f"{point.network.name!r} cannot be sent to other machines: {error}"
            ) from error
        placed = tuple(place(np.asarray(weight)) for weight in weights)
    assert point.samples is not None
    told = identity.of_rows(rows, x), point.samples
    token = blake2b(repr(told).encode(), digest_size=identity.SIZE).hexdigest()
    program = bytes(exported.serialize())
    return Shipped(program, placed, point.names, point.samples, rows.per, str(rows.dtype), point.wide, token)


def posed(rows: Rows, x: Samples) -> tuple[Point, Run, int]:
    """At as many samples as `x` has: the point, the rows as a function of the program's inputs, and the bytes that takes."""
    if rows.wrt == "parameters":
        question = Question(rows.network, x, rows.of, rows.options)
        compiled, uses = question.compiled()
        sizes = question.sizes

        def matrix(inputs: Sequence[Any], constants: Sequence[Any]) -> jax.Array:
            arrays = compiled.run(inputs, constants, np.int32(0))[1]
            return questions.entries(uses, arrays, question.samples * sizes.rows, sizes.each)

        return question.point, matrix, 2 * question.samples * rows.bytes + compiled.plan.peak
    asked = ask_one(rows.network, x, rows.wrt, rows.of, rows.options)
    shape, dtype = asked.shape((0, 0)), asked.point.traced.program.dtype(asked.request.at(asked.point).of[0])
    return (
        asked.point,
        _entries(asked.compiled, shape, dtype),
        prod(shape) * rows.dtype.itemsize + asked.compiled.plan.peak,
    )


def _entries(compiled: Compiled, shape: tuple[int, ...], dtype: Any) -> Run:
    def run(inputs: Sequence[Any], constants: Sequence[Any]) -> jax.Array:
        found = compiled.run(inputs, constants, np.int32(0))[1]
        return found[0] if found else jnp.zeros(shape, dtype)

    return run


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    short = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], short, 0)]) if short else array
