"""On a shared machine: how much of its processors others used while something ran."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil

# Of all processors; the system's own clock of them ticks every 10 ms.
TOLERATED = 0.1
Result = TypeVar("Result")


def observed(run: Callable[[], Result], own: Sequence[int]) -> tuple[Result, float]:
    """What `run` returns, and the share of the processors that processes other than `own` and this one used meanwhile."""
    processes = [psutil.Process(), *map(psutil.Process, own)]
    start, busy, mine = time.perf_counter(), _busy(), _used(processes)
    result = run()
    seconds = (time.perf_counter() - start) * (psutil.cpu_count() or 1)
    others = (_busy() - busy) - (_used(processes) - mine)
    return result, max(others, 0.0) / seconds


def await_quiet(until: float) -> None:
    """Wait until the others leave the processors alone for half a second, or until this time."""
    while time.monotonic() < until and observed(lambda: time.sleep(0.5), ())[1] > TOLERATED:
        continue


def _busy() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "system", "nice", "irq", "softirq"))


def _used(processes: Sequence[psutil.Process]) -> float:
    spent = (process.cpu_times() for process in processes)
    return sum(times.user + times.system for times in spent)
