"""A network met with an input: its program, the names of its values, and the arrays they start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import NetjacError, NonFiniteError, NotDifferentiableError, ShapeError, UnknownNameError
from netjac.graph.key import Key, key
from netjac.graph.kind import Kind
from netjac.graph.preactivation import preactivation
from netjac.graph.program import Program, trace
from netjac.networks import network_of
from netjac.networks.arrays import framework_of, to_jax, to_numpy
from netjac.networks.held import NOTHING, Held
from netjac.networks.network import Network, Seen, Spec
from netjac.precision import as_held, dtype_in, is_wide, multiplied, precise
from netjac.rules.independence import apart

T = TypeVar("T")
FLOATS = ("bfloat16", "float16", "float32", "float64")
FLOAT_TYPES = frozenset(map(jnp.dtype, FLOATS))


@dataclass(frozen=True, eq=False)
class Traced:
    """A program with the names that can be asked for.

    `inputs`, `outputs`, `parameters` and `layers` map names to values. `known` keeps what was worked out for questions that
    are asked again; what was compiled is kept by `kind`, for all networks alike.
    """

    program: Program
    inputs: dict[str, int]
    outputs: dict[str, int]
    parameters: dict[str, int]
    layers: dict[str, int]
    kind: Kind
    seen: Seen
    known: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Key:
        """Equal for equal programs."""
        return self.kind.identity

    def once(self, place: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once for this trace."""
        if place not in self.known:
            self.known[place] = make()
        found: T = self.known[place]
        return found

    def value(self, name: str) -> int:
        """The value that a name stands for: an input, output, parameter, layer, or `layer.pre`."""
        for table in (self.outputs, self.inputs, self.layers, self.parameters):
            if name in table:
                return table[name]
        stem, dot, last = name.rpartition(".")
        if dot and last == "pre" and stem in self.layers:
            return preactivation(self.program, self.layers, stem, set(self.parameters.values()))
        known = [*self.layers, *self.inputs, *self.outputs, *self.parameters]
        raise UnknownNameError.of("layer, input, output or parameter", name, known)


@dataclass(frozen=True, eq=False)
class Point:
    """A traced network at one input: what the functions of the engine are called with.

    `samples` is the size of axis 0 where it counts samples. `given` holds the inputs as the user gave them, `held` the weights
    as they then were. `precision` is that of the matrix products (see `jax.default_matmul_precision`).
    """

    network: Network
    traced: Traced
    names: tuple[str, ...]
    given: tuple[Any, ...]
    arrays: tuple[Any, ...]
    held: Held
    wide: bool
    samples: int | None
    precision: str | None

    def apart(self, of: int) -> bool:
        """Whether each sample's part of a value follows from that sample alone, so that samples may be taken in pieces."""
        if self.samples in (None, 1):
            return self.samples == 1
        traced = self.traced
        return traced.once(("apart", of), lambda: self._parts() and apart(traced.program, traced.inputs.values(), of))

    def _parts(self) -> bool:
        """Whether the network takes another number of samples: a function may be written for one."""

        def tried() -> bool:
            try:
                narrowed(self, 0, 1)
            except NetjacError:
                return False
            return True

        return not self.samples or self.traced.once("parts", tried)

    def arguments(self) -> tuple[jax.Array, ...]:
        """The program's inputs, parameters first, as they were when the point was met. Raises `ChangedError`."""
        self.held.refuse_changed(self.network.name)
        dtype = computation_dtype(self.arrays)
        with precise(self.wide):
            return (*(_cast(self.held.parameters[n], dtype) for n in self.traced.parameters), *self.arrays)


MOST_TRACES = 64


def meet(model: Any, x: Any, precision: str | None = "highest") -> Point:
    """Trace a model at an input, or find the trace that is already there.

    Raises `ShapeError`, `NonFiniteError` and whatever the front end refuses.
    """
    network = network_of(model)
    names, given = network.flatten(x)
    host = [value if _stays(value) else to_numpy(value) for value in given]
    _refuse_bad(network, names, host)
    wide = _is_wide(network, host)
    with precise(wide):
        arrays = tuple(_kept(h) if framework_of(g) == "numpy" else to_jax(g) for g, h in zip(given, host, strict=True))
        samples = _samples(network, names, arrays)
        traced = _traced(network, names, arrays, wide, precision)
    network.remember(traced.seen)
    return Point(network, traced, names, tuple(given), arrays, _held(network, names, given), wide, samples, precision)


