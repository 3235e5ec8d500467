"""What `gradient_flow` gives: every layer's spectra and verdict, readable as text, table, JSON, CSV and picture."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netjac.analysis.flow.spectrum import FlowThresholds, Spectrum
from netjac.errors import MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "layer", "kind", "by", "own rms", "own σmax", "own σmin", "own condition", "own verdict", "rms", "σmax", "σmin",
    "condition", "dead", "saturated", "verdict",
)  # fmt: skip
SHOWN = ("layer", "by", "own rms", "own condition", "rms", "σmax", "σmin", "condition", "dead", "saturated", "verdict")
MOST_SHOWN = 60


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """One layer. `shape` is one sample's; `inputs` are what its own Jacobian is taken by.

    `own` is the spectrum of ∂layer/∂inputs, None where these are integers; `through` that of ∂output/∂layer, None where
    the output is not computed from it. `dead` is the share of its `units` relu-like units that passed nothing at any sample,
    `saturated` that of (sample, unit) pairs of a tanh or sigmoid; None where it has none.

    `verdict`: "dead" by its own units or Jacobian, "unused" where `through` is None, else that of `through`: whether the
    gradient that arrives here has vanished, exploded, or keeps its size.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    own: Spectrum | None
    through: Spectrum | None
    dead: float | None
    units: int
    saturated: float | None
    verdict: str

    def row(self, thresholds: FlowThresholds) -> dict[str, Any]:
        """The numbers by the names in `COLUMNS`."""
        mine, onwards = numbers(self.own), numbers(self.through)
        return {
            "layer": self.name,
            "kind": self.kind,
            "by": ", ".join(self.inputs),
            "own rms": mine["rms"],
            "own σmax": mine["largest"],
            "own σmin": mine["smallest"],
            "own condition": mine["condition"],
            "own verdict": None if self.own is None else self.own.verdict(thresholds),
            "rms": onwards["rms"],
            "σmax": onwards["largest"],
            "σmin": onwards["smallest"],
            "condition": onwards["condition"],
            "dead": self.dead,
            "saturated": self.saturated,
            "verdict": self.verdict,
        }


def judged(through: Spectrum | None, own: Spectrum | None, dead: float | None, thresholds: FlowThresholds) -> str:
    """A layer's verdict: see `LayerFlow`."""
    if (dead is not None and dead >= thresholds.dead) or (own is not None and own.largest == 0):
        return "dead"
    if through is None:
        return "unused"
    found = through.verdict(thresholds)
    return "vanishing" if found == "dead" else found


