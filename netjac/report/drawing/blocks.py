"""A network as blocks: a card for each layer with its kind, shape and factors, and below them J as a product of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from netjac.graph.outline import Node
from netjac.report.drawing.glyphs import glyph, side
from netjac.report.drawing.layout import Layout, Stack, Way, laid_out
from netjac.report.drawing.product import Factors, count, product_of
from netjac.report.drawing.repeats import drawn_once
from netjac.report.drawing.strip import strip
from netjac.report.drawing.svg import document, element, shortened, text, title

WIDTH, CARD, GAP, BETWEEN, LANE, MARGIN, HEAD = 268, 38, 12, 30, 16, 24, 56
MOST_GLYPHS = 3
TALL, LEAST = 26, 660.0
MOST_APART = 40
"""Cards up to which repeated blocks are drawn one by one."""


@dataclass(frozen=True)
class Subject:
    """What is drawn. `kinds` and `shapes` (of one sample) by node; `factors` by (node, source).

    `stands_for`: for a node of a block that is drawn once for several, the nodes that it is drawn for.
    """

    name: str
    nodes: Mapping[str, Node]
    kinds: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    factors: Factors
    stands_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def describe(self, name: str) -> str:
        """One node in a line."""
        node = self.nodes[name]
        also = f" (also {', '.join(node.also)})" if node.also else ""
        kind = self.kinds[name] or ("input" if node.is_input else "")
        alike = self.stands_for.get(name, ())
        others = f", drawn once for {len(alike)} in a row: {alike[0]} to {alike[-1]}" if alike else ""
        return f"{name}{also}{': ' + kind if kind else ''}, shape {self.shape(name)}{others}"

    def shape(self, name: str) -> str:
        return "×".join(map(str, self.shapes[name])) or "scalar"

    @property
    def largest(self) -> int:
        return max((max(f.rows, f.columns) for fs in self.factors.values() for f in fs), default=1)


@dataclass(frozen=True)
class Place:
    """The upper left corner of a stack, and where ways into its column from the one before may run down."""

    x: float
    y: float
    column: int
    gutter: float


def draw_blocks(subject: Subject) -> str:
    """The drawing as SVG."""
    layers = sum(not node.is_input for node in subject.nodes.values())
    whole, subject = subject, _shortened(subject)
    plan = laid_out(subject.nodes, _tallest(len(subject.nodes)))
    places, width, height = _places(plan)
    width = max(width, LEAST)
    drawn = [_way(plan, places, way) for way in plan.ways]
    drawn += [_stack(subject, stack, places[i].x, places[i].y) for i, stack in enumerate(plan.stacks)]
    below, depth = _product(whole, MARGIN, height, width - 2 * MARGIN)
    words = f"{subject.name}: {layers} layers"
    if subject.stands_for:
        words += "; × n: n equal blocks in a row, of which the first is drawn"
    label = f"The network {words}, as blocks with the structure of each layer's Jacobian"
    return document(width, height + depth + MARGIN, label, text(words, MARGIN, 30, "t"), *drawn, below)


def _shortened(subject: Subject) -> Subject:
    """Of a large network, with blocks that repeat drawn once."""
    if len(subject.nodes) <= MOST_APART:
        return subject

    def look(name: str) -> tuple[object, ...]:
        factors = (subject.factors.get((name, source), ()) for source in subject.nodes[name].sources)
        kinds = tuple((f.kind, f.rows, f.columns) for fs in factors for f in fs)
        return subject.kinds[name], subject.shapes[name], kinds

    once = drawn_once(subject.nodes, look)
    # An edge from the last of equal blocks is drawn from the first: its factors are found by that one's name.
    factors = dict(subject.factors)
    for name, node in once.nodes.items():
        for own, source in zip(node.sources, subject.nodes[name].sources, strict=True):
            factors[name, own] = subject.factors.get((name, source), ())
    return replace(subject, nodes=once.nodes, factors=factors, stands_for=once.stands_for)


def _tallest(cards: int) -> int:
    """Cards in a column, so that the whole is about as wide as it is high."""
    return 16 if cards <= 40 else max(16, round((cards * WIDTH / CARD / 1.2) ** 0.5))


def _places(plan: Layout) -> tuple[list[Place], float, float]:
    """Where each stack is; width and height of all."""
    starts = (*plan.columns, len(plan.heights))
    column = {r: c for c in range(len(plan.columns)) for r in range(starts[c], starts[c + 1])}
    tops: dict[int, float] = {}
    lowest = 0.0
    for c in range(len(plan.columns)):
        y = float(HEAD)
        for rank in range(starts[c], starts[c + 1]):
            tops[rank] = y
            y += plan.heights[rank] * (CARD + GAP) - GAP + BETWEEN
        lowest = max(lowest, y)
    lefts, gutters, x = [], [], float(MARGIN)
    for c in range(len(plan.columns)):
        skips = [w.lane for w in plan.ways if w.lane is not None and column[plan.stacks[w.head].rank] == c]
        gutters.append(x - LANE)
        x += LANE * (max(skips, default=-1) + 1)
        lefts.append(x)
        lanes = max(s.lane for s in plan.stacks if column[s.rank] == c)
        x += (lanes + 1) * (WIDTH + LANE) + 2 * LANE
    places = [
        Place(lefts[c] + s.lane * (WIDTH + LANE), tops[s.rank], c, gutters[c])
        for s, c in ((s, column[s.rank]) for s in plan.stacks)
    ]
    return places, x - 3 * LANE + MARGIN, lowest


def _way(plan: Layout, places: Sequence[Place], way: Way) -> str:
    """An edge from the bottom of one stack to the top of another."""
    tail, head = places[way.tail], places[way.head]
    bottom = tail.y + len(plan.stacks[way.tail].names) * (CARD + GAP) - GAP
    path, tip = _path(tail, bottom, head, way.lane)
    names = plan.stacks[way.tail].names[-1], plan.stacks[way.head].names[0]
    line = element("path", class_="w", d=path)
    return element(
        "g", title(f"{names[0]} → {names[1]}"), line, _tip(tip, head.y), data_from=names[0], data_to=names[1]
    )


def _path(tail: Place, bottom: float, head: Place, lane: int | None) -> tuple[str, float]:
    """The line, and where along the head's upper side it ends."""
    a, b, top = tail.x + WIDTH / 2, head.x + WIDTH / 2, head.y
    start, end = f"M{a:.1f} {bottom:.1f}", f"V{top - 5:.1f}"
    if lane is not None:
        left = (head.x if tail.column != head.column else min(tail.x, head.x)) - LANE * (lane + 0.6)
        return f"M{a - 14:.1f} {bottom:.1f}v9H{left:.1f}V{top - 12:.1f}H{b - 14:.1f}{end}", b - 14
    if tail.column != head.column:
        return f"{start}v18H{head.gutter:.1f}V{top - 16:.1f}H{b:.1f}{end}", b
    if a == b:
        return start + end, b
    if a < b:
        return f"{start}v10H{b:.1f}{end}", b
    return f"{start}V{top - 14:.1f}H{b + 14:.1f}{end}", b + 14


