"""Which rows are written or spread: one output's Jacobian by one thing, a run of samples at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from netjac.errors import ShapeError
from netjac.jacobian import ask_one, jacobian
from netjac.networks import Network
from netjac.parameters.matrix import parameter_matrix
from netjac.pieces import Options
from netjac.scale.feed import Samples, count
from netjac.tracing import meet, network

STORED = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Rows:
    """∂of/∂wrt in runs of samples: (n, *out, *in) as `netjac.jacobian` has it, for wrt="parameters" (n·m, M) as
    `netjac.parameter_matrix`.

    `per` counts the rows of the array that one sample has, `inner` is the shape of one, `columns` says where a parameter's
    columns are (only for "parameters"); `dtype` is what entries are kept in (bfloat16 as float32, exactly).
    """

    network: Network
    wrt: str
    of: str
    options: Options
    per: int
    inner: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: dict[str, tuple[int, int]]

    @property
    def bytes(self) -> int:
        """Of one sample's part."""
        return self.per * prod(self.inner) * self.dtype.itemsize

    def __call__(self, x: Samples) -> np.ndarray:
        """Of a run of samples. Raises what `netjac.jacobian` raises."""
        if self.wrt == "parameters":
            J = parameter_matrix(
                self.network,
                x,
                of=self.of,
                precision=self.options.precision,
                memory=self.options.memory,
                progress=False,
            )
            return J.to_numpy().astype(self.dtype, copy=False)
        found = jacobian(
            self.network,
            x,
            wrt=self.wrt,
            of=self.of,
            engine=self.options.engine,
            precision=self.options.precision,
            memory=self.options.memory,
            progress=False,
        )
        return found.to_numpy().astype(self.dtype, copy=False).reshape((count(x), *self.inner))


def rows_of(model: Any, first: Samples, wrt: str, of: str, options: Options) -> Rows:
    """The rows that are asked for, known from the first sample. Raises `ShapeError` and what `netjac.jacobian` raises."""
    found = network(model)
    if not isinstance(wrt, str) or not isinstance(of, str):
        raise ShapeError(f"one array is made of one Jacobian: name one thing in wrt= and of=, not {wrt!r} and {of!r}")
    twice = _repeated(first)  # of a single sample it cannot be seen whether samples see each other
    point = meet(found, twice, options.precision)
    if point.samples is None:
        raise ShapeError(f"{found.name!r} has no axis of samples; make it a network with nj.network(f, batched=True)")
    if wrt == "parameters":
        J = parameter_matrix(found, twice, of=of, precision=options.precision)
        columns = {name: (place.start, place.stop) for name, place in J.names.items()}
        rows = Rows(found, wrt, J.of, options, J.shape[0] // 2, J.shape[1:], _stored(J.dtype), columns)
    else:
        asked = ask_one(found, twice, wrt, of, options)
        sides, name = asked.sides((0, 0)), asked.request.of[0]
        if sides.batch is None:
            raise _seeing(name)
        rows = Rows(found, wrt, name, options, 1, (*sides.out, *sides.inn), _stored(sides.dtype), {})
    if not point.apart(point.traced.value(rows.of)):
        raise _seeing(rows.of)
    return rows


def _seeing(name: str) -> ShapeError:
    return ShapeError(
        f"the samples of {name!r} see each other, or axis 0 of it counts none, so its Jacobian cannot be taken a few samples "
        "at a time; use netjac.jacobian on all of them"
    )


def _repeated(x: Samples) -> Samples:
    return {name: np.repeat(array, 2, 0) for name, array in x.items()} if isinstance(x, dict) else np.repeat(x, 2, 0)


def _stored(dtype: Any) -> np.dtype[Any]:
    return np.dtype(dtype) if str(dtype) in STORED else np.dtype(np.float32)
