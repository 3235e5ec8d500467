"""How the share of misclassified samples grows with ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.attacks.norms import named
from netjac.attacks.pgd import pgd
from netjac.attacks.result import Attack
from netjac.errors import RangeError
from netjac.networks.arrays import to_numpy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Curve:
    """For each of `epsilons` (k,) the share of samples (k,) with an adversarial example no farther, over `samples` of them."""

    name: str
    norm: float
    epsilons: np.ndarray
    success: np.ndarray
    samples: int
    targeted: bool = False

    def __repr__(self) -> str:
        rows = "\n".join(f"  {e:<10.4g}{s:>8.1%}" for e, s in zip(self.epsilons, self.success, strict=True))
        return f"{self.name} on {self.samples} samples: success by ε ({named(self.norm)})\n{rows}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        norm = "inf" if np.isinf(self.norm) else int(self.norm)
        return {
            "attack": self.name,
            "norm": norm,
            "samples": self.samples,
            "targeted": self.targeted,
            "epsilons": self.epsilons.tolist(),
            "success": self.success.tolist(),
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """The curve as a figure, saved to `path` in the format of its ending if one is given."""
        return plot_curves([self], path)


def curve(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    epsilons: Sequence[float],
    attack: Callable[..., Attack] = pgd,
    **options: Any,
) -> Curve:
    """The share of samples that `attack` misclassifies within each ε (0: those that are so from the start).

    An attack of a given ε (`fgsm`, `pgd`) is run for each; what succeeded at a smaller ε counts at a larger one, because its
    example is in the larger ball, too. `deepfool` is run once, and its distances say the rest. `options` are the attack's own.
    Raises `RangeError` for ε that are none, and what the attack does.
    """
    sizes = np.unique(np.asarray(epsilons, np.float64))
    if not sizes.size or not np.isfinite(sizes).all() or sizes[0] < 0:
        raise RangeError(f"epsilons={epsilons!r} is no list of sizes; give numbers from 0, in the units of X")
    run = list(_each(model, X, y, sizes, attack, options))
    last = run[-1][1]
    reached = np.zeros(len(to_numpy(last.success)), bool)
    shares = []
    for _, found in run:
        reached = reached | to_numpy(found.success)
        shares.append(reached.mean())
    return Curve(last.name, last.norm, sizes, np.array(shares), len(reached), last.targeted)
