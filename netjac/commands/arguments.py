"""Arguments that several commands share."""

from __future__ import annotations

from argparse import ArgumentParser

MODEL = "a .keras, .pt2 or .onnx file, or module:attribute, imported from here"
DATA = "the input: .npy, .npz (several inputs by name), .csv, .parquet or .zarr, one sample a row"


def add_question(command: ArgumentParser, models: str | None = None) -> None:
    add_given(command, models)
    command.add_argument(
        "--wrt", metavar="NAME", action="append", help="input (default), parameters, or a name; may repeat"
    )
    command.add_argument(
        "--of", metavar="NAME", action="append", help="output (default), or an output's or layer's name"
    )
    command.add_argument("--engine", default="auto", help="auto (default), structured, forward, reverse or framework")


def add_given(command: ArgumentParser, models: str | None = None) -> None:
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


def add_of(command: ArgumentParser) -> None:
    """The one thing that is differentiated."""
    command.add_argument("--of", metavar="NAME", help="output (default), or an output's or layer's name")
