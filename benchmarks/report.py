"""`python -m benchmarks.report`: what a report costs the one who waits for it.

Each network is written to a file, and `netjac report` is run on it in a process of its own: the whole time, the start of
Python and the loading of the file included; processor time by section; the size of the page; peak memory. The promise is
MobileNetV2 within 60 s on 2 cores and 5 MB; 1 is returned where it is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.table import surroundings, table

MOST_SECONDS, MOST_BYTES = 60.0, 5_000_000
NETWORKS = ("mobilenet", "digits", "dense")


@dataclass(frozen=True)
class Cost:
    """Seconds until the process ended, its processor seconds, those of its sections, bytes of the page, and of memory."""

    network: str
    seconds: float
    processor: float
    sections: dict[str, float]
    size: int
    memory: int

    @property
    def kept(self) -> bool:
        return self.seconds <= MOST_SECONDS and self.size <= MOST_BYTES


def main(argv: list[str] | None = None) -> int:
    """0; 1 when a report takes longer or more than promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="What a report costs.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; all by default")
    args = parser.parse_args(argv)
    for name in args.networks:
        if name not in NETWORKS:
            parser.error(f"there is no network {name!r}; there are {', '.join(NETWORKS)}")
    print(surroundings())
    found = []
    for name in args.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(cost(name, Path(folder)))
        print(f"{name}: {found[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    print(told(found))
    return 0 if all(one.kept for one in found) else 1


def cost(name: str, folder: Path) -> Cost:
    """What `netjac report` of a network takes. Raises `RuntimeError` where it fails."""
    written(name, folder)
    command = [sys.executable, "-m", "netjac", "report", "model.keras", "x.npy", "--labels", "y.npy", "-o", "page.html"]
    began = time.perf_counter()
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*command, "--numbers", "numbers.json", "--quiet"], cwd=folder, stdout=said, stderr=said,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip
        # wait4 and not wait: it has the memory and the processor time of this one process.
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the report of {name} failed: {(folder / 'said').read_text()[-2000:]}")
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    sections = {section: part["processor_seconds"] for section, part in numbers.items() if "processor_seconds" in part}
    return Cost(
        name, seconds, used.ru_utime + used.ru_stime, sections, (folder / "page.html").stat().st_size,
        used.ru_maxrss * 1024,
    )  # fmt: skip


def written(name: str, folder: Path) -> None:
    """The network as model.keras, 32 inputs as x.npy and their classes as y.npy, all random and the same each time."""
    import keras

    keras.utils.set_random_seed(0)
    shape = {"mobilenet": (96, 96, 3), "digits": (8, 8, 1), "dense": (4,)}[name]
    layers = keras.layers
    if name == "mobilenet":
        model = keras.applications.MobileNetV2(input_shape=shape, weights=None, classes=10)
    elif name == "digits":
        model = keras.Sequential([
            keras.Input(shape), layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
            layers.Dense(32, activation="relu"), layers.Dense(10, activation="softmax"),
        ])  # fmt: skip
    else:
        model = keras.Sequential([keras.Input(shape), layers.Dense(8, "tanh"), layers.Dense(3, "softmax")])
    model.save(folder / "model.keras")
    x = np.random.default_rng(0).uniform(0, 1, (32, *shape)).astype("float32")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", np.asarray(model.predict(x, verbose=0)).argmax(1))


def told(found: list[Cost]) -> str:
    """The whole, and the sections, as Markdown."""
    whole = [
        [one.network, f"{one.seconds:.1f} s", f"{one.processor:.1f} s", f"{one.size / 1e6:.2f} MB",
         f"{one.memory / 2**20:.0f} MiB", "yes" if one.kept else "**no**"]
        for one in found
    ]  # fmt: skip
    names = list(dict.fromkeys(section for one in found for section in one.sections))
    parts = [
        [section, *(f"{one.sections[section]:.2f} s" if section in one.sections else "–" for one in found)]
        for section in names
    ]
    return "\n\n".join([
        table(["report of", "time", "processor time", "page", "peak memory", "60 s and 5 MB kept"], whole),
        table(["processor time of section", *(one.network for one in found)], parts),
    ])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
