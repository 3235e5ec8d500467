"""Matrices as small PNGs, one pixel an entry, that a page scales up; and numbers packed for its script."""

from __future__ import annotations

import base64
import io

import numpy as np

from netjac.report.plots import COLOURS, largest

TALL, WIDE = 96, 256
STRENGTH = "viridis"


def png(values: np.ndarray, signed: bool, top: float | None = None) -> str:
    """A data URI. Signed values from blue by white, zero, to red; others from 0; what is not finite is grey."""
    from matplotlib import colormaps
    from matplotlib.image import imsave

    scale = (largest(values) if top is None else top) or 1.0
    share = (values / scale + 1) / 2 if signed else values / scale
    colours = colormaps[COLOURS if signed else STRENGTH](np.clip(np.nan_to_num(share), 0, 1))
    colours[~np.isfinite(values)] = (0.6, 0.6, 0.6, 1)
    file = io.BytesIO()
    imsave(file, colours, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def table_of_colours() -> str:
    """256 colours, three bytes each, from the most negative to the most positive."""
    from matplotlib import colormaps

    found = colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3]
    return base64.b64encode((found * 255).round().astype(np.uint8).tobytes()).decode()


def packed(values: np.ndarray) -> str:
    """float32, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def coarse(values: np.ndarray, tall: int = TALL, wide: int = WIDE) -> tuple[np.ndarray, tuple[int, int]]:
    """(…, m, n) with at most `tall` × `wide` blocks at the end, and the blocks' size: of each its largest entry by size."""
    m, n = values.shape[-2:]
    height, width = -(-m // tall), -(-n // wide)
    if (height, width) == (1, 1):
        return values, (1, 1)
    rows, columns = -(-m // height), -(-n // width)
    padding = [(0, 0)] * (values.ndim - 2) + [(0, rows * height - m), (0, columns * width - n)]
    blocks = np.pad(values, padding).reshape((*values.shape[:-2], rows, height, columns, width))
    blocks = np.moveaxis(blocks, -3, -2).reshape((*values.shape[:-2], rows, columns, height * width))
    at = np.abs(blocks).argmax(-1)[..., None]
    return np.take_along_axis(blocks, at, -1)[..., 0], (height, width)
