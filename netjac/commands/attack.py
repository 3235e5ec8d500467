"""`netjac attack`: adversarial examples of the samples in DATA, how many there are, how far off, saved."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from netjac.attacks import Attack, deepfool, fgsm, jsma, pgd
from netjac.commands.arguments import add_given
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write
from netjac.data import read
from netjac.errors import ShapeError

METHODS: dict[str, Callable[..., Attack]] = {"fgsm": fgsm, "pgd": pgd, "deepfool": deepfool, "jsma": jsma}
OWN = {
    "fgsm": ("epsilon", "norm"),
    "pgd": ("epsilon", "norm", "steps", "step_size", "seed"),
    "deepfool": ("epsilon", "norm", "steps", "overshoot"),
    "jsma": ("steps", "theta", "gamma"),
}


HELP = "adversarial examples of the samples in DATA, each verified by the model"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument(
        "--method", choices=("fgsm", "pgd", "deepfool", "jsma"), default="deepfool", help="(default %(default)s)"
    )
    command.add_argument("--labels", metavar="FILE", help="the samples' classes; the model's own answers by default")
    command.add_argument("--of", metavar="NAME", help="the scores, where the model has several outputs")
    command.add_argument("--bounds", metavar="LOW,HIGH", help="what inputs lie between; nothing is assumed without")
    command.add_argument("--target", type=int, metavar="CLASS", help="the class to be reached; any other by default")
    command.add_argument(
        "--epsilon", type=float, help="size of the perturbation (fgsm, pgd), the largest one that counts"
    )
    command.add_argument("--norm", choices=("2", "inf"), help="that sizes are measured in (default: inf; deepfool 2)")
    command.add_argument("--steps", type=int, help="the most steps a sample takes")
    command.add_argument("--step-size", type=float, help="of pgd (default falling from ε)")
    command.add_argument("--seed", type=int, help="of pgd's random start (default 0)")
    command.add_argument("--overshoot", type=float, help="of deepfool (default 0.02)")
    command.add_argument(
        "--theta", type=float, help="of jsma: by how much a feature moves, below zero to shrink (default 1)"
    )
    command.add_argument("--gamma", type=float, help="of jsma: the largest share of features to change (default 0.145)")
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npz")


def run(given: Namespace) -> int:
    path = target(given.output, (".npz",))
    options = _options(given)
    x, network = inputs_of(given, lying=True), model_of(given)
    if isinstance(x, dict) and len(x) == 1:
        x = next(iter(x.values()))
    labels = None if given.labels is None else _labels(given.labels)
    tell(given, "searching")
    found = METHODS[given.method](
        network, x, labels, bounds=_bounds(given.bounds), targets=given.target, of=given.of, precision=given.precision,
        memory=given.memory, progress=False if given.quiet else None, **options,
    )  # fmt: skip
    if path is not None:
        write(path, lambda place: _save(place, found))
    if given.json:
        print(as_json({**found.to_dict(), "file": None if path is None else str(path)}))
    elif not given.quiet:
        print(found)
        if path is not None:
            print(f"saved to {path}")
    return 0


def _options(given: Namespace) -> dict[str, Any]:
    """The options that the method has. Raises `ShapeError` for one that it has not, and for an ε that is missing."""
    asked = {name: getattr(given, name) for name in {n for names in OWN.values() for n in names}}
    chosen = {name: value for name, value in asked.items() if value is not None}
    for name in sorted(chosen):
        if name not in OWN[given.method]:
            users = ", ".join(method for method, names in OWN.items() if name in names)
            raise ShapeError(f"--{name.replace('_', '-')} is no option of {given.method}; it belongs to {users}")
    if given.method in ("fgsm", "pgd") and "epsilon" not in chosen:
        raise ShapeError(
            f"--epsilon is missing; {given.method} needs the size of the perturbation, in the units of DATA"
        )
    return chosen


def _bounds(words: str | None) -> tuple[float, float] | None:
    """LOW,HIGH as numbers. Raises `ShapeError`."""
    if words is None:
        return None
    try:
        low, high = (float(word) for word in words.split(","))
    except ValueError:
        raise ShapeError(f"--bounds {words!r} is no pair of numbers; give them as LOW,HIGH, such as 0,1") from None
    return low, high


def _labels(path: str) -> np.ndarray:
    """One class a sample: of an array, or of a table's only column. Raises `ShapeError`."""
    found = read(path)
    if isinstance(found, dict):
        raise ShapeError(f"{path!r} holds the arrays {', '.join(found)}; give a file of the labels alone")
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _save(place: Path, found: Attack) -> None:
    np.savez(
        place, raw=found.raw, adversarial=found.adversarial, success=found.success, distance=found.distance,
        labels=found.labels, predicted=found.predicted,
    )  # fmt: skip
