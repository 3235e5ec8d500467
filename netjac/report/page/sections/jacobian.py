"""J in numbers: over the samples, and at each of some."""

from __future__ import annotations

from typing import Any

import numpy as np

from netjac.linear_algebra import working
from netjac.report.page.pictures import coarse, packed, png, table_of_colours
from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Rows, Subject
from netjac.report.plots import as_images

STATISTICS = (("mean |J|", False), ("mean J", True), ("standard deviation of J", False))
MOST_MAPS = 10
LARGEST = 5
MOST_WRITTEN = 4096
SHOWN_BYTES = 1_000_000


def find(subject: Subject) -> Found:
    """Statistics over the chosen samples, one picture each; and each sample's J for the chooser."""
    rows = subject.rows
    J = rows.values.astype(np.float64)
    statistics = {"mean |J|": np.abs(J).mean(0), "mean J": J.mean(0), "standard deviation of J": J.std(0)}
    outputs, features = subject.output_names, subject.feature_names
    named = [outputs[i] for i in rows.outputs]
    images = as_images(rows.values[0], subject.J.in_shape) is not None
    samples = [_sample(subject, rows, place, named, features) for place in range(len(rows.samples))]
    numbers: dict[str, Any] = {
        "samples": rows.samples.tolist(),
        "of_samples": subject.total,
        "outputs": named,
        "of_outputs": len(outputs),
        "features": J.shape[2],
        "statistics": {name: _written(values) for name, values in statistics.items()},
        "norms": {"statistic": "Frobenius norm", "values": [s["norm"] for s in samples]},
        "each": samples,
    }
    maps = _image_grid(statistics, named, subject.J.in_shape) if images else _matrices(statistics)
    shown, blocks = _for_chooser(rows.values, subject.J.in_shape, images)
    numbers["blocks"] = list(blocks)
    labels = named[: shown.shape[1]] if images else named
    data = {
        "colours": table_of_colours(), "size": list(shown.shape[1:]), "values": [packed(one) for one in shown],
        "top": _top(shown) or 1.0, "outputs": labels, "images": images, "blocks": list(blocks),
        "samples": samples[: len(shown)], "features": list(features) if len(features) <= MOST_WRITTEN else [],
    }  # fmt: skip
    if images:
        data["inputs"] = _inputs(subject, len(shown))
    given = {"images": images, "maps": maps, "embedded": samples[: len(shown)], "drawn": labels if images else [""],
             "has_input": images, "top": data["top"]}  # fmt: skip
    return Found(numbers, given, data)


def _inputs(subject: Subject, many: int) -> list[str]:
    """The images themselves, each from 0, its smallest number, to 1."""
    x = subject.at(subject.chosen[:many])
    found = next(iter(x.values())) if isinstance(x, dict) else np.asarray(x)
    pictures = as_images(working(found).reshape((many, -1)), subject.J.in_shape)
    assert pictures is not None
    pictures = coarse(pictures, 64, 64)[0].astype(np.float64)
    low, high = pictures.min((1, 2), keepdims=True), pictures.max((1, 2), keepdims=True)
    return [packed(one) for one in (pictures - low) / np.where(high > low, high - low, 1)]


def _sample(subject: Subject, rows: Rows, place: int, named: list[str], features: tuple[str, ...]) -> dict[str, Any]:
    one = rows.values[place].astype(np.float64)
    order = np.argsort(-np.abs(np.nan_to_num(one)), axis=None, kind="stable")[:LARGEST]
    entries = [
        {"output": named[i], "feature": features[j], "value": float(one[i, j])}
        for i, j in (divmod(int(at), one.shape[1]) for at in order)
    ]
    found = {
        "sample": int(rows.samples[place]),
        "norm": float(np.linalg.norm(one)),
        "spectral": float(np.linalg.norm(one, 2)) if np.isfinite(one).all() else float("nan"),
        "largest": entries,
    }
    if subject.labels is not None:
        found["label"] = str(subject.labels[rows.samples[place]])
    if subject.outputs.shape[1] > 1:
        at = int(subject.outputs[place].argmax())
        found["highest"] = subject.output_names[at]
    return found


def _written(values: np.ndarray) -> Any:
    """All of it where it is small; else the largest blocks, as on the page."""
    shown = values if values.size <= MOST_WRITTEN else coarse(values)[0]
    return shown.tolist()


def _matrices(statistics: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    found = []
    for name, signed in STATISTICS:
        values, blocks = coarse(statistics[name])
        found.append({"name": name, "signed": signed, "top": _top(values), "blocks": blocks, "cells": [{
            "src": png(values, signed), "size": values.shape, "name": "",
            "alt": f"{name}: outputs downwards, features to the right; the largest is {_top(values):.3g} in size",
        }]})  # fmt: skip
    return found


def _image_grid(statistics: dict[str, np.ndarray], named: list[str], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    found = []
    for name, signed in STATISTICS:
        maps = as_images(statistics[name], shape)
        assert maps is not None
        maps, blocks = coarse(maps[:MOST_MAPS], 64, 64)
        top = _top(maps)
        cells = [
            {"src": png(one, signed, top), "size": one.shape, "name": label,
             "alt": f"{name} of {label} by each pixel; the largest is {_top(one):.3g} in size"}
            for one, label in zip(maps, named, strict=False)
        ]  # fmt: skip
        found.append({"name": name, "signed": signed, "top": top, "blocks": blocks, "cells": cells})
    return found


def _for_chooser(values: np.ndarray, shape: tuple[int, ...], images: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """Each sample's J as it is drawn, (samples, maps, h, w) or (samples, 1, m, n), for as many as may be embedded."""
    if images:
        stacked = as_images(values.reshape((-1, values.shape[2])), shape)
        assert stacked is not None
        shown, blocks = coarse(stacked.reshape((*values.shape[:2], *stacked.shape[1:]))[:, :MOST_MAPS], 64, 64)
    else:
        shown, blocks = coarse(values[:, None])
    return shown[: max(1, SHOWN_BYTES // (6 * shown[0].size))], blocks


def _top(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


SECTION = Section(
    "jacobian",
    "The Jacobian",
    "How much each output changes when a feature does, to first order: first over the samples, then at each.",
    find,
)
