"""What a section of the report is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netjac.errors import NetjacError
from netjac.report.page.subject import Subject


class AbsentError(NetjacError):
    """A section does not apply to this model or data; the message says why."""


@dataclass(frozen=True, eq=False)
class Found:
    """`numbers` go to the JSON and the template; `shown` to the template alone; `data` to the page's own script."""

    numbers: dict[str, Any]
    shown: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    scripts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """`find` looks at the subject; assets/NAME.html shows what it found."""

    name: str
    title: str
    lead: str
    find: Callable[[Subject], Found]
