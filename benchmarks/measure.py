"""Timing: every contender in its own process, called in turn, so that a drift of the machine meets all of them."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.workloads import WORKLOADS

TOO_SLOW = 20.0
PEERS = ("jax", "torch", "tensorflow")


@dataclass
class Timing:
    """`first` call (tracing and compiling), the later calls' seconds, `peak` bytes above the start, and `error`, the
    distance from netjac's result relative to its norm."""

    way: str
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    error: float = 0.0
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else self.first


class Worker:
    """A process that runs one framework's ways on one workload when told to."""

    def __init__(self, framework: str, workload: str) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", framework, workload]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.ways = self._heard()["ways"]

    def ask(self, way: str, save: bool = False) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"way": way, "save": save}) + "\n")
        self.process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise RuntimeError("a benchmark's process ended early; run it by hand: python -m benchmarks.worker")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def installed(framework: str) -> bool:
    return importlib.util.find_spec(framework) is not None


def measure(workload: str, rounds: int, peers: tuple[str, ...] = PEERS) -> list[Timing]:
    """netjac first, then every way of the peers that are installed."""
    WORKLOADS[workload]
    workers = [Worker(name, workload) for name in ("netjac", *(p for p in peers if installed(p)))]
    timings: dict[str, Timing] = {}
    results: dict[str, np.ndarray] = {}
    owner = {way: worker for worker in workers for way in worker.ways}
    for way, worker in owner.items():
        timings[way] = Timing(way)
        answer = worker.ask(way, save=True)
        if "failed" in answer:
            timings[way].failed = answer["failed"]
            continue
        timings[way].first = answer["seconds"]
        results[way] = np.load(answer["saved"])
        os.unlink(answer["saved"])
    for _ in range(rounds):
        for way, worker in owner.items():
            timing = timings[way]
            if not timing.failed and (timing.first < TOO_SLOW or not timing.seconds):
                answer = worker.ask(way)
                timing.seconds.append(answer["seconds"])
                timing.peak = max(timing.peak, answer["peak"])
    for worker in workers:
        worker.close()
    for way, result in results.items():
        timings[way].error = float(np.linalg.norm(result - results["netjac"]) / np.linalg.norm(results["netjac"]))
    return list(timings.values())
