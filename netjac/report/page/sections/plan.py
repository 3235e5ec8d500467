"""Structure, and the plan beside plain forward and reverse mode."""

from __future__ import annotations

from typing import Any

from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Subject

MOST_STEPS = 60


def find(subject: Subject) -> Found:
    """`Plan.to_dict`, and the structure."""
    J = subject.J
    plan, structure = J.plan, J.structure
    assert plan is not None
    every = (plan.as_alternative(f"netjac: {plan.order}"), *plan.alternatives)
    ways = [{"name": way.name, "operations": way.operations, "bytes": way.moved, "peak": way.peak} for way in every]
    top = max(way.operations for way in every) or 1
    numbers: dict[str, Any] = {
        **plan.to_dict(),
        "structure": {"kind": structure.kind, "per_sample": structure.per_sample, "reason": structure.reason,
                      "entries": structure.entries},
        "at_samples": len(subject.chosen),
    }  # fmt: skip
    shown = {
        "ways": [{**way, "part": 100 * other.operations / top} for way, other in zip(ways, every, strict=True)],
        "rows": numbers["steps"][:MOST_STEPS],
        "left": max(0, len(numbers["steps"]) - MOST_STEPS),
    }
    return Found(numbers, shown)


SECTION = Section(
    "plan",
    "Structure and plan",
    "In which order the layers' Jacobians are multiplied, and what plain forward and reverse mode would cost instead.",
    find,
)
