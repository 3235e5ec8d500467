"""A small network of vectors, unit by unit: circles for units, lines for the entries of each layer's Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from netjac.analysis.flow.segments import segments
from netjac.analysis.flow.sweeps import Sweeps
from netjac.graph.outline import Node
from netjac.report.drawing.svg import document, element, shortened, text, title
from netjac.tracing import Point

APART, STEP, RADIUS, MARGIN, HEAD = 190.0, 34.0, 9.0, 60.0, 84.0
THIN, THICK = 0.4, 6.0


@dataclass(frozen=True, eq=False)
class Lines:
    """∂layer/∂source (m, n), and how much goes through each entry: ‖∂out/∂layer_k‖ · |entry|."""

    slopes: np.ndarray
    shares: np.ndarray


Strengths = Mapping[tuple[str, str], Lines]


def strengths(point: Point, nodes: Mapping[str, Node]) -> Strengths:
    """The lines by (layer, source), at the point's only sample, in float64."""
    pieces = segments(point, [name for name, node in nodes.items() if not node.is_input])
    ends = [node.value for node in nodes.values() if node.is_output and not node.is_input]
    squares = {piece.name: np.zeros(point.traced.program.size(piece.value)) for piece in pieces}
    for end in ends:
        sweeps = Sweeps(point, pieces, end)
        before = [piece for piece in pieces if piece.value in _reaching(point, end)]
        m = sweeps.width([end])
        rows = sweeps.rows(tuple(piece.value for piece in before), 0, m)
        for piece, part in zip(before, rows, strict=True):
            squares[piece.name] += np.sum(np.asarray(part, np.float64)[0] ** 2, 0)
    sweeps = Sweeps(point, pieces, ends[0])
    found: dict[tuple[str, str], Lines] = {}
    for piece in pieces:
        if not piece.by:
            continue
        whole = np.asarray(sweeps.local(piece), np.float64)[0]
        widths = [sweeps.width([value]) for value in piece.by.values()]
        for source, slopes in zip(piece.by, np.split(whole, np.cumsum(widths)[:-1], 1), strict=True):
            found[piece.name, source] = Lines(slopes, np.sqrt(squares[piece.name])[:, None] * np.abs(slopes))
    return found


def _reaching(point: Point, end: int) -> set[int]:
    program = point.traced.program
    return {end, *(n for index in program.needed([end]) for n in program.equations[index].operands)}


def draw_units(
    name: str, nodes: Mapping[str, Node], kinds: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]],
    lines: Strengths | None,
) -> str:  # fmt: skip
    """The drawing as SVG, inputs on the left."""
    sizes = {n: int(np.prod(shapes[n], dtype=int)) for n in nodes}
    columns = _columns(nodes)
    tall = max(_height([sizes[n] for n in column]) for column in columns)
    width = 2 * MARGIN + APART * (len(columns) - 1) + 40
    places = _places(columns, sizes, tall)
    largest = max((float(line.shares.max(initial=0)) for line in (lines or {}).values()), default=0.0) or 1.0
    drawn = [
        _edges(places, source, n, None if lines is None else lines.get((n, source)), largest)
        for n, node in nodes.items()
        for source in node.sources
    ]
    drawn += [_layer(n, nodes[n], kinds[n], places[n]) for n in nodes]
    label = f"The network {name}, unit by unit"
    foot = HEAD + tall + 34
    return document(
        max(width, 420.0), foot + 46, label, text(name, 24.0, 30.0, "t"), *drawn, _legend(lines is not None, foot)
    )


def _columns(nodes: Mapping[str, Node]) -> list[list[str]]:
    """By the longest way from the inputs."""
    depth: dict[str, int] = {}
    for name, node in nodes.items():
        depth[name] = max((depth[source] + 1 for source in node.sources), default=0)
    return [[n for n in nodes if depth[n] == d] for d in range(max(depth.values()) + 1)]


def _height(sizes: list[int]) -> float:
    return sum(sizes) * STEP + (len(sizes) - 1) * 40.0


def _places(columns: list[list[str]], sizes: Mapping[str, int], tall: float) -> dict[str, list[tuple[float, float]]]:
    places = {}
    for c, column in enumerate(columns):
        y = HEAD + (tall - _height([sizes[n] for n in column])) / 2 + STEP / 2
        for name in column:
            places[name] = [(MARGIN + 20 + c * APART, y + i * STEP) for i in range(sizes[name])]
            y += sizes[name] * STEP + 40
    return places


def _edges(
    places: Mapping[str, list[tuple[float, float]]], source: str, name: str, line: Lines | None, largest: float
) -> str:
    """The thickest on top. Entries that are zero are not drawn, where entries are known."""
    pairs = [(k, j) for k in range(len(places[name])) for j in range(len(places[source]))]
    if line is not None:
        pairs = sorted((p for p in pairs if line.slopes[p] != 0), key=lambda p: float(line.shares[p]))
    drawn = [_edge(places, source, name, k, j, line, largest) for k, j in pairs]
    return element("g", *drawn, data_from=source, data_to=name) if drawn else ""


def _edge(
    places: Mapping[str, list[tuple[float, float]]], source: str, name: str, k: int, j: int, line: Lines | None,
    largest: float,
) -> str:  # fmt: skip
    (x0, y0), (x1, y1) = places[source][j], places[name][k]
    far = x1 - x0 > APART * 1.5
    bend = 46.0 if far else 0.0
    middle = (x0 + x1) / 2
    path = f"M{x0 + RADIUS:.1f} {y0:.1f}C{middle:.1f} {y0 - bend:.1f} {middle:.1f} {y1 - bend:.1f} {x1 - RADIUS:.1f} {y1:.1f}"
    if line is None:
        return element("path", title(f"{source}[{j}] → {name}[{k}]"), class_="none", fill="none", d=path)
    slope, share = float(line.slopes[k, j]), float(line.shares[k, j]) / largest
    words = f"{source}[{j}] → {name}[{k}]: slope {slope:+.3g}, {share:.0%} of the widest"
    return element(
        "path", title(words), class_="plus" if slope > 0 else "minus", fill="none", d=path,
        stroke_width=THIN + (THICK - THIN) * share, stroke_opacity=0.35 + 0.65 * share, data_unit=f"{k},{j}",
    )  # fmt: skip


def _layer(name: str, node: Node, kind: str, places: list[tuple[float, float]]) -> str:
    kind = kind or ("input" if node.is_input else "")
    words = f"{name}{': ' + kind if kind else ''}, shape {len(places)}"
    x, y = places[0]
    circles = [
        element("circle", title(f"{name}[{i}]"), class_="u", cx=a, cy=b, r=RADIUS) for i, (a, b) in enumerate(places)
    ]
    return element(
        "g", title(words), text(shortened(name, 20), x, y - 34, "n m"),
        text(shortened(f"{kind} · {len(places)}" if kind else str(len(places)), 24), x, y - 20, "s m"), *circles,
        role="group", aria_label=words, data_layer=name,
    )  # fmt: skip


def _legend(known: bool, y: float) -> str:
    if not known:
        return text("no input was given: lines show what is connected", 24.0, y, "s")
    words = (
        "width: how much of ∂out/∂unit goes through a line, ‖∂out/∂g‖·|∂g/∂h|, relative to the widest",
        "colour: the sign of ∂g/∂h, red (warm) +, blue −; zeros are left out",
    )
    return "".join(text(w, 24.0, y + 16 * i, "s") for i, w in enumerate(words))
