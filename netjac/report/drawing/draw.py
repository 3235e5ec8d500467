"""`draw`: a network as SVG, drawn from the engine's own trace of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netjac.errors import ShapeError
from netjac.graph.outline import Node, outline
from netjac.networks import Network, network_of
from netjac.report.drawing.blocks import Subject, draw_blocks
from netjac.report.drawing.local import Locals
from netjac.report.drawing.units import draw_units, strengths
from netjac.tracing import Point, meet, narrowed

MOST_UNITS, MOST_LAYERS, MOST_LINES = 20, 8, 1500


@dataclass(frozen=True)
class Drawing:
    """A network as a picture: `svg` is a document of its own, and may be put into a page as it is.

    `kind`: "units" (circles and lines) or "blocks".
    """

    svg: str
    kind: str

    def save(self, path: str | Path) -> None:
        """Write the SVG to a file. Raises `ShapeError` for a name that does not end in .svg."""
        if Path(path).suffix.lower() != ".svg":
            raise ShapeError(f"{str(path)!r} does not end in .svg, which is all that a drawing is written as")
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing of {self.kind}, {len(self.svg.encode()) / 1000:.0f} kB of SVG; .save('network.svg'), .svg"


def draw(model: Any, x: Any = None, path: str | Path | None = None, *, sample: int = 0) -> Drawing:
    """The network as SVG: its layers, what flows between them, and the structure of each layer's Jacobian.

    `model` is anything `netjac.network` takes. `x` is an input; one `sample` of it is looked at. Without `x` shapes are those
    that the model declares or has met. With `path` the drawing is saved there too.

    Networks of a few small dense layers are drawn unit by unit. The line from unit j of h to unit k of g is as wide as
    ‖∂out/∂g_k‖₂ · |∂g_k/∂h_j| at the sample, over all outputs and relative to the largest such product in the network: how much
    of ∂out/∂h_j goes through this line. Its colour is the sign of ∂g_k/∂h_j. Without `x` all lines are alike.

    All others are drawn as blocks: for each layer its name, kind, shape and the structure of ∂layer/∂(layer before) as the
    engine knows it, and below them the chain of these matrices whose product is J.

    Raises `ShapeError` where no input is given and shapes are not known, or there is no such sample, and what
    `netjac.jacobian` does.
    """
    network = network_of(model)
    point = _alone(meet(network, network.example("draw") if x is None else x), sample)
    traced = point.traced
    nodes = outline(traced.program, traced.inputs, traced.layers, traced.outputs)
    if _by_units(point, nodes):
        lines = None if x is None else strengths(point, nodes)
        drawing = Drawing(
            draw_units(network.name, nodes, _kinds(network, nodes), _shapes(point, nodes), lines), "units"
        )
    else:
        drawing = Drawing(draw_blocks(_subject(point, nodes)), "blocks")
    if path is not None:
        drawing.save(path)
    return drawing


def _alone(point: Point, sample: int) -> Point:
    """The network at one sample. Raises `ShapeError`."""
    if point.samples is None:
        return point
    if not -point.samples <= sample < point.samples:
        raise ShapeError(f"there is no sample {sample}: x has {point.samples}, numbered 0 to {point.samples - 1}")
    return narrowed(point, sample % point.samples, 1)


def _subject(point: Point, nodes: Mapping[str, Node]) -> Subject:
    local = Locals(point)
    factors = {
        (name, source): local.factors(node, nodes[source]) for name, node in nodes.items() for source in node.sources
    }
    return Subject(point.network.name, nodes, _kinds(point.network, nodes), _shapes(point, nodes), factors)


def _kinds(network: Network, nodes: Mapping[str, Node]) -> dict[str, str]:
    kinds = network.layer_kinds()
    return {name: kinds.get(name.split("#")[0], "") for name in nodes}


def _shapes(point: Point, nodes: Mapping[str, Node]) -> dict[str, tuple[int, ...]]:
    """Of one sample."""
    program = point.traced.program
    return {name: program.shape(node.value)[0 if point.samples is None else 1 :] for name, node in nodes.items()}


def _by_units(point: Point, nodes: Mapping[str, Node]) -> bool:
    """Whether the network is small enough, and made of vectors, to be drawn unit by unit."""
    shapes, program = _shapes(point, nodes), point.traced.program
    sizes = {name: program.size(node.value) for name, node in nodes.items()}
    lines = sum(sizes[name] * sizes[s] for name, node in nodes.items() for s in node.sources)
    return (
        len(nodes) <= MOST_LAYERS
        and lines <= MOST_LINES
        and all(len(shape) <= 1 for shape in shapes.values())
        and all(0 < size <= MOST_UNITS for size in sizes.values())
        and all(program.differentiable(node.value) for node in nodes.values())
        and any(node.sources for node in nodes.values())
    )
