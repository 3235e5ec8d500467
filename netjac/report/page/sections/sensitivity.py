"""Which features move which output, over many samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from netjac.analysis.sensitivity import sensitivity
from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Subject

MOST_SAMPLES = 2048
MOST_OUTPUTS, MOST_FEATURES = 12, 10


def find(subject: Subject) -> Found:
    """`netjac.sensitivity` over the samples; of a large J, the same statistics of the rows that the page shows."""
    if subject.large:
        J = subject.rows.values.astype(np.float64)
        rms, mean, std = np.sqrt((J**2).mean(0)), J.mean(0), J.std(0)
        names = [subject.output_names[i] for i in subject.rows.outputs]
        told, low, high = len(J), None, None
    else:
        chosen = subject.spaced(MOST_SAMPLES)
        found = sensitivity(
            subject.network, subject.at(chosen), of=subject.of, wrt=[subject.inputs[0]], seed=subject.seed,
            precision=subject.precision, memory=subject.memory, progress=False,
        )  # fmt: skip
        rms, mean, std, names, told = found.rms, found.mean, found.std, list(subject.output_names), len(chosen)
        low, high = found.interval("rms")
    rankings = []
    for i, name in list(enumerate(names))[:MOST_OUTPUTS]:
        order = np.argsort(-np.nan_to_num(rms[i]), kind="stable")[:MOST_FEATURES]
        top = float(rms[i, order[0]]) or 1.0
        rankings.append({"output": name, "features": [
            _entry(subject.feature_names[j], rms[i, j], mean[i, j], std[i, j], top)
            | ({} if low is None or high is None else {"low": float(low[i, j]), "high": float(high[i, j])})
            for j in order
        ]})  # fmt: skip
    numbers: dict[str, Any] = {"samples": told, "of_samples": subject.total, "outputs": len(names),
                               "of_outputs": len(subject.output_names), "rankings": rankings}  # fmt: skip
    return Found(numbers, {"intervals": low is not None, "open": rankings[0]["output"] if rankings else ""})


def _entry(name: str, rms: float, mean: float, std: float, top: float) -> dict[str, Any]:
    return {"feature": name, "rms": float(rms), "mean": float(mean), "std": float(std), "part": float(100 * rms / top)}


SECTION = Section(
    "sensitivity",
    "What moves the outputs",
    "The features with the largest derivative, by the root of its mean square over the samples (rms).",
    find,
)
