"""The measurements as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from benchmarks.contenders import HAND, WAYS, installed
from benchmarks.floors import floor
from benchmarks.measure import Measured, Timing
from benchmarks.workloads import NAMED

PACKAGES = ("netjac", "jax", "torch", "tensorflow-cpu", "tensorflow", "numpy")


def document(measured: Sequence[Measured], peers: Sequence[str]) -> str:
    """Where and with what it was measured, the times, the first calls and memory, and who was left out."""
    parts = [surroundings(), times(measured, peers), expense(measured), absent(measured, peers)]
    return "\n\n".join(part for part in parts if part)


def page(tables: str, runs: int, day: str) -> str:
    """A document as a page of the site, which says where it comes from."""
    return f"""# The latest run

Written by `python -m benchmarks --page` on {day}, and replaced by the next run: what it means, and the misses, stand in
[benchmarks](benchmarks.md). Medians of {runs} calls of each way, all ways in turn. Times are of this run on this machine; what
lasts is their ratio. The floor is what the products by themselves, or writing the result, would take; under "hand" stands
a program that was written for that one network, and is no peer.

{tables}
"""


def surroundings(dtype: str = "float32") -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {', '.join(found)}; {dtype}."


def times(measured: Sequence[Measured], peers: Sequence[str]) -> str:
    """The best way of each framework, netjac beside what its plan predicted, and the ratio to the best of all."""
    head = ["workload (batch)", *peers, "netjac", "predicted", "floor", "best peer / netjac", "disagreement"]
    return table(head, [_time_row(one, peers) for one in measured])


def _time_row(one: Measured, peers: Sequence[str]) -> list[str]:
    best = one.best()
    ratio = f"{best.median / one.ours.median:.2f}×" if best else "–"
    error = f"{max(timing.error for timing in one.peers):.0e}" if best else "–"
    return [
        f"{one.workload} ({NAMED[one.workload].batch})",
        *(_way(one.best(peer)) for peer in peers),
        f"**{milliseconds(one.ours.median)}**",
        f"{milliseconds(one.predicted['seconds'])} ({one.predicted['order']}, {one.predicted['operations']:.1e} operations)",
        _floor(one),
        ratio,
        error,
    ]


def _floor(one: Measured) -> str:
    """The floor, and how many times it netjac takes."""
    if not one.rates:
        return "–"
    seconds = floor(one.predicted, one.rates)
    return f"{milliseconds(seconds)} ({one.ours.median / seconds:.1f}× it)"


def _way(timing: Timing | None) -> str:
    if timing is None:
        return "–"
    return milliseconds(timing.median) + ("" if timing.way.startswith(HAND) else f" {timing.way.partition(' ')[2]}")


def expense(measured: Sequence[Measured]) -> str:
    """Processor time, first calls and peak memory, netjac beside the fastest peer."""
    head = ["workload", "best peer"]
    for what in ("processor time", "first call", "peak memory"):
        head += [what, "of the best peer"]
    return table(head, [_expense_row(one) for one in measured])


def _expense_row(one: Measured) -> list[str]:
    best = one.best()
    cells = [one.workload, best.way if best else "–"]
    for figure in (_processor, lambda t: f"{t.first:.2f} s", lambda t: f"{t.peak / 2**20:.0f} MiB"):
        cells += [figure(one.ours), figure(best) if best else "–"]
    return cells


def _processor(timing: Timing) -> str:
    return milliseconds(median(timing.processor)) if timing.processor else "–"


def absent(measured: Sequence[Measured], peers: Sequence[str]) -> str:
    lines = [f"- {peer}: left out, not installed" for peer in peers if not installed(peer)]
    for one in measured:
        ways = [way for way in NAMED[one.workload].left_out if way.partition(" ")[0] in peers]
        lines += [f"- {one.workload}: {way}, left out, known to be slow or large" for way in ways if _is_here(way)]
        if one.disturbed:
            lines.append(f"- {one.workload}: other processes took part in {one.disturbed} rounds")
        lines += [f"- {one.workload}: {timing.way} fails: {timing.failed}" for timing in one.timings if timing.failed]
    return "\n".join(["To be known:", "", *lines]) if lines else ""


def _is_here(way: str) -> bool:
    return any(way in ways and installed(peer) for peer, ways in WAYS.items())


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])
