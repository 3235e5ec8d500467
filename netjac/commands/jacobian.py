"""`netjac jacobian`: compute, show, save."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from netjac.commands.arguments import add_question
from netjac.commands.given import as_json, by_name, inputs_of, model_of, options_of, target, tell, write
from netjac.errors import ShapeError
from netjac.jacobian import jacobian
from netjac.linear_algebra import working
from netjac.operator import Jacobian
from netjac.report.words import names_of

ARRAYS, PICTURES = (".npz", ".npy"), (".png", ".svg", ".pdf")
# JSON holds the entries themselves up to this many.
MOST_VALUES = 10_000


HELP = "compute ∂of/∂wrt of a model at an input, and show or save it"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_question(command)
    command.add_argument(
        "-o", "--output", metavar="OUT", help="save to OUT: .npz, .npy, or a picture (.png, .svg, .pdf)"
    )
    command.add_argument("--sample", type=int, default=0, help="the sample that pictures show (default 0)")


def run(given: Namespace) -> int:
    path = target(given.output, ARRAYS + PICTURES)
    x, network = inputs_of(given), model_of(given)
    tell(given, "planning")
    found = by_name(jacobian(network, x, **options_of(given), progress=False if given.quiet else None))
    if path is not None and path.suffix.lower() != ".npz" and len(found) > 1:
        raise ShapeError(f"these are {len(found)} Jacobians by name ({', '.join(found)}); -o takes an .npz for them")
    tell(given, "computing")
    for J in found.values():
        J.to_jax()
    if path is not None:
        write(path, lambda place: _save(place, found, given.sample))
    if given.json:
        print(
            as_json({"jacobians": {n: _data(J) for n, J in found.items()}, "file": None if path is None else str(path)})
        )
    elif not given.quiet:
        for J in found.values():
            print(J)
            if path is None:
                _show(J, given.sample)
        if path is not None:
            print(f"saved to {path}" + (f" as {', '.join(map(repr, found))}" if path.suffix == ".npz" else ""))
    return 0


def _save(path: Path, found: dict[str, Jacobian], sample: int) -> None:
    if path.suffix.lower() in PICTURES:
        next(iter(found.values())).plot(sample=sample, path=path)
        return
    # NumPy's files know no bfloat16.
    arrays: dict[str, Any] = {name: _known_to_numpy(J.to_numpy()) for name, J in found.items()}
    if path.suffix.lower() == ".npy":
        np.save(path, next(iter(arrays.values())))
    else:
        np.savez(path, **arrays)


def _known_to_numpy(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "f" else working(array)


def _data(J: Jacobian) -> dict[str, Any]:
    of, wrt, model = names_of(J) or (None, None, None)
    entries = J.to_numpy()
    finite = bool(np.isfinite(entries).all())
    return {
        "model": model,
        "of": of,
        "wrt": wrt,
        "shape": list(J.shape),
        "batch": J.batch,
        "out_shape": list(J.out_shape),
        "in_shape": list(J.in_shape),
        "dtype": J.dtype.name,
        "structure": {"kind": J.structure.kind, "per_sample": J.structure.per_sample, "reason": J.structure.reason},
        "finite": finite,
        "norm": np.asarray(J.norm(), np.float64).tolist() if finite and entries.size else None,
        "values": entries.astype(np.float64).tolist() if finite and entries.size <= MOST_VALUES else None,
    }


def _show(J: Jacobian, sample: int) -> None:
    from rich.console import Console

    from netjac.report.plots import matrix_of
    from netjac.report.terminal import show

    if np.prod(J.shape):
        show(matrix_of(J, sample), Console())
