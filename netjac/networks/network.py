"""`Network`: what the engine sees of a model, whatever framework it was written in.

A front end turns a model into a pure JAX function of its parameters and inputs, with named points at the layers'
outputs, and keeps the framework's own pull-back beside it as an oracle. Parameters are read from the model at
every call, so a model that was trained further gives its new Jacobian; what is cached is keyed by `signature`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from netjac.errors import ShapeError, UnsupportedOperationError
from netjac.networks.arrays import like, to_numpy

Array = jax.Array
Parameters = Mapping[str, Array]
PureFunction = Callable[[Parameters, tuple[Array, ...]], tuple[Array, ...]]


@dataclass(frozen=True)
class Spec:
    """One input, output, layer or parameter: its name, its shape (None where any size goes) and its dtype's name.

    `kind` is the layer's class ("Dense", "Conv2d"), empty for anything that is no layer.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str | None
    kind: str = ""


@dataclass(frozen=True)
class Seen:
    """What a trace has shown of a network."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    layers: tuple[Spec, ...]


class Network(abc.ABC):
    """A model made ready for differentiation.

    Inputs and outputs are flat tuples of arrays here; `flatten` and `unflatten` lead from and to the trees that the
    model itself takes and gives. With `batched`, axis 0 of every input and output counts samples.
    """

    framework: str
    batched: bool
    _seen: Seen | None = None
    _traces: dict[Any, Any] | None = None
    takes_any_number = False
    """Whether `evaluate` takes any number of samples at no further cost: nothing is traced for each, none is refused."""
    last: Any = None
    """The question that was put to it last, kept by `netjac.jacobian` so that it is soon answered when it is put again."""

    def __call__(self, x: Any) -> Any:
        """The outputs at `x` by the model's own framework, as arrays of x's framework; a dict when there are several."""
        _, arrays = self.flatten(x)
        outputs = self.evaluate([to_numpy(array) for array in arrays])
        converted = [like(np.asarray(y), arrays[0]) for y in outputs]
        return (
            converted[0] if len(converted) == 1 else dict(zip(self.output_names(len(outputs)), converted, strict=True))
        )

    def remember(self, seen: Seen) -> None:
        """Note what a trace has shown of inputs, outputs and layers."""
        self._seen = seen

    def check_columns(self, columns: Sequence[str]) -> None:  # noqa: B027
        """Raises `ShapeError` where a table's columns are not the model's features. Most models do not know theirs by name."""

    @property
    def oracle(self) -> str:
        """Whose reverse mode `pull_back` is."""
        return self.framework

    @property
    def traces(self) -> dict[Any, Any]:
        """Traces of this network by shapes, dtypes and `signature`; several networks of one model may share them."""
        if self._traces is None:
            self._traces = {}
        return self._traces

    @traces.setter
    def traces(self, known: dict[Any, Any]) -> None:
        self._traces = known

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """The inputs as last traced; empty before the network has met an input."""
        return self._seen.inputs if self._seen else ()

    @property
    def declared_inputs(self) -> tuple[Spec, ...]:
        """The inputs as last traced or, before that, as the model itself declares them; empty where it does not."""
        return self.inputs

    def example(self, caller: str) -> Any:
        """Ones of the shapes that the network declares or has met, one sample where it does not say how many.

        Raises `ShapeError` where it does not know them, which tells to give an input to `caller`.
        """
        specs = self.declared_inputs
        if not specs or any(spec.shape is None or None in spec.shape[1 if self.batched else 0 :] for spec in specs):
            raise ShapeError(f"the shapes of {self.name!r}'s inputs are not known; give an example: {caller}(model, x)")
        arrays = [np.ones([n or 1 for n in spec.shape or ()], spec.dtype or "float32") for spec in specs]
        return arrays[0] if len(arrays) == 1 else {spec.name: a for spec, a in zip(specs, arrays, strict=True)}

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """The outputs as last traced; empty before the network has met an input."""
        return self._seen.outputs if self._seen else ()

    @property
    def layers(self) -> tuple[Spec, ...]:
        """The layers in the order of evaluation, with shapes once the network has met an input."""
        if self._seen:
            return self._seen.layers
        return tuple(Spec(name, None, None, kind) for name, kind in self.layer_kinds().items())

    def __repr__(self) -> str:
        lines = [f"Network {self.name!r} ({self.framework})"]
        lines += [f"  {spec.kind or 'layer':<22} {spec.name:<36} {spec.shape or ''}" for spec in self.layers]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ((spec.kind or "layer", spec.name, str(spec.shape or "")) for spec in self.layers)
        return rows(("kind", "layer", "shape"), cells, [f"Network {self.name!r} ({self.framework})"])

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The model's own name, for titles and messages."""

    @property
    @abc.abstractmethod
    def parameters(self) -> dict[str, Array]:
        """The parameters by name, in the model's order, read from the model now. Floating-point state that is not trained
        (moving statistics, buffers) is among them; `trainable` says which are."""

    def shared(self) -> Mapping[str, Any]:
        """The tensors whose memory `parameters` shares, so that what is written there shows; none where that cannot be."""
        return {}

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        """The model with other values of some parameters: the model itself, written to, where it can be. Raises
        `UnsupportedOperationError` for one whose parameters are fixed."""
        raise UnsupportedOperationError(
            f"the parameters of {self.name!r} ({self.framework}) cannot be written; take them from fit.parameters"
        )

    @property
    @abc.abstractmethod
    def trainable(self) -> frozenset[str]:
        """The names of the parameters that are not frozen: what `wrt="parameters"` means."""

    @abc.abstractmethod
    def signature(self) -> Hashable:
        """Changes whenever the function that `prepare` would return changes other than through its parameters."""

    @abc.abstractmethod
    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Names and arrays of the inputs in `x` (an array; or a tuple, list, dict or tree of them, by the model's names).

        Arrays are left as they come. Raises `ShapeError` when the structure is not the model's, naming what it takes.
        """

    @abc.abstractmethod
    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        """The network as a pure, traceable function for inputs of these shapes and dtypes.

        Called with parameters (by name, possibly cast to another floating dtype) and a tuple of inputs, it returns the
        tuple of outputs, in inference mode, every layer's output marked by `netjac.points.mark`. The computation's
        floating dtype is that of the floating inputs; without one, that of the parameters.

        Raises `UnsupportedOperationError`, `ShapeError` or `StochasticNetworkError`, naming the layer.
        """

    @abc.abstractmethod
    def output_names(self, count: int) -> tuple[str, ...]:
        """Names of the `count` flat outputs, in order; ("output",) where the model does not name its only one."""

    @abc.abstractmethod
    def layer_kinds(self) -> dict[str, str]:
        """Layer name → class name, in the model's order, for every layer that may be marked."""

    @abc.abstractmethod
    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """The framework's own reverse mode: uᵀJ for the inputs and for each trainable parameter.

        `cotangents` has one array (or None for zero) for each flat output, of that output's shape. Inputs that are
        unused or integer give zeros. The model is left as it was: gradients, flags, modes, random state.
        """

    @abc.abstractmethod
    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The framework's own forward pass in inference mode."""
