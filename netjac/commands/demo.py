"""`netjac demo`: see `netjac.demo`. Exit status 1 when its check fails."""

from __future__ import annotations

import io
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from netjac.commands.given import as_json, tell
from netjac.demo import demo
from netjac.errors import ShapeError

HELP = "train a small network on handwritten digits and show all this on it"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    command.add_argument(
        "-o", "--output", metavar="DIR", default="netjac-demo", help="folder for the files (default %(default)s)"
    )
    command.add_argument("--quick", action="store_true", help="train for less long")


def run(given: Namespace) -> int:
    folder = Path(given.output)
    if folder.exists() and not folder.is_dir():
        raise ShapeError(f"-o {given.output!r} is a file; give a folder for the demo's files")
    tell(given, "training a small network")
    console = Console(file=io.StringIO()) if given.json or given.quiet else Console()
    found = demo(folder, console, given.quick)
    if given.json:
        print(as_json(found.to_dict()))
    return 0 if found.check.passed else 1
