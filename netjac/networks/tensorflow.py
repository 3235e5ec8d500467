"""TensorFlow functions and modules: anything that a `tf.function` can be made of."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ModelLoadError
from netjac.networks.arrays import to_jax, to_numpy
from netjac.networks.network import Array, Network, PureFunction
from netjac.networks.replay import traced
from netjac.networks.tensorflow_conversion import Conversion
from netjac.networks.tensorflow_gradients import pulled_back
from netjac.networks.tensorflow_graph import converted_names, nodes_of, variables_of
from netjac.networks.trees import arguments, call_structure, flatten, leaves, named_leaves

_FLOATING = ("float16", "bfloat16", "float32", "float64")
_UNNAMED = re.compile(r"[Ii]dentity(_\d+)?")


class TensorFlowNetwork(Network):
    """A `tf.function`, a `tf.Module` that can be called, or a function loaded from a SavedModel.

    Its layers are what it names itself, by `tf.identity(value, name="hidden")`. Its inputs are those that it sees
    first. It is converted once for each shape of the inputs, in the floating dtype that it takes; where the inputs have
    another, the converted graph is changed to theirs, while TensorFlow's own answers are computed in its own.
    """

    framework = "tensorflow"
    batched = True

    def __init__(self, function: Any) -> None:
        import tensorflow as tf

        if not callable(function):
            raise ModelLoadError(
                f"a {type(function).__name__} cannot be called. Give a tf.function, or a tf.Module with __call__"
            )
        self._function = function if hasattr(function, "get_concrete_function") else tf.function(function)
        self._python = getattr(self._function, "python_function", function)
        self._name = getattr(self._python, "__name__", None) or getattr(function, "name", type(function).__name__)
        self._structure: Any = None
        self._outputs: tuple[str, ...] = ()
        self._concretes: dict[Hashable, Any] = {}
        self._latest: Any = None

    @property
    def name(self) -> str:
        return str(self._name)

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: to_jax(variable) for name, variable in self._variables().items()}

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        variables = self._variables()
        for name, value in values.items():
            variables[name].assign(value.astype(variables[name].dtype.as_numpy_dtype))
        return self._function

    @property
    def trainable(self) -> frozenset[str]:
        return frozenset(name for name, variable in self._variables().items() if variable.trainable)

    def signature(self) -> Hashable:
        return tuple((name, variable.ref()) for name, variable in self._variables().items())

    def layer_kinds(self) -> dict[str, str]:
        return {} if self._latest is None else dict.fromkeys(_named_identities(self._latest), "identity")

    def output_names(self, count: int) -> tuple[str, ...]:
        if len(self._outputs) == count:
            return self._outputs
        return ("output",) if count == 1 else tuple(f"output_{i}" for i in range(count))

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        if self._structure is None:
            self._structure = call_structure(self._python, x)
        arrays = flatten(self._structure, x, f"function {self.name!r}")
        if self._latest is None:
            self._concrete([to_numpy(array) for array in arrays])
        return tuple(spec.name for spec in leaves(self._structure)), arrays

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        own, concrete = self._concrete(inputs)
        dtype = _floating(inputs) or own
        variables = variables_of(concrete)
        keys = dict(zip(variables, converted_names(concrete), strict=True))
        named = _named_identities(concrete)
        conversion = Conversion(
            concrete,
            lambda node: node if node in named else None,
            lambda node: node.rpartition("/")[0] or self.name,
            None if dtype == own else (own, dtype),
        )

        def function(values: Mapping[str, Array], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            outputs = map(jnp.asarray, conversion({keys[name]: value for name, value in values.items()}, arrays))
            return tuple(y.astype(dtype) if jnp.issubdtype(y.dtype, jnp.floating) else y for y in outputs)

        specs = {
            name: jax.ShapeDtypeStruct(tuple(v.shape), dtype if v.dtype.is_floating else v.dtype.name)
            for name, v in variables.items()
        }
        return traced(function, specs, inputs)

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        own, concrete = self._concrete(inputs)
        return tuple(_cast(to_numpy(y), _floating(inputs) or own) for y in concrete(*_tensors(inputs, own)))

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        import tensorflow as tf

        own, concrete = self._concrete(inputs)
        dtype = _floating(inputs) or own
        variables = {name: v for name, v in variables_of(concrete).items() if v.trainable}
        tensors = _tensors(inputs, own)
        moving = [tensor for tensor in tensors if tensor.dtype.is_floating]
        seeds = [None if u is None else tf.convert_to_tensor(u) for u in cotangents]
        pulled = pulled_back(lambda: concrete(*tensors), [*variables.values(), *moving], seeds)
        gradients = [_cast(to_numpy(gradient), dtype) for gradient in pulled]
        to_inputs = iter(gradients[len(variables) :])
        return (
            tuple(next(to_inputs) if t.dtype.is_floating else np.zeros(t.shape, dtype) for t in tensors),
            dict(zip(variables, gradients, strict=False)),
        )

    def _variables(self) -> dict[str, Any]:
        return {} if self._latest is None else variables_of(self._latest)

    def _concrete(self, inputs: Sequence[Any]) -> tuple[str, Any]:
        """The function's own floating dtype, and its graph for inputs of these shapes, everything flat."""
        import tensorflow as tf

        kinds = [(tuple(array.shape), str(array.dtype)) for array in inputs]
        key = tuple(kinds)
        if key not in self._concretes:
            given = _floating(inputs)
            first_error: Exception | None = None
            for own in dict.fromkeys((given or "float32", "float32", "float64", "bfloat16", "float16")):
                specs = [tf.TensorSpec(shape, own if kind in _FLOATING else kind) for shape, kind in kinds]
                try:
                    graph = tf.function(self._run, autograph=False).get_concrete_function(*specs)
                except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
                    # TensorFlow mixes no dtypes: the function takes another than the one that was given.
                    first_error = first_error or error
                    if given is None:
                        raise
                    continue
                self._concretes[key] = (own, graph)
                break
            else:
                raise first_error or ModelLoadError(f"function {self.name!r} could not be traced")
        self._latest = self._concretes[key][1]
        return self._concretes[key]

    def _run(self, *tensors: Any) -> list[Any]:
        named = named_leaves(self._function(*arguments(self._structure, tensors)))
        self._outputs = tuple(named)
        return list(named.values())


def _named_identities(concrete: Any) -> frozenset[str]:
    """The nodes that somebody gave a name to."""
    nodes = nodes_of(concrete.graph.as_graph_def())
    return frozenset(n.name for n in nodes if n.op == "Identity" and not _UNNAMED.fullmatch(n.name.rpartition("/")[2]))


def _floating(inputs: Sequence[Any]) -> str | None:
    floating = {str(array.dtype) for array in inputs} & set(_FLOATING)
    return max(floating, key=_FLOATING.index) if floating else None


def _tensors(inputs: Sequence[np.ndarray], dtype: str) -> list[Any]:
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in inputs]
    return [tf.cast(t, dtype) if t.dtype.is_floating else t for t in tensors]


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(jnp.dtype(dtype)) if jnp.issubdtype(array.dtype, jnp.floating) else array
