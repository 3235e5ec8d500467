"""Attacks one way, in a process of its own: `python -m benchmarks.attack_worker FOLDER WAY`, FOLDER with weights.

Each line on its input names an attack, a model and for how many seconds to repeat the call, which is made at least once; the
answer has the wall time of the first call, the least processor time and, of every call, how many samples were successes, and
the mean distance of the last. The attack `bare` is none, but what every one is made of (see `benchmarks.attack_ways.bare`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.attack_ways import MODELS, bare, digits, judged, restored, ways
from benchmarks.worker import say


def main(folder: str, way: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        # XLA divides its loops among the processors that it sees, whatever its flags say of threads.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    networks, (_, given) = {name: restored(name, Path(folder) / f"{name}.npz") for name in MODELS}, digits()
    calls = {}
    say({"ready": way})
    for line in sys.stdin:
        asked = json.loads(line)
        attack, model = asked["attack"], asked["model"]
        piece = asked.get("piece", way)
        if (attack, model, piece) not in calls:
            made = bare(networks[model], given) if attack == "bare" else ways(attack, networks[model], given)
            calls |= {(attack, model, name): call for name, call in made.items()}
        answer = timed(calls[attack, model, piece], asked["seconds"])
        told = [judged(attack, networks[model], given, found) for found in answer.pop("found")]
        say({**answer, "successes": [one["successes"] for one in told], "distance": told[-1]["distance"]})


def timed(call, seconds: float) -> dict:
    """The call repeated until so many seconds have passed, and what each gave."""
    start, found, least, first = time.perf_counter(), [], float("inf"), 0.0
    while not found or time.perf_counter() - start < seconds:
        used = time.process_time()
        found.append(call())
        least = min(least, time.process_time() - used)
        first = first or time.perf_counter() - start
    return {"first": first, "processor": least, "found": found}


if __name__ == "__main__":
    main(*sys.argv[1:])
