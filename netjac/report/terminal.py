"""A small picture of a signed matrix for the terminal.

With colours, each character is two entries, one above the other: red above zero, blue below, white at zero. Without
colours (a file, a pipe) magnitude and sign are characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH, HEIGHT = 72, 32
GAP = 2
POSITIVE, NEGATIVE = " ░▒▓█", " ˗-=≡"
RED, WHITE, BLUE = (178, 24, 43), (247, 247, 247), (33, 102, 172)


def show(matrix: np.ndarray, console: Console) -> None:
    """Print the matrix's picture, largest magnitude at full strength, with a line that says the scale."""
    small = shrunk(np.nan_to_num(np.asarray(matrix, np.float64)), HEIGHT, min(WIDTH, max(console.width - 2, 8)))
    largest = float(np.abs(small).max(initial=0))
    scaled = small / largest if largest else small
    console.print(half_blocks(scaled) if coloured(console) else Text(characters(scaled)))
    console.print(Text(_scale_line(coloured(console), largest)))


def show_maps(maps: Sequence[np.ndarray], names: Sequence[str], console: Console) -> None:
    """Print small maps side by side under their names, all with one scale, two columns an entry where they fit."""
    largest = max((float(np.abs(entries).max(initial=0)) for entries in maps), default=0.0) or 1.0
    scaled = [np.nan_to_num(entries) / largest for entries in maps]
    draw = half_blocks if coloured(console) else lambda entries: Text(characters(entries))
    if coloured(console) and sum(2 * entries.shape[1] + GAP for entries in maps) <= console.width:
        draw = cells
    drawn = [draw(entries) for entries in scaled]
    widths = [
        max(line.cell_len for line in (*text.split(), Text(name))) for text, name in zip(drawn, names, strict=True)
    ]
    fit = max(1, (console.width + GAP) // (max(widths, default=1) + GAP))
    for first in range(0, len(drawn), fit):
        grid = Table.grid(padding=(0, GAP))
        grid.add_row(*(Text(name) for name in names[first : first + fit]))
        grid.add_row(*drawn[first : first + fit])
        console.print(grid)
    console.print(Text(_scale_line(coloured(console), largest)))


def coloured(console: Console) -> bool:
    return console.is_terminal and console.color_system is not None


def _scale_line(colours: bool, largest: float) -> str:
    signs = "red +, blue −" if colours else f"{POSITIVE[1:]} above zero, {NEGATIVE[1:]} below"
    return f"{signs}; full strength ±{largest:.3g}"


def shrunk(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """At most height × width entries; each is the one of largest magnitude in its block."""
    for axis, most in ((0, height), (1, width)):
        size = matrix.shape[axis]
        if size > most:
            edges = np.linspace(0, size, most + 1).astype(int)
            blocks = (np.take(matrix, range(a, b), axis) for a, b in pairwise(edges))
            matrix = np.stack([_strongest(block, axis) for block in blocks], axis)
    return matrix


def _strongest(block: np.ndarray, axis: int) -> np.ndarray:
    place = np.expand_dims(np.abs(block).argmax(axis), axis)
    return np.take_along_axis(block, place, axis).squeeze(axis)


def half_blocks(scaled: np.ndarray) -> Text:
    """Two rows a line, by coloured upper half blocks; entries from −1 to 1."""
    text = Text()
    for top in range(0, len(scaled), 2):
        for j in range(scaled.shape[1]):
            below = f" on {_colour(scaled[top + 1, j])}" if top + 1 < len(scaled) else ""
            text.append("▀", f"{_colour(scaled[top, j])}{below}")
        if top + 2 < len(scaled):
            text.append("\n")
    return text


def cells(scaled: np.ndarray) -> Text:
    """One row a line, two coloured columns an entry: larger than `half_blocks`."""
    lines = []
    for row in scaled:
        line = Text()
        for value in row:
            line.append("  ", f"on {_colour(value)}")
        lines.append(line)
    return Text("\n").join(lines)


def _colour(value: float) -> str:
    end = RED if value > 0 else BLUE
    # The root makes small entries visible beside a large one.
    strength = min(1.0, abs(value)) ** 0.5
    mixed = (round(w + (e - w) * strength) for w, e in zip(WHITE, end, strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def characters(scaled: np.ndarray) -> str:
    """One row a line, two characters an entry where there is room, so that images keep their shape."""
    wide = 2 if scaled.shape[1] * 2 <= WIDTH else 1
    return "\n".join("".join(_character(value) * wide for value in row) for row in scaled)


def _character(value: float) -> str:
    ramp = POSITIVE if value > 0 else NEGATIVE
    return ramp[round(min(1.0, abs(value)) ** 0.5 * (len(ramp) - 1))]
