"""The explorer: the reader moves an input, and the page computes outputs, J, its paths and backpropagation."""

from __future__ import annotations

from markupsafe import Markup

from netjac.report.explorer.page import explorer
from netjac.report.page.section import AbsentError, Found, Section
from netjac.report.page.subject import Subject

SAMPLES = 8


def find(subject: Subject) -> Found:
    """Of a network with one input and one output: its kind, and how much of the page it takes."""
    if isinstance(subject.data, dict) or not subject.network.batched:
        raise AbsentError("It moves the features of one input, of a network that has an axis of samples.")
    if subject.wanted != "output":
        raise AbsentError("It is of a network's output; this report is of another value.")
    made = explorer(
        subject.network, subject.at(subject.spaced(SAMPLES)), feature_names=subject.given_features,
        output_names=subject.given_outputs, samples=SAMPLES,
    )  # fmt: skip
    if made.kind == "none":
        raise AbsentError(f"There is no explorer for this network: {made.reason}.")
    numbers = {"kind": made.kind, "reason": made.reason, "features": len(made.data["features"]),
               "outputs": len(made.data["outputs"])}  # fmt: skip
    return Found(numbers, {"markup": Markup(made.markup)}, scripts=(made.script,))


SECTION = Section(
    "explorer",
    "Explorer",
    "Move a feature and watch outputs and Jacobian; point at an entry to see the paths that it is the sum of.",
    find,
)
