"""How far an input must be moved to change the class, and how far none need be."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netjac.analysis.flow.result import plain
from netjac.attacks.curve import curve
from netjac.attacks.deepfool import deepfool
from netjac.attacks.pgd import pgd
from netjac.certified.lipschitz import lipschitz
from netjac.errors import NetjacError
from netjac.networks.arrays import to_numpy
from netjac.report.page.section import AbsentError, Found, Section
from netjac.report.page.subject import Subject

SAMPLES, SIZES = 32, 6
LARGEST_BOX = 2**21
"""Features times the widest layer, beyond which boxes are not enclosed."""
RADIUS = 0.01


def find(subject: Subject) -> Found:
    """DeepFool's distances, PGD's success over ε, Lipschitz constants; each by itself, where it can be had."""
    numbers: dict[str, Any] = {"attack": None, "attack_absent": None, "lipschitz": None, "lipschitz_absent": None}
    for name, make in (("attack", _attacked), ("lipschitz", _constants)):
        try:
            numbers[name] = make(subject)
        except NetjacError as reason:
            numbers[f"{name}_absent"] = str(reason)
    return Found(numbers, {"lines": _lines(numbers["attack"])})


def _attacked(subject: Subject) -> dict[str, Any]:
    if not _classifies(subject):
        raise AbsentError(
            "The outputs are no probabilities and no class numbers were given as y, so nothing says that this is a "
            "classifier. For one that gives logits, give y."
        )
    chosen = subject.chosen if subject.large else subject.spaced(SAMPLES)
    x = subject.at(chosen)
    options: dict[str, Any] = {"precision": subject.precision, "memory": subject.memory, "progress": False}
    labels = None if subject.labels is None else subject.labels[chosen]
    of = None if subject.wanted == "output" else subject.wanted
    nearest = deepfool(subject.network, x, labels, norm="inf", of=of, steps=10 if subject.large else 50, **options)
    distance = to_numpy(nearest.distance)[to_numpy(nearest.success)]
    found: dict[str, Any] = {
        "samples": len(chosen),
        "of_samples": subject.total,
        "nearest": nearest.to_dict(),
        "curves": [],
    }
    ahead = distance[distance > 0]
    if len(ahead):
        epsilons = np.geomspace(float(np.quantile(ahead, 0.1)) / 2, float(ahead.max()) * 1.05, SIZES)
        found["curves"].append({"attack": "DeepFool", "epsilons": epsilons.tolist(),
                                "success": nearest.success_within(list(epsilons)).tolist()})  # fmt: skip
        if not subject.large:
            measured = curve(
                subject.network, x, labels, epsilons=list(epsilons), attack=pgd, norm="inf", of=of, steps=20, **options
            )
            found["curves"].append(
                {"attack": "PGD", "epsilons": epsilons.tolist(), "success": measured.success.tolist()}
            )
    return found


def _classifies(subject: Subject) -> bool:
    """Labels that are class numbers, or outputs that are probabilities."""
    shape, labels = subject.J.out_shape, subject.labels
    if len(shape) != 1 or shape[0] < 2:
        return False
    if labels is not None:
        whole = labels.ndim == 1 and labels.dtype.kind in "iuf" and bool(np.all(labels == np.round(labels)))
        return whole and labels.min() >= 0 and labels.max() < shape[0]
    y = subject.outputs
    return bool((y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-3))


def _constants(subject: Subject) -> dict[str, Any]:
    features, program = prod(subject.J.in_shape), subject.point.traced.program
    widest = max(program.size(n) for n in range(len(program.types)) if program.differentiable(n)) // len(subject.chosen)
    if features * widest > LARGEST_BOX or subject.large:
        raise AbsentError(
            "The network is too large for enclosures in a report; nj.lipschitz(model, X[:1]) tries it by itself."
        )
    x = subject.at(subject.spaced(4))
    radius = RADIUS * (float(np.std(np.asarray(x, np.float64))) if not isinstance(x, dict) else 1.0)
    found = lipschitz(subject.network, x, radius=radius or RADIUS, of=subject.of, memory=subject.memory, progress=False)
    local = None if found.local is None else float(found.local.max())
    return plain({"radius": radius, "samples": len(found.lower), "seen": float(found.lower.max()), "local": local,
                  "everywhere": float(found.product)})  # fmt: skip


def _lines(attack: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The curves as points of a 600 × 240 picture, ε on a logarithmic axis."""
    found = []
    for place, one in enumerate(attack["curves"] if attack else []):
        epsilons, success = np.array(one["epsilons"]), np.array(one["success"])
        across = 60 + 520 * np.log(epsilons / epsilons[0]) / np.log(epsilons[-1] / epsilons[0])
        points = [(round(float(a), 1), round(float(b), 1)) for a, b in zip(across, 200 - 180 * success, strict=True)]
        found.append({"attack": one["attack"], "points": points, "place": place})
    return found


SECTION = Section(
    "robustness",
    "Robustness",
    "How small a change of the input changes the class, and how much a change can do at most.",
    find,
)
