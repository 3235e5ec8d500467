"""The explorer: the part of a page in which a reader moves inputs and watches outputs and J."""

from netjac.report.explorer.page import Explorer, explorer

__all__ = ["Explorer", "explorer"]
