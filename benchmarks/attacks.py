"""`python -m benchmarks.attacks [ATTACK …]`: adversarial examples by netjac, Foolbox and torchattacks, side by side.

Each way has a process of its own and one thread, all on one processor, and they are called in turn; what counts is the least
processor time of all calls. Rows are printed as they are measured.

The floor of an attack whose number of gradients is fixed is so many bare gradients, by torch or by netjac, whichever are
faster here, and the forward pass that verifies the result: no way of taking the same steps gets under it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from math import hypot
from pathlib import Path
from statistics import mean, stdev
from typing import Any

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
from benchmarks.measure import Worker
from benchmarks.table import milliseconds, surroundings, table

# Seconds that a way is called for in a round, that its calls after the first may take together, and of a peer's first call
# after which there is no other.
ROUND, ENOUGH, SLOW = 0.2, 1.5, 8.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
HEAD = ["attack", "model", OURS, *PEERS, "fastest peer / netjac", "floor", "peer / floor"]


@dataclass
class Way:
    """One way on one row: wall seconds of its `first` call, the least `processor` seconds of a call, about what those
    after the first took together, how many samples were `successes` in each, and the mean ‖r‖₂ / ‖x‖₂."""

    name: str
    first: float = 0.0
    processor: float = float("inf")
    spent: float = 0.0
    successes: list[int] = field(default_factory=list)
    distance: float = 0.0

    def add(self, answer: dict[str, Any]) -> None:
        if self.successes:
            self.spent += answer["processor"] * len(answer["successes"])
        else:
            self.first = answer["first"]
        self.processor = min(self.processor, answer["processor"])
        self.successes += answer["successes"]
        self.distance = answer["distance"]


@dataclass
class Row:
    """`bare`: the least processor seconds of a forward pass and of gradients on this model, by name."""

    attack: str
    model: str
    ways: list[Way]
    bare: dict[str, float] = field(default_factory=dict)

    def ratio(self) -> float | None:
        """The fastest peer's time over netjac's."""
        best = self._fastest_peer()
        return None if best is None else best / self.ways[0].processor

    def _fastest_peer(self) -> float | None:
        return min((way.processor for way in self.ways[1:]), default=None)

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
        """Whether no peer succeeds more often in the mean of its calls, but for two standard errors: starts are drawn."""
        ours, *peers = ((mean(way.successes), _error(way.successes)) for way in self.ways)
        return all(ours[0] + 2 * hypot(ours[1], error) >= found for found, error in peers)


def _error(counts: list[int]) -> float:
    """Of the mean."""
    return stdev(counts) / len(counts) ** 0.5 if len(counts) > 1 else 0.0


def main(argv: list[str] | None = None) -> int:
    """0 when netjac succeeds at least as often as each peer on every row, as far as starts that are drawn tell, and FGSM is
    Foolbox's in float64; else 1."""
    args = _parser().parse_args(argv)
    unknown = [attack for attack in args.attack if attack not in ATTACKS]
    if unknown:
        _parser().error(f"there is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    os.environ.update(ONE_THREAD)
    with tempfile.TemporaryDirectory() as folder:
        differing = sum(prepared(model, Path(folder)) for model in MODELS)
        names = [OURS, *(peer for peer in PEERS if installed(peer))]
        workers = {name: Asked(folder, name, "benchmarks.attack_worker") for name in names}
        try:
            rows = run(args.attack, workers, args.runs)
        finally:
            for worker in workers.values():
                worker.close()
    print(f"\n{successes(rows)}\n\n{pieces(rows)}\n\n{expense(rows)}")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return int(differing > 0 or not all(row.at_least_as_good() for row in rows))


class Asked(Worker):
    """A process that makes any attack one way."""

    def ask(self, attack: str, model: str, seconds: float, **more: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"attack": attack, "model": model, "seconds": seconds, **more}) + "\n")
        self.process.stdin.flush()
        return self._heard()


