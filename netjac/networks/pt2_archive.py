"""What is looked at in a `.pt2` archive before torch may load it.

`torch.export.load` can run code from a file in several ways: pickled weights, constants and sample inputs, compiled
libraries, trees whose types are imported by name, functions called by name, expressions evaluated as Python. An archive
is read here as data alone, and one that holds anything but tensors and a graph of ATen operations is refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from netjac.errors import ModelLoadError

MEMBERS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|models/[^/]+\.json"
    r"|data/weights/(weight_\d+|[^/]+\.json)|data/constants/(tensor_\d+|[^/]+\.json)|data/sample_inputs/[^/]+\.pt)"
)
TARGETS = re.compile(
    r"torch\.ops\.aten\.[\w.]+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(mul|add|sub|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
EXPRESSION = re.compile(r"[\w\s+\-*/(),.<>='\[\]\"%!&|]*")
SIZES = re.compile(
    r"[suz]\w{0,2}\d+|Symbol|Integer|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|Pow|Eq|Ne|Ge|Gt|Le|Lt|And|Or"
    r"|positive|integer|nonnegative|True|False|None|\d+"
)
CALLS = frozenset({"size", "stride", "storage_offset", "numel", "dim", "len"})


def inspect(path: Path) -> None:
    """Raises `ModelLoadError` unless the archive holds data alone."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not MEMBERS.fullmatch(name):
                raise _refused(path, f"it holds {name!r}, which is neither weights nor a graph")
        for name in archive.namelist():
            if name.endswith(".json"):
                _inspect_json(path, name, json.loads(archive.read(name)))
            elif name.endswith(".pt"):
                _inspect_tensors(path, name, archive.read(name))


def _refused(path: Path, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"{str(path)!r} is not opened: {why}, and loading it could run code. Export the module again with "
        "torch.export.save, or build the model in Python and pass the object"
    )


def _inspect_tensors(path: Path, name: str, content: bytes) -> None:
    """Sample inputs may be tensors alone: what fails to load as weights only, torch would unpickle."""
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise _refused(path, f"{name!r} holds more than tensors") from error


def _inspect_json(path: Path, name: str, content: Any) -> None:
    for key, value in _entries(content):
        if key == "use_pickle" and value:
            raise _refused(path, f"{name!r} names pickled data")
        if key == "target" and isinstance(value, str) and not TARGETS.fullmatch(value):
            raise _refused(path, f"its graph calls {value!r}, which is no ATen operation")
        if key in ("in_spec", "out_spec") and isinstance(value, str) and value:
            _inspect_tree(path, value)
        if key == "expr_str" and not _is_arithmetic(str(value)):
            raise _refused(path, f"{str(value)[:60]!r} is no arithmetic of sizes")
        if key == "guards_code" and value and not all(_is_comparison(str(line)) for line in value):
            raise _refused(path, "its guards are more than comparisons of sizes")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(content, list):
        for value in content:
            yield from _entries(value)


def _inspect_tree(path: Path, text: str) -> None:
    if "__enum__" in text:
        raise _refused(path, "its inputs or outputs are of a type imported by name")
    for key, value in _entries(json.loads(text)):
        if key == "type" and value not in TREES:
            raise _refused(path, f"its inputs or outputs are of the type {value!r}")


def _is_arithmetic(text: str) -> bool:
    """Nothing but symbols of sizes and the functions of them that torch writes."""
    return bool(EXPRESSION.fullmatch(text)) and all(SIZES.fullmatch(word) for word in re.findall(r"\w+", text))


def _is_comparison(text: str) -> bool:
    """Nothing private, and no calls but those that ask for sizes."""
    calls = set(re.findall(r"(\w+)\s*\(", text)) - CALLS
    return bool(EXPRESSION.fullmatch(text)) and "__" not in text and all(SIZES.fullmatch(word) for word in calls)