@dataclass(frozen=True, eq=False)
class Flow:
    """How gradients pass through a network to its output `of`.

    `layers` in order of evaluation, `flow["name"]` is one of them. `whole` is the spectrum of ∂output/∂inputs, side by side
    (None where the output depends on none by a derivative), whose verdict is that of the network. Dead and saturated units are
    of all `samples`, spectra of as many as `whole.singular_values` has rows.
    """

    model: str
    of: str
    layers: tuple[LayerFlow, ...]
    whole: Spectrum | None
    thresholds: FlowThresholds
    samples: int

    @property
    def verdict(self) -> str:
        """That of ∂output/∂inputs: see `FlowThresholds`. Where all σ are zero and no layer is dead, they are too small for
        the dtype: "vanishing"."""
        found = "dead" if self.whole is None else self.whole.verdict(self.thresholds)
        dead = self.whole is None or any(layer.verdict == "dead" for layer in self.layers)
        return "vanishing" if found == "dead" and not dead else found

    def __getitem__(self, name: str) -> LayerFlow:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnknownNameError.of("layer", name, [layer.name for layer in self.layers])

    def rows(self) -> list[dict[str, Any]]:
        """A dict of numbers by `COLUMNS` for each layer."""
        return [layer.row(self.thresholds) for layer in self.layers]

    def table(self) -> Any:
        """A pandas DataFrame, one row a layer. Raises `MissingExtraError`."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", "Flow.table()") from None
        return pd.DataFrame(self.rows(), columns=list(COLUMNS)).set_index("layer")

    def to_csv(self, path: str | Path | None = None) -> str:
        """One row a layer, as text, and in a file where `path` is given."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return written(text.getvalue(), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """All numbers but the singular values of single samples; infinities and NaN as strings."""
        return written(json.dumps(self.data(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)

    def data(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return plain(
            {
                "model": self.model,
                "of": self.of,
                "samples": self.samples,
                "verdict": self.verdict,
                "whole": numbers(self.whole),
                "thresholds": asdict(self.thresholds),
                "layers": [
                    {
                        "layer": layer.name,
                        "kind": layer.kind,
                        "shape": list(layer.shape),
                        "inputs": list(layer.inputs),
                        "own": numbers(layer.own),
                        "through": numbers(layer.through),
                        "units": layer.units,
                        "dead": layer.dead,
                        "saturated": layer.saturated,
                        "verdict": layer.verdict,
                    }
                    for layer in self.layers
                ],
            }
        )

    def plot(self, path: str | Path | None = None) -> Figure:
        """A matplotlib figure: singular values and their root mean square over depth, and dead units; saved at `path`."""
        from netjac.report.flow_plots import plot_flow

        return plot_flow(self, path)

    def __repr__(self) -> str:
        cells = [list(SHOWN), *([told(row[name]) for name in SHOWN] for row in self._shown())]
        kept = [place for place in range(len(SHOWN)) if any(row[place] != "–" for row in cells[1:])]
        widths = [max(len(row[place]) for row in cells) for place in kept]
        lines = ["  ".join(row[p].ljust(w) for p, w in zip(kept, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([*self._about(), *lines, *self._left(), *self._notes()])

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ([told(row[name]) for name in SHOWN] for row in self._shown())
        return rows(SHOWN, cells, self._about(), [*self._left(), *self._notes()])

    def _shown(self) -> list[dict[str, Any]]:
        return self.rows()[:MOST_SHOWN]

    def _left(self) -> list[str]:
        left = len(self.layers) - len(self._shown())
        return [f"… and {left} more layers"] if left else []

    def _about(self) -> list[str]:
        lines = [f"Gradient flow of {self.model!r}: {self.verdict}"]
        if self.whole is not None:
            exact = "" if self.whole.exact else " (both ends by Lanczos steps, the mean square estimated)"
            lines.append(
                f"∂{self.of}/∂({', '.join(self.whole.by)}): rms σ {told(self.whole.rms)}, σ from {told(self.whole.smallest)} "
                f"to {told(self.whole.largest)}, condition {told(self.whole.condition)}{exact}"
            )
        spectra = 0 if self.whole is None else len(self.whole.singular_values)
        return [*lines, f"spectra at {spectra} samples, units over {self.samples}"]

    def _notes(self) -> list[str]:
        return [
            f"own: ∂layer/∂(its inputs, in column “by”); without it: ∂{self.of}/∂layer, which the verdict is of",
            str(self.thresholds),
        ]


def numbers(spectrum: Spectrum | None) -> dict[str, Any]:
    """A spectrum in a few numbers; None for each where there is none."""
    if spectrum is None:
        return dict.fromkeys(("rms", "largest", "smallest", "condition", "size", "by", "exact"))
    return {
        "rms": spectrum.rms,
        "largest": spectrum.largest,
        "smallest": spectrum.smallest,
        "condition": spectrum.condition,
        "size": list(spectrum.size),
        "by": list(spectrum.by),
        "exact": spectrum.exact,
    }


def told(value: Any) -> str:
    """A number as a person reads it."""
    if value is None or value == "":
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """Numbers that JSON does not know as strings."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def written(text: str, path: str | Path | None) -> str:
    """The text, in a file too where there is a path."""
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
