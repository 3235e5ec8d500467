"""The network as a picture."""

from __future__ import annotations

from markupsafe import Markup

from netjac.report.drawing.draw import draw
from netjac.report.page.section import AbsentError, Found, Section
from netjac.report.page.subject import Subject

MOST_BYTES = 1_000_000


def find(subject: Subject) -> Found:
    """At the first sample."""
    made = draw(subject.network, subject.at(subject.spaced(1)))
    size = len(made.svg.encode())
    if size > MOST_BYTES:
        raise AbsentError("The drawing would take more than a megabyte; nj.draw makes it as a file of its own.")
    return Found({"kind": made.kind, "bytes": size}, {"svg": Markup(made.svg)})


SECTION = Section(
    "drawing",
    "The drawing",
    "Units and weights of a small network, as wide as what goes through them; else each layer and its Jacobian's structure.",
    find,
)
