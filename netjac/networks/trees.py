"""The trees of inputs that a model takes and of outputs that it gives, and arrays laid out along them.

A leaf of the tree is a `Spec`; the branches are tuples, lists and dicts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netjac.errors import ShapeError
from netjac.networks.network import Spec


def leaves(structure: Any) -> list[Spec]:
    """The specs of a structure in order: a dict's in the order of its keys as given."""
    if isinstance(structure, Spec):
        return [structure]
    branches = structure.values() if isinstance(structure, dict) else structure
    return [leaf for branch in branches for leaf in leaves(branch)]


def flatten(structure: Any, x: Any, model: str) -> tuple[Any, ...]:
    """The arrays of `x` in the order of `leaves(structure)`, left as they come.

    Dicts go by names, at any depth or of the flat names; tuples and lists by order. Raises `ShapeError`, naming what
    the `model` takes, when the structure or an array's shape is another.
    """
    specs = leaves(structure)
    arrays = _by_flat_names(specs, x) or list(_matched(structure, x, specs, model))
    for spec, array in zip(specs, arrays, strict=True):
        _check_shape(spec, array, specs, model)
    return tuple(arrays)


def pack(structure: Any, arrays: Sequence[Any]) -> Any:
    """The `arrays`, in the order of `leaves(structure)`, as the tree itself."""
    return _packed(structure, iter(arrays))


def structure_of(x: Any, name: str = "input") -> Any:
    """The structure of an example: names from its dicts' keys, sizes of axis 0 left open."""
    if isinstance(x, dict):
        return {key: structure_of(value, str(key)) for key, value in x.items()}
    if isinstance(x, (tuple, list)) and not _is_array_like(x):
        return type(x)(structure_of(value, f"{name}_{i}") for i, value in enumerate(x))
    shape = tuple(np.shape(x))
    return Spec(name, (None, *shape[1:]) if shape else (), _dtype_name(x))


class Positional(tuple):
    """The branches are arguments of a call, each its own."""


def call_structure(call: Callable[..., Any], example: Any, apart: Collection[str] = ()) -> Any:
    """The structure of what `call` is given as `example`: one argument, or where it needs several, one for each.

    Arguments of the names `apart` are no inputs.
    """
    structure = structure_of(example)
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name not in apart]
    if isinstance(structure, tuple) and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return Positional(structure)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]
    names = [p.name for p in named]
    needed = sum(p.default is p.empty for p in named)
    if needed < 2 or isinstance(structure, Spec) or not needed <= len(structure) <= len(names):
        return structure
    if isinstance(structure, dict):
        return structure if set(structure) - set(names) else Positional(structure[n] for n in names if n in structure)
    return Positional(
        replace(branch, name=name) if isinstance(branch, Spec) else branch
        for name, branch in zip(names, structure, strict=False)
    )


def arguments(structure: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments of a call that the flat arrays make up."""
    packed = pack(structure, arrays)
    return packed if isinstance(packed, Positional) else (packed,)


def named_leaves(outputs: Any, declared: Sequence[str] = ()) -> dict[str, Any]:
    """The leaves of a call's outputs by name: a dict's keys, else the `declared` names, else "output_0" and so on."""
    flat = list(_leaves_with_paths(outputs, ()))
    if len(flat) == 1 and not isinstance(outputs, dict):
        return {"output": flat[0][1]}
    taken: set[str] = set()
    found = {}
    for i, (path, leaf) in enumerate(flat):
        if not isinstance(outputs, dict):
            path = (declared[i] if len(declared) == len(flat) else "_".join(("output", *path)),)
        found[unique(".".join(path), taken)] = leaf
    return found


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name~2`, `name~3`, … if it is `taken`; the answer is taken from now on."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}~{count}"
    taken.add(candidate)
    return candidate


def _leaves_with_paths(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, (dict, tuple, list)):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves_with_paths(branch, (*path, str(key)))
    elif tree is not None:
        yield path, tree


def _packed(structure: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(structure, Spec):
        return next(arrays)
    if isinstance(structure, dict):
        return {key: _packed(branch, arrays) for key, branch in structure.items()}
    return type(structure)([_packed(branch, arrays) for branch in structure])


def _by_flat_names(specs: list[Spec], x: Any) -> list[Any] | None:
    if isinstance(x, dict) and set(x) == {spec.name for spec in specs} and len(x) == len(specs):
        return [x[spec.name] for spec in specs]
    return None


def _matched(structure: Any, x: Any, specs: list[Spec], model: str) -> Iterator[Any]:
    if isinstance(structure, Spec):
        if isinstance(x, dict):
            raise _refusal(f"got a dict with the keys {sorted(map(str, x))}", specs, model)
        single = isinstance(x, (tuple, list)) and len(x) == 1 and hasattr(x[0], "shape")
        yield x[0] if single and structure.shape and len(x[0].shape) == len(structure.shape) else x
        return
    branches = list(structure.values() if isinstance(structure, dict) else structure)
    if isinstance(x, dict):
        if not isinstance(structure, dict) or set(structure) != set(x):
            raise _refusal(f"got a dict with the keys {sorted(map(str, x))}", specs, model)
        parts = [x[key] for key in structure]
    elif len(branches) == 1 and not (isinstance(x, (tuple, list)) and len(x) == 1):
        parts = [x]
    elif isinstance(x, (tuple, list)) and len(x) == len(branches):
        parts = list(x)
    else:
        number = f"{len(x)} arrays" if isinstance(x, (tuple, list)) else "one array"
        raise _refusal(f"got {number}", specs, model)
    for branch, part in zip(branches, parts, strict=True):
        yield from _matched(branch, part, specs, model)


def _check_shape(spec: Spec, array: Any, specs: list[Spec], model: str) -> None:
    if spec.shape is None:
        return
    try:
        shape = tuple(int(size) for size in np.shape(array))
    except ValueError:
        raise _refusal(f"the rows given for {spec.name!r} differ in length", specs, model) from None
    if len(shape) == len(spec.shape) and all(want in (None, has) for want, has in zip(spec.shape, shape, strict=True)):
        return
    hint = ""
    if shape == spec.shape[1:]:
        hint = " It lacks the batch axis: pass x[None] for a single sample."
    raise _refusal(f"the array given for {spec.name!r} has shape {shape}", specs, model, hint)


def _refusal(what: str, specs: list[Spec], model: str, hint: str = "") -> ShapeError:
    expected = ", ".join(f"{spec.name!r} {_shape_text(spec.shape)}" for spec in specs)
    return ShapeError(f"{model} takes {expected}; {what}.{hint}")


def _shape_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "(any shape)"
    sizes = [
        "batch" if size is None and axis == 0 else "any" if size is None else str(size)
        for axis, size in enumerate(shape)
    ]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _is_array_like(x: Any) -> bool:
    """Whether a list or tuple is one array written out, not several arrays."""
    return all(
        not hasattr(item, "shape") and (not isinstance(item, (tuple, list, dict)) or _is_array_like(item)) for item in x
    ) and not any(isinstance(item, dict) for item in x)


def _dtype_name(x: Any) -> str:
    dtype = getattr(x, "dtype", None)
    return (
        str(np.asarray(x).dtype)
        if dtype is None
        else str(dtype).removeprefix("torch.").removeprefix("<dtype: '").removesuffix("'>")
    )
