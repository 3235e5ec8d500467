"""The command `netjac`: a thin face over the public functions.

Exit status: 0 good, 1 a check failed, 2 bad input (one line on stderr says what, where and what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import netjac
from netjac.errors import NetjacError

MODEL = "a .keras or .pt2 file, or module:attribute, imported from here"
DATA = "the input: .npy, .npz (several inputs by name), .csv, .parquet or .zarr, one sample a row"
GOOD, FAILED, BAD, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD, f"netjac: {_one_line(message)}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        given = parsed(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    try:
        status: int = importlib.import_module(f"netjac.commands.{given.command}").run(given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _told("interrupted; nothing was written", INTERRUPTED)
    except BrokenPipeError:
        # The reader of stdout has gone; what Python would still flush there goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except NetjacError as error:
        return _told(str(error), BAD, given.traceback)
    except Exception as error:
        # A model's own code may raise anything, when it is imported or traced.
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _told(
            f"{vars(given).get('model', given.command)}: {what} (--traceback shows where)", BAD, given.traceback
        )


def _told(what: str, status: int, in_full: bool = False) -> int:
    if in_full:
        traceback.print_exc()
    print(f"netjac: {_one_line(what)}", file=sys.stderr)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as attributes. Raises `SystemExit` for help, the version, and arguments that are wrong."""
    top, commands = parsers()
    if arguments and arguments[0] in commands:
        # Not by way of `top`, whose subparsers cannot take DATA after an option.
        return commands[arguments[0]].parse_intermixed_args(arguments[1:], argparse.Namespace(command=arguments[0]))
    return top.parse_args(arguments)


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of `netjac` and that of each of its commands."""
    top = Parser(prog="netjac", description=netjac.__doc__, epilog="netjac COMMAND --help tells more.")
    top.add_argument("--version", action="version", version=f"netjac {netjac.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    jacobian = commands.add_parser("jacobian", help="compute ∂of/∂wrt of a model at an input, and show or save it")
    _add_question(jacobian)
    jacobian.add_argument(
        "-o", "--output", metavar="OUT", help="save to OUT: .npz, .npy, or a picture (.png, .svg, .pdf)"
    )
    jacobian.add_argument("--sample", type=int, default=0, help="the sample that pictures show (default 0)")

    explain = commands.add_parser("explain", help="show the plan by which a Jacobian would be computed, and its cost")
    _add_question(explain)
    explain.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")

    check = commands.add_parser("check", help="compare a Jacobian with the framework's own and with differences")
    _add_question(check)
    check.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")
    check.add_argument(
        "--samples", type=int, default=64, help="entries to compare with differences, about (default 64)"
    )
    check.add_argument("--seed", type=int, default=0, help="seed of the random choice of entries (default 0)")
    check.add_argument("--tolerance", type=float, help="largest relative error allowed (default: by dtype)")

    bench = commands.add_parser(
        "bench",
        help="time a Jacobian beside JAX's plain modes and the framework's own; without MODEL, the reference workloads",
    )
    _add_question(bench, "?")
    bench.add_argument(
        "--workload", metavar="NAME", action="append", help="without MODEL: only this reference workload; may repeat"
    )
    bench.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .txt or .json")
    bench.add_argument("--runs", type=int, default=9, help="calls of each way after the first (default %(default)s)")

    ntk = commands.add_parser("ntk", help="the empirical neural tangent kernel of the samples, (N, N, m, m)")
    _add_given(ntk)
    ntk.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    ntk.add_argument(
        "--against", metavar="DATA", help="other samples, for a kernel between the two; DATA's own by default"
    )
    ntk.add_argument("--trace", action="store_true", help="summed over equal outputs: (N, N)")
    ntk.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npy")

    attack = commands.add_parser(
        "attack", help="adversarial examples of the samples in DATA, each verified by the model"
    )
    _add_given(attack)
    attack.add_argument(
        "--method", choices=("fgsm", "pgd", "deepfool", "jsma"), default="deepfool", help="(default %(default)s)"
    )
    attack.add_argument("--labels", metavar="FILE", help="the samples' classes; the model's own answers by default")
    attack.add_argument("--of", metavar="NAME", help="the scores, where the model has several outputs")
    attack.add_argument("--bounds", metavar="LOW,HIGH", help="what inputs lie between; nothing is assumed without")
    attack.add_argument("--target", type=int, metavar="CLASS", help="the class to be reached; any other by default")
    attack.add_argument(
        "--epsilon", type=float, help="size of the perturbation (fgsm, pgd), the largest one that counts"
    )
    attack.add_argument("--norm", choices=("2", "inf"), help="that sizes are measured in (default: inf; deepfool 2)")
    attack.add_argument("--steps", type=int, help="the most steps a sample takes")
    attack.add_argument("--step-size", type=float, help="of pgd (default 2.5 ε / steps)")
    attack.add_argument("--seed", type=int, help="of pgd's random start (default 0)")
    attack.add_argument("--overshoot", type=float, help="of deepfool (default 0.02)")
    attack.add_argument(
        "--theta", type=float, help="of jsma: by how much a feature moves, below zero to shrink (default 1)"
    )
    attack.add_argument("--gamma", type=float, help="of jsma: the largest share of features to change (default 0.145)")
    attack.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npz")

    stream = commands.add_parser("stream", help="write the Jacobian of any number of samples to a Zarr store; goes on")
    _add_given(stream)
    stream.add_argument("--wrt", metavar="NAME", help="input (default), parameters, or a name")
    stream.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    stream.add_argument("--chunk", type=int, metavar="N", help="samples a chunk (default: about 64 MiB)")
    stream.add_argument("--begin-anew", action="store_true", help="forget what an earlier run wrote to STORE")
    stream.add_argument("-o", "--output", metavar="STORE", help="the folder to write to")

    sensitivity = commands.add_parser("sensitivity", help="how much each output changes with each feature, over DATA")
    _add_given(sensitivity)
    sensitivity.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    sensitivity.add_argument(
        "--scale", choices=("std", "range"), help="per standard deviation or range of each feature"
    )
    sensitivity.add_argument(
        "--bound", default="uniform", choices=("uniform", "normal"), help="how features are distributed"
    )
    sensitivity.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default %(default)s)")
    sensitivity.add_argument("--seed", type=int, default=0, help="of the intervals' random draws (default 0)")
    sensitivity.add_argument("--kind", choices=("bars", "plane", "density", "maps"), help="of the picture")
    sensitivity.add_argument(
        "-o", "--output", metavar="OUT", help="save to OUT: .csv, .json, or a picture (.png, .svg, .pdf)"
    )

    select = commands.add_parser("select", help="the features that the outputs depend on, over DATA")
    _add_given(select)
    select.add_argument("-k", type=int, metavar="N", help="how many (default: those found to do something)")
    select.add_argument("--threshold", type=float, help="instead: those of at least this part of the largest effect")
    select.add_argument("--method", default="rank", choices=("rank", "redundancy"), help="(default %(default)s)")
    select.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    select.add_argument("--alpha", type=float, default=0.05, help="level of the test (default %(default)s)")
    select.add_argument(
        "--negligible",
        type=float,
        default=0.1,
        help="the effect, as part of an average one, that is nothing (default 0.1)",
    )
    select.add_argument("--correction", default="holm", choices=("holm", "fdr", "none"), help="for there being many")
    select.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    select.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .csv, .json or .txt")

    flow = commands.add_parser("flow", help="how gradients pass through the layers: spectra, dead units, verdicts")
    _add_given(flow)
    flow.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    flow.add_argument("--layer", metavar="NAME", action="append", help="only this layer; may repeat")
    flow.add_argument("--samples", type=int, default=16, help="samples whose spectra are found (default %(default)s)")
    flow.add_argument("--exact", type=int, default=1024, help="widths up to which all singular values are found")
    flow.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .json, .csv, or a picture (.png, .svg, .pdf)")

    fit = commands.add_parser("fit", help="fit a model's parameters to targets by Levenberg–Marquardt or Gauss–Newton")
    _add_given(fit)
    fit.add_argument("--targets", metavar="DATA", help="Y, one row a sample; for cross-entropy classes or their shares")
    fit.add_argument(
        "--validation", metavar="DATA", nargs=2, help="inputs and targets; the fit ends when they get worse"
    )
    fit.add_argument("--method", default="levenberg-marquardt", help="or gauss-newton")
    fit.add_argument("--loss", default="mse", help="or cross-entropy")
    fit.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
    fit.add_argument("--iterations", type=int, default=100, help="at most so many (default %(default)s)")
    fit.add_argument("--seconds", type=float, help="at most so long")
    fit.add_argument("--target", type=float, help="end when the loss is at most this")
    fit.add_argument("--batch", type=int, metavar="N", help="so many samples an iteration (default: all)")
    fit.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="save to OUT: parameters (.npz), model (.keras), or a picture (.png)",
    )

    bounds = commands.add_parser(
        "bounds", help="certified enclosures of a Jacobian over boxes around the samples of DATA"
    )
    _add_given(bounds)
    bounds.add_argument("--radius", type=float, required=True, help="of the box, in the input's units")
    lipschitz = commands.add_parser("lipschitz", help="certified Lipschitz constants at, around and beyond the samples")
    _add_given(lipschitz)
    lipschitz.add_argument("--radius", type=float, help="of the boxes (default: none, so no local constants)")
    for command in (bounds, lipschitz):
        command.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
        command.add_argument("-o", "--output", metavar="OUT", help="save to OUT: .npz or .json")

    commands.add_parser("calibrate", help="measure this device's rates once, for plans to be chosen by")
    demo = commands.add_parser("demo", help="train a small network on handwritten digits and show all this on it")
    demo.add_argument(
        "-o", "--output", metavar="DIR", default="netjac-demo", help="folder for the files (default %(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="train for less long")
    for command in commands.choices.values():
        command.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
        command.add_argument("--json", action="store_true", help="print JSON on stdout instead of text")
        command.add_argument("--quiet", action="store_true", help="print no more than is asked for, and no progress")
    return top, commands.choices


def _add_question(command: argparse.ArgumentParser, models: str | None = None) -> None:
    _add_given(command, models)
    command.add_argument(
        "--wrt", metavar="NAME", action="append", help="input (default), parameters, or a name; may repeat"
    )
    command.add_argument(
        "--of", metavar="NAME", action="append", help="output (default), or an output's or layer's name"
    )
    command.add_argument("--engine", default="auto", help="auto (default), structured, forward, reverse or framework")


def _add_given(command: argparse.ArgumentParser, models: str | None = None) -> None:
    """The model, its input, and what every computation may be told."""
    command.add_argument("model", metavar="MODEL", nargs=models, help=MODEL)
    command.add_argument("data", metavar="DATA", nargs="?", help=DATA)
    command.add_argument("--shape", metavar="N,N,…", help="without DATA: standard normal numbers of this shape")
    command.add_argument(
        "--precision", default="highest", choices=("highest", "high", "default"), help="of matrix products"
    )
    command.add_argument("--memory", metavar="SIZE", help="memory budget, such as 4GiB")
    command.add_argument("--dtype", choices=("float64", "float32", "float16", "bfloat16"), help="dtype to compute in")
    command.add_argument("--batched", action="store_true", help="of a JAX function: axis 0 counts samples")


if __name__ == "__main__":
    sys.exit(main())
