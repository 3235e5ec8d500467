"""`python -m benchmarks.scaling`: time and memory as networks grow, as a picture beside its numbers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import measure
from benchmarks.workloads import GROWING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PEERS = ("jax", "torch")
RUNS = 5
PICTURE = Path("docs/images/scaling.png")
LABELS = {
    "width": "units of each of 4 layers (8 samples)",
    "depth": "layers of 256 units (8 samples)",
    "batch": "samples (64 → 256 → 256 → 10)",
    "image": "side of the image (three 3 × 3 convolutions)",
    "sequence": "tokens (a causal transformer block, 64 wide)",
}
COLOURS = {"netjac": "#b2182b", "jax": "#2166ac", "torch": "#e08214"}

Curve = list[dict[str, float]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("axis", nargs="*", help="of " + ", ".join(GROWING) + "; all by default")
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"where it goes ({PICTURE} by default)")
    parser.add_argument("--runs", type=int, default=RUNS, help="calls of each way after the first")
    args = parser.parse_args(argv)
    unknown = [axis for axis in args.axis if axis not in GROWING]
    if unknown:
        parser.error(f"nothing grows along {unknown[0]!r}; there are {', '.join(GROWING)}")
    curves = {axis: grown(axis, args.runs) for axis in args.axis or GROWING}
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    drawn(curves).savefig(args.picture, dpi=110)
    args.picture.with_suffix(".json").write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")
    return 0


def grown(axis: str, runs: int) -> dict[str, Curve]:
    """Framework → one point for each size: its fastest way's median, and the peak memory of that way."""
    curves: dict[str, Curve] = {}
    for size, workload in GROWING[axis].items():
        measured = measure(workload.name, runs, PEERS)
        for framework in ("netjac", *PEERS):
            best = measured.ours if framework == "netjac" else measured.best(framework)
            if best is not None:
                point = {"size": size, "seconds": best.median, "first": best.first, "peak": best.peak}
                curves.setdefault(framework, []).append(point)
        print(
            axis,
            size,
            {name: f"{1e3 * curve[-1]['seconds']:.3g} ms" for name, curve in curves.items()},
            file=sys.stderr,
        )
    return curves


def drawn(curves: dict[str, dict[str, Curve]]) -> Figure:
    """Times above, memory below, a column for each axis, all scales logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(curves), 6), layout="constrained")
    grid = figure.subplots(2, len(curves), squeeze=False)
    for column, (axis, by_framework) in enumerate(curves.items()):
        _lines(grid[0][column], by_framework, "seconds", 1e3)
        _lines(grid[1][column], by_framework, "peak", 2**-20)
        grid[0][column].set_title(axis)
        grid[1][column].set_xlabel(LABELS[axis], fontsize=8)
    grid[0][0].set_ylabel("ms a Jacobian (median)")
    grid[1][0].set_ylabel("peak memory of the process, MiB more")
    grid[0][0].legend(frameon=False)
    return figure


def _lines(axes: Axes, by_framework: dict[str, Curve], what: str, unit: float) -> None:
    sizes: list[Any] = []
    for framework, curve in by_framework.items():
        sizes = [point["size"] for point in curve]
        values = [max(point[what] * unit, 1e-3) for point in curve]
        axes.loglog(sizes, values, "o-", color=COLOURS[framework], label=framework, linewidth=1.5, markersize=4)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.25)


if __name__ == "__main__":
    sys.exit(main())
