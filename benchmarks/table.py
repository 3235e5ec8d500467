"""The measurements as a Markdown table."""

from __future__ import annotations

from benchmarks.measure import Timing

HEAD = ("workload", "jax", "torch", "tensorflow", "netjac", "against the best", "first call (jax)", "peak memory (best peer)",
        "disagreement")  # fmt: skip


def row(workload: str, timings: list[Timing]) -> list[str]:
    """One workload: the best way of each framework, netjac, and the ratio of medians to the best of all."""
    ours = next(t for t in timings if t.way == "netjac")
    peers = [t for t in timings if t is not ours and not t.failed]
    cells = [workload]
    for framework in ("jax", "torch", "tensorflow"):
        own = [t for t in peers if t.way.startswith(framework)]
        best = min(own, key=lambda t: t.median, default=None)
        cells.append(f"{best.median * 1e3:.2f} ms ({best.way.partition(' ')[2]})" if best else "–")
    best = min(peers, key=lambda t: t.median, default=None)
    jax = min((t.first for t in peers if t.way == "jax jacrev"), default=float("nan"))
    cells += [
        f"**{ours.median * 1e3:.2f} ms**",
        f"{best.median / ours.median:.2f}×" if best else "–",
        f"{ours.first:.2f} s ({jax:.2f} s)",
        f"{ours.peak / 2**20:.0f} MiB ({best.peak / 2**20:.0f} MiB)" if best else f"{ours.peak / 2**20:.0f} MiB",
        f"{max((t.error for t in peers), default=0.0):.0e}",
    ]
    return cells


def markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])
