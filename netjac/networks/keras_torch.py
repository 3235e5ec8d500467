"""Keras 3 models on the torch backend: exported inside a module, and the exported graph run in JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from netjac.errors import NetjacError, StochasticNetworkError, UnsupportedOperationError
from netjac.networks import exported
from netjac.networks.arrays import to_numpy
from netjac.networks.aten.interpreter import operation, rule_for, run
from netjac.networks.aten.registry import RULES
from netjac.networks.keras_call import Mark, call, note_draw, stochastic
from netjac.networks.keras_layers import layers_by_name, weights_by_name
from netjac.networks.keras_model import KerasNetwork, is_floating, value_of
from netjac.networks.network import Array, PureFunction
from netjac.networks.replay import traced
from netjac.points import mark


@torch.library.custom_op("netjac::point", mutates_args=())
def point(x: torch.Tensor, name: str) -> torch.Tensor:
    """A layer's output in an exported graph; the name is the layer's."""
    return x.clone()


@point.register_fake
def _(x: torch.Tensor, name: str) -> torch.Tensor:
    return torch.empty_like(x)


_POINT = "netjac.point.default"
RULES[_POINT] = mark


def cast_exactly(x: Any, dtype: Any = None, **_: Any) -> Any:
    """A conversion as it stands in the graph, which was made in the computation's own dtype."""
    return x if dtype is None else x.astype(jax.dtypes.canonicalize_dtype(str(dtype).removeprefix("torch.")))


RULES[cast_exactly.__name__] = cast_exactly


