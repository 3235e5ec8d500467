"""`netjac bench` without a model: the reference workloads beside every framework that is installed."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import netjac
from netjac.commands.given import target
from netjac.errors import ShapeError


def run(given: Namespace) -> int:
    """Hands over to the repository's `python -m benchmarks`. Raises `ShapeError`."""
    _only_what_is_theirs(given)
    root = Path(netjac.__file__).resolve().parents[1]
    if not (root / "benchmarks" / "__main__.py").exists():
        raise ShapeError(
            "the reference workloads come with netjac's repository, and this netjac was installed without it: clone it and "
            "run `make bench` there, or give MODEL DATA to time a model of your own"
        )
    if given.json:
        raise ShapeError(
            "--json prints a model's times, and none is given; save those of the workloads with -o TIMES.json"
        )
    path = target(given.output, (".txt", ".json"))
    arguments = [*(given.workload or ()), "--runs", str(given.runs)]
    if path is not None:
        arguments += ["--json" if path.suffix == ".json" else "--markdown", str(path.resolve())]
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=root, check=False, stdout=subprocess.DEVNULL if given.quiet else None).returncode


def _only_what_is_theirs(given: Namespace) -> None:
    asked = {
        "--shape": given.shape,
        "--wrt": given.wrt,
        "--of": given.of,
        "--dtype": given.dtype,
        "--memory": given.memory,
    }
    for option, value in asked.items():
        if value is not None:
            raise ShapeError(f"{option} asks about a model, and none is given; give MODEL DATA, or leave {option} out")
