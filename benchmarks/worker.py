"""One way on one workload, in a process of its own: told over a pipe to run, it answers with its time.

python -m benchmarks.worker WORKLOAD WAY

By hand: each line `{}` on its input is one call; `{"save": true}` keeps the result in a file. The way `plan` says what
netjac's plan predicts, and runs nothing; `rates` measures the machine at a result of this size.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.contenders import prepared
from benchmarks.floors import rates
from benchmarks.workloads import NAMED, drawn

STATUS = Path("/proc/self/status")


def main(name: str, way: str) -> None:
    """Says that it is ready, then answers each line with {"seconds", "processor", "peak", "saved"} or {"failed"}."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    workload = NAMED[name]
    weights, x = drawn(workload)
    if way == "plan":
        from benchmarks.in_jax import predicted

        say(predicted(workload, weights, x))
        return
    if way == "rates":
        from benchmarks.in_jax import predicted

        say(rates(predicted(workload, weights, x)["bytes"]))
        return
    call = prepared(way, workload, weights, x)
    say({"ready": way})
    before = most_memory()
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        try:
            result = call()
        except Exception as error:  # what a framework cannot do is a finding
            say({"failed": f"{type(error).__name__}: {str(error)[:120]}"})
            continue
        answer = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
        answer["peak"] = most_memory() - before
        if json.loads(line).get("save"):
            with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
                np.save(file, np.reshape(_dense(result), -1))
            answer["saved"] = file.name
        say(answer)


def _dense(result) -> np.ndarray:
    for method in ("toarray", "todense"):
        if hasattr(result, method):
            return np.asarray(getattr(result, method)())
    return result


def most_memory() -> int:
    """The most bytes this process has held so far; 0 where the system does not say."""
    if not STATUS.exists():
        return 0
    peak = next((line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(peak.split()[1]) * 1024


def say(answer: dict) -> None:
    print("@" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
