"""`python -m benchmarks [WORKLOAD …]`: netjac beside the frameworks' own Jacobians, in one run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from benchmarks.contenders import WAYS
from benchmarks.measure import measure
from benchmarks.table import document, page, times
from benchmarks.workloads import WORKLOADS

# All are in float32, whose rounding they meet in different orders.
AGREEMENT = 1e-5


def main(argv: list[str] | None = None) -> int:
    """0 when all agree, 1 when some peer's Jacobian is not netjac's."""
    args = _parser().parse_args(argv)
    unknown = [name for name in args.workload if name not in WORKLOADS]
    if unknown:
        _parser().error(f"there is no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    measured = []
    for name in args.workload:
        measured.append(measure(name, args.runs, args.peers, args.patience))
        print(times(measured[-1:], args.peers).splitlines()[-1], file=sys.stderr, flush=True)
    text = document(measured, args.peers)
    print(text)
    if args.json:
        everything = {one.workload: dataclasses.asdict(one) for one in measured}
        args.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    if args.page:
        args.page.write_text(page(text, args.runs, time.strftime("%Y-%m-%d")), encoding="utf-8")
    return int(any(timing.error > AGREEMENT for one in measured for timing in one.peers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = [name for name in WORKLOADS if name != "tiny"]
    parser.add_argument(
        "workload", nargs="*", default=usual, help=f"of {', '.join(WORKLOADS)}; all but tiny by default"
    )
    parser.add_argument("--runs", type=int, default=9, help="calls of each way after the first")
    parser.add_argument("--peers", type=_peers, default=tuple(WAYS), help=f"of {','.join(WAYS)}")
    told = "seconds a workload may wait for other processes to leave the processors alone (default: it does not)"
    parser.add_argument("--patience", type=float, default=0.0, help=told)
    parser.add_argument("--json", type=Path, help="write every timing to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--page", type=Path, help="write a page of the documentation with the tables to this file")
    return parser


def _peers(text: str) -> tuple[str, ...]:
    chosen = tuple(filter(None, text.split(",")))
    unknown = sorted({*chosen} - {*WAYS})
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no peer {unknown[0]!r}; there are {', '.join(WAYS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
