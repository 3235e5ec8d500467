"""Keras 3 models. On the JAX backend a model is a JAX function already; the other backends have files of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ModelLoadError
from netjac.networks.keras_call import Mark, call
from netjac.networks.keras_layers import layers_by_name, weights_by_name
from netjac.networks.keras_model import KerasNetwork, is_floating
from netjac.networks.network import Array, PureFunction
from netjac.networks.replay import traced
from netjac.points import mark

__all__ = ["KerasJaxNetwork", "keras_network"]


def keras_network(model: Any) -> KerasNetwork:
    """The network of a Keras `model`, on whichever backend Keras runs.

    Raises `ModelLoadError` for a backend that has no derivatives.
    """
    import keras

    backend = keras.config.backend()
    if backend == "jax":
        return KerasJaxNetwork(model)
    if backend == "tensorflow":
        from netjac.networks.keras_tensorflow import KerasTensorFlowNetwork

        return KerasTensorFlowNetwork(model)
    if backend == "torch":
        from netjac.networks.keras_torch import KerasTorchNetwork

        return KerasTorchNetwork(model)
    raise ModelLoadError(
        f"model {model.name!r} runs on Keras's {backend!r} backend, which has no derivatives. "
        "Set KERAS_BACKEND to jax, tensorflow or torch before Keras is imported."
    )


class KerasJaxNetwork(KerasNetwork):
    """A Keras model on the JAX backend."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._compiled: tuple[Hashable, Any, Any] | None = None

    def prepare_in(self, dtype: str, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        return traced(
            lambda values, arrays: self._apply(values, arrays, dtype, _mark_tracers),
            self.parameter_specs(dtype),
            inputs,
        )

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        evaluate, _ = self._compile()
        values, arrays = self._cast_weights(inputs)
        return tuple(np.asarray(output) for output in evaluate(values, arrays))

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        _, pull_back = self._compile()
        values, arrays = self._cast_weights(inputs)
        trainable = self.trainable
        trained = {name: value for name, value in values.items() if name in trainable}
        rest = {name: value for name, value in values.items() if name not in trainable}
        to_inputs, to_trained = pull_back(trained, rest, arrays, tuple(cotangents))
        return tuple(map(np.asarray, to_inputs)), {name: np.asarray(to_trained[name]) for name in trained}

    def _cast_weights(self, inputs: Sequence[np.ndarray]) -> tuple[dict[str, Array], tuple[Array, ...]]:
        weights = self.parameters
        dtype = self.dtype_of(inputs, list(weights.values()))
        values = {name: w.astype(dtype) if is_floating(w) else w for name, w in weights.items()}
        return values, tuple(jnp.asarray(array) for array in inputs)

    def _compile(self) -> tuple[Any, Any]:
        """`evaluate` and `pull_back` as compiled functions, made anew when the model's structure has changed."""
        signature = self.signature()
        if self._compiled is None or self._compiled[0] != signature:
            self._compiled = (signature, jax.jit(self._evaluate), jax.jit(self._pull_back))
        return self._compiled[1:]

    def _evaluate(self, values: Mapping[str, Array], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return self._apply(values, arrays, self.dtype_of(arrays, list(values.values())), None)

    def _pull_back(
        self,
        trained: dict[str, Array],
        rest: dict[str, Array],
        arrays: tuple[Array, ...],
        cotangents: tuple[Array | None, ...],
    ) -> tuple[tuple[Array, ...], dict[str, Array]]:
        moving = [i for i, array in enumerate(arrays) if is_floating(array)]

        def floating_outputs(trained: dict[str, Array], moved: list[Array]) -> list[Array]:
            full = list(arrays)
            for i, array in zip(moving, moved, strict=True):
                full[i] = array
            return [y for y in self._evaluate({**trained, **rest}, tuple(full)) if is_floating(y)]

        kinds = jax.eval_shape(self._evaluate, {**trained, **rest}, arrays)
        seeds = [u for u, kind in zip(cotangents, kinds, strict=True) if is_floating(kind)]
        outputs, pull = jax.vjp(floating_outputs, trained, [arrays[i] for i in moving])
        to_trained, to_moved = pull(
            [jnp.zeros_like(y) if u is None else jnp.asarray(u, y.dtype) for u, y in zip(seeds, outputs, strict=True)]
        )
        zeros = {i: jnp.zeros(array.shape, outputs[0].dtype) for i, array in enumerate(arrays) if i not in moving}
        to_inputs = zeros | dict(zip(moving, to_moved, strict=True))
        return tuple(to_inputs[i] for i in range(len(arrays))), to_trained

    def _apply(
        self, values: Mapping[str, Array], arrays: tuple[Array, ...], dtype: str, marking: Mark | None
    ) -> tuple[Array, ...]:
        weights = weights_by_name(self.model)
        names = {id(layer): name for name, layer in layers_by_name(self.model).items()}
        pairs = [(weight, values[name]) for name, weight in weights.items()]
        outputs = self.flat_outputs(call(self.model, self.arguments(arrays), pairs, dtype, names, marking))
        return tuple(y.astype(dtype) if is_floating(y) else y for y in map(jnp.asarray, outputs))


def _mark_tracers(outputs: Any, name: str) -> Any:
    """Marks what is being traced; arrays that Keras computes aside from the trace have no place in it."""
    leaves, tree = jax.tree_util.tree_flatten(outputs)
    marked = [
        mark(leaf, name if i == 0 else f"{name}.{i}") if isinstance(leaf, jax.core.Tracer) else leaf
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree_util.tree_unflatten(tree, marked)
