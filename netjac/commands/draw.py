"""`netjac draw`: the network as SVG."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from netjac.commands.arguments import add_given
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write_text
from netjac.report.drawing.draw import draw

HELP = "draw a network as SVG: its layers, and the structure of their Jacobians"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("--sample", type=int, default=0, help="the sample that is looked at (default 0)")
    command.add_argument("-o", "--output", metavar="OUT", default="network.svg", help="an .svg (default %(default)s)")


def run(given: Namespace) -> int:
    path = target(given.output, (".svg",))
    assert path is not None
    x = None if given.data is None and given.shape is None else inputs_of(given)
    network = model_of(given)
    tell(given, "drawing")
    drawing = draw(network, x, sample=given.sample)
    write_text(path, drawing.svg)
    if given.json:
        print(as_json({"file": str(path), "kind": drawing.kind, "layers": [spec.name for spec in network.layers]}))
    elif not given.quiet:
        print(f"saved to {path}: {drawing.kind}, {len(drawing.svg.encode()) / 1000:.0f} kB")
    return 0
