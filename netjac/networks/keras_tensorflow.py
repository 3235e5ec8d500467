"""Keras 3 models on the TensorFlow backend: traced into a TensorFlow graph, and that into a JAX function."""

from __future__ import annotations

import re
import weakref
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import UnsupportedOperationError
from netjac.networks.arrays import to_numpy
from netjac.networks.keras_call import Mark, call
from netjac.networks.keras_layers import layers_by_name, weights_by_name
from netjac.networks.keras_model import KerasNetwork, graph_of, is_floating, value_of
from netjac.networks.network import Array, PureFunction
from netjac.networks.replay import traced
from netjac.networks.tensorflow_conversion import Conversion
from netjac.networks.tensorflow_gradients import pulled_back

_POINT = re.compile(r"netjac_point_(\d+)x(_\d+)?")


# Conversions outlive the networks made of a model, and go with the model: none refers to it.
_CONVERSIONS: weakref.WeakKeyDictionary[Any, dict[Hashable, Conversion]] = weakref.WeakKeyDictionary()


class KerasTensorFlowNetwork(KerasNetwork):
    """A Keras model on the TensorFlow backend.

    A functional or sequential model is converted once for all batch sizes; a subclassed one, whose Python may look at
    the batch size, once for each. `conversions` counts.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.conversions = 0
        self._converted = _CONVERSIONS.setdefault(model, {})
        self._traced: dict[Hashable, Any] = {}

    def prepare_in(self, dtype: str, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        conversion = self._conversion(dtype, inputs)

        def function(values: Mapping[str, Array], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(jnp.asarray(output) for output in conversion({}, (*values.values(), *arrays)))

        return traced(function, self.parameter_specs(dtype), inputs)

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        values, arrays = self._tensors(inputs)
        return tuple(map(to_numpy, self._run(self._evaluate, (values, arrays))))

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        import tensorflow as tf

        values, arrays = self._tensors(inputs)
        seeds = tuple(None if u is None else tf.convert_to_tensor(u) for u in cotangents)
        trainable = self.trainable
        moving = [name for name in weights_by_name(self.model) if name in trainable]
        pulled = [to_numpy(g) for g in self._run(self._pull_back, (values, arrays, seeds))]
        to_inputs = iter(pulled[len(moving) :])
        dtype = self.dtype_of(inputs, values)
        return (
            tuple(next(to_inputs) if is_floating(x) else np.zeros(x.shape, dtype) for x in inputs),
            dict(zip(moving, pulled, strict=False)),
        )

    def _conversion(self, dtype: str, inputs: Sequence[jax.ShapeDtypeStruct]) -> Conversion:
        any_batch = graph_of(self.model) is not None and all(s.shape and s.shape[0] is None for s in self.input_specs)
        shapes = tuple((None, *array.shape[1:]) if any_batch else array.shape for array in inputs)
        dtypes = [str(array.dtype) for array in inputs]
        key = (self.signature(), dtype, shapes, tuple(dtypes))
        if key not in self._converted:
            self._converted[key] = self._convert(dtype, shapes, dtypes)
            self.conversions += 1
        return self._converted[key]

    def _convert(self, dtype: str, shapes: Sequence[tuple[int | None, ...]], dtypes: Sequence[str]) -> Conversion:
        points: list[str] = []

        def point_of(node: str) -> str | None:
            found = _POINT.fullmatch(node.rpartition("/")[2])
            return points[int(found[1])] if found else None

        try:
            concrete = self._concrete(dtype, shapes, dtypes, points)
            return Conversion(concrete, point_of, self._layer_of)
        except TypeError as error:
            own = self.dtype_of((), list(weights_by_name(self.model).values()))
            if own == dtype or not _lacks_dtype(error):
                raise
        # TensorFlow has no such operation in this dtype, JAX has: the graph is made in the model's own and changed.
        points.clear()
        dtypes = [own if kind == dtype else kind for kind in dtypes]
        return Conversion(self._concrete(own, shapes, dtypes, points), point_of, self._layer_of, (own, dtype))

    def _concrete(
        self, dtype: str, shapes: Sequence[tuple[int | None, ...]], dtypes: Sequence[str], points: list[str]
    ) -> Any:
        """The graph as a function of all weights and inputs, identities with names at the layers' outputs."""
        import tensorflow as tf

        weights = self.parameter_specs(dtype).values()

        def point(outputs: Any, name: str) -> Any:
            return _identities(outputs, name, points)

        def run(*tensors: Any) -> list[Any]:
            return self._apply(tensors[: len(weights)], tensors[len(weights) :], dtype, point)

        specs = [tf.TensorSpec(weight.shape, str(weight.dtype)) for weight in weights]
        specs += [tf.TensorSpec(shape, kind) for shape, kind in zip(shapes, dtypes, strict=True)]
        return tf.function(run, autograph=False).get_concrete_function(*specs)

    def _layer_of(self, node: str) -> str:
        """The layer whose name scope a graph's node lies in."""
        known = layers_by_name(self.model)
        scopes = node.split("/")[:-1]
        for end in range(len(scopes), 0, -1):
            for start in range(end):
                path = "/".join(scopes[start:end])
                for candidate in (path, re.sub(r"_\d+$", "", path)):
                    if candidate in known:
                        return candidate
        return self.name

    def _tensors(self, inputs: Sequence[np.ndarray]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        import tensorflow as tf

        weights = list(weights_by_name(self.model).values())
        dtype = self.dtype_of(inputs, weights)
        tensors = [tf.convert_to_tensor(value_of(weight)) for weight in weights]
        values = tuple(tf.cast(t, dtype) if t.dtype.is_floating else t for t in tensors)
        return values, tuple(tf.convert_to_tensor(array) for array in inputs)

    def _run(self, function: Any, arguments: tuple[Any, ...]) -> list[Any]:
        """`function` as a graph of TensorFlow, traced again only when the model's structure or a shape has changed."""
        import tensorflow as tf

        specs = tf.nest.map_structure(lambda t: None if t is None else tf.TensorSpec(t.shape, t.dtype), arguments)
        key = (function.__name__, self.signature(), self.trainable, str(specs))
        try:
            if key not in self._traced:
                self._traced[key] = tf.function(function, autograph=False).get_concrete_function(*specs)
            return self._traced[key](*[t for t in tf.nest.flatten(arguments) if t is not None])
        except (TypeError, tf.errors.InvalidArgumentError) as error:
            if not _lacks_dtype(error):
                raise
            raise UnsupportedOperationError(
                f"model {self.name!r} uses an operation that TensorFlow itself does not compute in "
                f"{self.dtype_of(*arguments[1::-1])}: {str(error).splitlines()[0]} "
                "Give it inputs of the dtype of its weights."
            ) from error

    def _evaluate(self, values: tuple[Any, ...], arrays: tuple[Any, ...]) -> list[Any]:
        return self._apply(values, arrays, self.dtype_of(arrays, values), None)

    def _pull_back(
        self, values: tuple[Any, ...], arrays: tuple[Any, ...], cotangents: tuple[Any | None, ...]
    ) -> list[Any]:
        trainable = self.trainable
        sources = [v for name, v in zip(weights_by_name(self.model), values, strict=True) if name in trainable]
        sources += [array for array in arrays if array.dtype.is_floating]
        return pulled_back(lambda: self._evaluate(values, arrays), sources, cotangents)

    def _apply(self, values: Sequence[Any], arrays: Sequence[Any], dtype: str, marking: Mark | None) -> list[Any]:
        import tensorflow as tf

        names = {id(layer): name for name, layer in layers_by_name(self.model).items()}
        pairs = list(zip(weights_by_name(self.model).values(), values, strict=True))
        outputs = self.flat_outputs(call(self.model, self.arguments(arrays), pairs, dtype, names, marking))
        tensors = [tf.convert_to_tensor(output) for output in outputs]
        return [tf.cast(y, dtype) if y.dtype.is_floating else tf.identity(y) for y in tensors]


def _lacks_dtype(error: Exception) -> bool:
    """Whether TensorFlow refuses an operation because it has none in this dtype."""
    return "not in list of allowed values" in str(error) or "No OpKernel was registered" in str(error)


def _identities(outputs: Any, name: str, points: list[str]) -> Any:
    """The outputs through identities whose nodes' names lead to the points' names."""
    import keras
    import tensorflow as tf

    def identity(leaf: Any) -> Any:
        if not tf.is_tensor(leaf) or not tf.is_symbolic_tensor(leaf):
            return leaf
        points.append(f"{name}.{len(points) - start}" if len(points) > start else name)
        return tf.identity(leaf, name=f"netjac_point_{len(points) - 1}x")

    start = len(points)
    return keras.tree.map_structure(identity, outputs)
