"""`netjac bounds`: enclosures of every entry of the Jacobian over a box around each sample."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from netjac.certified.bounds import bounds
from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write, write_text

HELP = "certified enclosures of a Jacobian over boxes around the samples of DATA"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("--radius", type=float, required=True, help="of the box, in the input's units")
    add_of(command)
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npz or .json")


def run(given: Namespace) -> int:
    path = target(given.output, (".npz", ".json"))
    x, model = inputs_of(given), model_of(given)
    tell(given, "enclosing")
    lower, upper = bounds(
        model, x, given.radius, of=given.of or "output", memory=given.memory, progress=False if given.quiet else None
    )
    rises, falls = int((lower > 0).sum()), int((upper < 0).sum())
    told = {
        "radius": given.radius, "shape": list(lower.shape), "entries": lower.size, "positive": rises, "negative": falls,
        "widest": finite(np.max(upper - lower, initial=0.0)), "mean_width": finite(np.mean(upper - lower)),
        "file": None if path is None else str(path),
    }  # fmt: skip
    if path is not None and path.suffix.lower() == ".npz":
        write(path, lambda place: np.savez(place, lower=lower, upper=upper))
    elif path is not None:
        write_text(path, as_json({"radius": given.radius, "lower": listed(lower), "upper": listed(upper)}))
    if given.json:
        print(as_json(told))
    elif not given.quiet:
        print(f"J of shape {lower.shape} within ±{given.radius:g} of each sample")
        print(f"  width of the enclosures: {told['mean_width']} on average, {told['widest']} at most")
        print(f"  sign certain: {rises + falls} of {lower.size} entries ({rises} positive, {falls} negative)")
        if path is not None:
            print(f"saved to {path}")
    return 0


def finite(number: Any) -> float | None:
    """The number to six digits, None where it is infinite, which JSON cannot say."""
    return float(f"{number:.6g}") if np.isfinite(number) else None


def listed(array: np.ndarray) -> Any:
    """Nested lists, None where nothing bounds an entry."""
    kept = array.astype(object)
    kept[~np.isfinite(array)] = None
    return kept.tolist()
