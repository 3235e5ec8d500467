"""`report`: what is known of a network's Jacobian, on one page."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netjac.analysis.flow.result import plain, written
from netjac.errors import NetjacError, ShapeError, UnknownNameError
from netjac.networks.arrays import to_numpy
from netjac.plan.table import memory as in_words
from netjac.progress import Progress, tracked
from netjac.report.html import preformatted
from netjac.report.page.render import MOST_NAME, fragment, page
from netjac.report.page.section import AbsentError, Section
from netjac.report.page.sections import SECTIONS
from netjac.report.page.subject import Subject, data_of
from netjac.tracing import network


@dataclass(frozen=True, eq=False)
class Report:
    """The page as text, the numbers on it by section as plain data, and the file it was written to, if to one."""

    model: str
    html: str
    numbers: dict[str, Any]
    path: Path | None

    def save(self, path: str | Path) -> None:
        """Write the page to another file."""
        write_whole(Path(path), self.html)

    def to_json(self, path: str | Path | None = None) -> str:
        """The numbers as JSON; those that are not finite as strings."""
        return written(json.dumps(self.numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)

    def __repr__(self) -> str:
        where = "" if self.path is None else f" in {str(self.path)!r}"
        lines = [f"Report of {self.model!r}, {in_words(len(self.html.encode()))}{where}"]
        lines += [
            f"  {name}: {found.get('error') or found.get('absent') or 'done'}" for name, found in self.numbers.items()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return preformatted(repr(self))


def report(
    model: Any,
    X: Any,
    y: Any = None,
    path: str | Path | None = "report.html",
    *,
    sections: Sequence[str] | None = None,
    without: Sequence[str] = (),
    of: str = "output",
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    samples: int = 16,
    seed: int = 0,
    command: str | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Report:
    """One HTML file, at most 5 MB, that asks for nothing from anywhere: the network, its Jacobian and what follows from it.

    `X` has the samples along axis 0: an array of any framework, a table, a memory map, or a dict or tuple of several inputs.
    `y` (samples,) are class numbers, where the model is a classifier. `sections` names those that are wanted (None: all),
    `without` those that are left out: see `netjac.report.page.sections.SECTIONS`. `of` is the output or layer that the report
    is of (the first output, where there are several). `samples` of X, evenly spaced, are looked at one by one; of large
    Jacobians and deep networks fewer, and a few outputs. What was looked at stands on the page. `command` is what
    the page says it is made by. With `path=None` nothing is written. Names of more than 120 characters are cut.

    A section that cannot be computed says why in its place; where the reason is none that netjac expects, a `RuntimeWarning`
    tells it too. Raises `UnknownNameError`, `ShapeError`, and what
    `netjac.network` raises.
    """
    wanted = _wanted(sections, without)
    made = network(model)
    data, columns = data_of(made, X)
    features, outputs = _short(columns if feature_names is None else feature_names), _short(output_names)
    told = (
        command
        or f"nj.report(model, X{'' if y is None else ', y'}, {str(path)!r}, of={of!r}, samples={samples}, seed={seed})"
    )
    subject = Subject(made, data, _labels(y), of, features, outputs, samples, seed, precision, memory, told)
    _refuse_names(subject)
    parts = [_part(section, subject) for section in tracked(wanted, progress, "report")]
    numbers = {part["name"]: part["numbers"] for part in parts}
    text = page(made.name, _summary(subject, numbers), parts)
    target = None if path is None else Path(path)
    if target is not None:
        write_whole(target, text)
    return Report(made.name, text, numbers, target)


def write_whole(path: Path, text: str) -> None:
    """Beside the file first, then in its place. Raises `ShapeError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise ShapeError(f"{str(path)!r} cannot be written ({error.strerror}); give another path") from error
    finally:
        beside.unlink(missing_ok=True)


def _wanted(sections: Sequence[str] | None, without: Sequence[str]) -> list[Section]:
    known = [section.name for section in SECTIONS]
    for name in (*(sections or ()), *without):
        if name not in known:
            raise UnknownNameError.of("section", str(name), known)
    return [s for s in SECTIONS if (sections is None or s.name in sections) and s.name not in without]


def _short(names: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Of thousands of names a page has room for their beginnings."""
    if names is None:
        return None
    return tuple(name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…" for name in map(str, names))


def _labels(y: Any) -> np.ndarray | None:
    return None if y is None else np.asarray(to_numpy(y) if hasattr(y, "shape") else y)


def _refuse_names(subject: Subject) -> None:
    """Raises `ShapeError` for names or labels that are not as many as what they name."""
    n, m = int(np.prod(subject.J.in_shape)), int(np.prod(subject.J.out_shape))
    for what, names, size in (("feature_names", subject.given_features, n), ("output_names", subject.given_outputs, m)):
        if names is not None and len(names) != size:
            raise ShapeError(f"{what} has {len(names)} names and there are {size}; give one for each")
    if subject.labels is not None and len(subject.labels) != subject.total:
        raise ShapeError(f"y has {len(subject.labels)} labels and X {subject.total} samples; give one for each")


def _part(section: Section, subject: Subject) -> dict[str, Any]:
    """A section's numbers and its inside; or why there is none."""
    part: dict[str, Any] = {"name": section.name, "title": section.title, "lead": section.lead, "html": None,
                            "error": None, "absent": None, "data": None, "scripts": ()}  # fmt: skip
    began = time.process_time()
    try:
        found = section.find(subject)
        numbers = json.loads(json.dumps(plain(found.numbers), allow_nan=False))
        html = fragment(section.name, **{**found.numbers, **found.shown})
    except AbsentError as reason:
        return {**part, "absent": str(reason), "numbers": {"absent": str(reason)}}
    # Whatever one section stumbles over, the others are worth having: hours of samples may stand behind them.
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if not isinstance(error, NetjacError):
            warnings.warn(f"the report's section {section.name!r} failed: {told}", RuntimeWarning, stacklevel=3)
        return {**part, "error": told, "numbers": {"error": told}}
    numbers["processor_seconds"] = round(time.process_time() - began, 2)
    return {**part, "html": html, "data": found.data, "scripts": found.scripts, "numbers": numbers}


def _summary(subject: Subject, numbers: dict[str, Any]) -> dict[str, Any]:
    """What stands at the top of the page, as far as it was found."""
    found = {
        "Jacobian": f"{np.prod(subject.J.out_shape):.0f} × {np.prod(subject.J.in_shape):.0f}",
        "samples": f"{subject.total:,}",
    }
    if "parameters" in numbers.get("overview", {}):
        found["parameters"] = f"{numbers['overview']['parameters']:,}"
    if "passed" in numbers.get("check", {}):
        found["check"] = "passed" if numbers["check"]["passed"] else "FAILED"
    if "verdict" in numbers.get("flow", {}):
        found["gradient flow"] = numbers["flow"]["verdict"]
    return found
