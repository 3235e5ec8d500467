"""`netjac formula`: the factored closed form of a model's Jacobian, as text, LaTeX or JSON."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from netjac.commands.arguments import add_given
from netjac.commands.given import as_json, by_name, inputs_of, model_of, target, tell, write_text
from netjac.formula.build import formula
from netjac.formula.formula import Formula

HELP = "the Jacobian as a formula: the product of its layers' Jacobians"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_given(command)
    command.add_argument("--wrt", metavar="NAME", default="input", help="input (default), parameters, or a name")
    command.add_argument("--of", metavar="NAME", default="output", help="output (default), or a name")
    command.add_argument("--latex", action="store_true", help="print LaTeX instead of text")
    command.add_argument("--derivation", action="store_true", help="and backpropagation's steps")
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt, .tex or .json")


def run(given: Namespace) -> int:
    path = target(given.output, (".txt", ".tex", ".json"))
    network = model_of(given)
    x = None if given.data is None and given.shape is None else inputs_of(given)
    if isinstance(x, dict) and len(x) == 1:
        x = next(iter(x.values()))
    tell(given, "reading the graph")
    found = by_name(formula(network, x, wrt=given.wrt, of=given.of))
    data = {name: _data(one) for name, one in found.items()}
    if path is not None:
        kind = path.suffix.lower()
        saved = (
            as_json(data) if kind == ".json" else "\n".join(_lines(f, kind == ".tex", given) for f in found.values())
        )
        write_text(path, saved)
    if given.json:
        print(as_json({"formulas": data, "file": None if path is None else str(path)}))
    elif not given.quiet:
        print("\n".join(_lines(one, given.latex, given) for one in found.values()))
        if path is not None:
            print(f"saved to {path}")
    return 0


def _lines(one: Formula, latex: bool, given: Namespace) -> str:
    lines = [one.latex, *([one.definitions] if one.definitions else [])] if latex else [repr(one)]
    if given.derivation:
        lines += [step.latex if latex else f"{step.text}    {step.explanation}" for step in one.derivation]
    return "\n".join(lines)


def _data(one: Formula) -> dict[str, Any]:
    steps = [{"text": s.text, "latex": s.latex, "explanation": s.explanation} for s in one.derivation]
    return {
        "text": one.text,
        "latex": one.latex,
        "definitions": one.definitions,
        "symbols": [asdict(s) for s in one.symbols],
        "derivation": steps,
    }
