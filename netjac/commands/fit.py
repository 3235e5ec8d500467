"""`netjac fit`: parameters fitted to targets. Exit status 1 when the loss is no lower than it was, and it had not converged."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write
from netjac.data import mapped
from netjac.errors import ShapeError
from netjac.networks import Network
from netjac.training.fit import fit
from netjac.training.result import Fit

PICTURES = (".png", ".svg", ".pdf")
MODELS = {".keras": "keras", ".onnx": "onnx"}

HELP = "fit a model's parameters to targets by Levenberg–Marquardt or Gauss–Newton"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument(
        "--targets", metavar="DATA", help="Y, one row a sample; for cross-entropy classes or their shares"
    )
    command.add_argument(
        "--validation",
        metavar="DATA",
        nargs=2,
        help="other inputs and targets; the parameters that are best there are kept",
    )
    command.add_argument(
        "--patience",
        type=int,
        default=10,
        metavar="N",
        help="end when --validation has not improved for N iterations (default %(default)s)",
    )
    command.add_argument("--method", default="levenberg-marquardt", help="or gauss-newton")
    command.add_argument("--loss", default="mse", help="or cross-entropy")
    add_of(command)
    command.add_argument("--iterations", type=int, default=100, help="at most so many (default %(default)s)")
    command.add_argument("--seconds", type=float, help="at most so long, looked at after every step")
    command.add_argument("--target", type=float, help="end when the loss is at most this")
    command.add_argument("--batch", type=int, metavar="N", help="so many samples an iteration (default: all)")
    command.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="save to OUT: parameters (.npz), model (.keras, .onnx), or a picture (.png)",
    )


def run(given: Namespace) -> int:
    path = target(given.output, (".npz", *MODELS, *PICTURES))
    if given.targets is None:
        raise ShapeError("--targets is missing; give the path of Y, one row a sample")
    x, y = inputs_of(given, lying=True), _targets(given.targets)
    network = model_of(Namespace(**{**vars(given), "batched": True}))
    kind = None if path is None else MODELS.get(path.suffix.lower())
    if kind is not None and network.framework != kind:
        raise ShapeError(f"-o {given.output!r} is for models of {kind}, and {network.name!r} is none; give an .npz")
    beside = None if given.validation is None else (mapped(given.validation[0]), _targets(given.validation[1]))
    tell(given, "fitting")
    found = fit(
        network, x, y, method=given.method, loss=given.loss, of=given.of or "output", max_iterations=given.iterations,
        max_seconds=given.seconds, target=given.target, batch=given.batch, validation=beside,
        patience=given.patience, precision=given.precision, memory=given.memory, progress=False if given.quiet else None,
    )  # fmt: skip
    if path is not None:
        write(path, lambda place: _save(place, found, network))
    if given.json:
        print(as_json({**found.to_dict(), "file": None if path is None else str(path)}))
    elif not given.quiet:
        print(found)
        if path is not None:
            print(f"saved to {path}")
    return 0 if found.loss < found.initial_loss or found.converged else 1


def _targets(path: str) -> Any:
    found = mapped(path)
    if isinstance(found, dict):
        raise ShapeError(f"{path!r} holds the arrays {', '.join(found)}; give a file with the targets alone")
    # A column of a table is one number a sample.
    return found[:, 0] if isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1] == 1 else found


def _save(place: Path, found: Fit, network: Network) -> None:
    ending = place.suffix.lower()
    if ending in PICTURES:
        found.plot(place)
    elif ending == ".npz":
        np.savez(place, **found.parameters)  # type: ignore[arg-type]
    elif ending == ".onnx":
        place.write_bytes(network.assigned(found.parameters).SerializeToString())
    else:
        network.assigned(found.parameters).save(place)
