"""`netjac bench`: a model's Jacobian timed as netjac computes it, by JAX's plain modes, and by the framework itself."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from netjac.commands import reference
from netjac.commands.arguments import add_question
from netjac.commands.given import as_json, inputs_of, model_of, options_of, target, tell, write_text
from netjac.errors import ShapeError
from netjac.jacobian import ask_one, jacobian
from netjac.networks import Network
from netjac.pieces import Options

MOST_VECTORS = 4096
"""Basis vectors that a plain mode may carry at once."""


@dataclass
class Timed:
    """One way: seconds of its first call and of the later ones, and its distance from netjac's result, relative."""

    way: str
    first: float = 0.0
    later: list[float] = field(default_factory=list)
    difference: float = 0.0

    @property
    def median(self) -> float:
        return median(self.later)


HELP = "time a Jacobian beside JAX's plain modes and the framework's own; without MODEL, the reference workloads"


def arguments(command: ArgumentParser) -> None:
    """What the command may be told, beside what all commands are."""
    add_question(command, "?")
    command.add_argument(
        "--workload", metavar="NAME", action="append", help="without MODEL: only this reference workload; may repeat"
    )
    command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")
    command.add_argument("--runs", type=int, default=9, help="calls of each way after the first (default %(default)s)")


def run(given: Namespace) -> int:
    if given.runs < 1:
        raise ShapeError(f"--runs {given.runs} times nothing; give a positive number")
    if given.model is None:
        return reference.run(given)
    if given.workload:
        raise ShapeError("--workload names a network of netjac's own; leave it out, or MODEL")
    path = target(given.output, (".txt", ".json"))
    if given.engine == "framework":
        raise ShapeError("--engine framework is one of the ways that are compared; leave it out")
    x, network = inputs_of(given), model_of(given)
    options = options_of(given)
    timed = measured(ways(network, x, options), given)
    data = as_json(
        {
            "model": network.name,
            "ways": [
                {"way": t.way, "first": t.first, "median": t.median, "difference": t.difference, "seconds": t.later}
                for t in timed
            ],
        }
    )
    told = table(timed)
    if path is not None:
        write_text(path, data if path.suffix == ".json" else told)
    if given.json or not given.quiet:
        print(data if given.json else told)
    return 0


def ways(network: Network, x: Any, options: Mapping[str, Any]) -> dict[str, Callable[[], np.ndarray]]:
    """What is timed: the arguments to an array (batch, *out, *in), each time from the model anew."""
    asked = ask_one(network, x, options["wrt"], options["of"], Options(options["engine"], options["precision"]))
    sides, source = asked.sides((0, 0)), asked.jacobian((0, 0))._source
    plain = {**options, "engine": "auto"}
    found: dict[str, Callable[[], np.ndarray]] = {"netjac": lambda: np.asarray(jacobian(network, x, **options))}

    def by_rows() -> np.ndarray:
        return np.asarray(jacobian(network, x, **plain).rows(range(sides.m))).reshape(asked.shape((0, 0)))

    def by_columns() -> np.ndarray:
        return np.asarray(jacobian(network, x, **plain).columns(range(sides.n))).reshape(asked.shape((0, 0)))

    if source.can("pull") and not sides.shared and sides.m <= MOST_VECTORS:
        found["JAX, plain reverse mode"] = by_rows
    if source.can("push") and sides.n <= MOST_VECTORS:
        found["JAX, plain forward mode"] = by_columns
    names = (options["wrt"], options["of"])
    if network.framework != "jax" and names == ("input", "output"):
        found[f"{network.oracle}, row by row"] = lambda: np.asarray(
            jacobian(network, x, **{**options, "engine": "framework"})
        )
    return found


def measured(ways: Mapping[str, Callable[[], np.ndarray]], given: Namespace) -> list[Timed]:
    """The first call of each, then rounds of all of them in turn, so that a drift of the machine meets all."""
    timed = {way: Timed(way) for way in ways}
    reference = np.zeros(0)
    for way, call in ways.items():
        tell(given, f"first call: {way}")
        timed[way].first, result = _clocked(call)
        result = result.astype(np.float64)
        reference = result if way == "netjac" else reference
        scale = float(np.linalg.norm(reference)) or 1.0
        timed[way].difference = float(np.linalg.norm(result - reference)) / scale
    for number in range(given.runs):
        tell(given, f"round {number + 1} of {given.runs}")
        for way, call in ways.items():
            timed[way].later.append(_clocked(call)[0])
    return list(timed.values())


def _clocked(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def table(timed: list[Timed]) -> str:
    """The ways beside each other; "against netjac" is the ratio of medians."""
    ours = timed[0].median
    lines = [f"{'way':<26}{'first call':>12}{'median':>12}{'against netjac':>16}{'difference':>12}"]
    for one in timed:
        ratio = "" if one is timed[0] else f"{one.median / ours:.3g}×"
        difference = "" if one is timed[0] else f"{one.difference:.0e}"
        lines.append(f"{one.way:<26}{_words(one.first):>12}{_words(one.median):>12}{ratio:>16}{difference:>12}")
    return "\n".join(lines)


def _words(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
