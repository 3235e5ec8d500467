"""`netjac ntk`: the empirical neural tangent kernel of the samples, what it says in a few numbers, saved."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write
from netjac.data import read
from netjac.linear_algebra import working
from netjac.parameters.matrix import ntk

HELP = "the empirical neural tangent kernel of the samples, (N, N, m, m)"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    add_of(command)
    command.add_argument(
        "--against", metavar="DATA", help="other samples, for a kernel between the two; DATA's own by default"
    )
    command.add_argument("--trace", action="store_true", help="summed over equal outputs: (N, N)")
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npy")


def run(given: Namespace) -> int:
    path = target(given.output, (".npy",))
    x, network = inputs_of(given), model_of(given)
    against = None if given.against is None else read(given.against)
    tell(given, "computing")
    kernel = np.asarray(
        ntk(
            network, x, against, contract="trace" if given.trace else None, of=given.of or "output",
            precision=given.precision, memory=given.memory,
        )
    )  # fmt: skip
    if path is not None:
        write(path, lambda place: np.save(place, kernel if kernel.dtype.kind == "f" else working(kernel)))
    told = _told(kernel, against is None)
    if given.json:
        print(as_json({**told, "file": None if path is None else str(path)}))
    elif not given.quiet:
        for name, value in told.items():
            print(f"{name:<24}{value if isinstance(value, list) else f'{value:.6g}'}")
        if path is not None:
            print(f"saved to {path}")
    return 0


def _told(kernel: np.ndarray, square: bool) -> dict[str, Any]:
    """The shape and, of the kernel of samples with themselves, its trace and its largest and smallest eigenvalue."""
    told: dict[str, Any] = {"shape": list(kernel.shape)}
    if not square or not kernel.size:
        return told
    flat = kernel if kernel.ndim == 2 else kernel.transpose(0, 2, 1, 3).reshape((kernel.shape[0] * kernel.shape[2], -1))
    values = np.linalg.eigvalsh(np.asarray(flat, np.float64))
    return {**told, "trace": float(values.sum()), "largest eigenvalue": float(values[-1]), "smallest": float(values[0])}
