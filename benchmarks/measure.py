"""Timing: every way in its own process, called in turn, so that a drift of the machine meets all of them.

The processes live for the whole of a workload; while one is called the others wait at their pipe.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.contenders import HAND, OURS, taking_part
from benchmarks.quiet import TOLERATED, await_quiet, observed
from benchmarks.workloads import NAMED

# Seconds that the later calls of one way may take on one workload, all together.
ENOUGH = 20.0

# Seconds after which the threads of a framework that was called have stopped waiting for more work.
PAUSE = 0.3

# Seconds for which a way is called before the call that counts; at least once.
WARMING = 0.15


@dataclass
class Timing:
    """One way: its `first` call (tracing and compiling), the later calls' `seconds` and the `processor` seconds of all
    their threads, which others on the machine change less; `peak` bytes above what the process held before the first,
    and `error`, the distance from netjac's result relative to its norm."""

    way: str
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peak: int = 0
    error: float = 0.0
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else self.first


@dataclass
class Measured:
    """A workload's timings, netjac's first, what netjac's plan predicted before anything ran, how many rounds were
    `disturbed` by other processes and kept nevertheless, and the machine's rates just before."""

    workload: str
    predicted: dict[str, Any]
    timings: list[Timing]
    disturbed: int = 0
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    @property
    def peers(self) -> list[Timing]:
        return [timing for timing in self.timings[1:] if not timing.failed]

    def best(self, framework: str = "") -> Timing | None:
        """The fastest way of a framework, or of all the peers, to whom what is written by hand does not belong."""
        own = [t for t in self.peers if (t.way.startswith(framework) if framework else not t.way.startswith(HAND))]
        return min(own, key=lambda timing: timing.median, default=None)


class Worker:
    """A process that runs one way on one workload when told to: that of `module`, told by its arguments which."""

    def __init__(self, workload: str, way: str, module: str = "benchmarks.worker") -> None:
        command = [sys.executable, "-m", module, workload, way]
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


def measure(name: str, runs: int, peers: Sequence[str], patience: float = 0.0) -> Measured:
    """The first call of every way, then `runs` rounds of all of them in turn.

    A round that other processes disturb is taken again, as long as the workload has not waited for `patience` seconds.
    """
    until = time.monotonic() + patience
    predicted, machine = ({}, {}) if NAMED[name].asks else (_told(name, "plan"), _told(name, "rates"))
    await_quiet(until)
    workers = {way: Worker(name, way) for way in taking_part(NAMED[name], peers)}
    try:
        await_quiet(until)
        measured = Measured(name, predicted, _first_calls(workers), rates=machine)
        for number in range(runs):
            _add_round(measured, workers, until, number)
    finally:
        for worker in workers.values():
            worker.close()
    return measured


def _told(name: str, what: str) -> dict[str, Any]:
    worker = Worker(name, what)
    worker.close()
    return worker.greeting


def _add_round(measured: Measured, workers: dict[str, Worker], until: float, number: int) -> None:
    """Each way in turn, in another order every time; after a pause it is called for a while, and the last call counts.

    Who comes after a framework finds its threads still awake, so there is a pause before every way, and no way has always the
    same one before it. Who comes after a pause finds cold caches and slow clocks, so the call that counts is one of a loop.
    """
    going = [t for t in measured.timings if not t.failed and sum(t.seconds) < ENOUGH]
    going = [going[place] for place in np.random.default_rng(number).permutation(len(going))]
    own = [worker.process.pid for worker in workers.values()]
    while True:
        await_quiet(until)
        answers, others = observed(lambda: [warm_call(workers[t.way]) for t in going], own)
        if others <= TOLERATED or time.monotonic() >= until:
            break
    measured.disturbed += others > TOLERATED
    for timing, answer in zip(going, answers, strict=True):
        timing.seconds.append(answer["seconds"])
        timing.processor.append(answer["processor"])


def warm_call(worker: Worker) -> dict[str, Any]:
    time.sleep(PAUSE)
    start = time.monotonic()
    worker.call()
    while time.monotonic() - start < WARMING:
        worker.call()
    return worker.call()


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
