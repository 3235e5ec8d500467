"""ONNX models as networks: a `ModelProto` or the path of an `.onnx` file.

The file is read by `onnx` and run in JAX by our own table of operators. ONNX has no derivatives, so that the oracle is JAX's
reverse mode, whose values are held against those of ONNX Runtime, or of ONNX's own reference where that is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from netjac.errors import ModelLoadError, ShapeError, UnsupportedOperationError
from netjac.networks.arrays import framework_of
from netjac.networks.network import Array, Network, Parameters, PureFunction, Spec
from netjac.networks.onnx_graph import FLOATING, read
from netjac.networks.onnx_operators.interpreter import Interpreter
from netjac.networks.onnx_runtime import Runtime
from netjac.precision import is_wide

AGREEMENT = {"float64": 1e-9, "float32": 1e-3}
"""How far, relative to the largest, the values may be from ONNX's own before a pull-back refuses."""


class OnnxNetwork(Network):
    """A `ModelProto`, read when the network is made.

    Its float initializers are its parameters (see `netjac.networks.onnx_graph`), its nodes its layers, by their names or, where
    they have none, their outputs'. It is computed in the dtype of the inputs, whatever the file's own; the values by ONNX
    itself (`net(x)`) are computed in the file's.
    """

    framework = "onnx"
    batched = True

    def __init__(self, proto: onnx.ModelProto, name: str = "") -> None:
        self._proto = proto
        self._name = name or proto.graph.name or "ONNX model"
        self._model = read(proto)
        self._held: dict[bool, dict[str, Array]] = {}
        self._pulls: dict[Hashable, Callable[..., Any]] = {}
        self._runtime = Runtime(proto)

    @property
    def name(self) -> str:
        return self._name

    @property
    def oracle(self) -> str:
        return "jax (onnx has none)"

    @property
    def declared_inputs(self) -> tuple[Spec, ...]:
        return self._model.inputs

    @property
    def parameters(self) -> dict[str, Array]:
        wide = is_wide()
        if wide not in self._held:
            self._held[wide] = {name: jnp.asarray(array) for name, array in self._model.parameters.items()}
        return self._held[wide]

    @property
    def trainable(self) -> frozenset[str]:
        return self._model.trainable

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        """The `ModelProto` itself, its initializers overwritten, in their own dtypes."""
        for tensor in self._proto.graph.initializer:
            if tensor.name in values:
                own = self._model.parameters[tensor.name]
                array = np.asarray(values[tensor.name], own.dtype).reshape(own.shape)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
                self._model.parameters[tensor.name] = array
        self._held.clear()
        self._runtime = Runtime(self._proto)
        return self._proto

    def signature(self) -> Hashable:
        return id(self._model)

    def layer_kinds(self) -> dict[str, str]:
        found = {}
        for node in self._model.graph.nodes:
            found[node.name] = node.kind
            found.update(
                {f"{node.name}.{place}": node.kind for place in range(1, len(node.outputs)) if node.gives(place)}
            )
        return found

    def output_names(self, count: int) -> tuple[str, ...]:
        return self._model.outputs

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        specs = self._model.inputs
        given = self._given(x)
        return tuple(spec.name for spec in specs), tuple(
            _fitting(s, a, self.name) for s, a in zip(specs, given, strict=True)
        )

    def _given(self, x: Any) -> list[Any]:
        """The arrays in the order of the model's inputs."""
        names = [spec.name for spec in self._model.inputs]
        told = ", ".join(f"{spec.name!r} {_in_words(spec.shape)}" for spec in self._model.inputs)
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise ShapeError(f"model {self.name!r} takes {told}; got a dict with the keys {sorted(map(str, x))}")
            return [x[name] for name in names]
        several = isinstance(x, tuple) or (isinstance(x, list) and any(hasattr(entry, "shape") for entry in x))
        given = list(x) if several else [x]
        if len(given) != len(names):
            raise ShapeError(f"model {self.name!r} takes {told}; got {len(given)} arrays")
        return given

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        model = self._model

        def apply(parameters: Parameters, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            dtype = _floating(arrays) or _floating(parameters.values())
            given = {name: jnp.asarray(array) for name, array in zip(model.graph.inputs, arrays, strict=True)}
            interpreter = Interpreter(dtype)
            results = interpreter.run(model.graph, {**given, **parameters}, marked=True)
            return tuple(jnp.asarray(interpreter.placed(result)) for result in results)

        return apply

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        names = [spec.name for spec in self._model.inputs]
        own = [a.astype(s.dtype) for a, s in zip(inputs, self._model.inputs, strict=True)]
        values = self._runtime(dict(zip(names, own, strict=True)), self._model.outputs)
        dtype = _floating(inputs)
        return tuple(y.astype(dtype) if dtype is not None and str(y.dtype) in FLOATING else y for y in values)

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """JAX's reverse mode on the graph, since ONNX has none; its values are held against ONNX's own.

        Raises `UnsupportedOperationError` where those differ.
        """
        arrays = tuple(jnp.asarray(value) for value in inputs)
        dtype = _floating(arrays)
        values = {n: v if dtype is None else v.astype(dtype) for n, v in self.parameters.items()}
        moving = tuple(i for i, value in enumerate(arrays) if jnp.issubdtype(value.dtype, jnp.floating))
        seeded = tuple(u is not None for u in cotangents)
        place = (tuple((a.shape, str(a.dtype)) for a in arrays), seeded, is_wide())
        if place not in self._pulls:
            self._pulls[place] = jax.jit(self._pulled(moving, seeded))
            self._refuse_other_values(inputs, self.prepare([])(values, arrays))
        seeds = [jnp.asarray(u) for u in cotangents if u is not None]
        by_parameter, by_input = self._pulls[place](values, arrays, seeds)
        found = [np.zeros(np.shape(value)) for value in inputs]
        for place_of, gradient in zip(moving, by_input, strict=True):
            found[place_of] = np.asarray(gradient)
        return tuple(found), {name: np.asarray(gradient) for name, gradient in by_parameter.items()}

    def _pulled(self, moving: tuple[int, ...], seeded: tuple[bool, ...]) -> Callable[..., Any]:
        """(parameters, inputs, cotangents) → the pull-backs to the trainable parameters and to the floating inputs."""
        function, trainable = self.prepare([]), self.trainable

        def pull(values: dict[str, Array], arrays: tuple[Array, ...], seeds: list[Array]) -> Any:
            def along(trained: dict[str, Array], moved: list[Array]) -> list[Array]:
                whole = list(arrays)
                for place, array in zip(moving, moved, strict=True):
                    whole[place] = array
                outputs = function({**values, **trained}, tuple(whole))
                return [y for y, wanted in zip(outputs, seeded, strict=True) if wanted]

            trained = {name: value for name, value in values.items() if name in trainable}
            outputs, back = jax.vjp(along, trained, [arrays[i] for i in moving])
            return back([u.astype(y.dtype) for u, y in zip(seeds, outputs, strict=True)])

        return pull

    def _refuse_other_values(self, inputs: Sequence[np.ndarray], found: Sequence[Array]) -> None:
        for name, y, own in zip(self._model.outputs, found, self.evaluate(inputs), strict=True):
            if str(own.dtype) not in FLOATING:
                continue
            expected = np.asarray(own, np.float64)
            far = float(np.max(np.abs(np.asarray(y, np.float64) - expected), initial=0))
            allowed = self._agreement(y) * float(np.max(np.abs(expected), initial=1))
            if not far <= allowed:
                raise UnsupportedOperationError(
                    f"output {name!r} of {self.name!r} is {far:.2g} from what {self._runtime.name} gives; netjac reads one of "
                    "its nodes otherwise. Compare layers with net.layers, and please report the node"
                )

    def _agreement(self, y: Array) -> float:
        """By the coarser of the computation's dtype and the file's."""
        dtypes = {
            str(y.dtype),
            *(spec.dtype for spec in self._model.inputs),
            *(str(a.dtype) for a in self._model.parameters.values()),
        }
        return max(AGREEMENT.get(str(dtype), 5e-2) for dtype in dtypes if dtype in FLOATING)


def load_onnx(path: Path) -> OnnxNetwork:
    """The network in an `.onnx` file, its weights in other files beside it, perhaps. Raises `ModelLoadError`."""
    if not path.is_file():
        raise ModelLoadError(f"there is no file {str(path)!r}")
    try:
        proto = onnx.load(str(path))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelLoadError(
            f"{str(path)!r} cannot be read as an ONNX model ({reason}); save it again with onnx.save, with its "
            "files of weights, if it has any, beside it"
        ) from error
    try:
        return OnnxNetwork(proto, path.stem)
    except ModelLoadError as error:
        raise ModelLoadError(f"{str(path)!r}: {error}") from error


def _floating(arrays: Any) -> Any:
    return next((a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)), None)


