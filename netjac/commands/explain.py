"""`netjac explain`: the plan, as a table or as JSON."""

from __future__ import annotations

from argparse import Namespace

from netjac.commands.given import as_json, inputs_of, model_of, options_of, target, tell, write
from netjac.jacobian import explain


def run(given: Namespace) -> int:
    path = target(given.output, (".txt", ".json"))
    x, network = inputs_of(given), model_of(given)
    tell(given, "planning")
    plan = explain(network, x, **options_of(given))
    data = as_json(plan.to_dict())
    if path is not None:
        told = data if path.suffix == ".json" else str(plan)
        write(path, lambda place: place.write_text(told + "\n", encoding="utf-8") and None)
    if given.json or path is None or not given.quiet:
        print(data if given.json else plan)
    return 0
