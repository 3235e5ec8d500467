"""`python -m benchmarks [WORKLOAD …]`: netjac beside the frameworks' own Jacobians, in one run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from benchmarks.measure import PEERS, measure
from benchmarks.table import markdown, row
from benchmarks.workloads import WORKLOADS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", nargs="*", default=[name for name in WORKLOADS if name != "tiny"])
    parser.add_argument("--rounds", type=int, default=15, help="calls of each contender after the first")
    parser.add_argument("--peers", default=",".join(PEERS), help="frameworks to run beside (those installed are)")
    parser.add_argument("--json", type=Path, help="every timing, as a file")
    parser.add_argument("--markdown", type=Path, help="the table, as a file")
    args = parser.parse_args(argv)
    rows, everything = [], {}
    for name in args.workload:
        timings = measure(name, args.rounds, tuple(filter(None, args.peers.split(","))))
        everything[name] = [dataclasses.asdict(t) for t in timings]
        rows.append(row(name, timings))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
        for timing in timings:
            if timing.failed:
                print(f"  {timing.way} fails: {timing.failed}", file=sys.stderr)
    table = markdown(rows)
    print(table)
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))
    if args.markdown:
        args.markdown.write_text(table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
