"""`netjac flow`: how gradients pass through a network, layer by layer, as a table, JSON, CSV or picture."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from netjac.analysis.flow.gradient_flow import gradient_flow
from netjac.analysis.flow.result import Flow
from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write

PICTURES = (".png", ".svg", ".pdf")


HELP = "how gradients pass through the layers: spectra, dead units, verdicts"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    add_of(command)
    command.add_argument("--layer", metavar="NAME", action="append", help="only this layer; may repeat")
    command.add_argument(
        "--samples", type=int, default=16, help="samples whose spectra are found (default %(default)s)"
    )
    command.add_argument("--exact", type=int, default=1024, help="widths up to which all singular values are found")
    command.add_argument(
        "-o", "--output", metavar="OUT", help="save to OUT: .json, .csv, or a picture (.png, .svg, .pdf)"
    )


def run(given: Namespace) -> int:
    path = target(given.output, (".json", ".csv", *PICTURES))
    x, network = inputs_of(given, lying=True), model_of(given)
    tell(given, "computing")
    flow = gradient_flow(
        network, x, of=given.of or "output", layers=given.layer, samples=given.samples, exact=given.exact,
        precision=given.precision, memory=given.memory, progress=False if given.quiet else None,
    )  # fmt: skip
    if path is not None:
        write(path, lambda place: _save(flow, place))
    if given.json:
        print(as_json({**flow.data(), "file": None if path is None else str(path)}))
    elif not given.quiet:
        print(flow)
        if path is not None:
            print(f"saved to {path}")
    return 0


def _save(flow: Flow, path: Path) -> None:
    if path.suffix.lower() in PICTURES:
        flow.plot(path)
    elif path.suffix.lower() == ".csv":
        flow.to_csv(path)
    else:
        flow.to_json(path)
