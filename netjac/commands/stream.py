"""`netjac stream`: a Jacobian of any number of samples, written chunk by chunk to a Zarr store; run again, it goes on."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from netjac.commands.given import as_json, inputs_of, model_of
from netjac.errors import ShapeError
from netjac.scale.stream import stream


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
