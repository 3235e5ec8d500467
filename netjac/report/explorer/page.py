"""`explorer`: a network and some samples as a piece of a page that computes outputs, J, paths and backpropagation itself."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from netjac.errors import ShapeError, TooLargeError, UnsupportedOperationError
from netjac.jacobian import value_and_jacobian
from netjac.networks.arrays import to_numpy
from netjac.report.explorer.export import MOST_BYTES, chain_data, packed, verify
from netjac.tracing import meet, widened


@dataclass(frozen=True)
class Explorer:
    """What the page shows: `kind` is "chain" (computed in the page), "linear" (a first-order preview) or "none".

    `reason` says why it is not a chain; `data` is what the page is given.
    """

    kind: str
    reason: str
    data: dict[str, Any]

    @property
    def markup(self) -> str:
        """The fragment without its script, for a page that lists the scripts it lets run."""
        if self.kind == "none":
            return f'<p class="nx-none">There is no explorer for this network: {html.escape(self.reason)}.</p>'
        told = json.dumps(self.data, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")
        told = told.replace("&", "\\u0026")
        return (
            f"<style>{_own('explorer.css')}</style>\n"
            '<div class="nx" id="netjac-explorer"></div>\n'
            f'<script type="application/json" id="netjac-explorer-data">{told}</script>\n'
        )

    @property
    def script(self) -> str:
        """What stands in the fragment's script; empty where there is no explorer."""
        return "" if self.kind == "none" else f"{_own('network.js')}\n{_own('explorer.js')}"

    @property
    def html(self) -> str:
        """A fragment: markup, data, style and script, of which a page can hold one. It asks for nothing on the network."""
        return f"{self.markup}<script>{self.script}</script>\n" if self.script else self.markup

    def standalone(self, title: str) -> str:
        """A page of its own."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{html.escape(title)}</title>"
            "<style>body{background:Canvas;color:CanvasText;margin:1rem;font-family:system-ui,sans-serif}</style></head>"
            f"<body><h1>{html.escape(title)}</h1>\n{self.html}</body></html>\n"
        )


def explorer(
    model: Any,
    X: Any,
    *,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    samples: int = 8,
) -> Explorer:
    """The explorer of a network with one input and one output, at `samples` of the rows of X, evenly spread.

    A chain of dense layers and known activations is exported with its weights, after the exported numbers were evaluated
    with NumPy and found equal to the network's values and Jacobian in float64, at the samples and at points that the sliders
    reach. Any other network is shown by its values and Jacobians at the samples, and between them by y + J Δx, labelled as
    such. Where either takes more than `MOST_BYTES`, a sentence takes its place. Raises `ShapeError` and what `jacobian` raises.
    """
    if samples < 1:
        raise ShapeError(f"samples={samples}: at least one sample must be shown")
    array = np.asarray(to_numpy(X))
    if array.ndim < 2 or not len(array):
        raise ShapeError(f"X has shape {array.shape}; axis 0 must count samples and another the features")
    rows = np.unique(np.linspace(0, len(array) - 1, min(samples, len(array))).round().astype(int))
    chosen = np.asarray(array[rows], np.float64)
    n = chosen[0].size
    point = meet(model, chosen[:1])
    m = point.traced.program.size(next(iter(point.traced.outputs.values())))
    if 11 * (m * n + n) * len(chosen) > MOST_BYTES:
        reason = f"{m} × {n} derivatives at {len(chosen)} samples take more than {MOST_BYTES:,} bytes"
        return Explorer("none", reason, {})
    y, J = value_and_jacobian(model, chosen)
    y, matrices = np.asarray(y).reshape(len(chosen), m), np.asarray(J).reshape(len(chosen), m, n)
    flat = array.reshape(len(array), n)
    data = {
        "features": _names(feature_names, n, "x", "feature_names"),
        "outputs": _names(output_names, m, "y", "output_names"),
        "rows": rows.tolist(),
        "samples": packed(chosen.reshape(len(chosen), n)),
        "low": packed(flat.min(axis=0)),
        "high": packed(flat.max(axis=0)),
    }
    try:
        layers = chain_data(widened(point))
        verify(layers, chosen, y, matrices)
        moved = _within_reach(flat, chosen)
        verify(layers, moved, *map(np.asarray, value_and_jacobian(model, moved)))
    except (UnsupportedOperationError, TooLargeError) as refused:
        preview = {"values": packed(y), "jacobians": packed(matrices), "reason": str(refused)}
        return _within(Explorer("linear", str(refused), {**data, "kind": "linear", **preview}))
    return _within(Explorer("chain", "", {**data, "kind": "chain", "layers": layers}))


def _within_reach(flat: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """As many points as were chosen, anywhere that the sliders go: to a quarter of a feature's range beyond its ends."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    gap = np.where(high > low, high - low, np.where(low == 0, 1, np.abs(low))) / 4
    found = np.random.default_rng(0).uniform(low - gap, high + gap, (len(chosen), flat.shape[1]))
    found[0], found[-1] = low - gap, high + gap
    return found.reshape(chosen.shape)


def _within(made: Explorer) -> Explorer:
    size = len(json.dumps(made.data))
    if size <= MOST_BYTES:
        return made
    return Explorer("none", f"its numbers take {size:,} bytes and the page may take {MOST_BYTES:,}", {})


def _names(given: Sequence[str] | None, count: int, letter: str, argument: str) -> list[str]:
    if given is None:
        return [f"{letter}{k}" for k in range(count)]
    if len(given) != count:
        raise ShapeError(f"{argument} has {len(given)} names, and there are {count} to name")
    return [str(name) for name in given]


def _own(name: str) -> str:
    return files("netjac.report.explorer").joinpath(name).read_text(encoding="utf-8")
