"""The Jacobian as a product of named factors, and backpropagation derived from it."""

from __future__ import annotations

from dataclasses import asdict

from markupsafe import Markup

from netjac.formula.build import formula
from netjac.report.page.section import AbsentError, Found, Section
from netjac.report.page.subject import Subject

MOST_CHARACTERS = 20_000
MOST_ROWS = 60


def find(subject: Subject) -> Found:
    """Of the first input that has a derivative."""
    made = formula(subject.network, subject.at(subject.spaced(1)), of=subject.of)
    if isinstance(made, dict):
        made = next(iter(made.values()))
    if len(made.latex) > MOST_CHARACTERS:
        raise AbsentError(f"The formula has {len(made.latex):,} characters, which nobody reads; nj.formula prints it.")
    symbols = [asdict(symbol) for symbol in made.symbols]
    steps = [{"name": step.name, "text": step.text, "explanation": step.explanation} for step in made.derivation]
    numbers = {"text": made.text, "latex": made.latex, "symbols": symbols, "derivation": steps}
    shown = {
        "math": Markup(made.mathml),
        "rows": symbols[:MOST_ROWS],
        "left": max(0, len(symbols) - MOST_ROWS),
        "steps": steps[:MOST_ROWS],
        "steps_left": max(0, len(steps) - MOST_ROWS),
    }
    return Found(numbers, shown)


SECTION = Section(
    "formula",
    "The formula",
    "The Jacobian of one sample as a product of the layers' own, read off the graph that it is computed from.",
    find,
)
