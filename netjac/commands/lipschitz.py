"""`netjac lipschitz`: Lipschitz constants at the samples of DATA, over boxes around them, and everywhere."""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from netjac.certified.lipschitz import lipschitz
from netjac.commands.bounds import listed
from netjac.commands.given import as_json, inputs_of, model_of, target, tell, write, write_text


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
