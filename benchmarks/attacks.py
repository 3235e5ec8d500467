"""`python -m benchmarks.attacks [ATTACK …]`: adversarial examples by netjac, Foolbox and torchattacks, side by side.

The floor of an attack whose number of gradients is fixed is so many bare gradients, by torch or by netjac, whichever are
faster here, and the forward pass that verifies the result: no way of taking the same steps gets under it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.attack_ways import (
    ATTACKS,
    BARE,
    LEFT_OUT,
    MODELS,
    OURS,
    PEERS,
    SAMPLES,
    STEPS,
    entries_that_differ,
    trained,
)
from benchmarks.contenders import installed
from benchmarks.measure import ENOUGH, Worker, warm_call
from benchmarks.table import milliseconds, surroundings, table


@dataclass
class Way:
    """One way on one row: seconds of the `first` call and of later ones, and of all processors in those; peak bytes,
    successes, mean ‖r‖₂ / ‖x‖₂."""

    name: str
    first: float
    peak: int
    success: float
    distance: float
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else self.first


@dataclass
class Row:
    """`bare`: the median seconds of a forward pass and of gradients on this model, by name."""

    attack: str
    model: str
    ways: list[Way]
    bare: dict[str, float] = field(default_factory=dict)

    def ratio(self) -> float | None:
        """The fastest peer's time over netjac's."""
        best = self._fastest_peer()
        return None if best is None else best / self.ways[0].median

    def _fastest_peer(self) -> float | None:
        return min((way.median for way in self.ways[1:]), default=None)

    def processor_ratio(self) -> float | None:
        """The same of the processors' time, the least of all calls, which others on the machine change less."""
        peers = [min(way.processor) for way in self.ways[1:] if way.processor]
        return min(peers) / min(self.ways[0].processor) if peers and self.ways[0].processor else None

    def floor(self) -> float | None:
        """Seconds; None where it depends on the samples how many gradients are asked for."""
        gradients = 1 if self.attack.startswith("fgsm") else STEPS if self.attack.endswith("_all") else None
        if gradients is None or not self.bare:
            return None
        forward, *bare = (self.bare[name] for name in BARE)
        return gradients * min(bare) + forward

    def most(self) -> float | None:
        """The ratio that a way at the floor would have."""
        best, floor = self._fastest_peer(), self.floor()
        return None if best is None or floor is None else best / floor

    def at_least_as_good(self) -> bool:
        return all(self.ways[0].success >= way.success for way in self.ways[1:])


def main(argv: list[str] | None = None) -> int:
    """0 when netjac succeeds at least as often as each peer on every row, and FGSM is Foolbox's in float64; else 1."""
    args = _parser().parse_args(argv)
    unknown = [attack for attack in args.attack if attack not in ATTACKS]
    if unknown:
        _parser().error(f"there is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    rows, differing = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            weights = Path(folder) / f"{model}.npz"
            accuracy = trained(model, weights)
            print(f"{model}: {accuracy:.1%} of {SAMPLES} images recognised", file=sys.stderr)
            if installed("foolbox"):
                count, entries = entries_that_differ(model, weights)
                differing += count
                print(
                    f"{model}: FGSM differs from Foolbox's, in float64, in {count} of {entries} entries",
                    file=sys.stderr,
                )
            seconds = bare(model, weights, args.runs)
            told = ", ".join(f"{name} {milliseconds(value)}" for name, value in seconds.items())
            print(f"{model}: {told}", file=sys.stderr)
            for attack in args.attack:
                rows.append(measured(attack, model, weights, args.runs))
                rows[-1].bare = seconds
                print(report(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    about = surroundings() + f" {SAMPLES} digits of 8 × 8, bounds [0, 1]."
    print(f"{about}\n\n{report(rows)}\n\n{pieces(rows)}\n\n{expense(rows)}")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return int(differing > 0 or not all(row.at_least_as_good() for row in rows))


def measured(attack: str, model: str, weights: Path, runs: int) -> Row:
    """The first call of each way, then `runs` rounds of all of them in another order every time."""
    names = [OURS, *(peer for peer in PEERS if installed(peer) and (attack.split("_")[0], peer) not in LEFT_OUT)]
    names = [name for name in names if (attack, name) not in LEFT_OUT]
    workers = {name: Worker(f"{attack}:{model}:{weights}", name, "benchmarks.attack_worker") for name in names}
    try:
        row = Row(attack, model, [_first(name, worker) for name, worker in workers.items()])
        for number in range(runs):
            going = [way for way in row.ways if sum(way.seconds) + way.first < ENOUGH]
            for place in np.random.default_rng(number).permutation(len(going)):
                answer = warm_call(workers[going[place].name])
                going[place].seconds.append(answer["seconds"])
                going[place].processor.append(answer["processor"])
    finally:
        for worker in workers.values():
            worker.close()
    return row


def bare(model: str, weights: Path, runs: int) -> dict[str, float]:
    """Median seconds of a forward pass and of gradients, by name, called in turn."""
    workers = {name: Worker(f"bare:{model}:{weights}", name, "benchmarks.attack_worker") for name in BARE}
    try:
        rounds = [{name: warm_call(worker)["seconds"] for name, worker in workers.items()} for _ in range(max(runs, 1))]
    finally:
        for worker in workers.values():
            worker.close()
    return {name: statistics.median(seconds[name] for seconds in rounds) for name in BARE}


def _first(name: str, worker: Worker) -> Way:
    answer = worker.call()
    return Way(name, answer["seconds"], answer["peak"], answer["success"], answer["distance"])


def report(rows: list[Row]) -> str:
    head = ["attack", "model", OURS, *PEERS, "fastest peer / netjac", "of processor time", "floor", "peer / floor"]
    return table(head, [_line(row) for row in rows])


def _line(row: Row) -> list[str]:
    by_name = {way.name: way for way in row.ways}
    cells = [_told(by_name[name]) if name in by_name else "–" for name in (OURS, *PEERS)]
    floor = row.floor()
    ratios = [_times(ratio) for ratio in (row.ratio(), row.processor_ratio(), row.most())]
    return [row.attack, row.model, *cells, *ratios[:2], "–" if floor is None else milliseconds(floor), ratios[2]]


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}×"


def _told(way: Way) -> str:
    return f"{milliseconds(way.median)}, {way.success:.1%}, {way.distance:.4f}"


def pieces(rows: list[Row]) -> str:
    """What the floors are made of."""
    by_model = {row.model: [milliseconds(row.bare[name]) for name in BARE] for row in rows if row.bare}
    return table(["model", *BARE], [[model, *cells] for model, cells in by_model.items()])


def expense(rows: list[Row]) -> str:
    """First calls and peak memory."""
    cells = [
        [row.attack, row.model, *(f"{way.name}: {way.first:.2f} s, {way.peak / 2**20:.0f} MiB" for way in row.ways)]
        for row in rows
    ]
    width = max(len(line) for line in cells)
    head = ["attack", "model", *("first call, peak memory" for _ in range(width - 2))]
    return table(head, [[*line, *("" for _ in range(width - len(line)))] for line in cells])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("attack", nargs="*", default=list(ATTACKS), help=f"of {', '.join(ATTACKS)}; all by default")
    parser.add_argument("--runs", type=int, default=7, help="calls of each way after the first")
    parser.add_argument("--json", type=Path, help="write every timing to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
