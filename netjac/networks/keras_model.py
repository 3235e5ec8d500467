"""What Keras models have in common on every backend: names, weights, inputs, structure."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from netjac.networks.arrays import to_jax, to_numpy
from netjac.networks.keras_layers import FLOATING, fingerprint, layers_by_name, weights_by_name
from netjac.networks.network import Array, Network, Parameters, PureFunction, Spec
from netjac.networks.trees import arguments, call_structure, flatten, leaves, named_leaves, unique

_NO_INPUTS = ("training", "mask")


class KerasNetwork(Network):
    """A Keras model. Its backend's subclass says how it becomes a JAX function and how it differentiates itself.

    Moving statistics and other state that is not trained count as parameters that are not `trainable`, so that they
    too are read from the model at every call. A functional or sequential model declares its inputs; any other has those
    that it sees first, by which a model that was never called is also built.
    """

    framework = "keras"
    batched = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._structure = _input_structure(model)
        self._outputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: to_jax(value_of(weight)) for name, weight in weights_by_name(self.model).items()}

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        weights = weights_by_name(self.model)
        for name, value in values.items():
            weights[name].assign(value)
        return self.model

    @property
    def trainable(self) -> frozenset[str]:
        trained = {id(weight) for weight in self.model.trainable_weights}
        return frozenset(name for name, weight in weights_by_name(self.model).items() if id(weight) in trained)

    def signature(self) -> Hashable:
        return fingerprint(self.model)

    def layer_kinds(self) -> dict[str, str]:
        return {name: type(layer).__name__ for name, layer in layers_by_name(self.model).items()}

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        if self._structure is None:
            self._structure = _input_structure(self.model) or call_structure(self.model.call, x, _NO_INPUTS)
        arrays = flatten(self._structure, x, f"model {self.name!r}")
        if not self.model.built:
            self.model(*arguments(self._structure, [to_numpy(array) for array in arrays]), training=False)
        return tuple(spec.name for spec in leaves(self._structure)), arrays

    def output_names(self, count: int) -> tuple[str, ...]:
        graph = graph_of(self.model)
        known = self._outputs or (tuple(named_leaves(graph._outputs_struct, graph.output_names)) if graph else ())
        if len(known) == count:
            return known
        return ("output",) if count == 1 else tuple(f"output_{i}" for i in range(count))

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        first = self.dtype_of(inputs, list(weights_by_name(self.model).values()))
        functions = {first: self.prepare_in(first, inputs)}
        if any(is_floating(array) for array in inputs):
            return functions[first]

        def function(parameters: Parameters, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            dtype = self.dtype_of((), list(parameters.values()))
            if dtype not in functions:
                functions[dtype] = self.prepare_in(dtype, inputs)
            return functions[dtype](parameters, arrays)

        return function

    @abc.abstractmethod
    def prepare_in(self, dtype: str, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        """`prepare` for a computation in the floating `dtype`."""

    @property
    def declared_inputs(self) -> tuple[Spec, ...]:
        return self.inputs or tuple(self.input_specs)

    @property
    def input_specs(self) -> list[Spec]:
        """The flat inputs, as far as they are known."""
        return [] if self._structure is None else leaves(self._structure)

    def arguments(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The positional arguments that the flat inputs make up for the model's call."""
        if self._structure is None:
            return (arrays[0],) if len(arrays) == 1 else (list(arrays),)
        return arguments(self._structure, arrays)

    def flat_outputs(self, outputs: Any) -> list[Any]:
        """The tensors among a call's outputs, in order; their names are remembered."""
        graph = graph_of(self.model)
        named = named_leaves(outputs, graph.output_names if graph else ())
        self._outputs = tuple(named)
        return list(named.values())

    def dtype_of(self, inputs: Sequence[Any], parameters: Sequence[Any]) -> str:
        """The computation's floating dtype: that of the floating inputs, without any that of the parameters."""
        for arrays in (inputs, parameters):
            floating = {dtype_name(array) for array in arrays if is_floating(array)}
            if floating:
                return "float32" if floating == {"float16", "bfloat16"} else max(floating, key=FLOATING.index)
        return str(self.model.compute_dtype)

    def parameter_specs(self, dtype: str) -> dict[str, jax.ShapeDtypeStruct]:
        """The parameters' shapes, floating ones in `dtype`."""
        weights = weights_by_name(self.model)
        return {
            name: jax.ShapeDtypeStruct(tuple(weight.shape), dtype if is_floating(weight) else dtype_name(weight))
            for name, weight in weights.items()
        }


def is_floating(array: Any) -> bool:
    return dtype_name(array) in FLOATING


def dtype_name(array: Any) -> str:
    """The dtype's name, of an array of any framework."""
    import keras

    return keras.backend.standardize_dtype(array.dtype)


def value_of(weight: Any) -> Any:
    """A weight's tensor, outside any scope of Keras."""
    return weight._value if weight._value is not None else weight.value


def graph_of(model: Any) -> Any:
    """The functional graph that the model is, or has; None for a subclassed one."""
    import keras

    graph = model._functional if isinstance(model, keras.Sequential) else model
    return graph if hasattr(graph, "_inputs_struct") else None


def _input_structure(model: Any) -> Any:
    """The inputs that a functional or sequential model declares, None for any other."""
    graph = graph_of(model)
    return None if graph is None else _declared(graph._inputs_struct, None, set())


def _declared(struct: Any, key: str | None, taken: set[str]) -> Any:
    if isinstance(struct, dict):
        return {name: _declared(branch, str(name), taken) for name, branch in struct.items()}
    if isinstance(struct, (tuple, list)):
        return [_declared(branch, None, taken) for branch in struct]
    name = key or struct._keras_history.operation.name
    return Spec(unique(name, taken), tuple(struct.shape), struct.dtype)