def prepared(model: str, folder: Path) -> int:
    """Train a model, and say in how many entries FGSM's images differ from Foolbox's in float64."""
    weights = folder / f"{model}.npz"
    print(f"{model}: {trained(model, weights):.1%} of {SAMPLES} images recognised", file=sys.stderr, flush=True)
    if not installed("foolbox"):
        return 0
    count, entries = entries_that_differ(model, weights)
    told = f"{model}: FGSM differs from Foolbox's, in float64, in {count} of {entries} entries"
    print(told, file=sys.stderr, flush=True)
    return count


def run(attacks: list[str], workers: dict[str, Asked], runs: int) -> list[Row]:
    """Every row, each printed when it is there."""
    bare = {model: {name: alone(workers[OURS], model, name) for name in BARE} for model in MODELS}
    about = f"{surroundings()} {SAMPLES} digits of 8 × 8, bounds [0, 1]; milliseconds of processor time, one thread."
    print(f"{about}\n\n{table(HEAD, [])}", flush=True)
    rows = []
    for attack in attacks:
        for model in MODELS:
            rows.append(measured(attack, model, workers, runs))
            rows[-1].bare = bare[model]
            print(table(HEAD, [_line(rows[-1])]).splitlines()[-1], flush=True)
    return rows


def alone(worker: Asked, model: str, piece: str) -> float:
    """Seconds of a forward pass or a gradient, by name; the first call, which may compile, does not count."""
    worker.ask("bare", model, 0.0, piece=piece)
    return worker.ask("bare", model, 5 * ROUND, piece=piece)["processor"]


def measured(attack: str, model: str, workers: dict[str, Asked], runs: int) -> Row:
    """The first call of each way, then `runs` rounds of all of them; a way that has taken long is left out of the next."""
    left_out = {name for name in workers if {(attack, name), (attack.split("_")[0], name)} & LEFT_OUT}
    row = Row(attack, model, [Way(name) for name in workers if name not in left_out])
    for number in range(runs + 1):
        for way in row.ways:
            if way.spent < ENOUGH and (way.first < SLOW or way.name == OURS):
                way.add(workers[way.name].ask(attack, model, ROUND if number else 0.0))
    return row


def _line(row: Row) -> list[str]:
    by_name = {way.name: way for way in row.ways}
    cells = [_number(by_name[name].processor) if name in by_name else "–" for name in (OURS, *PEERS)]
    floor = row.floor()
    return [
        f"`{row.attack}`",
        MODELS[row.model],
        *cells,
        _times(row.ratio()),
        "–" if floor is None else _number(floor),
        _times(row.most()),
    ]


def _number(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{round(seconds * 1e2) * 10:,}".replace(",", " ")


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2g}×" if ratio < 9.95 else f"{ratio:.0f}×"


def successes(rows: list[Row]) -> str:
    """How many samples each way succeeds with, and how far off: the mean of all calls, which seeds make differ."""
    head = ["attack", "model", *(f"{name}: successes, mean ‖r‖₂ / ‖x‖₂" for name in (OURS, *PEERS))]
    lines = []
    for row in rows:
        told = {way.name: f"{mean(way.successes):.4g}, {way.distance:.4f}" for way in row.ways}
        lines.append([f"`{row.attack}`", MODELS[row.model], *(told.get(name, "–") for name in (OURS, *PEERS))])
    return table(head, lines)


def pieces(rows: list[Row]) -> str:
    """What the floors are made of."""
    by_model = {row.model: [milliseconds(row.bare[name]) for name in BARE] for row in rows if row.bare}
    return table(["model", *BARE], [[MODELS[model], *cells] for model, cells in by_model.items()])


def expense(rows: list[Row]) -> str:
    """Seconds of first calls, in which netjac compiles."""
    lines = []
    for row in rows:
        told = {way.name: f"{way.first:.2f}" for way in row.ways}
        lines.append([f"`{row.attack}`", MODELS[row.model], *(told.get(name, "–") for name in (OURS, *PEERS))])
    return table(["first call, seconds", "model", OURS, *PEERS], lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("attack", nargs="*", default=list(ATTACKS), help=f"of {', '.join(ATTACKS)}; all by default")
    parser.add_argument("--runs", type=int, default=5, help=f"rounds of calls of {ROUND} s each after the first")
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
