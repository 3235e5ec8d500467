"""How the share of misclassified samples grows with ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.attacks.deepfool import deepfool
from netjac.attacks.fgsm import fgsm
from netjac.attacks.norms import named
from netjac.attacks.pgd import pgd
from netjac.attacks.result import Attack
from netjac.errors import RangeError, UnknownNameError
from netjac.networks.arrays import to_numpy
from netjac.report.curves import plot_curves

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
        return f"{self._title()}\n{rows}"

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ((f"{e:.4g}", f"{s:.1%}") for e, s in zip(self.epsilons, self.success, strict=True))
        return rows(("ε", "success"), cells, [self._title()])

    def _title(self) -> str:
        return f"{self.name} on {self.samples} samples: success by ε ({named(self.norm)})"

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
        """The curve as a figure, saved to `path` in the format of its ending if one is given. See `plot_curves` for several."""
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
    """The share of samples that an attack succeeds with within each ε; `options` are the attack's own.

    `fgsm` and `pgd` are run for each ε, and what succeeded at a smaller one counts at a larger one, in whose ball its example
    lies, too. `deepfool` is run once, and its distances say the rest. Raises `RangeError` for ε that are none, and what the
    attack does.
    """
    sizes = np.unique(np.asarray(epsilons, np.float64))
    if not sizes.size or not np.isfinite(sizes).all() or sizes[0] <= 0:
        raise RangeError(f"epsilons={epsilons!r} is no list of sizes; give positive numbers, in the units of X")
    if attack not in (fgsm, pgd, deepfool):
        raise UnknownNameError.of(
            "attack with an ε", getattr(attack, "__name__", str(attack)), ("fgsm", "pgd", "deepfool")
        )
    if attack is deepfool:
        found = deepfool(model, X, y, **options)
        return _curve(found, sizes, found.success_within(list(sizes)))
    reached, shares = np.zeros(1, bool), []
    for size in sizes:
        found = attack(model, X, y, epsilon=float(size), **options)
        reached = reached | to_numpy(found.success)
        shares.append(np.mean(reached))
    return _curve(found, sizes, np.array(shares))


def _curve(found: Attack, sizes: np.ndarray, shares: np.ndarray) -> Curve:
    return Curve(found.name, found.norm, sizes, shares, len(to_numpy(found.success)), found.targeted)
