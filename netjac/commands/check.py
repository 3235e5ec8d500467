"""`netjac check`: a Jacobian beside the framework's own and beside differences. Exit status 1 when it is wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from netjac.commands.arguments import add_question
from netjac.commands.given import as_json, by_name, inputs_of, model_of, options_of, target, tell, write_text
from netjac.errors import ShapeError
from netjac.jacobian import jacobian

HELP = "compare a Jacobian with the framework's own and with differences"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_question(command)
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")
    command.add_argument(
        "--samples", type=int, default=64, help="entries to compare with differences, about (default 64)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the random choice of entries (default 0)")
    command.add_argument("--tolerance", type=float, help="largest relative error allowed (default: by dtype)")


def run(given: Namespace) -> int:
    path = target(given.output, (".txt", ".json"))
    if given.engine == "framework":
        raise ShapeError("--engine framework is what a check compares with; leave it out")
    if given.samples < 1:
        raise ShapeError(f"--samples {given.samples} compares nothing; give a positive number")
    x, network = inputs_of(given), model_of(given)
    tell(given, "planning")
    found = by_name(jacobian(network, x, **options_of(given), progress=False if given.quiet else None))
    checks = {}
    for name, J in found.items():
        tell(given, f"checking {name}")
        checks[name] = J.check(samples=given.samples, seed=given.seed, tolerance=given.tolerance)
    passed = all(check.passed for check in checks.values())
    data = as_json({"passed": passed, "checks": {name: check.to_dict() for name, check in checks.items()}})
    words = "\n".join(str(check) if len(checks) == 1 else f"{name}: {check}" for name, check in checks.items())
    if path is not None:
        told = data if path.suffix == ".json" else words
        write_text(path, told)
    if given.json:
        print(data)
    elif not given.quiet:
        print(words)
    return 0 if passed else 1