def _tip(x: float, y: float) -> str:
    return element("path", class_="h", d=f"M{x:.1f} {y - 1:.1f}l-4 -7h8z")


def _stack(subject: Subject, stack: Stack, x: float, y: float) -> str:
    drawn = []
    for place, name in enumerate(stack.names):
        top = y + place * (CARD + GAP)
        if place:
            names = stack.names[place - 1], name
            line = element("path", class_="w", d=f"M{x + WIDTH / 2:.1f} {top - GAP:.1f}V{top - 5:.1f}")
            tip = _tip(x + WIDTH / 2, top)
            drawn.append(element("g", title(" → ".join(names)), line, tip, data_from=names[0], data_to=names[1]))
        drawn.append(_card(subject, name, x, top))
    return "".join(drawn)


def _card(subject: Subject, name: str, x: float, y: float) -> str:
    node, words = subject.nodes[name], subject.describe(name)
    glyphs = [f for source in node.sources for f in subject.factors.get((name, source), ())]
    drawn, right = [], x + WIDTH - 8
    for factor in reversed(glyphs[:MOST_GLYPHS]):
        w, h = side(factor.columns, subject.largest, TALL), side(factor.rows, subject.largest, TALL)
        right -= w
        drawn.append(glyph(factor, right, y + (CARD - h) / 2, w, h))
        right -= 5
    if len(glyphs) > MOST_GLYPHS:
        drawn.append(text(f"+{len(glyphs) - MOST_GLYPHS}", right, y + CARD / 2 + 4, "s e"))
        right -= 18
    room = int((right - x - 10) / 6.6)
    kind = subject.kinds[name] or ("input" if node.is_input else "")
    second = f"{kind} · {subject.shape(name)}" if kind else subject.shape(name)
    if name in subject.stands_for:
        second = f"× {len(subject.stands_for[name])} · {second}"
    style = "c o" if node.is_output or node.is_input else "c"
    return element(
        "g",
        title(words),
        element("rect", class_=style, x=x, y=y, width=WIDTH, height=CARD, rx=6),
        text(shortened(name, room), x + 10, y + 16, "n"),
        text(shortened(second, room + 3), x + 10, y + 30, "s"),
        *drawn,
        role="group",
        aria_label=words,
        data_layer=name,
    )


def _product(subject: Subject, x: float, y: float, width: float) -> tuple[str, float]:
    """J as a chain of matrices, where there is one output, one input, and not too much between; its height."""
    ends = [name for name, node in subject.nodes.items() if node.is_output]
    starts = [name for name, node in subject.nodes.items() if node.is_input]
    if len(ends) != 1 or len(starts) != 1:
        return "", 0.0
    parts = product_of(subject.nodes, subject.factors, ends[0], starts[0])
    if not parts:
        return "", 0.0
    return strip(parts, subject.largest, f"∂{ends[0]}/∂{starts[0]}", x, y, width, count(parts) <= 12)
