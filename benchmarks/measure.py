"""Timing: every way in its own process, called in turn, so that a drift of the machine meets all of them.

The processes live for the whole of a workload; while one is called the others wait at their pipe.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.contenders import OURS, taking_part
from benchmarks.workloads import WORKLOADS

# Seconds that the later calls of one way may take on one workload, all together.
PATIENCE = 20.0


@dataclass
class Timing:
    """One way: its `first` call (tracing and compiling), the later calls' `seconds`, `peak` bytes above what the process
    held before the first, and `error`, the distance from netjac's result relative to its norm."""

    way: str
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    error: float = 0.0
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else self.first


@dataclass
class Measured:
    """A workload's timings, netjac's first, and what netjac's plan predicted before anything ran."""

    workload: str
    predicted: dict[str, Any]
    timings: list[Timing]

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    @property
    def peers(self) -> list[Timing]:
        return [timing for timing in self.timings[1:] if not timing.failed]

    def best(self, framework: str = "") -> Timing | None:
        """The fastest way of a framework, or of all the peers."""
        own = [timing for timing in self.peers if timing.way.startswith(framework)]
        return min(own, key=lambda timing: timing.median, default=None)


class Worker:
    """A process that runs one way on one workload when told to."""

    def __init__(self, workload: str, way: str) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", workload, way]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.command = " ".join(command[1:4]) + f" '{way}'"
        self.greeting = self._heard()

    def call(self, save: bool = False) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"save": save}) + "\n")
        self.process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise RuntimeError(f"a process ended early; to see why: python {self.command}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, runs: int, peers: Sequence[str]) -> Measured:
    """The first call of every way, then `runs` rounds of all of them in turn."""
    plan = Worker(name, "plan")
    plan.close()
    workers = {way: Worker(name, way) for way in taking_part(WORKLOADS[name], peers)}
    try:
        timings = _first_calls(workers)
        for _ in range(runs):
            for timing in timings:
                if not timing.failed and sum(timing.seconds) < PATIENCE:
                    timing.seconds.append(workers[timing.way].call()["seconds"])
    finally:
        for worker in workers.values():
            worker.close()
    return Measured(name, plan.greeting, timings)


def _first_calls(workers: dict[str, Worker]) -> list[Timing]:
    timings = []
    reference = np.zeros(0)
    for way, worker in workers.items():
        answer = worker.call(save=True)
        if "failed" in answer:
            if way == OURS:
                raise RuntimeError(f"netjac fails: {answer['failed']}")
            timings.append(Timing(way, failed=answer["failed"]))
            continue
        result = np.load(answer["saved"])
        os.unlink(answer["saved"])
        if way == OURS:
            reference = result
        error = float(np.linalg.norm(result - reference) / np.linalg.norm(reference))
        timings.append(Timing(way, answer["seconds"], peak=answer["peak"], error=error))
    return timings
