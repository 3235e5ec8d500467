"""A network whose flow is asked for: its layers, the options, and how many samples may be taken at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from netjac.analysis.flow.census import bytes_each, looked_at
from netjac.analysis.flow.segments import Segment, segments
from netjac.analysis.flow.sweeps import Sweeps
from netjac.errors import NotDifferentiableError, ShapeError
from netjac.jacobian import output_names, refuse_integers
from netjac.memory import budget
from netjac.networks import Network
from netjac.networks.arrays import to_numpy
from netjac.pieces import Options
from netjac.scale.feed import Coming, Lying, feed, is_arrays, joined
from netjac.tracing import Point, meet

MOST_AT_ONCE = 4096
"""Samples of one forward pass, at most."""


@dataclass(frozen=True)
class Asked:
    """See `netjac.gradient_flow`."""

    of: str
    layers: tuple[str, ...] | None
    exact: int
    options: Options


@dataclass(eq=False)
class Subject:
    """`source` has the samples in runs; where the network has no axis of samples, it is the one input."""

    network: Network
    source: Any
    asked: Asked

    @cached_property
    def point(self) -> Point:
        """The network as it is at two samples (equal ones), or at its only one."""
        if not self.network.batched:
            return self.meet(self.source)
        first = self.source.first()
        return self.meet(joined([first, first]))

    def meet(self, x: Any) -> Point:
        return meet(self.network, x, self.asked.options.precision)

    def pieces(self, point: Point) -> tuple[Segment, ...]:
        """The layers at a point. Raises `NotDifferentiableError` where there are none."""
        found = segments(point, self.asked.layers)
        if not found:
            raise NotDifferentiableError(f"nothing in {self.network.name!r} depends on its input by a derivative")
        return found

    def sweeps(self, point: Point) -> Sweeps:
        return Sweeps(point, self.pieces(point), point.traced.value(self.of))

    @cached_property
    def of(self) -> str:
        """The name of the output. Raises `ShapeError` where several are meant."""
        names, _ = output_names(self.point, self.asked.of)
        if len(names) > 1:
            raise ShapeError(f"of={self.asked.of!r} means several outputs ({', '.join(names)}); name one of them")
        refuse_integers(self.point, names, [])
        return names[0]

    @cached_property
    def apart(self) -> bool:
        """Whether samples may be taken together: each sample's values follow from it alone, and so do derivatives."""
        if not self.network.batched:
            return False
        sweeps, point = self.sweeps(self.point), self.point
        values = [sweeps.of, *(p.value for p in sweeps.pieces), *looked_at(point, sweeps.pieces)]
        return all(map(point.apart, values)) and all(sweeps.apart(p) for p in sweeps.pieces if self.is_exact(sweeps, p))

    def is_exact(self, sweeps: Sweeps, piece: Segment) -> bool:
        """Whether all singular values of a layer's own Jacobian are to be found."""
        m, n = sweeps.width([piece.value]), sweeps.width(list(piece.by.values()))
        return bool(piece.by) and min(m, n) <= self.asked.exact

    @property
    def room(self) -> int:
        return budget(self.asked.options.memory) // 2

    def forward_run(self) -> int:
        """How many samples a forward pass takes."""
        return max(1, min(MOST_AT_ONCE, self.room // bytes_each(self.point))) if self.apart else 1

    def backward_run(self) -> int:
        """How many samples' Jacobians the budget holds."""
        if not self.apart:
            return 1
        sweeps = self.sweeps(self.point)
        width = self.point.traced.program.dtype(sweeps.of).itemsize
        onwards = sweeps.width([sweeps.of]) * (
            sweeps.width([p.value for p in sweeps.pieces]) + sweeps.width(sweeps.starts)
        )
        local = [
            sweeps.width([p.value]) * sweeps.width(list(p.by.values()))
            for p in sweeps.pieces
            if self.is_exact(sweeps, p)
        ]
        return max(1, self.room // (3 * width * max(1, onwards, *local)))


def fed(network: Network, X: Any) -> Any:
    """X as samples in runs; as it is where the network has no axis of samples. Raises `ShapeError`."""
    return _runs(network, X) if network.batched else X


def _runs(network: Network, X: Any) -> Lying | Coming:
    if isinstance(X, Mapping):
        return feed({name: x if hasattr(x, "shape") else np.asarray(x) for name, x in X.items()})
    if isinstance(X, tuple | list) and X and all(hasattr(x, "shape") for x in X):
        names, _ = network.flatten(tuple(to_numpy(x[:1]) for x in X))
        return feed(dict(zip(names, X, strict=True)))
    if isinstance(X, tuple | list):
        return feed(np.asarray(X))
    return feed(X) if is_arrays(X) or not hasattr(X, "__array__") else feed(np.asarray(X))