class KerasTorchNetwork(KerasNetwork):
    """A Keras model on the torch backend."""

    _refusals: list[StochasticNetworkError]

    def shared(self) -> dict[str, torch.Tensor]:
        return {name: value_of(weight) for name, weight in weights_by_name(self.model).items()}

    def prepare_in(self, dtype: str, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        module = _Module(self, self._weights(dtype), dtype)
        program = self._export(module, [_example(spec, dtype) for spec in inputs])
        places = {f"weight_{i}": name for i, name in enumerate(weights_by_name(self.model))}

        def function(values: dict[str, Array], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            parameters = {place: values[name] for place, name in places.items()}
            rest = iter(arrays)
            # No dtype is given to cast constants to: the graph was made in the computation's own.
            placed = {
                spec.arg.name: exported.placed(spec, program, parameters, {}, rest, None)
                for spec in program.graph_signature.input_specs
            }
            outputs = run(program.graph, placed, lambda target: exported.constant(program, target, None))
            return tuple(map(jnp.asarray, exported.user_outputs(program.graph_signature, outputs)))

        return traced(function, self.parameter_specs(dtype), inputs)

    def _export(self, module: _Module, tensors: list[torch.Tensor]) -> torch.export.ExportedProgram:
        self._refusals = []
        try:
            program = exported.with_rules_only(exported.export(module, (tensors,), {}, self.name))
        except NetjacError:
            if self._refusals:
                raise self._refusals[0] from None
            raise
        layer = self.name
        for node in reversed(program.graph.nodes):
            if node.op != "call_function":
                continue
            name = operation(node.target)
            if name == _POINT:
                layer = node.args[1]
            elif _draws(node.target, node.args, node.kwargs):
                raise stochastic(layer)
            elif rule_for(node.target) is None:
                raise UnsupportedOperationError(
                    f"layer {layer!r} uses torch's operation {name}, which netjac has no rule for. "
                    'Replace the operation, or compute with engine="framework".'
                )
            elif name == "aten._to_copy.default":
                node.target = cast_exactly
        return program

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        dtype = self.dtype_of(inputs, self._weights(None))
        with torch.no_grad():
            outputs = self.apply(self._weights(dtype), self._tensors(inputs), dtype, None)
        return tuple(map(to_numpy, outputs))

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        dtype = self.dtype_of(inputs, self._weights(None))
        trainable = self.trainable
        names = list(weights_by_name(self.model))
        weights, tensors = self._weights(dtype), self._tensors(inputs)
        trained = [weight for name, weight in zip(names, weights, strict=True) if name in trainable]
        moving = [tensor for tensor in tensors if tensor.is_floating_point()]
        with torch.enable_grad():
            for source in (*trained, *moving):
                source.requires_grad_()
            outputs = self.apply(weights, tensors, dtype, None)
        seeded = [
            (y, torch.zeros_like(y) if u is None else torch.as_tensor(np.asarray(u)).to(y))
            for y, u in zip(outputs, cotangents, strict=True)
            if y.requires_grad
        ]
        gradients = _gradients(seeded, [*trained, *moving])
        to_inputs = iter(gradients[len(trained) :])
        return (
            tuple(next(to_inputs) if is_floating(x) else np.zeros(x.shape, dtype) for x in tensors),
            dict(zip([name for name in names if name in trainable], gradients, strict=False)),
        )

    def apply(
        self, weights: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], dtype: str, marking: Mark | None
    ) -> list[torch.Tensor]:
        """The model's flat outputs, on these weights, floating ones in `dtype`."""
        names = {id(layer): name for name, layer in layers_by_name(self.model).items()}
        pairs = list(zip(weights_by_name(self.model).values(), weights, strict=True))
        with _Draws() if marking is None else contextlib.nullcontext():
            outputs = self.flat_outputs(call(self.model, self.arguments(tensors), pairs, dtype, names, marking))
        return [y.to(getattr(torch, dtype)) if y.is_floating_point() else y for y in outputs]

    def _weights(self, dtype: str | None) -> list[torch.Tensor]:
        """The weights apart from the model's own: copies that may require gradients."""
        values = [value_of(weight).detach() for weight in weights_by_name(self.model).values()]
        if dtype is None:
            return values
        kind = getattr(torch, dtype)
        return [value.to(kind, copy=True) if value.is_floating_point() else value.clone() for value in values]

    def _tensors(self, inputs: Sequence[np.ndarray]) -> list[torch.Tensor]:
        from keras.src.backend.torch.core import get_device

        return [torch.from_numpy(np.array(array)).to(get_device()) for array in inputs]


class _Module(torch.nn.Module):
    """The model as a module with parameters of its own, in the dtype of the computation."""

    def __init__(self, network: KerasTorchNetwork, weights: Sequence[torch.Tensor], dtype: str) -> None:
        super().__init__()
        # Held aside: a Keras model is a module itself, whose parameters would be found as well.
        self._held = (network,)
        self._dtype = dtype
        self._count = len(weights)
        for i, weight in enumerate(weights):
            self.register_parameter(f"weight_{i}", torch.nn.Parameter(weight, requires_grad=False))

    def forward(self, tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        weights = [getattr(self, f"weight_{i}") for i in range(self._count)]
        try:
            return tuple(self._held[0].apply(weights, tensors, self._dtype, _pointed))
        except StochasticNetworkError as error:
            # Exporting makes an error of its own of every other.
            self._held[0]._refusals.append(error)
            raise


class _Draws(TorchDispatchMode):
    """Notices random numbers; torch's dropout draws them without asking Keras's generators."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _draws(func, args, kwargs or {}):
            note_draw()
        return func(*args, **(kwargs or {}))


def _draws(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of torch's operator draws random numbers; dropout that is switched off does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(operator, "tags", ()):
        return False
    arguments = operator._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in arguments), args, strict=False)) | dict(kwargs)
    return all(given[name] for name in ("train", "dropout_p") if name in given)


def _pointed(outputs: Any, name: str) -> Any:
    import keras

    count = 0

    def pointed(leaf: Any) -> Any:
        nonlocal count
        if not isinstance(leaf, torch.Tensor):
            return leaf
        count += 1
        return point(leaf, name if count == 1 else f"{name}.{count - 1}")

    return keras.tree.map_structure(pointed, outputs)


def _example(spec: jax.ShapeDtypeStruct, dtype: str) -> torch.Tensor:
    """A tensor to export with: of two samples at least, because one sample could be taken for a broadcast axis."""
    shape = (max(spec.shape[0], 2), *spec.shape[1:])
    return torch.ones(shape, dtype=getattr(torch, dtype if is_floating(spec) else str(spec.dtype)))


def _gradients(seeded: Sequence[tuple[Any, Any]], sources: Sequence[torch.Tensor]) -> list[np.ndarray]:
    if not seeded:
        return [np.zeros(tuple(source.shape), to_numpy(source).dtype) for source in sources]
    found = torch.autograd.grad(
        [y for y, _ in seeded], sources, [u for _, u in seeded], allow_unused=True, materialize_grads=True
    )
    return [to_numpy(gradient) for gradient in found]
