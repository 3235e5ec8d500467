"""A small picture of a signed matrix for the terminal.

With colours, each character is two entries, one above the other: red above zero, blue below, white at zero. Without
colours (a file, a pipe) magnitude and sign are characters.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 72, 32
POSITIVE, NEGATIVE = " ░▒▓█", " ˗-=≡"
RED, WHITE, BLUE = (178, 24, 43), (247, 247, 247), (33, 102, 172)


def show(matrix: np.ndarray, console: Console) -> None:
    """Print the matrix's picture, largest magnitude at full strength, with a line that says the scale."""
    small = shrunk(np.nan_to_num(np.asarray(matrix, np.float64)), HEIGHT, min(WIDTH, max(console.width - 2, 8)))
    largest = float(np.abs(small).max(initial=0))
    scaled = small / largest if largest else small
    coloured = console.is_terminal and console.color_system is not None
    console.print(half_blocks(scaled) if coloured else Text(characters(scaled)))
    signs = "red +, blue −" if coloured else f"{POSITIVE[1:]} above zero, {NEGATIVE[1:]} below"
    console.print(Text(f"{signs}; full strength ±{largest:.3g}"))


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
