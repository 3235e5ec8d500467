"""J beside two oracles."""

from __future__ import annotations

from netjac.check import check
from netjac.memory import budget
from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Subject

SAMPLES = 4
BY_SWEEPS = 2**28


def find(subject: Subject) -> Found:
    """`netjac.check` at a few samples; at one of a large network."""
    chosen = subject.spaced(1 if subject.large else SAMPLES)
    # What is checked by sweeps, and not written out, is a few rows: of a large J that is seconds instead of minutes.
    room = min(budget(subject.memory), BY_SWEEPS) if subject.large else subject.memory
    found = check(
        subject.network, subject.at(chosen), of=subject.of, wrt=subject.inputs[0], seed=subject.seed,
        precision=subject.precision, memory=room, progress=False,
    )  # fmt: skip
    return Found({**found.to_dict(), "samples": len(chosen), "lines": found.lines()})


SECTION = Section(
    "check",
    "Is it right?",
    "The numbers above beside the framework's own autodiff, and beside central differences in float64.",
    find,
)