def met_again(point: Point, x: np.ndarray) -> Point:
    """A point at another array of the shape and dtype of its only one. Raises `NonFiniteError`."""
    _refuse_bad(point.network, point.names, (x,))
    network, wide = point.network, point.wide
    network.remember(point.traced.seen)
    held = _held(network, (), ())
    return Point(network, point.traced, point.names, (x,), (_kept(x),), held, wide, point.samples, point.precision)


def _kept(array: np.ndarray) -> np.ndarray:
    """A copy of what others may write to: a Jacobian is lazy, and of the input that it was asked at. Files stay in place."""
    return array.copy() if array.flags.writeable and not isinstance(array.base, np.memmap) else array


def forgotten(point: Point) -> Point:
    """A point without its arrays, to be met again."""
    return dataclasses.replace(point, given=(), arrays=(), held=NOTHING)


def _held(network: Network, names: Sequence[str], given: Sequence[Any]) -> Held:
    with precise(True):  # in their own dtype, for those who ask in float64 later
        parameters = {name: to_jax(array) for name, array in network.parameters.items()}
    return Held.now(parameters, [*network.shared().items(), *zip(names, given, strict=True)])


def narrowed(point: Point, start: int, count: int) -> Point:
    """The same network at `count` of the samples. Raises `ShapeError` where it takes no other number of them."""
    with precise(point.wide):
        arrays = tuple(jax.lax.slice_in_dim(array, start, start + count) for array in point.arrays)
        try:
            traced = _traced(point.network, point.names, arrays, point.wide, point.precision)
        except NetjacError:
            raise
        except Exception as error:  # whatever the user's function raises
            raise _of_one_size(point, count, str(error)) from error
    for name in traced.outputs:
        old, new = (t.program.shape(t.outputs[name]) for t in (point.traced, traced))
        if old[:1] == (point.samples,) and new != (count, *old[1:]):
            raise _of_one_size(point, count, f"{name!r} is then of shape {new}")
    return dataclasses.replace(point, traced=traced, arrays=arrays, samples=count)


def _of_one_size(point: Point, count: int, why: str) -> ShapeError:
    return ShapeError(
        f"{point.network.name!r} takes {point.samples} samples but not {count} of them ({why}); write it for any number of "
        "samples, x.reshape(len(x), …) say, or give it one sample"
    )


def widened(point: Point) -> Point:
    """The same network at the same inputs, computed in float64, its products in full."""
    with precise(True):
        arrays = tuple(
            jnp.asarray(np.asarray(a), np.float64) if jnp.issubdtype(a.dtype, jnp.floating) else jnp.asarray(a)
            for a in point.arrays
        )
        traced = _traced(point.network, point.names, arrays, True, "highest")
    return dataclasses.replace(point, traced=traced, arrays=arrays, wide=True, precision="highest")


def computation_dtype(arrays: Sequence[Any]) -> Any:
    """The floating dtype of the inputs; None where no input is floating."""
    return _widest(tuple(array.dtype for array in arrays))


@lru_cache
def _widest(dtypes: tuple[Any, ...]) -> Any:
    floats = {str(dtype) for dtype in dtypes} & set(FLOATS)
    if floats == {"bfloat16", "float16"}:
        return jnp.dtype("float32")
    return jnp.dtype(max(floats, key=FLOATS.index)) if floats else None


def _is_wide(network: Network, arrays: Sequence[Any]) -> bool:
    if is_wide():
        return True
    dtype = computation_dtype(arrays)
    if dtype is not None:
        return str(dtype) == "float64"
    with precise(True):  # else JAX shows them in float32
        return any(str(p.dtype) == "float64" for p in network.parameters.values())


def _cast(array: jax.Array, dtype: Any) -> jax.Array:
    return array if array.dtype == dtype else array.astype(dtype_in(array.dtype, dtype))


def _stays(value: Any) -> bool:
    """Arrays that are not brought into main memory to be looked at: tracers, and those spread over several devices."""
    return isinstance(value, jax.core.Tracer) or (isinstance(value, jax.Array) and len(value.sharding.device_set) > 1)


