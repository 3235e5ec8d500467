"""`netjac lipschitz`: Lipschitz constants at the samples of DATA, over boxes around them, and everywhere."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import numpy as np

from netjac.certified.lipschitz import lipschitz
from netjac.commands.arguments import add_given, add_of
from netjac.commands.bounds import listed
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write, write_text

HELP = "certified Lipschitz constants at, around and beyond the samples"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("--radius", type=float, help="of the boxes (default: none, so no local constants)")
    add_of(command)
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npz or .json")


def run(given: Namespace) -> int:
    path = target(given.output, (".npz", ".json"))
    x, model = inputs_of(given), model_of(given)
    tell(given, "enclosing")
    found = lipschitz(
        model, x, radius=given.radius, of=given.of or "output", memory=given.memory,
        progress=False if given.quiet else None,
    )  # fmt: skip
    product = found.product if np.isfinite(found.product) else None
    told = {
        "norm": 2, "radius": given.radius, "lower": listed(found.lower),
        "local": None if found.local is None else listed(found.local), "product": product,
    }  # fmt: skip
    if path is not None and path.suffix.lower() == ".npz":
        local = {} if found.local is None else {"local": found.local}
        arrays = {"lower": found.lower, "product": np.asarray(found.product), "upper": found.upper, **local}
        write(path, lambda place: np.savez(place, allow_pickle=False, **arrays))
    elif path is not None:
        write_text(path, as_json(told))
    if given.json:
        print(as_json({**told, "file": None if path is None else str(path)}))
    elif not given.quiet:
        print(found)
        if path is not None:
            print(f"saved to {path}")
    return 0
