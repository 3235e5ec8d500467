"""`FlowMonitor`: gradient flow while a network is trained, at an interval, and as cheap as a few training steps.

A record is one forward pass of all of X, for dead and saturated units, and the root mean square of ∂output/∂layer at each
layer, at a few of its samples: one reverse sweep for each entry of the output, or, past `ROWS` entries, for `PROBES` random
signs (Hutchinson's estimate; the same ones every time, so that records compare). Singular values are left to `gradient_flow`.

The network is only read: it runs in inference mode, in netjac's own copy of its computation, and draws no random numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.analysis.flow.census import Census
from netjac.analysis.flow.result import plain, told, written
from netjac.analysis.flow.spectra import ends
from netjac.analysis.flow.spectrum import FlowThresholds
from netjac.analysis.flow.subject import Asked, Subject, fed
from netjac.analysis.flow.sweeps import tapped
from netjac.errors import MissingExtraError, RangeError
from netjac.graph.kind import Kind
from netjac.networks import network_of
from netjac.pieces import Options
from netjac.precision import precise
from netjac.scale.feed import count, cut
from netjac.tracing import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVERY = 1000
SAMPLES = 4
ROWS, PROBES = 64, 16


@dataclass(frozen=True)
class Record:
    """The state after `step` training steps: for each layer, in order, the rms σ of ∂output/∂layer (NaN where the output does
    not depend on it), the shares of dead and saturated units (NaN where there are none), and a verdict; `whole` and
    `verdict` are of ∂output/∂inputs.

    Verdicts are those that a root mean square can tell: "not finite", "dead", "vanishing", "exploding", "unused", "moderate".
    """

    step: int
    rms: tuple[float, ...]
    dead: tuple[float, ...]
    saturated: tuple[float, ...]
    verdicts: tuple[str, ...]
    whole: float
    verdict: str


@dataclass
class History:
    """All records of a training, in order."""

    model: str
    of: str
    layers: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)

    def grid(self, name: str) -> np.ndarray:
        """ "rms", "dead" or "saturated" of all records, (records, layers)."""
        return np.array([getattr(record, name) for record in self.records], np.float64).reshape(-1, len(self.layers))

    def table(self) -> Any:
        """A pandas DataFrame, one row for each layer of each record. Raises `MissingExtraError`."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", "History.table()") from None
        return pd.DataFrame(
            [
                (r.step, *row)
                for r in self.records
                for row in zip(self.layers, r.rms, r.dead, r.saturated, r.verdicts, strict=True)
            ],
            columns=["step", "layer", "rms", "dead", "saturated", "verdict"],
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """All records; infinities and NaN as strings."""
        records = [
            {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(r).items()} for r in self.records
        ]
        data = {"model": self.model, "of": self.of, "layers": list(self.layers), "records": records}
        return written(json.dumps(plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """A matplotlib figure: rms σ of ∂output/∂layer by layer and step, and dead units; saved at `path`."""
        from netjac.report.flow_plots import plot_history

        return plot_history(self, path)

    def __repr__(self) -> str:
        lines = [
            f"Gradient flow of {self.model!r} in training: {len(self.records)} records of {len(self.layers)} layers"
        ]
        lines += [
            f"  step {r.step:<8} ∂{self.of}/∂inputs rms σ {told(r.whole):<10} {r.verdict}" for r in self.records[-20:]
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from netjac.report.html import preformatted

        return preformatted(repr(self))


class FlowMonitor:
    """Gradient flow of a network in training: call `step()` after every training step.

    `X` is a small batch to look at, the same every time: all of it for units, its first `samples` for gradients. `step()`
    makes a record after each `every` steps, `record()` now. `history` has the records. In Keras use `netjac.flow_callback`.

    Raises what `gradient_flow` does, when it is made; training is never interrupted by what is found.
    """

    def __init__(
        self,
        model: Any,
        X: Any,
        *,
        every: int = EVERY,
        of: str = "output",
        layers: Sequence[str] | None = None,
        samples: int = SAMPLES,
        thresholds: FlowThresholds | None = None,
    ) -> None:
        if every < 1 or samples < 1:
            raise RangeError(f"every={every} and samples={samples}: both count something, and must be at least 1")
        self.every = every
        self.steps = 0
        self._thresholds = thresholds or FlowThresholds()
        network = network_of(model)
        asked = Asked(of, None if layers is None else tuple(layers), 1, Options())
        self._subject = Subject(network, fed(network, X), asked)
        self._samples = samples
        names = tuple(piece.name for piece in self._subject.pieces(self._subject.point))
        self.history = History(network.name, self._subject.of, names)

    def step(self) -> Record | None:
        """One more training step is done. The record, where one is due."""
        self.steps += 1
        return self.record() if self.steps % self.every == 0 else None

    def record(self) -> Record:
        """Look now."""
        whole, rms = self._rms()
        census = Census()
        for x in self._seen:
            point = self._subject.meet(x)
            census.add(point, self._subject.pieces(point))
        names = self.history.layers
        dead = [_number(census.dead_share(name)) for name in names]
        found = [rms.get(name, np.nan) for name in names]
        verdicts = [
            "unused"
            if name not in rms
            else "dead"
            if share >= self._thresholds.dead
            else self._judged(value, "vanishing")
            for name, value, share in zip(names, found, dead, strict=True)
        ]
        made = Record(
            self.steps,
            tuple(found),
            tuple(dead),
            tuple(_number(census.saturated_share(name)) for name in names),
            tuple(verdicts),
            whole,
            self._judged(whole, "dead" if "dead" in verdicts else "vanishing"),
        )
        self.history.records.append(made)
        return made

    def _judged(self, rms: float, nothing: str) -> str:
        bounds = self._thresholds
        if not np.isfinite(rms):
            return "not finite"
        if rms == 0:
            return nothing
        return "vanishing" if rms < bounds.vanishing else "exploding" if rms > bounds.exploding else "moderate"

    @cached_property
    def _seen(self) -> list[Any]:
        """X in runs, in main memory."""
        subject = self._subject
        return list(subject.source.runs(subject.forward_run())) if subject.network.batched else [subject.source]

    @cached_property
    def _few(self) -> list[Any]:
        """The samples whose gradients are looked at, all together, or each by itself where they see each other."""
        first, subject = self._seen[0], self._subject
        if not subject.network.batched:
            return [first]
        if subject.apart:
            return [cut(first, 0, min(self._samples, count(first)))]
        return [cut(x, 0, 1) for x in self._seen[: self._samples]]

    def _rms(self) -> tuple[float, dict[str, float]]:
        """Root mean squares of ∂output/∂inputs and of ∂output/∂layer, over the samples."""
        squares: dict[str | None, list[float]] = {}
        for x in self._few:
            point = self._subject.meet(x)
            for name, mean in self._mean_squares(point).items():
                squares.setdefault(name, []).append(mean)
        found = {name: float(np.sqrt(np.mean(means))) for name, means in squares.items()}
        return found.pop(None, 0.0), {str(name): value for name, value in found.items()}

    def _mean_squares(self, point: Point) -> dict[str | None, float]:
        sweeps = self._subject.sweeps(point)
        wanted = ends(sweeps)
        m = sweeps.width([sweeps.of])
        block, share = (sweeps.seeds(0, m), 1.0) if m <= ROWS else (sweeps.signs(PROBES), 1 / PROBES)
        kind, asked = point.traced.kind, [values for _, values in wanted.values()]
        place = ("flow squares", sweeps.of, tuple(asked))
        look = kind.once(place, lambda: jax.jit(_squares(kind, sweeps.of, asked)))
        with precise(point.wide):
            tops, sums = (np.asarray(a, np.float64) for a in look(point.arguments(), sweeps.constants, block))
        sums = tops**2 * sums * share / sweeps.samples
        return {
            name: total / max(1, min(m, sweeps.width(values)))
            for (name, (_, values)), total in zip(wanted.items(), sums, strict=True)
        }


def _squares(kind: Kind, of: int, wanted: Sequence[tuple[int, ...]]) -> Callable[..., Any]:
    """(arguments, constants, cotangents) → for each end the largest entry pulled back to it, and the sum of squares relative to
    it, so that none is too small for float32."""
    values = tuple(dict.fromkeys(v for vs in wanted for v in vs))
    pull = tapped(kind, values, of)

    def look(inputs: Sequence[Any], constants: Sequence[Any], block: Any) -> Any:
        found = dict(zip(values, pull(inputs, constants, block), strict=True))
        sides = [[found[v] for v in vs] for vs in wanted]
        tops = [jnp.stack([jnp.abs(part).max() for part in parts]).max() for parts in sides]
        return jnp.stack(tops), jnp.stack([_relative(parts, top) for parts, top in zip(sides, tops, strict=True)])

    return look


def _relative(parts: list[Any], top: Any) -> Any:
    scale = jnp.where(top == 0, 1, top)
    return sum(jnp.sum(jnp.square(part / scale)) for part in parts)


def _number(share: float | None) -> float:
    return float("nan") if share is None else share
