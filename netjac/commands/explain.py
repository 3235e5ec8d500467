"""`netjac explain`: the plan, as a table or as JSON."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from netjac.commands.arguments import add_question
from netjac.commands.given import as_json, inputs_of, model_of, options_of, target, tell, write_text
from netjac.jacobian import explain

HELP = "show the plan by which a Jacobian would be computed, and its cost"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_question(command)
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")


def run(given: Namespace) -> int:
    path = target(given.output, (".txt", ".json"))
    x, network = inputs_of(given), model_of(given)
    tell(given, "planning")
    plan = explain(network, x, **options_of(given))
    data = as_json(plan.to_dict())
    if path is not None:
        told = data if path.suffix == ".json" else str(plan)
        write_text(path, told)
    if given.json or path is None or not given.quiet:
        print(data if given.json else plan)
    return 0
