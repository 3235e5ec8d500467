"""A plan as a table, in the terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netjac.plan.plan import Plan

HEAD = ("step", "form", "at", "factor (out × in)", "operations", "bytes")
MOST_ROWS = 60


def quantity(number: float, unit: str = "") -> str:
    """A number to three figures with its prefix: 1_234_000 → "1.23 M"."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:g} {unit}".rstrip()


def memory(count: float) -> str:
    """Bytes to three figures in binary units."""
    for prefix, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {prefix}"
    return f"{count:g} B"


def _cells(plan: Plan) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (str(r["step"]), r["form"], r["at"], r["factor"], quantity(r["operations"]), memory(r["bytes"]))
        for r in plan.rows()
    ]
    if len(rows) > MOST_ROWS:
        cut = len(rows) - MOST_ROWS
        half = MOST_ROWS // 2
        rows = [*rows[:half], ("…", f"{cut} more steps", "", "", "", ""), *rows[-half:]]
    return rows


def _summary(plan: Plan) -> list[str]:
    work = f"{quantity(plan.operations)} operations, {memory(plan.moved)} moved, peak {memory(plan.peak)}"
    lines = [f"order: {plan.order}; {work}"]
    for other in plan.alternatives:
        ratio = f" ({other.operations / plan.operations:.3g}×)" if plan.operations else ""
        bytes_of = f"{memory(other.moved)} moved, peak {memory(other.peak)}"
        lines.append(f"  {other.name}: {quantity(other.operations)} operations{ratio}, {bytes_of}")
    return lines


def table(plan: Plan) -> str:
    rows = _cells(plan)
    widths = [max(len(row[i]) for row in (HEAD, *rows)) for i in range(len(HEAD))]

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            c.rjust(w) if i in (0, 4, 5) else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    rule = "  ".join("─" * width for width in widths)
    title = [plan.title] if plan.title else []
    legend = "factor axes: two of the same letter are tied, one entry to one; ° has no numbers along it"
    return "\n".join([*title, line(HEAD), rule, *map(line, rows), rule, *_summary(plan), legend])


def html(plan: Plan) -> str:
    from netjac.report.html import rows

    return rows(HEAD, _cells(plan), [plan.title] if plan.title else [], _summary(plan))
