"""One attack on one model one way, in a process of its own: `python -m benchmarks.attack_worker ATTACK:MODEL:WEIGHTS WAY`.

The attack `bare` is none, but what every one is made of (see `benchmarks.attack_ways.bare`).

Each line on its input is one call; it answers with its time, its peak memory, the share of successes and the mean distance.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.attack_ways import bare, digits, judged, restored, ways
from benchmarks.worker import most_memory, say


def main(what: str, way: str) -> None:
    attack, name, weights = what.split(":", 2)
    network, (_, given) = restored(name, Path(weights)), digits()
    call = (bare(network, given) if attack == "bare" else ways(attack, network, given))[way]
    say({"ready": way})
    before = most_memory()
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        found = call()
        answer = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
        answer["peak"] = most_memory() - before
        say({**answer, **judged(attack, network, given, found)})


if __name__ == "__main__":
    main(*sys.argv[1:])
