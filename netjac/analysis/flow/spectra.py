"""The spectra of a network's layers at some samples, as many at a time as the budget holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from netjac.analysis.flow.segments import Segment
from netjac.analysis.flow.spectrum import Spectrum, joined, of_matrices, of_products
from netjac.analysis.flow.subject import Subject
from netjac.analysis.flow.sweeps import Sweeps
from netjac.jacobian import jacobian
from netjac.progress import tracked
from netjac.scale.feed import joined as together

End = tuple[tuple[str, ...], tuple[int, ...]]
"""Names and values of what the output is differentiated by, side by side."""


@dataclass(eq=False)
class Found:
    """Spectra of runs of samples: by layer its own and the output's by it, and the output's by the inputs."""

    own: dict[str, list[Spectrum]] = field(default_factory=dict)
    through: dict[str, list[Spectrum]] = field(default_factory=dict)
    whole: list[Spectrum] = field(default_factory=list)

    def of_layer(self, name: str) -> tuple[Spectrum | None, Spectrum | None]:
        """A layer's own and the output's by it, of all samples; None where there is none."""
        own, onwards = self.own.get(name), self.through.get(name)
        return joined(own) if own else None, joined(onwards) if onwards else None

    def of_whole(self) -> Spectrum | None:
        """The output's by the inputs, of all samples; None where it depends on none by a derivative."""
        return joined(self.whole) if self.whole else None


def spectra(subject: Subject, kept: list[Any]) -> Found:
    """The spectra at these samples."""
    found = Found()
    if not subject.network.batched:
        _add(subject, subject.sweeps(subject.point), found)
        return found
    most = min(len(kept), subject.backward_run())
    size = ceil(len(kept) / ceil(len(kept) / most))
    runs = [together(kept[i : i + size]) for i in range(0, len(kept), size)]
    for run in tracked(runs, subject.asked.options.progress, "spectra"):
        _add(subject, subject.sweeps(subject.meet(run)), found)
    return found


def _add(subject: Subject, sweeps: Sweeps, found: Found) -> None:
    for piece in sweeps.pieces:
        if piece.by:
            found.own.setdefault(piece.name, []).append(_own(subject, sweeps, piece))
    for name, spectrum in _through(subject, sweeps).items():
        (found.whole if name is None else found.through.setdefault(name, [])).append(spectrum)


def _own(subject: Subject, sweeps: Sweeps, piece: Segment) -> Spectrum:
    by = tuple(piece.by)
    if subject.is_exact(sweeps, piece):
        return of_matrices(piece.name, by, sweeps.local(piece))
    size = sweeps.width([piece.value]), sweeps.width(list(piece.by.values()))
    dtype = sweeps.point.traced.program.dtype(piece.value)
    return of_products(piece.name, by, size, sweeps.samples, dtype, *sweeps.local_products(piece))


def ends(sweeps: Sweeps) -> dict[str | None, End]:
    """What the output is differentiated by: each layer that it is computed from, and under None the inputs.

    Where the inputs are integers, the layers that start from them stand in their place.
    """
    reaching = _reaching(sweeps)
    names = {v: name for name, v in sweeps.point.traced.inputs.items()} | {p.value: p.name for p in sweeps.pieces}
    found: dict[str | None, End] = {p.name: ((p.name,), (p.value,)) for p in sweeps.pieces if p.value in reaching}
    starts = tuple(v for v in sweeps.starts if v in reaching) or tuple(
        p.value for p in sweeps.pieces if not p.by and p.value in reaching
    )
    if starts:
        found[None] = tuple(names[v] for v in starts), starts
    return found


def _reaching(sweeps: Sweeps) -> set[int]:
    """The values that the output is computed from, and itself."""
    program = sweeps.point.traced.program
    return {sweeps.of, *(n for index in program.needed([sweeps.of]) for n in program.equations[index].operands)}


def _through(subject: Subject, sweeps: Sweeps) -> dict[str | None, Spectrum]:
    wanted, exact, m = ends(sweeps), subject.asked.exact, sweeps.width([sweeps.of])
    values = tuple(dict.fromkeys(v for _, vs in wanted.values() for v in vs))
    if m <= exact and all(map(sweeps.can_pull, values)):
        rows = all_rows(subject, sweeps, values)
        return {n: of_matrices(subject.of, by, _beside([rows[v] for v in vs])) for n, (by, vs) in wanted.items()}
    found = {}
    for name, (by, vs) in wanted.items():
        n = sweeps.width(vs)
        if min(m, n) <= exact or not all(map(sweeps.can_pull, vs)):
            found[name] = of_matrices(subject.of, by, _beside([_planned(subject, sweeps, one) for one in by]))
        else:
            dtype = sweeps.point.traced.program.dtype(sweeps.of)
            products = sweeps.products(vs, sweeps.of)
            found[name] = of_products(subject.of, by, (m, n), sweeps.samples, dtype, *products)
    return found


def _beside(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts, -1) if len(parts) > 1 else parts[0]


def all_rows(subject: Subject, sweeps: Sweeps, values: tuple[int, ...]) -> dict[int, np.ndarray]:
    """∂output/∂(each value), (samples, m, n), as many rows at a time as there is room for; the last overlap those before."""
    program = sweeps.point.traced.program
    m, width = sweeps.width([sweeps.of]), program.dtype(sweeps.of).itemsize
    taken = min(m, max(1, subject.room // (3 * width * max(1, sweeps.width(values)) * sweeps.samples)))
    if taken == m:
        return dict(zip(values, sweeps.rows(values, 0, m), strict=True))
    parts = [np.empty((sweeps.samples, m, sweeps.width([v])), program.dtype(v)) for v in values]
    for first in range(0, m, taken):
        start = min(first, m - taken)
        for whole, part in zip(parts, sweeps.rows(values, start, taken), strict=True):
            whole[:, start : start + taken] = part
    return dict(zip(values, parts, strict=True))


def _planned(subject: Subject, sweeps: Sweeps, name: str) -> np.ndarray:
    """∂output/∂name by netjac's plan, (samples, m, n)."""
    point, options = sweeps.point, subject.asked.options
    several = len(point.names) > 1
    x = dict(zip(point.names, point.arrays, strict=True)) if several else point.arrays[0]
    x = x if subject.network.batched else subject.source
    J = jacobian(subject.network, x, wrt=name, of=subject.of, precision=options.precision, memory=options.memory)
    return J.to_numpy().reshape(sweeps.samples, sweeps.width([sweeps.of]), -1)
