"""`python -m benchmarks.parameters [WORKLOAD …]`: questions about ∂output/∂parameters, netjac beside those who answer them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import PEERS_BY_PARAMETERS, installed
from benchmarks.measure import Measured, Timing, measure
from benchmarks.table import absent, expense, milliseconds, surroundings, table
from benchmarks.workloads import BY_PARAMETERS as WORKLOADS
from benchmarks.workloads import NAMED, Workload

# Kernels are sums of products of sums in float32.
AGREEMENT = 3e-5


def main(argv: list[str] | None = None) -> int:
    """0 when all agree, 1 when some peer's answer is not netjac's."""
    return asked(argv, "benchmarks.parameters", __doc__, WORKLOADS, PEERS_BY_PARAMETERS)


def asked(
    argv: list[str] | None, module: str, what: str | None, workloads: dict[str, Workload], peers: Sequence[str]
) -> int:
    """Measure the workloads that the command line names, print the tables, and say whether all agree (0) or not (1)."""
    parser = _parser(module, what, list(workloads))
    args = parser.parse_args(argv)
    unknown = [name for name in args.workload if name not in workloads]
    if unknown:
        parser.error(f"there is no workload {unknown[0]!r}; there are {', '.join(workloads)}")
    measured = []
    for name in args.workload:
        measured.append(measure(name, args.runs, peers, args.patience))
        print(times(measured[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    missing = tuple(peer for peer in peers if not installed(peer))
    text = "\n\n".join(
        part for part in (surroundings(), times(measured), expense(measured), absent(measured, missing)) if part
    )
    print(text)
    if args.json:
        args.json.write_text(
            json.dumps({m.workload: dataclasses.asdict(m) for m in measured}, indent=1), encoding="utf-8"
        )
    return int(any(timing.error > AGREEMENT for one in measured for timing in one.peers))


def times(measured: Sequence[Measured]) -> str:
    """Every way by itself: they differ in kind, and which is best differs by question."""
    head = ["question (batch)", "netjac", "peers", "best peer / netjac", "disagreement"]
    return table(head, [_row(one) for one in measured])


def _row(one: Measured) -> list[str]:
    best = one.best()
    return [
        f"{one.workload} ({NAMED[one.workload].batch})",
        f"**{milliseconds(one.ours.median)}**",
        ", ".join(map(_told, sorted(one.peers, key=lambda timing: timing.median))),
        f"{best.median / one.ours.median:.2f}×" if best else "–",
        f"{max(timing.error for timing in one.peers):.0e}" if best else "–",
    ]


def _told(timing: Timing) -> str:
    return f"{timing.way} {milliseconds(timing.median)}"


def _parser(module: str, what: str | None, known: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=what)
    parser.add_argument("workload", nargs="*", default=known, help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--runs", type=int, default=9, help="calls of each way after the first")
    parser.add_argument(
        "--patience", type=float, default=0.0, help="seconds to wait for other processes (default: none)"
    )
    parser.add_argument("--json", type=Path, help="write every timing to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
