"""What was given on the command line: the model, the input, the options, where to write."""

from __future__ import annotations

import importlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from netjac.data import named, read_named
from netjac.errors import ModelLoadError, ShapeError, UnknownNameError
from netjac.networks import Network
from netjac.tracing import network

MODEL_FILES = (".keras", ".pt2", ".onnx")


def model_of(given: Namespace) -> Network:
    """The model as a network. Raises `ModelLoadError`."""
    tell(given, f"loading {given.model}")
    module, colon, attribute = given.model.rpartition(":")
    is_file = not colon or Path(given.model).suffix in MODEL_FILES or Path(given.model).exists()
    model = given.model if is_file else imported(module, attribute)
    return network(model, batched=True) if given.batched else network(model)


def imported(module: str, attribute: str) -> Any:
    """The attribute (dotted, perhaps) of a module, looked for in the current folder first."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f"module {error.name!r}" + ("" if error.name == module else f", which {module!r} imports,")
        raise ModelLoadError(
            f"{missing} is neither in {here!r} nor installed; give MODULE:ATTRIBUTE of one that is"
        ) from error
    except Exception as error:
        raise ModelLoadError(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = [name for name in vars(value) if not name.startswith("_")] if hasattr(value, "__dict__") else []
            raise UnknownNameError.of(f"attribute of {module!r}", part, known)
        value = getattr(value, part)
    return value


def inputs_of(given: Namespace, lying: bool = False) -> Any:
    """The input from DATA or of --shape, in --dtype; `lying`, it may stay on disk. Raises `ShapeError`."""
    return named_inputs_of(given, lying)[0]


def named_inputs_of(given: Namespace, lying: bool = False) -> tuple[Any, tuple[str, ...] | None]:
    """The same, and the names of its columns, where DATA is a table that has them."""
    if (given.data is None) == (given.shape is None):
        what = "neither DATA nor --shape is given" if given.data is None else "both DATA and --shape are given"
        raise ShapeError(f"{what}; give the path of an array, or --shape 1,28,28,1 for a random input")
    if given.dtype is None and lying and given.data is not None:
        return named(given.data)
    data, names = (drawn(given.shape), None) if given.data is None else read_named(given.data)
    if given.dtype is None:
        return data, names
    dtype = jax.numpy.dtype(given.dtype)
    if isinstance(data, dict):
        return {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in data.items()}, names
    return data.astype(dtype), names


def drawn(shape: str) -> np.ndarray:
    """Standard normal numbers in float32, always the same."""
    try:
        sizes = tuple(int(size) for size in shape.replace("x", ",").split(",") if size.strip())
        if min(sizes, default=0) < 0:
            raise ValueError
    except ValueError:
        raise ShapeError(f"--shape {shape!r} is no shape; give sizes with commas, such as 1,28,28,1") from None
    return np.random.default_rng(0).standard_normal(sizes).astype(np.float32)


def options_of(given: Namespace) -> dict[str, Any]:
    """The keyword arguments that `netjac.jacobian` shares with the other questions."""
    return {
        "wrt": _one_or_many(given.wrt, "input"),
        "of": _one_or_many(given.of, "output"),
        "engine": given.engine,
        "precision": given.precision,
        "memory": given.memory,
    }


def _one_or_many(names: list[str] | None, default: str) -> str | list[str]:
    if names is None:
        return default
    return names[0] if len(names) == 1 else names


def by_name(found: Any) -> dict[str, Any]:
    """One Jacobian, or dicts of them, as a flat dict: "jacobian", or their names with a slash between."""
    if not isinstance(found, dict):
        return {"jacobian": found}
    flat: dict[str, Any] = {}
    for name, inner in found.items():
        flat.update({f"{name}/{n}": J for n, J in inner.items()} if isinstance(inner, dict) else {name: inner})
    return flat


def tell(given: Namespace, what: str) -> None:
    """A line on how far things are, for a person at a terminal."""
    if sys.stderr.isatty() and not given.quiet:
        print(f"netjac: {what} …", file=sys.stderr)


def as_json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)


def target(output: str | None, endings: tuple[str, ...]) -> Path | None:
    """Where to write, looked at before any work is done. Raises `ShapeError`."""
    if output is None:
        return None
    path = Path(output)
    if path.suffix.lower() not in endings:
        raise ShapeError(f"-o {output!r} is of no kind that can be written; end it in {' or '.join(endings)}")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"is in no folder that exists ({str(path.parent)!r})"
        raise ShapeError(f"-o {output!r} {what}; give the path of a file")
    return path


def write_text(path: Path, text: str) -> None:
    """`write` of text, with a line's end."""

    def content(place: Path) -> None:
        place.write_text(text + "\n", encoding="utf-8")

    write(path, content)


def write(path: Path, content: Callable[[Path], None]) -> None:
    """Write whole or not at all: beside the target first. Raises `ShapeError`."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        content(beside)
        os.replace(beside, path)
    except OSError as error:
        raise ShapeError(f"{str(path)!r} cannot be written ({error.strerror}); give another path with -o") from error
    finally:
        beside.unlink(missing_ok=True)
