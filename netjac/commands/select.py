"""`netjac select`: the features that the outputs depend on, over the samples of DATA."""

from __future__ import annotations

import csv
import io
from argparse import Namespace

from netjac.analysis.selection import Selection, select_features
from netjac.commands.given import as_json, model_of, named_inputs_of, target, tell, write_text


def run(given: Namespace) -> int:
    path = target(given.output, (".csv", ".json", ".txt"))
    x, names = named_inputs_of(given, lying=True)
    model = model_of(given)
    if names is not None:
        model.check_columns(names)
    tell(given, "computing")
    found = select_features(
        model, x, given.k,
        method=given.method, threshold=given.threshold, alpha=given.alpha, negligible=given.negligible,
        correction=given.correction, of=given.of or "output", feature_names=names, seed=given.seed,
        precision=given.precision, memory=given.memory, progress=False if given.quiet else None,
    )  # fmt: skip
    if path is not None:
        kind = path.suffix.lower()
        write_text(path, _csv(found) if kind == ".csv" else as_json(found.to_dict()) if kind == ".json" else str(found))
    if given.json:
        print(as_json({**found.to_dict(), "file": None if path is None else str(path)}))
    elif not given.quiet:
        print(found)
        if path is not None:
            print(f"saved to {path}")
    return 0


def _csv(found: Selection) -> str:
    """The chosen features, best first, a line each."""
    rows = found.rows()
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ("feature", "index", "importance", "explained", "p", "adjusted_p"), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
