"""`netjac stream`: a Jacobian of any number of samples, written chunk by chunk to a Zarr store; run again, it goes on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, inputs_of, model_of
from netjac.errors import ShapeError
from netjac.scale.stream import stream

HELP = "write the Jacobian of any number of samples to a Zarr store; goes on"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("--wrt", metavar="NAME", help="input (default), parameters, or a name")
    add_of(command)
    command.add_argument("--chunk", type=int, metavar="N", help="samples a chunk (default: about 64 MiB)")
    command.add_argument("--begin-anew", action="store_true", help="forget what an earlier run wrote to STORE")
    command.add_argument("-o", "--output", metavar="STORE", help="the folder to write to")


def run(given: Namespace) -> int:
    if given.output is None:
        raise ShapeError("-o STORE is missing; give the folder that the rows are to be written to")
    x = inputs_of(given, lying=True)
    rows = stream(
        model_of(given), x, Path(given.output), wrt=given.wrt or "input", of=given.of or "output",
        resume=not given.begin_anew, chunk=given.chunk, precision=given.precision, memory=given.memory,
        progress=False if given.quiet else None,
    )  # fmt: skip
    if given.json:
        told = {"store": given.output, "array": rows.name, "shape": list(rows.shape), "dtype": str(rows.dtype)}
        print(as_json(told))
    elif not given.quiet:
        print(f"{rows.name} in {given.output}: {' × '.join(map(str, rows.shape))}, {rows.dtype}")
    return 0
