"""`python -m benchmarks.fit`: seconds to a loss on small regressions, by Levenberg–Marquardt of netjac, SciPy and optimistix,
by Adam, and by L-BFGS; then least squares to published answers.

Every way of a task has a process of its own, and starts from the same parameters in float32. It is warm: what it compiles, it
has compiled before (told apart, with the memory). Adam has the best of four rates, and that search is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import least_squares
from benchmarks.contenders import OURS
from benchmarks.fit_tasks import TASKS, Task
from benchmarks.fit_ways import WAYS, Course, taking_part
from benchmarks.measure import Worker
from benchmarks.table import surroundings, table

PICTURE = Path("docs/images/fit.png")
COLOURS = {"netjac": "#b2182b", "Adam": "#2166ac", "L-BFGS": "#e08214", "SciPy": "#5aae61", "optimistix": "#7b3294"}
Courses = dict[str, list[Course]]


def measured(task: Task, seeds: int, seconds: float) -> Courses:
    """Every way from every start: from each start all ways in turn."""
    workers = {
        way: Worker(f"{task.name}:{seconds}", way, "benchmarks.fit_worker") for way in taking_part(task, task.data()[1])
    }
    found: Courses = {way: [] for way in workers}
    try:
        for _ in range(seeds):
            for way, worker in workers.items():
                found[way].append(Course(**worker.call()))
    finally:
        for worker in workers.values():
            worker.close()
    return found


def row(task: Task, found: Courses, seconds: float) -> list[str]:
    """Median seconds to the target, of all starts; how many did not get there; the ratio to netjac's."""
    ours = median(one.seconds(task.target) for one in found[OURS])
    cells = [_named(task), f"{task.target:g}"]
    for way in WAYS:
        if way not in found:
            cells.append("–")
            continue
        times = [one.seconds(task.target) for one in found[way]]
        middle, missed = median(times), [one.best for one in found[way] if one.best > task.target]
        told = f"{middle:.3g} s" if np.isfinite(middle) else f"not in {seconds:g} s"
        if missed:
            told += f" ({len(missed)} of {len(times)} ended at {median(missed):.3g})"
        ratio = f", {middle / ours:.2g}×" if way != OURS and np.isfinite(middle) and np.isfinite(ours) else ""
        cells.append(f"**{told}**" if way == OURS else told + ratio)
    return cells


def expense(task: Task, found: Courses) -> list[str]:
    """First calls and peak memory."""
    cells = (
        f"{found[way][0].first:.2g} s, {max(one.peak for one in found[way]) / 2**20:.0f} MiB" if way in found else "–"
        for way in WAYS
    )
    return [_named(task), *cells]


def _named(task: Task) -> str:
    return f"{task.name} ({'-'.join(map(str, task.layers))})"


def drawn(courses: dict[str, Courses]) -> Any:
    """Loss over time, a panel a task, a line a start."""
    from matplotlib.figure import Figure

    columns, rows = min(len(courses), 3), -(-len(courses) // 3)
    figure = Figure(figsize=(3.6 * columns, 3.4 * rows), layout="constrained")
    for place, (name, found) in enumerate(courses.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        for way, several in found.items():
            for number, one in enumerate(several):
                losses = np.minimum.accumulate([loss for _, loss in one.curve])
                label = way if number == 0 else None
                axes.loglog(
                    [max(s, 1e-3) for s, _ in one.curve], losses, color=COLOURS[way], label=label, linewidth=1.2
                )
        axes.axhline(TASKS[name].target, color="0.6", linestyle=":")
        axes.set(title=name, xlabel="seconds")
        axes.grid(alpha=0.25)
        axes.minorticks_off()
    figure.axes[0].set_ylabel("mean squared error, best so far")
    figure.axes[0].legend(frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__)
    parser.add_argument(
        "task", nargs="*", help="of " + ", ".join(TASKS) + "; all, and the published answers, by default"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="for each way and start (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="starts (default %(default)s)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where it goes (default %(default)s)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.task if name not in TASKS]
    if unknown:
        parser.error(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
    courses, rows = {}, []
    for name in args.task or TASKS:
        courses[name] = measured(TASKS[name], args.seeds, args.seconds)
        rows.append(row(TASKS[name], courses[name], args.seconds))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    costs = [expense(TASKS[name], found) for name, found in courses.items()]
    head = [f"{way}'s LM" if way in ("SciPy", "optimistix") else way for way in WAYS]
    print(surroundings(), table(["network", "mse", *head], rows), sep="\n\n")
    print("\nFirst call, and peak memory beyond what the process held with the data:\n")
    print(table(["network", *head], costs))
    if not args.task:
        print("\nTo published answers, in float64:\n", least_squares.report(), sep="\n")
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    drawn(courses).savefig(args.picture, dpi=110)
    numbers = {
        name: {w: [asdict(one) for one in several] for w, several in found.items()} for name, found in courses.items()
    }
    args.picture.with_suffix(".json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
