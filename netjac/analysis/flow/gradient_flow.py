"""`gradient_flow`: how gradients pass through a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from netjac.analysis.flow.census import Census
from netjac.analysis.flow.result import Flow, LayerFlow, judged
from netjac.analysis.flow.spectra import Found, spectra
from netjac.analysis.flow.spectrum import FlowThresholds
from netjac.analysis.flow.subject import Asked, Subject, fed
from netjac.errors import RangeError
from netjac.networks import network_of
from netjac.pieces import Options
from netjac.progress import Progress, counted
from netjac.scale.feed import Coming, Lying, Samples, count, cut

EXACT = 1024


def gradient_flow(
    model: Any,
    X: Any,
    *,
    of: str = "output",
    layers: Sequence[str] | None = None,
    samples: int | None = 16,
    exact: int = EXACT,
    thresholds: FlowThresholds | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Flow:
    """How gradients pass through a network: for each layer the singular values of its own Jacobian and of ∂output/∂layer,
    their root mean square and condition, its dead and saturated units, and a verdict.

    `model` is anything `netjac.network` takes. `X` has the samples along axis 0: an array of any framework or on disk,
    several by input name, or an iterable of batches. A layer's own Jacobian is ∂layer/∂its inputs, which are the nearest
    layers before it: side by side where they are several, and `Spectrum.by` names them. `layers` takes some alone; then the
    own Jacobian of each leads back to the nearest of these (to look at residual blocks whole, name the blocks). `of` is the
    output or layer at the end.

    Spectra are of `samples` of X (evenly spaced, or the first where X comes in batches; None: all), dead and saturated
    units of all of X. Singular values are all computed where m or n of an m × n Jacobian is at most `exact`; else both
    ends are found by Lanczos steps and the mean square is estimated (see `netjac.analysis.flow.spectrum`). `thresholds`: see
    `FlowThresholds`. `memory`, `precision`, `progress`: see `netjac.jacobian`.

    Where samples are mixed (batch statistics in a function of the whole batch), each sample is taken by itself.

    Sources: Saxe et al. 2014 (arXiv 1312.6120), Pennington et al. 2017 (1711.04735), He et al. 2015 (1502.01852).

    Raises `ShapeError` where X holds no samples or `of` means several outputs, `RangeError`, `UnknownNameError`,
    `NotDifferentiableError`, `NonFiniteError` (in X), `TooLargeError`.
    """
    if (samples is not None and samples < 1) or exact < 1:
        raise RangeError(f"samples={samples} and exact={exact}: both count something, and must be at least 1")
    asked = Asked(of, None if layers is None else tuple(layers), exact, Options("auto", precision, memory, progress))
    network = network_of(model)
    subject = Subject(network, fed(network, X), asked)
    _ = subject.of  # refused before any work
    census, kept = surveyed(subject, samples)
    return assembled(subject, census, spectra(subject, kept), thresholds or FlowThresholds())


def surveyed(subject: Subject, samples: int | None) -> tuple[Census, list[Samples]]:
    """The census of all samples, and the samples whose spectra are wanted."""
    census, source, progress = Census(), subject.source, subject.asked.options.progress
    kept: list[Samples] = []
    if not subject.network.batched:
        census.add(subject.point, subject.pieces(subject.point))
        return census, kept
    size = subject.forward_run()
    total = None if source.total is None else ceil(source.total / size)
    wanted, start = _spaced(source, samples), 0
    for run in counted(source.runs(size), total, False if progress is None and total == 1 else progress, "dead units"):
        point = subject.meet(run)
        census.add(point, subject.pieces(point))
        stop = start + count(run)
        chosen = range(start, stop) if wanted is None else [i for i in wanted if start <= i < stop]
        kept += [cut(run, i - start, i - start + 1) for i in chosen]
        start = stop
    return census, kept


def _spaced(source: Lying | Coming, samples: int | None) -> Sequence[int] | None:
    """Which samples, by number; None for all."""
    if samples is None or (source.total is not None and source.total <= samples):
        return None
    if source.total is None:
        return range(samples)
    return [int(i) for i in np.linspace(0, source.total - 1, samples).round()]


def assembled(subject: Subject, census: Census, found: Found, thresholds: FlowThresholds) -> Flow:
    """What was found, layer by layer, judged."""
    kinds, network, program = subject.network.layer_kinds(), subject.network, subject.point.traced.program
    layers = []
    for piece in subject.pieces(subject.point):
        own, onwards = found.of_layer(piece.name)
        dead = census.dead_share(piece.name)
        shape = program.shape(piece.value)[1 if network.batched else 0 :]
        layers.append(
            LayerFlow(
                name=piece.name,
                kind=kinds.get(piece.name.split("#")[0], ""),
                shape=shape,
                inputs=tuple(piece.by),
                own=own,
                through=onwards,
                dead=dead,
                units=census.units(piece.name),
                saturated=census.saturated_share(piece.name),
                verdict=judged(onwards, own, dead, thresholds),
            )
        )
    return Flow(network.name, subject.of, tuple(layers), found.of_whole(), thresholds, census.samples)
