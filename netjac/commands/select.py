"""`netjac select`: the features that the outputs depend on, over the samples of DATA."""

from __future__ import annotations

import csv
import io
from argparse import ArgumentParser, Namespace

from netjac.analysis.selection import Selection, select_features
from netjac.commands.arguments import add_given, add_of
from netjac.commands.given import as_json, model_of, named_inputs_of, target, tell, write_text

HELP = "the features that the outputs depend on, over DATA"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("-k", type=int, metavar="N", help="how many (default: those found to do something)")
    command.add_argument("--threshold", type=float, help="instead: those of at least this part of the largest effect")
    command.add_argument("--method", default="rank", choices=("rank", "redundancy"), help="(default %(default)s)")
    add_of(command)
    command.add_argument("--alpha", type=float, default=0.05, help="level of the test (default %(default)s)")
    command.add_argument(
        "--negligible",
        type=float,
        default=0.1,
        help="the effect, as part of an average one, that is nothing (default 0.1)",
    )
    command.add_argument("--correction", default="holm", choices=("holm", "fdr", "none"), help="for there being many")
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .csv, .json or .txt")


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
