"""Lipschitz constants from three sides: seen at samples, certified over boxes, and certified everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from netjac.certified.bounds import Boxes, over_boxes
from netjac.certified.layers import product_of_norms
from netjac.certified.norms import at_least, between
from netjac.progress import Progress


@dataclass(frozen=True, eq=False)
class Lipschitz:
    """Bounds of the Lipschitz constant in the Euclidean norm.

    `lower` (batch,): ‖J(x)‖₂ at the samples, which no constant can be below. `local` (batch,): a certified constant of each
    box, ‖J(x′)‖₂ ≤ local for all |x′ − x| ≤ radius; None without a radius. `product`: the product of the layers' norms, a
    certified constant everywhere, infinite where none is known.
    """

    lower: np.ndarray
    local: np.ndarray | None
    product: float

    @property
    def upper(self) -> np.ndarray:
        """(batch,): the smaller of the certified constants of each box."""
        if self.local is None:
            return np.full_like(self.lower, self.product)
        return np.minimum(self.local, self.product)

    def __repr__(self) -> str:
        lines = [
            f"Lipschitz constant, Euclidean norm, {len(self.lower)} samples",
            f"  at the samples       ≥ {_most(self.lower)}",
        ]
        if self.local is not None:
            lines.append(f"  over their boxes     ≤ {_most(self.local)}")
        return "\n".join([*lines, f"  product of norms     ≤ {self.product:.6g}"])

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph(repr(self).split("\n"))


def lipschitz(
    model: Any, X: Any, *, radius: Any = None, of: str = "output", memory: int | float | str | None = None,
    progress: Progress = None,
) -> Lipschitz:  # fmt: skip
    """How much the output can change, relative to the input, in the Euclidean norm.

    X: samples along axis 0, the middles of the boxes |x′ − x| ≤ radius (see `netjac.bounds`); without a radius only the
    sampled lower bound and the product of norms are found. lower ≤ local and lower ≤ product always. Raises what
    `netjac.bounds` raises.
    """
    at_lower, at_upper, boxes = over_boxes(model, X, 0.0, of, memory, progress)
    local = None
    if radius is not None:
        lower, upper, _ = over_boxes(model, X, radius, of, memory, progress)
        local = between(*(_matrices(end, boxes) for end in (lower, upper)))
    seen = at_least(*(_matrices(end, boxes) for end in (at_lower, at_upper)))
    return Lipschitz(seen, local, product_of_norms(boxes.point, boxes.of))


def _matrices(array: np.ndarray, boxes: Boxes) -> np.ndarray:
    return array.reshape((boxes.count, -1, boxes.features))


def _most(values: np.ndarray) -> str:
    return f"{values.max(initial=0.0):.6g}"