def _in_words(shape: tuple[int | None, ...] | None) -> str:
    return "(any shape)" if shape is None else f"({', '.join('any' if n is None else str(n) for n in shape)})"


def _fitting(spec: Spec, array: Any, model: str) -> Any:
    """The array for an input; whole numbers are taken as real ones where the model takes those. Raises `ShapeError`."""
    if framework_of(array) == "numpy":
        array = np.asarray(array)
        if array.dtype.kind in "iub" and spec.dtype in FLOATING:
            array = array.astype(spec.dtype)
    floating = "float" in str(array.dtype)
    if floating != (spec.dtype in FLOATING):
        raise ShapeError(f"model {model!r} takes {spec.name!r} as {spec.dtype}, not {array.dtype}; convert it first")
    own, shape = tuple(array.shape), spec.shape
    if shape is None or (len(shape) == len(own) and all(a in (None, b) for a, b in zip(shape, own, strict=True))):
        return array
    hint = ""
    if shape[1:] == own:
        hint = " It lacks the batch axis: pass x[None] for a single sample."
    elif len(shape) == len(own) and shape[1:] == own[1:]:
        hint = " The number of samples is fixed in the file: export it with a dynamic axis 0 (dynamic_shapes, dynamic_axes)."
    raise ShapeError(f"model {model!r} takes {spec.name!r} {_in_words(shape)}; the array given has shape {own}.{hint}")