def _refuse_bad(network: Network, names: Sequence[str], arrays: Sequence[Any]) -> None:
    for name, array in zip(names, arrays, strict=True):
        kind = array.dtype.kind
        if kind == "c":
            raise NotDifferentiableError(
                f"input {name!r} is complex; netjac differentiates real inputs: give its real parts"
            )
        if array.dtype not in FLOAT_TYPES or isinstance(array, jax.core.Tracer):
            continue
        if not (np if isinstance(array, np.ndarray) else jnp).isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise NonFiniteError(
                f"input {name!r} of {network.name!r} holds {array[where]} at index {where}; remove or replace it"
            )


def _samples(network: Network, names: Sequence[str], arrays: Sequence[Any]) -> int | None:
    if not network.batched:
        return None
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0:
            raise ShapeError(
                f"input {name!r} is a single number; axis 0 must count samples: give an array of shape (1, …)"
            )
    counts = {array.shape[0] for array in arrays}
    if len(counts) > 1:
        told = ", ".join(f"{name!r} has {array.shape[0]}" for name, array in zip(names, arrays, strict=True))
        raise ShapeError(f"the inputs disagree about the number of samples (axis 0): {told}")
    return counts.pop()


def _traced(
    network: Network, names: tuple[str, ...], arrays: Sequence[Any], wide: bool, precision: str | None
) -> Traced:
    types = tuple((array.shape, array.dtype) for array in arrays)
    place = (names, types, wide, network.signature(), precision)
    if place not in network.traces:
        while len(network.traces) >= MOST_TRACES:
            network.traces.pop(next(iter(network.traces)))
        with multiplied(precision):
            network.traces[place] = _trace(network, names, arrays, wide, precision)
    return network.traces[place]


def _trace(
    network: Network, names: tuple[str, ...], arrays: Sequence[Any], wide: bool, precision: str | None
) -> Traced:
    specs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
    function = network.prepare(specs)
    dtype = computation_dtype(arrays)
    parameters = network.parameters
    shapes = [jax.ShapeDtypeStruct(p.shape, dtype_in(p.dtype, dtype)) for p in parameters.values()]

    def flat(*values: jax.Array) -> tuple[jax.Array, ...]:
        named = dict(zip(parameters, values[: len(shapes)], strict=True))
        return function(named, values[len(shapes) :])

    program, _ = trace(flat, *map(as_held, (*shapes, *specs)))
    program.constants = {number: jnp.asarray(array) for number, array in program.constants.items()}
    outputs = dict(zip(network.output_names(len(program.outputs)), program.outputs, strict=True))
    inputs = dict(zip(names, program.inputs[len(shapes) :], strict=True))
    return Traced(
        program,
        inputs,
        outputs,
        dict(zip(parameters, program.inputs, strict=False)),
        dict(program.points),
        Kind(program.bare, key(program), wide, precision),
        _seen(network, program, inputs, outputs),
    )


def _seen(network: Network, program: Program, inputs: dict[str, int], outputs: dict[str, int]) -> Seen:
    kinds = network.layer_kinds()

    def specs(table: dict[str, int]) -> tuple[Spec, ...]:
        found = []
        for name, value in table.items():
            shape: tuple[int | None, ...] = program.shape(value)
            if network.batched and shape:
                shape = (None, *shape[1:])
            stem = name.split("#")[0]
            found.append(Spec(name, shape, str(program.dtype(value)), kinds.get(stem, "")))
        return tuple(found)

    return Seen(specs(inputs), specs(outputs), specs(program.points))


def network(
    model: Any, example: Any = None, *, batched: bool | None = None, names: Sequence[str] | None = None
) -> Network:
    """Make a model ready for differentiation, once.

    `model`: a Keras model (any backend) or the path of a `.keras` file; a `torch.nn.Module`, an `ExportedProgram` or
    the path of a `.pt2` file; an ONNX `ModelProto` or the path of an `.onnx` file; a `tf.function`; a fitted scikit-learn
    MLP, alone or in a Pipeline; a callable pytree; a JAX function. `example` is an input to trace the model with, so that
    its layers' shapes are known. `batched` says of a JAX function whether axis 0 counts samples (no, by default; all other
    models have samples there). `names` are the inputs' names of a JAX function.

    A JAX function made a network is traced once for each shape, as by `jax.jit`: what it closes over is fixed then.

    Raises `ModelLoadError`, `UnsupportedOperationError`, `ShapeError`.
    """
    made = network_of(model, batched=batched, names=names)
    if batched is False and made.framework != "jax":
        raise ShapeError(f"{made.name!r} is a {made.framework} model, whose axis 0 counts samples; leave `batched` out")
    if example is not None:
        meet(made, example)
    return made
