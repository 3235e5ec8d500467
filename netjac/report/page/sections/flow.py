"""How gradients pass through the layers."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netjac.analysis.flow.gradient_flow import gradient_flow
from netjac.report.page.section import AbsentError, Found, Section
from netjac.report.page.subject import LARGE_NETWORK, Subject

SAMPLES, CENSUS = 4, 512
LARGE_LAYERS = 2
MOST_OUTPUTS = 256


def find(subject: Subject) -> Found:
    """`netjac.gradient_flow`; of deep networks a few layers at one sample."""
    network = subject.network
    options: dict[str, Any] = {"of": subject.of, "precision": subject.precision, "memory": subject.memory}
    if len(network.layers) <= LARGE_NETWORK and not subject.large:
        found = gradient_flow(network, subject.at(subject.spaced(CENSUS)), samples=SAMPLES, progress=False, **options)
        return Found({**found.data(), "layers_of": len(found.layers)}, {"about": str(found.thresholds)})
    if prod(subject.J.out_shape) > MOST_OUTPUTS:
        raise AbsentError(
            f"Of {prod(subject.J.out_shape)} outputs and so large a network this takes minutes. Ask for it by itself: "
            "nj.gradient_flow(model, X, layers=[…], samples=1)."
        )
    names = [layer.name for layer in network.layers]
    some = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, LARGE_LAYERS).round().astype(int))]
    found = gradient_flow(
        network, subject.at(subject.spaced(1)), samples=1, layers=some, exact=16, progress=False, **options
    )
    return Found({**found.data(), "layers_of": len(names)}, {"about": str(found.thresholds)})


SECTION = Section(
    "flow",
    "How gradients pass",
    "The singular values of each layer's Jacobian and of everything behind it: does a gradient keep its size?",
    find,
)
