"""One way on one task, in a process of its own: `python -m benchmarks.fit_worker TASK:SECONDS WAY`.

Each line on its input is the next start, 0, 1, …; it answers with the course of the fit and the process' peak memory.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from benchmarks.fit_tasks import TASKS, started
from benchmarks.fit_ways import WAYS
from benchmarks.worker import most_memory, say


def main(what: str, way: str) -> None:
    name, seconds = what.rsplit(":", 1)
    task = TASKS[name]
    X, Y = task.data()
    say({"ready": way})
    before = most_memory()
    for seed, _ in enumerate(sys.stdin):
        course = WAYS[way](task, X, Y, started(task, seed), float(seconds))
        course.peak = most_memory() - before
        say(asdict(course))


if __name__ == "__main__":
    main(*sys.argv[1:])
