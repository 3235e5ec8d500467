"""The command `netjac`: a thin face over the public functions.

Exit status: 0 good, 1 a check failed, 2 bad input (one line on stderr says what, where and what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import netjac
from netjac.errors import NetjacError

COMMANDS = (
    "jacobian",
    "explain",
    "draw",
    "check",
    "bench",
    "ntk",
    "attack",
    "stream",
    "sensitivity",
    "select",
    "flow",
    "fit",
    "formula",
    "bounds",
    "lipschitz",
    "report",
    "calibrate",
    "demo",
)
GOOD, FAILED, BAD, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD, f"netjac: {_one_line(message)}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        given = parsed(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    try:
        status: int = importlib.import_module(f"netjac.commands.{given.command}").run(given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _told("interrupted; nothing was written", INTERRUPTED)
    except BrokenPipeError:
        # The reader of stdout has gone; what Python would still flush there goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except NetjacError as error:
        return _told(str(error), BAD, given.traceback)
    except Exception as error:
        # A model's own code may raise anything, when it is imported or traced.
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _told(
            f"{vars(given).get('model', given.command)}: {what} (--traceback shows where)", BAD, given.traceback
        )


def _told(what: str, status: int, in_full: bool = False) -> int:
    if in_full:
        traceback.print_exc()
    print(f"netjac: {_one_line(what)}", file=sys.stderr)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as attributes, and as they were `told`. Raises `SystemExit` for help, the version, and wrong ones."""
    top, commands = parsers()
    if arguments and arguments[0] in commands:
        # Not by way of `top`, whose subparsers cannot take DATA after an option.
        made = argparse.Namespace(command=arguments[0], told=tuple(arguments))
        return commands[arguments[0]].parse_intermixed_args(arguments[1:], made)
    return top.parse_args(arguments)


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of `netjac` and that of each of its commands."""
    top = Parser(prog="netjac", description=netjac.__doc__, epilog="netjac COMMAND --help tells more.")
    top.add_argument("--version", action="version", version=f"netjac {netjac.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        module = importlib.import_module(f"netjac.commands.{name}")
        module.arguments(commands.add_parser(name, help=module.HELP))
    for command in commands.choices.values():
        command.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
        command.add_argument("--json", action="store_true", help="print JSON on stdout instead of text")
        command.add_argument("--quiet", action="store_true", help="print no more than is asked for, and no progress")
    return top, commands.choices


if __name__ == "__main__":
    sys.exit(main())
