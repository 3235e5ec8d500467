"""The chain of matrices: J = φ′₂ W₂ᵀ φ′₁ W₁ᵀ in glyphs, from the output on the left to the input on the right.

Neighbours have a side in common: the columns of one are the rows of the next. Sums stand in brackets; a lone I in a sum
is the way around a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netjac.report.drawing.glyphs import glyph, side
from netjac.report.drawing.local import LocalFactor
from netjac.report.drawing.product import Part
from netjac.report.drawing.svg import element, shortened, text

LONG, LONG_NAMED, SPACE, LINE = 34.0, 56.0, 5.0, 12.0


@dataclass(frozen=True)
class Sign:
    """A bracket, a plus, or the identity."""

    words: str


def strip(
    parts: Sequence[Part], largest: int, title: str, x: float, y: float, width: float, named: bool
) -> tuple[str, float]:
    """The chain within `width`, in as many lines as it takes; and its height. `named` puts names and sizes below."""
    longest = LONG_NAMED if named else LONG
    line = longest + LINE + (28 if named else 0)
    drawn = [text(f"J = {title}, factor by factor", x, y + 14, "n")]
    at, middle = x, y + 30 + longest / 2
    drawn.append(text("J =", at, middle + 6, "big"))
    at += 36
    for one in _flat(parts):
        wide = _width(one, largest, longest, named)
        if at + wide > x + width and at > x + 36:
            at, middle = x + 36, middle + line
        if isinstance(one, Sign):
            drawn.append(text(one.words, at + wide / 2, middle + 6, "big m"))
        else:
            drawn.append(_matrix(one, at, middle, wide, largest, longest, named))
        at += wide + SPACE
    return element("g", *drawn, role="group", aria_label=f"{title} as a product"), middle + line / 2 - y + 12


def _matrix(one: LocalFactor, at: float, middle: float, wide: float, largest: int, longest: float, named: bool) -> str:
    w, h = side(one.columns, largest, longest), side(one.rows, largest, longest)
    drawn = glyph(one, at + (wide - w) / 2, middle - h / 2, w, h)
    if not named:
        return drawn
    below = middle + longest / 2 + 13
    head = one.head.removesuffix(".pre")
    words = f"{head}′" if one.tail.endswith(".pre") else head
    name = text(shortened(words, 12), at + wide / 2, below, "s m")
    return drawn + name + text(f"{one.rows}×{one.columns}", at + wide / 2, below + 12, "s m")


def _width(one: LocalFactor | Sign, largest: int, longest: float, named: bool) -> float:
    if isinstance(one, Sign):
        return 10.0 + 4 * (len(one.words) - 1)
    return max(side(one.columns, largest, longest), 72.0 if named else 0.0)


def _flat(parts: Sequence[Part]) -> Iterator[LocalFactor | Sign]:
    for part in parts:
        if isinstance(part, LocalFactor):
            yield part
            continue
        yield Sign("(")
        for place, term in enumerate(part.terms):
            if place:
                yield Sign("+")
            if term:
                yield from _flat(term)
            else:
                yield Sign("I")
        yield Sign(")")
