"""`netjac sensitivity`: how much each output changes with each feature, over the samples of DATA."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netjac.analysis.sensitivity import sensitivity
from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, model_of, named_inputs_of, target, tell, write, write_text

if TYPE_CHECKING:
    from netjac.analysis.sensitivity_result import Sensitivity

PICTURES = (".png", ".svg", ".pdf")
SHOWN = 10


HELP = "how much each output changes with each feature, over DATA"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    add_of(command)
    command.add_argument("--scale", choices=("std", "range"), help="per standard deviation or range of each feature")
    command.add_argument(
        "--bound", default="uniform", choices=("uniform", "normal"), help="how features are distributed"
    )
    command.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the intervals' random draws (default 0)")
    command.add_argument("--kind", choices=("bars", "plane", "density", "maps"), help="of the picture")
    command.add_argument(
        "-o", "--output", metavar="OUT", help="save to OUT: .csv, .json, or a picture (.png, .svg, .pdf)"
    )


def run(given: Namespace) -> int:
    path = target(given.output, (".csv", ".json", *PICTURES))
    x, names = named_inputs_of(given, lying=True)
    model = model_of(given)
    if names is not None:
        model.check_columns(names)
    tell(given, "computing")
    found = sensitivity(
        model, x, feature_names=names, scale=given.scale, of=given.of or "output", bound=given.bound,
        confidence=given.confidence, seed=given.seed, precision=given.precision, memory=given.memory,
        progress=False if given.quiet else None,
    )  # fmt: skip
    if path is not None:
        _save(found, path, given.kind)
    if given.json:
        print(as_json({**json.loads(found.to_json()), "file": None if path is None else str(path)}))
    elif not given.quiet:
        _show(found, path)
    return 0


def _save(found: Sensitivity, path: Path, kind: str | None) -> None:
    if path.suffix.lower() in PICTURES:
        figure = found.plot(kind)
        write(path, lambda place: figure.savefig(place, dpi=150))
    else:
        write_text(path, (found.to_csv() if path.suffix.lower() == ".csv" else found.to_json()).rstrip("\n"))


def _show(found: Sensitivity, path: Path | None) -> None:
    console = Console()
    console.print("\n".join(repr(found).splitlines()[:5]), markup=False, highlight=False)
    for output in range(len(found.output_names))[:SHOWN]:
        console.print(_table(found, output))
    left = len(found.output_names) - SHOWN
    if left > 0:
        console.print(f"{left} more outputs; -o FILE.csv has them all", markup=False, highlight=False)
    if path is not None:
        console.print(f"saved to {path}", markup=False, highlight=False, soft_wrap=True)


def _table(found: Sensitivity, output: int) -> Table:
    """The features that move an output most."""
    table = Table(title=Text(found.output_names[output]), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for head in ("feature", "mean", "std", "rms", "interval of rms", "Sobol index ≤"):
        table.add_column(head, justify="left" if head == "feature" else "right", no_wrap=True)
    for name, rms in found.ranking(output)[:SHOWN]:
        j = found.feature_names.index(name)
        values = [f"{a[output, j]:.4g}" for a in (found.mean, found.std)]
        table.add_row(name, *values, f"{rms:.4g}", _interval(found, output, j), f"{found.dgsm_bound[output, j]:.4g}")
    return table


def _interval(found: Sensitivity, output: int, j: int) -> str:
    if found.confidence is None:
        return "–"
    low, high = found.interval("rms")
    return f"{low[output, j]:.4g} to {high[output, j]:.4g}"
