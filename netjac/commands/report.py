"""`netjac report`: one offline HTML file about a model's Jacobian over DATA, and the same numbers as JSON."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, model_of, named_inputs_of, target, tell, write_text
from netjac.data import read
from netjac.errors import ShapeError
from netjac.report.page.report import report
from netjac.report.page.sections import SECTIONS

HELP = "one offline HTML file about the model's Jacobian over DATA"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    add_of(command)
    names = ", ".join(section.name for section in SECTIONS)
    command.add_argument("--labels", metavar="FILE", help="class numbers of the samples, .npy or .csv")
    command.add_argument("--section", metavar="NAME", action="append", help=f"only this one; may repeat: {names}")
    command.add_argument("--without", metavar="NAME", action="append", default=[], help="not this one; may repeat")
    command.add_argument("--samples", type=int, default=16, help="looked at one by one (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of random draws (default 0)")
    command.add_argument("--numbers", metavar="FILE", help="save the numbers to FILE, .json; --json prints them")
    command.add_argument("-o", "--output", metavar="OUT", default="report.html", help="the page (default %(default)s)")


def run(given: Namespace) -> int:
    path, numbers = target(given.output, (".html", ".htm")), target(given.numbers, (".json",))
    labels = None if given.labels is None else _labels(given.labels)
    x, names = named_inputs_of(given, lying=True)
    model = model_of(given)
    if names is not None:
        model.check_columns(names)
    tell(given, "computing")
    made = report(
        model, x, labels, path, sections=given.section, without=given.without, of=given.of or "output", feature_names=names,
        samples=given.samples, seed=given.seed, command=shlex.join(["netjac", *given.told]), precision=given.precision,
        memory=given.memory, progress=False if given.quiet else None,
    )  # fmt: skip
    if numbers is not None:
        write_text(numbers, json.dumps(made.numbers, indent=2, ensure_ascii=False, allow_nan=False))
    if given.json:
        print(as_json({**made.numbers, "file": str(path)}))
    elif not given.quiet:
        print(made)
    return 0


def _labels(path: str) -> object:
    found = read(Path(path))
    if isinstance(found, dict):
        raise ShapeError(f"--labels {path!r} holds several arrays; give a file of one, a class number for each sample")
    return found.reshape(-1) if found.ndim == 2 and 1 in found.shape else found
