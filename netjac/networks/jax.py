"""JAX functions and callable pytrees (Equinox modules, say) as networks."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ShapeError
from netjac.networks.arrays import to_numpy
from netjac.networks.network import Network, Parameters, PureFunction
from netjac.precision import is_wide, precise


class JaxNetwork(Network):
    """A JAX function of one or several arrays or trees of arrays.

    A function of one argument is given `x` whole, whatever tree it is; a function of several takes a tuple of them by
    position or a dict by name. Leaves are named by their path in the arguments, `x`, `state.position`, without the
    argument's own name where it is the only one. With `batched=False` the function is differentiated as it stands;
    with `batched=True` axis 0 of every input and output counts samples.

    A callable that is itself a pytree has its floating leaves as parameters.
    """

    framework = "jax"

    def __init__(
        self, function: Callable[..., Any], *, batched: bool = False, names: Sequence[str] | None = None
    ) -> None:
        self.function = function
        self.batched = batched
        self._names = tuple(names) if names else None
        self._positional = _positional(function)
        self._tree: Any = None
        self._output_names: tuple[str, ...] = ("output",)

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def parameters(self) -> dict[str, jax.Array]:
        return {
            name: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
            for name, leaf in self._model_leaves()
            if _is_floating(leaf)
        }

    @property
    def trainable(self) -> frozenset[str]:
        return frozenset(name for name, leaf in self._model_leaves() if _is_floating(leaf))

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        """A new callable: JAX's are not written to. Its new leaves are NumPy arrays of the old ones' dtypes."""
        named = self._model_leaves()
        leaves = [np.asarray(values[name], leaf.dtype) if name in values else leaf for name, leaf in named]
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(self.function), leaves)

    def _model_leaves(self) -> list[tuple[str, Any]]:
        paths, tree = jax.tree_util.tree_flatten_with_path(self.function)
        if jax.tree_util.treedef_is_leaf(tree):
            return []
        return [(_joined("", path), leaf) for path, leaf in paths]

    def signature(self) -> Hashable:
        return self._tree

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        arguments = self._arguments(x)
        paths, self._tree = jax.tree_util.tree_flatten_with_path(arguments, is_leaf=_is_array)
        if not paths:
            raise ShapeError(
                f"{self.name!r} was given no array at all; give its input: an array, or a tree with arrays in it"
            )
        leaves = tuple(np.asarray(leaf) if isinstance(leaf, float | int) else leaf for _, leaf in paths)
        if self._names is not None:
            if len(self._names) != len(leaves):
                raise ShapeError(f"{len(self._names)} names were given for the {len(leaves)} inputs of {self.name!r}")
            return self._names, leaves
        alone = len(arguments) == 1 and len(paths[0][0]) > 1 if paths else False
        return tuple(_joined("" if alone else str(path[0].key), path[1:]) for path, _ in paths), leaves

    def _arguments(self, x: Any) -> OrderedDict[str, Any]:
        """The arguments by name, in the function's own order: JAX would flatten a plain dict in that of the alphabet."""
        names = self._argument_names()
        if isinstance(x, list) and not any(_is_array(entry) for entry in jax.tree_util.tree_leaves(x)):
            x = to_numpy(x)
        if len(names) <= 1:
            return OrderedDict({(names or ["x"])[0]: x})
        if isinstance(x, dict) and set(x) <= set(names):
            return OrderedDict((name, x[name]) for name in names if name in x)
        if isinstance(x, tuple | list) and len(x) <= len(names):
            return OrderedDict(zip(names, x, strict=False))
        if self._required() <= 1:
            return OrderedDict({names[0]: x})
        raise ShapeError(
            f"{self.name!r} takes the inputs {', '.join(names)}: give a tuple of them in that order or a dict by name, "
            f"not {type(x).__name__}"
        )

    def _argument_names(self) -> list[str]:
        return [p.name for p in self._positional]

    def _required(self) -> int:
        return sum(p.default is inspect.Parameter.empty for p in self._positional)

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        tree = self._tree

        def apply(parameters: Parameters, values: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            arguments = jax.tree_util.tree_unflatten(tree, values)
            model = self._with(parameters)
            names = self._argument_names()
            if len(names) <= 1:
                result = model(next(iter(arguments.values())))
            elif list(arguments) == names[: len(arguments)]:
                result = model(*arguments.values())
            else:
                result = model(**arguments)
            paths, _ = jax.tree_util.tree_flatten_with_path(result)
            prefix = "" if isinstance(result, dict) else "output"
            self._output_names = tuple(_joined(prefix, path) for path, _ in paths)
            return tuple(jnp.asarray(leaf) for _, leaf in paths)

        return apply

    def _with(self, parameters: Parameters) -> Callable[..., Any]:
        if not parameters:
            return self.function
        leaves, tree = jax.tree_util.tree_flatten(self.function)
        named = self._model_leaves()
        merged = [parameters.get(name, leaf) for (name, _), leaf in zip(named, leaves, strict=True)]
        return jax.tree_util.tree_unflatten(tree, merged)

    def output_names(self, count: int) -> tuple[str, ...]:
        return self._output_names

    def layer_kinds(self) -> dict[str, str]:
        return {}

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        arrays = tuple(jnp.asarray(value) for value in inputs)
        function = self.prepare([])
        moving = [i for i, value in enumerate(arrays) if jnp.issubdtype(value.dtype, jnp.inexact)]

        def along(parameters: Parameters, chosen: list[jax.Array]) -> tuple[jax.Array, ...]:
            values = list(arrays)
            for i, value in zip(moving, chosen, strict=True):
                values[i] = value
            return function(parameters, tuple(values))

        outputs, pull = jax.vjp(along, self._parameters_with(arrays), [arrays[i] for i in moving])
        seeds = tuple(
            np.zeros(y.shape, y.dtype if jnp.issubdtype(y.dtype, jnp.inexact) else jax.dtypes.float0)
            if u is None
            else jnp.asarray(u, y.dtype)
            for y, u in zip(outputs, cotangents, strict=True)
        )
        by_parameters, by_inputs = pull(seeds)
        grads = [np.zeros(np.shape(value)) for value in inputs]
        for i, grad in zip(moving, by_inputs, strict=True):
            grads[i] = np.asarray(grad)
        return tuple(grads), {name: np.asarray(grad) for name, grad in by_parameters.items()}

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        with precise(is_wide() or self._asks_for_float64(inputs)):
            arrays = tuple(jnp.asarray(value) for value in inputs)
            return tuple(np.asarray(y) for y in self.prepare([])(self._parameters_with(arrays), arrays))

    def _asks_for_float64(self, inputs: Sequence[np.ndarray]) -> bool:
        """Whether floating inputs, or without them the parameters, are float64: JAX would round them unasked."""
        leaves = [value for value in inputs if _is_floating(value)] or [leaf for _, leaf in self._model_leaves()]
        return any(_is_floating(leaf) and leaf.dtype == np.float64 for leaf in leaves)

    def _parameters_with(self, arrays: Sequence[jax.Array]) -> Parameters:
        """The parameters in the floating dtype of the inputs, so that their gradients are not rounded to another."""
        floating = [array.dtype for array in arrays if _is_floating(array)]
        if not floating:
            return self.parameters
        return {name: value.astype(jnp.result_type(*floating)) for name, value in self.parameters.items()}


@jax.tree_util.register_pytree_with_keys_class
class Parametrised:
    """f(parameters, x) as a callable pytree whose leaves are the parameters, named by their paths."""

    def __init__(self, function: Callable[..., Any], parameters: Any) -> None:
        self.function = function
        self.parameters = jax.tree_util.tree_map(lambda leaf: leaf if _is_array(leaf) else _floating(leaf), parameters)
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, x: Any) -> Any:
        return self.function(self.parameters, x)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
        paths, tree = jax.tree_util.tree_flatten_with_path(self.parameters)
        named = [(jax.tree_util.GetAttrKey(_joined("", path) if path else "parameters"), leaf) for path, leaf in paths]
        return named, (self.function, tree)

    @classmethod
    def tree_unflatten(cls, kept: Any, leaves: Sequence[Any]) -> Parametrised:
        made = object.__new__(cls)
        made.function, made.parameters = kept[0], jax.tree_util.tree_unflatten(kept[1], leaves)
        made.__name__ = getattr(made.function, "__name__", type(made.function).__name__)
        return made


def _floating(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins and some ufuncs have no signature: one argument then
        return []
    return [p for p in found if p.kind in kinds]


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_floating(leaf: Any) -> bool:
    return _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _joined(head: str, path: Sequence[Any]) -> str:
    words = [head] if head else []
    for entry in path:
        for attribute in ("key", "idx", "name"):
            if hasattr(entry, attribute):
                words.append(str(getattr(entry, attribute)))
                break
    return ".".join(words) or "output"
