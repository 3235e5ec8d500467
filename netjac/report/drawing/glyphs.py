"""A factor as a small matrix: where its entries are, not what they are."""

from __future__ import annotations

from math import log1p

from netjac.report.drawing.local import LocalFactor
from netjac.report.drawing.svg import element, title

LEAST = 8.0
WORDS = {
    "identity": "identity",
    "selection": "selection: one entry a row",
    "diagonal": "diagonal",
    "band": "band: a window for each output",
    "equal blocks": "equal blocks on the diagonal, I ⊗ W",
    "blocks": "blocks on the diagonal",
    "diagonal + low rank": "diagonal + low rank",
    "dense": "dense",
    "opaque": "opaque: known by sweeps only",
    "zero": "zero",
}


def told(factor: LocalFactor) -> str:
    return f"∂{factor.head}/∂{factor.tail}: {WORDS[factor.kind]}, {factor.rows} × {factor.columns}"


def side(size: int, largest: int, longest: float) -> float:
    """The length of a side of `size` entries, logarithmic, so that 10 beside 1000 is still to be seen."""
    return LEAST + (longest - LEAST) * log1p(size) / log1p(max(largest, 1))


def glyph(factor: LocalFactor, x: float, y: float, width: float, height: float) -> str:
    """The factor's picture with its upper left corner at (x, y)."""
    inside = _INSIDE[factor.kind](x, y, width, height)
    frame = element("rect", class_="g", x=x, y=y, width=width, height=height)
    return element("g", title(told(factor)), frame, *inside, data_kind=factor.kind)


def _rect(style: str, x: float, y: float, width: float, height: float) -> str:
    return element("rect", class_=style, x=x, y=y, width=width, height=height)


def _diagonal(x: float, y: float, w: float, h: float) -> list[str]:
    return [element("path", class_="l", d=f"M{x:.1f} {y:.1f}l{w:.1f} {h:.1f}")]


def _identity(x: float, y: float, w: float, h: float) -> list[str]:
    return [element("path", class_="d", d=f"M{x:.1f} {y:.1f}l{w:.1f} {h:.1f}")]


def _band(x: float, y: float, w: float, h: float) -> list[str]:
    a, b = 0.3 * w, 0.3 * h
    d = f"M{x:.1f} {y:.1f}h{a:.1f}l{w - a:.1f} {h - b:.1f}v{b:.1f}h{-a:.1f}l{a - w:.1f} {b - h:.1f}z"
    return [element("path", class_="f", d=d)]


def _selection(x: float, y: float, w: float, h: float) -> list[str]:
    places = (0.16, 0.42, 0.3, 0.66, 0.84)
    size = min(w, h) / 5
    return [
        _rect("f", x + place * (w - size), y + (h - size) * row / (len(places) - 1), size, size)
        for row, place in enumerate(places)
    ]


def _blocks(x: float, y: float, w: float, h: float, count: int = 4) -> list[str]:
    return [_rect("f", x + i * w / count, y + i * h / count, w / count, h / count) for i in range(count)]


def _equal_blocks(x: float, y: float, w: float, h: float, count: int = 4) -> list[str]:
    inside = []
    for i in range(count):
        inside.append(_rect("v", x + i * w / count, y + i * h / count, w / count, h / count))
        inside.append(_rect("f", x + i * w / count, y + i * h / count, w / count / 2, h / count / 2))
    return inside


def _dense(x: float, y: float, w: float, h: float) -> list[str]:
    return [_rect("f", x + 1, y + 1, w - 2, h - 2)]


def _corrected(x: float, y: float, w: float, h: float) -> list[str]:
    return [_rect("v", x + 1, y + 1, w - 2, h - 2), *_diagonal(x, y, w, h)]


def _opaque(x: float, y: float, w: float, h: float) -> list[str]:
    return [element("text", "?", x=x + w / 2, y=y + h / 2 + 4, class_="m s")]


def _zero(x: float, y: float, w: float, h: float) -> list[str]:
    return []


_INSIDE = {
    "identity": _identity, "selection": _selection, "diagonal": _diagonal, "band": _band, "equal blocks": _equal_blocks,
    "blocks": _blocks, "diagonal + low rank": _corrected, "dense": _dense, "opaque": _opaque, "zero": _zero,
}  # fmt: skip
