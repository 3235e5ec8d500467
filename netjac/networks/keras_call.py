"""Calling a Keras model as a pure function: in inference mode, on given weights, in a given dtype, watched.

Keras keeps dtypes in its layers and weights in its variables. For the time of a call, and under a lock, the layers'
dtype policies, the inputs' dtypes and (for float64) `floatx` are those of the computation, the weights come from a
`StatelessScope` (which also catches every update), and `Layer.__call__` is wrapped so that each layer's output can be
marked. All of it is put back in `finally`: the model is after the call what it was before, whatever happened.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from netjac.errors import StochasticNetworkError
from netjac.networks.keras_double import Change, changed, double_precision
from netjac.networks.keras_layers import FLOATING, graphs_of

_LOCK = threading.RLock()
Mark = Callable[[Any, str], Any]
"""Marks one layer's output, a tree of tensors, with the layer's name."""


@dataclass
class _Watch:
    names: Mapping[int, str]
    mark: Mark | None
    inside: list[str] = field(default_factory=list)
    drew: list[str] = field(default_factory=list)
    failed_in: str | None = None

    @property
    def innermost(self) -> str:
        return self.inside[-1] if self.inside else "the model itself"


_watch: contextvars.ContextVar[_Watch | None] = contextvars.ContextVar("netjac_keras_watch", default=None)


def call(
    model: Any,
    arguments: tuple[Any, ...],
    weights: Iterable[tuple[Any, Any]],
    dtype: str,
    names: Mapping[int, str] | None = None,
    mark: Mark | None = None,
) -> Any:
    """`model(*arguments, training=False)` with the `weights` (variable, value), computed in `dtype`.

    `names` (by `id` of the layer) are the layers to `mark`. Raises `StochasticNetworkError` naming the layer that draws
    random numbers.
    """
    import keras

    watch = _Watch(names or {}, mark)
    scope = keras.StatelessScope()
    # Set directly: the constructor would cast every value to its variable's own dtype.
    scope.state_mapping.update({id(variable): value for variable, value in weights})
    with _LOCK, _watching(watch), computing_in(model, dtype), scope:
        try:
            outputs = model(*arguments, training=False)
        except Exception as error:
            # Keras refuses unseeded random numbers while JAX traces, in these words.
            if watch.drew or "[JAX RNG]" in str(error):
                raise stochastic(watch.drew[0] if watch.drew else watch.failed_in or watch.innermost) from error
            raise
    if watch.drew:
        raise stochastic(watch.drew[0])
    return outputs


def note_draw() -> None:
    """Tells the call in progress that random numbers were drawn, past Keras's own generators."""
    current = _watch.get()
    if current:
        current.drew.append(current.innermost)


def stochastic(layer: str) -> StochasticNetworkError:
    """The error that names the layer which draws."""
    return StochasticNetworkError(
        f"layer {layer!r} draws random numbers even with training=False, so the network has no single Jacobian. "
        "Let it follow the `training` argument, or take it out of the model."
    )


@contextlib.contextmanager
def computing_in(model: Any, dtype: str) -> Iterator[None]:
    """Every layer of `model` computes in `dtype` here; with the dtype its weights have, policies stay as they are."""
    import keras

    # Quantised layers compute in what they were quantised to.
    layers = [x for x in model._flatten_layers() if x.compute_dtype in FLOATING and x.quantization_mode is None]
    tensors = [tensor for graph in graphs_of(model) for tensor in graph._inputs if tensor.dtype in FLOATING]
    tensors += [variable for variable in model.variables if variable._dtype in FLOATING]
    # A sequential model casts its inputs to the dtype of its input layer.
    tensors += [x for x in layers if isinstance(x, keras.layers.InputLayer) and x._dtype in FLOATING]
    changes: list[Change] = []
    if any(layer.variable_dtype != dtype for layer in layers) or any(tensor._dtype != dtype for tensor in tensors):
        policy = keras.DTypePolicy(dtype)
        # Through `vars`: Keras's own setters track what is assigned and may rebuild quantised layers.
        changes += [(vars(layer), "_dtype_policy", policy) for layer in layers]
        changes += [(vars(tensor), "_dtype", dtype) for tensor in tensors]
    with double_precision() if dtype == "float64" else contextlib.nullcontext(), changed(changes):
        yield


@contextlib.contextmanager
def _watching(watch: _Watch) -> Iterator[None]:
    """Layers and random generators report to `watch` in this thread; in others they go on as ever."""
    import keras

    layer_call, draw = keras.layers.Layer.__call__, keras.random.SeedGenerator.next

    def watched_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        current = _watch.get()
        name = current.names.get(id(layer)) if current else None
        if current is None or name is None:
            return layer_call(layer, *args, **kwargs)
        current.inside.append(name)
        try:
            outputs = layer_call(layer, *args, **kwargs)
        except Exception:
            current.failed_in = current.failed_in or name
            raise
        finally:
            current.inside.pop()
        return _marked(outputs, name, current.mark) if current.mark else outputs

    def watched_draw(generator: Any, *args: Any, **kwargs: Any) -> Any:
        current = _watch.get()
        if current:
            current.drew.append(current.innermost)
        return draw(generator, *args, **kwargs)

    token = _watch.set(watch)
    keras.layers.Layer.__call__, keras.random.SeedGenerator.next = watched_call, watched_draw
    try:
        yield
    finally:
        keras.layers.Layer.__call__, keras.random.SeedGenerator.next = layer_call, draw
        _watch.reset(token)


def _marked(outputs: Any, name: str, mark: Mark) -> Any:
    """The marked outputs, with the padding masks that travel beside the unmarked ones."""
    import keras
    from keras.src.backend import get_keras_mask, set_keras_mask

    marked = mark(outputs, name)
    for before, after in zip(keras.tree.flatten(outputs), keras.tree.flatten(marked), strict=True):
        mask = get_keras_mask(before) if before is not None else None
        if mask is not None:
            set_keras_mask(after, mask)
    return marked
