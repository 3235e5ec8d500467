"""The network in a table: layers, shapes, parameters."""

from __future__ import annotations

from math import prod

from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Subject

MOST_LAYERS = 300


def find(subject: Subject) -> Found:
    """Layers, with the parameters whose paths lead through them."""
    network, of = subject.network, subject.of
    sizes = {name: prod(p.shape) for name, p in network.parameters.items()}
    layers = [
        {"name": spec.name, "kind": spec.kind, "shape": None if spec.shape is None else list(spec.shape),
         "parameters": sum(size for name, size in sizes.items() if _within(name, spec.name))}
        for spec in network.layers
    ]  # fmt: skip
    others = [name for name in subject.point.traced.outputs if name != of]
    return Found(
        {
            "model": network.name,
            "framework": network.framework,
            "inputs": {spec.name: list(spec.shape or ()) for spec in network.inputs},
            "of": of,
            "other_outputs": others,
            "out_shape": list(subject.J.out_shape),
            "in_shape": list(subject.J.in_shape),
            "by": subject.inputs[0] if subject.inputs else "",
            "other_inputs": list(subject.inputs[1:]),
            "samples": subject.total,
            "parameters": sum(sizes.values()),
            "trainable": sum(size for name, size in sizes.items() if name in network.trainable),
            "layers": layers,
        },
        {"rows": layers[:MOST_LAYERS], "left": max(0, len(layers) - MOST_LAYERS)},
    )


def _within(parameter: str, layer: str) -> bool:
    """Whether a parameter's path leads through a layer's: "digits/conv1/kernel" through "conv1"."""
    return f"/{layer}/".replace(".", "/") in f"/{parameter}".replace(".", "/")


SECTION = Section("overview", "The network", "What was given: its layers in the order of evaluation.", find)
