"""What a report is about: the network, the samples, and the Jacobian at a few of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import numpy as np

from netjac.data import columns_of, numbers_of
from netjac.errors import ShapeError
from netjac.jacobian import jacobian, output_names
from netjac.linear_algebra import working
from netjac.networks import Network
from netjac.networks.arrays import to_numpy
from netjac.operator import Jacobian
from netjac.precision import precise
from netjac.scale.feed import count, cut
from netjac.tracing import Point, meet

MOST_ENTRIES = 2**22
"""Entries of all samples' Jacobians together that are computed whole; beyond it a few outputs are chosen."""
CHOSEN_OUTPUTS, CHOSEN_SAMPLES = 8, 4
LARGE_NETWORK = 40
"""Layers beyond which each compilation takes seconds, so that fewer questions are asked."""


@dataclass(frozen=True, eq=False)
class Rows:
    """`values` (samples, outputs, n) of the samples and outputs of these numbers, the inputs side by side."""

    samples: np.ndarray
    outputs: np.ndarray
    values: np.ndarray
    whole: bool


@dataclass(eq=False)
class Subject:
    """`data` is an array, or a dict of them by input; `labels` (samples,) class numbers, or None."""

    network: Network
    data: Any
    labels: np.ndarray | None
    wanted: str
    given_features: tuple[str, ...] | None
    given_outputs: tuple[str, ...] | None
    samples: int
    seed: int
    precision: str
    memory: int | float | str | None
    command: str

    @property
    def total(self) -> int:
        """How many samples there are; 1 where the network has no axis of samples."""
        return count(self.first(1)) if not self.network.batched else _length(self.data)

    def first(self, size: int) -> Any:
        """So many samples from the beginning."""
        return cut(self.data, 0, size) if self.network.batched else self.data

    def at(self, chosen: np.ndarray) -> Any:
        """The samples of these numbers, in main memory."""
        if not self.network.batched:
            return self.data
        if isinstance(self.data, dict):
            return {name: np.stack([to_numpy(a[int(i)]) for i in chosen]) for name, a in self.data.items()}
        return np.stack([to_numpy(self.data[int(i)]) for i in chosen])

    def spaced(self, most: int) -> np.ndarray:
        """Numbers of at most so many samples, evenly spaced."""
        if not self.network.batched:
            return np.zeros(1, int)
        return np.unique(np.linspace(0, self.total - 1, min(most, self.total)).round().astype(int))

    @cached_property
    def chosen(self) -> np.ndarray:
        """The samples that are looked at one by one."""
        return self.spaced(CHOSEN_SAMPLES if self.large else self.samples)

    @cached_property
    def large(self) -> bool:
        """Whether the whole Jacobians of the samples are out of proportion, or the network is so deep that compiling is."""
        J = self._asked(self.spaced(1))
        return (
            prod(J.out_shape) * prod(J.in_shape) * self.samples > MOST_ENTRIES
            or len(self.network.layers) > LARGE_NETWORK
        )

    @cached_property
    def point(self) -> Point:
        return meet(self.network, self.at(self.chosen), self.precision)

    @cached_property
    def of(self) -> str:
        """The one output that the report is of."""
        names, _ = output_names(meet(self.network, self.at(self.spaced(1)), self.precision), self.wanted)
        return names[0]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that have a derivative."""
        program = self.point.traced.program
        return tuple(n for n, v in self.point.traced.inputs.items() if program.differentiable(v))

    @cached_property
    def J(self) -> Jacobian:  # noqa: N802  the mathematics' own name
        """∂of/∂its first differentiable input at the chosen samples."""
        return self._asked(self.chosen)

    def _asked(self, chosen: np.ndarray) -> Jacobian:
        found = jacobian(
            self.network, self.at(chosen), of=self.of, precision=self.precision, memory=self.memory, progress=False
        )
        return next(iter(found.values())) if isinstance(found, dict) else found

    @cached_property
    def outputs(self) -> np.ndarray:
        """The values of `of` at the chosen samples, (samples, m)."""
        program, value = self.point.traced.program, self.point.traced.value(self.of)
        needed = program.needed([value])
        with precise(self.point.wide):
            run = jax.jit(lambda inputs, constants: program.evaluate(inputs, constants, needed)[value])
            found = run(self.point.arguments(), list(program.constants.values()))
        return working(np.asarray(found)).reshape((len(self.chosen), -1))

    @cached_property
    def rows(self) -> Rows:
        """All of J at the chosen samples, or the rows of the outputs with the largest mean where it is large."""
        J, m = self.J, prod(self.J.out_shape)
        if J.batch is None and self.network.batched:
            raise ShapeError(
                f"the samples of {self.of!r} see each other ({J.structure.reason}); none has a J of its own"
            )
        if m * prod(J.in_shape) * len(self.chosen) <= MOST_ENTRIES:
            found, outputs = J._matrix(), np.arange(m)
        else:
            outputs = np.sort(np.argsort(-self.outputs.mean(0), kind="stable")[:CHOSEN_OUTPUTS])
            found = to_numpy(J.rows([int(i) for i in outputs]))
        values = working(np.asarray(found)).reshape((len(self.chosen), len(outputs), prod(J.in_shape)))
        return Rows(self.chosen, outputs, values, len(outputs) == m)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        shape = self.J.in_shape
        if self.given_features is not None and len(self.given_features) == prod(shape):
            return self.given_features
        name = self.inputs[0]
        if len(shape) == 1:
            return tuple(f"x{j}" for j in range(shape[0]))
        return tuple(f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(*shape))

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        shape = self.J.out_shape
        if self.given_outputs is not None:
            return self.given_outputs
        if prod(shape) == 1:
            return (self.of,)
        return tuple(f"{self.of}[{', '.join(map(str, place))}]" for place in np.ndindex(*shape))


def data_of(network: Network, X: Any) -> tuple[Any, tuple[str, ...] | None]:
    """X as an array or a dict of them by input, and a table's names of columns. Raises `ShapeError`."""
    columns = columns_of(X)
    if columns is not None:
        return numbers_of(X, "X"), columns
    if not network.batched:
        return X, None
    names, arrays = network.flatten(np.asarray(X) if isinstance(X, list) else X)
    if any(not hasattr(a, "shape") or not a.shape or not a.shape[0] for a in arrays):
        raise ShapeError("X has no samples: give arrays with at least one along axis 0")
    return (arrays[0] if len(arrays) == 1 else dict(zip(names, arrays, strict=True))), None


def _length(data: Any) -> int:
    first = next(iter(data.values())) if isinstance(data, dict) else data
    return int(first.shape[0])
