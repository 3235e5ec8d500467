"""What an attack found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netjac.attacks.norms import named
from netjac.networks.arrays import to_numpy


@dataclass(frozen=True, eq=False, repr=False)
class Attack:
    """The perturbed inputs of N samples, each verified by a forward pass of the model itself. Arrays are of X's framework.

    `raw` (N, *in): the perturbed inputs as the attack made them. `adversarial` (N, *in): the same, clipped to `bounds`; it
    is these that are verified. `success` (N,) bool: whether the model's class is another than the label (targeted: is the
    target) and, with an `epsilon`, the distance no larger, up to the rounding of X + ε. `distance` (N,) float64: the `norm` of
    adversarial − X over all entries of a sample (norm 0: how many changed). `labels` and `predicted` (N,): the class started
    from, and that of `adversarial`. A sample that fails has the iterate that came closest.
    """

    raw: Any
    adversarial: Any
    success: Any
    distance: Any
    labels: Any = field(default=None)
    predicted: Any = field(default=None)
    name: str = "attack"
    norm: float = 2.0
    epsilon: float | None = None
    targeted: bool = False

    def success_within(self, epsilons: Sequence[float]) -> np.ndarray:
        """The share of samples with an adversarial example no farther than each ε: a curve from one search of the nearest."""
        found, distance = to_numpy(self.success), to_numpy(self.distance)
        limits = np.asarray(epsilons, np.float64)
        if not len(found):
            return np.full(limits.shape, np.nan)
        return np.mean(found & (distance <= limits[..., None]), -1)

    def to_dict(self) -> dict[str, Any]:
        """The numbers in short as plain data, for JSON; distances are those of the samples that succeeded."""
        found, distance = to_numpy(self.success), to_numpy(self.distance)
        some = distance[found]
        return {
            "attack": self.name,
            "norm": "inf" if np.isinf(self.norm) else int(self.norm),
            "epsilon": self.epsilon,
            "targeted": self.targeted,
            "samples": len(found),
            "successes": int(found.sum()),
            "median distance": float(np.median(some)) if len(some) else None,
            "largest distance": float(some.max()) if len(some) else None,
        }

    def __repr__(self) -> str:
        told = self.to_dict()
        limit = "" if self.epsilon is None else f", ε = {self.epsilon:g}"
        what = "made the target" if self.targeted else "misclassified"
        measure = named(self.norm) + (", entries changed" if self.norm == 0 else "")
        share = f" ({told['successes'] / told['samples']:.1%})" if told["samples"] else ""
        lines = [f"{self.name}{limit}: {told['successes']} of {told['samples']} samples {what}{share}"]
        if told["successes"]:
            lines.append(
                f"  distance ({measure}): median {told['median distance']:.4g}, largest {told['largest distance']:.4g}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph(repr(self).split("\n"))
