"""What a Keras model consists of, by name: its layers, its weights, and a fingerprint of its structure.

A layer directly inside the model is known by its own name, one inside another layer by the path to it
("encoder/dense_1"). Where two layers would share a name, the second is `name~2`, the third `name~3`. Weights are
known by their Keras path ("sequential/dense/kernel"), told apart in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from netjac.networks.settings import Same, settings
from netjac.networks.trees import unique

FLOATING = ("float16", "bfloat16", "float32", "float64")


def layers_by_name(model: Any) -> dict[str, Any]:
    """Every layer that can be asked for, by name, each before the layers inside it.

    Inputs are no layers. What is inside a recurrent layer or `TimeDistributed` runs once a time step and has no single
    value, so it is left out.
    """
    import keras

    per_step = (keras.layers.RNN, keras.layers.TimeDistributed)
    names: dict[int, str] = {}
    taken: set[str] = set()
    found: dict[str, Any] = {}

    def descend(parent: Any, prefix: str) -> None:
        children = [layer for layer in parent._layers if not isinstance(layer, keras.layers.InputLayer)]
        for child in children:
            if id(child) not in names:
                names[id(child)] = unique(prefix + child.name, taken)
        for child in children:
            name = names[id(child)]
            if name not in found:
                found[name] = child
                if not isinstance(child, per_step):
                    descend(child, name + "/")

    if not isinstance(model, per_step):
        descend(model, "")
    return found


def weights_by_name(model: Any) -> dict[str, Any]:
    """All weights, frozen ones and moving statistics among them, in the model's order. Random state is not."""
    taken: set[str] = set()
    return {unique(weight.path, taken): weight for weight in model.weights}


def fingerprint(model: Any) -> Hashable:
    """Equal as long as the model's structure is: its layers, what they were configured with, and their functions."""
    every = model._flatten_layers()
    return (
        tuple(_layer_fingerprint(layer) for layer in every),
        tuple(Same(function) for function in graphs_of(model)),
        tuple((Same(weight), tuple(weight.shape), weight.path) for weight in model.weights),
    )


def graphs_of(model: Any) -> list[Any]:
    """The functional graphs that run inside `model`: of functional models, and behind sequential ones."""
    import keras

    graphs = []
    for layer in model._flatten_layers():
        graph = layer._functional if isinstance(layer, keras.Sequential) else layer
        if graph is not None and hasattr(graph, "_inputs_struct"):
            graphs.append(graph)
    return graphs


# Left behind by compiling and fitting.
_TRAINING = frozenset({"optimizer", "history", "stop_training", "stop_predicting", "_jax_state", "_torch_params"})


@functools.cache
def _bookkeeping() -> frozenset[str]:
    """What every model carries: call machinery and training, none of which changes what it computes at inference."""
    import keras

    return frozenset(vars(keras.Model(name="bookkeeping"))) | _TRAINING


def _layer_fingerprint(layer: Any) -> Hashable:
    return Same(layer), layer._dtype_policy.name, layer._trainable, settings(layer, _bookkeeping())
