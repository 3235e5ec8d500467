"""The sections of the report, in their order on the page."""

from netjac.report.page.sections import (
    check,
    drawing,
    explorer,
    flow,
    formula,
    jacobian,
    overview,
    plan,
    provenance,
    robustness,
    sensitivity,
)

SECTIONS = (
    overview.SECTION,
    formula.SECTION,
    drawing.SECTION,
    jacobian.SECTION,
    explorer.SECTION,
    plan.SECTION,
    sensitivity.SECTION,
    flow.SECTION,
    robustness.SECTION,
    check.SECTION,
    provenance.SECTION,
)
