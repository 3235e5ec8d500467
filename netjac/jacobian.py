"""The public functions: a model and an input in, its Jacobian out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from netjac.compiled import Compiled, sweepable
from netjac.errors import NotDifferentiableError, ShapeError, UnknownNameError
from netjac.framework import framework_jacobian
from netjac.networks import Network
from netjac.networks.arrays import like
from netjac.operator import Jacobian
from netjac.pieces import Options, Pair, Request, computed, jacobian_shape, planned, sweep
from netjac.plan.plan import Plan
from netjac.precision import is_wide, precise
from netjac.progress import Progress
from netjac.source import Halves
from netjac.sparse import by_indices, masked, sparse
from netjac.structure import Structure, step_names, structure_of
from netjac.thin import halves
from netjac.tracing import Point, forgotten, meet, met_again, narrowed
from netjac.vectors import Sides

ENGINES = ("auto", "forward", "reverse", "structured", "framework")
Names = str | Sequence[str]


@dataclass(eq=False)
class Asked:
    """A request at a point, with its plan and, once computed, its arrays: what the Jacobians of one call share."""

    point: Point
    request: Request
    options: Options
    compiled: Compiled
    arrays: dict[Pair, jax.Array] = field(default_factory=dict)
    values: list[jax.Array] | None = None

    def compute(self) -> None:
        if self.values is None:
            self.values, self.arrays = computed(self.point, self.request, self.compiled, self.options)

    def array(self, pair: Pair) -> jax.Array:
        self.compute()
        if pair not in self.arrays:
            of = self.request.at(self.point).of[pair[0]]
            with precise(self.point.wide):
                return jnp.zeros(self.shape(pair), self.point.traced.program.dtype(of))
        return self.arrays[pair]

    def shape(self, pair: Pair) -> tuple[int, ...]:
        if any((a.of, a.wrt) == pair for a in self.compiled.plan.answers):
            return jacobian_shape(self.point, self.request, self.compiled, pair)
        sides = self.sides(pair)
        return (*sides.lead, *sides.out, *sides.inn)

    def sides(self, pair: Pair) -> Sides:
        """The two sides of one Jacobian: per sample where that is proven or holds trivially."""
        return self.point.traced.once(("sides", self.request, self.options.engine, pair), lambda: self._sides(pair))

    def _sides(self, pair: Pair) -> Sides:
        program, question = self.point.traced.program, self.request.at(self.point)
        of, wrt = question.of[pair[0]], question.wrt[pair[1]]
        out, inn, dtype = program.shape(of), program.shape(wrt), program.dtype(of)
        samples = self.point.samples
        if samples is None or out[:1] != (samples,):
            return Sides(None, out, inn, dtype)
        if wrt in self.point.traced.parameters.values():
            return Sides(samples, out[1:], inn, dtype, shared=True)
        zero = not any((a.of, a.wrt) == pair for a in self.compiled.plan.answers)
        if pair in self.compiled.tied or (zero and inn[:1] == (samples,)):
            return Sides(samples, out[1:], inn[1:], dtype)
        return Sides(None, out, inn, dtype)

    def sweep(self, pair: Pair, direction: str, block: jax.Array) -> jax.Array:
        question = self.request.at(self.point)
        wrt, of = question.wrt[pair[1]], question.of[pair[0]]
        if direction == "push":
            pushed: jax.Array = sweep(self.point, direction, (wrt,), of, [block])
            return pushed
        pulled: list[jax.Array] = sweep(self.point, direction, (wrt,), of, block)
        return pulled[0]

    def structure(self, pair: Pair) -> Structure:
        alone = self._alone(pair, True)
        local = planned(self.point, alone, self.options).plan
        found = structure_of(self.point, self.request, self.compiled, pair, [a.pattern for a in local.answers])
        if found.kind != "dense":
            return found
        tied = pair in self.compiled.tied
        if tied and not self.point.apart(alone.at(self.point).of[0]):
            return found
        one = narrowed(self.point, 0, 1) if tied else self.point
        colouring = by_indices(one, alone)
        if colouring is not None:
            return replace(found, kind="sparse", entries=colouring.pattern.nnz)
        reach = masked(one, alone)
        return found if reach is None else replace(found, kind=reach.kind, entries=reach.entries)

    def _alone(self, pair: Pair, local: bool = False) -> Request:
        return Request((self.request.of[pair[0]],), (self.request.wrt[pair[1]],), local)

    def sparse(self, pair: Pair, sample: int | None) -> scipy.sparse.csr_array | None:
        """One sample's Jacobian as a sparse matrix; None where it is not sparse."""
        return sparse(self.point, self._alone(pair, True), self.options, sample)

    def sweepable(self, pair: Pair, direction: str) -> bool:
        question = self.request.at(self.point)
        return sweepable(self.point.traced.program, direction, question.wrt[pair[1]], question.of[pair[0]])

    def halves(self, pair: Pair) -> Halves | None:
        return halves(self.point, self._alone(pair), self.options)

    def alone(self, pair: Pair) -> Asked:
        """The request for this one Jacobian."""
        if len(self.request.of) == len(self.request.wrt) == 1:
            return self
        return Asked(self.point, self._alone(pair), self.options, self.compiled)

    def at(self, point: Point) -> Asked:
        """The same at another input of the same shape, with nothing computed."""
        return Asked(point, self.request, self.options, self.compiled)

    def jacobian(self, pair: Pair) -> Jacobian:
        return Jacobian(self.sides(pair), OneOf(self, pair), self.point.given[0])


@dataclass(frozen=True, eq=False)
class OneOf:
    """One of the Jacobians that a request asks for, as a `netjac.source.Source`."""

    asked: Asked
    pair: Pair

    @cached_property
    def context(self) -> Asked:
        return self.asked.alone(self.pair)

    def structure(self) -> Structure:
        return self.asked.structure(self.pair)

    def plan(self) -> Plan:
        return titled(self.asked.compiled.plan, self.asked.point, self.asked.request)

    def array(self) -> jax.Array:
        return self.asked.array(self.pair)

    def can(self, direction: str) -> bool:
        return self.asked.sweepable(self.pair, direction)

    def sweep(self, direction: str, block: jax.Array) -> jax.Array:
        return self.asked.sweep(self.pair, direction, block)

    def sparse(self, sample: int | None) -> scipy.sparse.csr_array | None:
        return self.asked.sparse(self.pair, sample)

    @cached_property
    def _thin(self) -> Halves | None:
        return self.asked.halves(self.pair)

    def halves(self) -> Halves | None:
        return self._thin


@dataclass(frozen=True, eq=False)
class Last:
    """A question for one Jacobian at one plain array, ready to be put again at the next; `place` is all it was put with."""

    place: tuple[Any, ...]
    signature: Hashable
    asked: Asked


def titled(plan: Plan, point: Point, request: Request) -> Plan:
    return plan.named(
        step_names(point), f"∂{', '.join(request.of)}/∂{', '.join(request.wrt)} of {point.network.name!r}"
    )


def jacobian(
    model: Any,
    x: Any,
    *,
    wrt: Names = "input",
    of: Names = "output",
    engine: str = "auto",
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Any:
    """The Jacobian ∂of/∂wrt of a model at x, exact and, where samples are independent, per sample.

    `model` is anything `netjac.network` takes. `x` is an array with the samples along axis 0 (a JAX function: whatever it
    takes), or a tuple or dict of several. The result is lazy, of layout (batch, *out, *in): `np.asarray(J)` computes it,
    `J @ v` and `u @ J` do without, all at x and with the weights as they are now: where those were written over
    since, `ChangedError` is raised. With several outputs or inputs, or a list of names, a dict of Jacobians by
    name comes back, outputs outside, inputs inside.

    `wrt`: "input", "parameters" (all trainable), or the name of an input, layer or parameter. `of`: "output", or the
    name of an output or layer; "name.pre" is a layer's value before its activation. `engine`: "auto" or "structured"
    (netjac's plan), "forward" or "reverse" (that order), "framework" (the framework's own autodiff, row by row).
    `precision` of matrix products: "highest", "high" or "default" (as `jax.default_matmul_precision`). `memory`: the
    budget, bytes or "4GiB". `progress`: None (a bar on a terminal when the work is long), True, False, or a callback.

    Raises `UnknownNameError`, `ShapeError`, `NotDifferentiableError`, `NonFiniteError`, `UnsupportedOperationError`,
    `StochasticNetworkError`; later `ChangedError`, and `TooLargeError` when entries are asked for that do not fit.
    """
    place = type(x) is np.ndarray and (x.shape, x.dtype, wrt, of, engine, precision, memory, progress, is_wide())
    last = model.last if place and isinstance(model, Network) else None
    if last is not None and last.place == place and last.signature == model.signature():
        return last.asked.at(met_again(last.asked.point, x)).jacobian((0, 0))
    options = Options(engine, precision, memory, progress)
    if engine == "framework":
        return framework_jacobian(model, x, wrt, of, options)
    group = _ask(model, x, wrt, of, options)
    found = _nested(group)
    if place and isinstance(found, Jacobian) and isinstance(model, Network):
        model.last = Last(place, model.signature(), group[0].at(forgotten(group[0].point)))
    return found


def value_and_jacobian(model: Any, x: Any, **options: Any) -> tuple[Any, Any]:
    """(y, J) from one pass: what `of` names, as arrays of x's framework, and `jacobian(model, x, **options)`, computed."""
    wrt, of = options.pop("wrt", "input"), options.pop("of", "output")
    values, found, reference = started(model, x, wrt, of, Options(**options, with_values=True))
    given = {name: like(y, reference) for name, y in values.items()}
    single = len(given) == 1 and not isinstance(of, list | tuple)
    return next(iter(given.values())) if single else given, found


def started(model: Any, x: Any, wrt: Names, of: Names, options: Options) -> tuple[dict[str, jax.Array], Any, Any]:
    """y by name and J as `value_and_jacobian` has them, and an array of x's own framework; nothing waits for JAX to be done."""
    asked = _ask(model, x, wrt, of, options)
    values: dict[str, jax.Array] = {}
    for one in asked:
        one.compute()
        assert one.values is not None
        values.update(zip(one.request.of, one.values, strict=True))
    return values, _nested(asked), asked[0].point.given[0]


def explain(model: Any, x: Any, **options: Any) -> Plan:
    """The plan by which `jacobian(model, x, **options)` would be computed, without computing it."""
    wrt, of = options.pop("wrt", "input"), options.pop("of", "output")
    if options.get("engine") == "framework":
        raise ShapeError("engine='framework' has no plan of netjac's; leave engine out to see one")
    asked = _ask(model, x, wrt, of, Options(**options))
    if len(asked) > 1:
        raise ShapeError("explain takes one layer at a time in `wrt`; ask for each by itself")
    return titled(asked[0].compiled.plan, asked[0].point, asked[0].request)


@dataclass(frozen=True)
class Group(Sequence[Asked]):
    """The requests that one call comes to, and whether their answers are named in dicts."""

    asked: tuple[Asked, ...]
    named_of: bool
    named_wrt: bool

    def __getitem__(self, index: Any) -> Any:
        return self.asked[index]

    def __len__(self) -> int:
        return len(self.asked)


def _ask(model: Any, x: Any, wrt: Names, of: Names, options: Options) -> Group:
    if options.engine not in ENGINES:
        raise UnknownNameError.of("engine", options.engine, ENGINES)
    point = meet(model, x, options.precision)
    requests, named_of, named_wrt = _understood(point, wrt, of)
    asked = tuple(Asked(point, r, options, planned(point, r, options)) for r in requests)
    return Group(asked, named_of, named_wrt)


def ask_one(model: Any, x: Any, wrt: str, of: str, options: Options) -> Asked:
    """The request for one output by one value. Raises `ShapeError` where the names mean several."""
    group = _ask(model, x, wrt, of, options)
    outputs, inputs = group[0].request.of, [name for one in group for name in one.request.wrt]
    if len(outputs) > 1 or len(inputs) > 1:
        raise ShapeError(
            f"one Jacobian at a time is given here, and of={of!r}, wrt={wrt!r} mean those of {', '.join(outputs)} by "
            f"{', '.join(inputs)}; name one of each"
        )
    return group[0]


def _understood(point: Point, wrt: Names, of: Names) -> tuple[list[Request], bool, bool]:
    """The requests that the names come to, and whether the outputs and the inputs are answered by name."""
    wrt, of = _names("wrt", wrt), _names("of", of)
    place = (wrt, of, point.network.trainable if wrt == "parameters" else None)

    def found() -> tuple[list[Request], bool, bool]:
        ofs, named_of = output_names(point, of)
        wrts, named_wrt = input_names(point, wrt)
        refuse_integers(point, ofs, wrts)
        together = [n for n in wrts if n in point.traced.inputs or n in point.traced.parameters]
        requests = [Request(tuple(ofs), tuple(together))] if together else []
        requests += [Request(tuple(ofs), (n,)) for n in wrts if n not in together]
        return requests, named_of, named_wrt

    return point.traced.once(place, found)


def _names(argument: str, value: Any) -> str | tuple[str, ...]:
    """What `wrt` or `of` may be. Raises `ShapeError`."""
    names = value if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ShapeError(f"{argument}={value!r} names nothing; give a name, or a list of names")
    return names


def _nested(group: Group) -> Any:
    found: dict[str, dict[str, Jacobian]] = {}
    for asked in group:
        for i, of in enumerate(asked.request.of):
            for j, wrt in enumerate(asked.request.wrt):
                found.setdefault(of, {})[wrt] = asked.jacobian((i, j))
    by_output = {of: inner if group.named_wrt else next(iter(inner.values())) for of, inner in found.items()}
    return by_output if group.named_of else next(iter(by_output.values()))


def output_names(point: Point, of: Names) -> tuple[list[str], bool]:
    """The outputs or layers that `of` means, and whether to answer with a dict of them."""
    outputs = list(point.traced.outputs)
    if isinstance(of, str):
        if of == "output":
            return outputs, len(outputs) > 1
        _known(point, of)
        return [of], False
    for name in of:
        _known(point, name)
    return list(of), True


def input_names(point: Point, wrt: Names) -> tuple[list[str], bool]:
    """The inputs, layers or parameters that `wrt` means, and whether to answer with a dict of them."""
    traced = point.traced
    if not isinstance(wrt, str):
        for name in wrt:
            _known(point, name)
        return list(wrt), True
    if wrt == "parameters":
        trainable = point.network.trainable
        names = [n for n in traced.parameters if n in trainable]
        if not names:
            raise UnknownNameError(f"{point.network.name!r} has no trainable parameters; ask for an input or a layer")
        return names, True
    if wrt == "input":
        names = [n for n in traced.inputs if traced.program.differentiable(traced.inputs[n])]
        if not names and any(not traced.program.size(v) for v in traced.inputs.values()):
            names = list(traced.inputs)
        if not names:
            told = ", ".join(f"{n!r} ({traced.program.dtype(v)})" for n, v in traced.inputs.items())
            raise NotDifferentiableError(
                f"the inputs of {point.network.name!r} are integers, which have no derivative: {told}. Give floating-point "
                "numbers, or ask for wrt= the layer after the embedding, or for wrt='parameters'"
            )
        return names, len(traced.inputs) > 1
    inside = [n for n in traced.inputs if n.startswith(f"{wrt}.")]
    if inside and wrt not in traced.inputs and wrt not in traced.layers:
        return inside, True
    _known(point, wrt)
    return [wrt], False


def _known(point: Point, name: str) -> None:
    point.traced.value(name)


def refuse_integers(point: Point, ofs: Sequence[str], wrts: Sequence[str]) -> None:
    """Integers have no derivative, and complex numbers none that is one real array. Raises `NotDifferentiableError`."""
    program = point.traced.program
    for name, what in (*((n, "of") for n in ofs), *((n, "wrt") for n in wrts)):
        value = point.traced.value(name)
        if jnp.issubdtype(program.dtype(value), jnp.complexfloating):
            raise NotDifferentiableError(
                f"{what}={name!r} of {point.network.name!r} is {program.dtype(value)}; netjac differentiates real numbers: ask "
                "for others by name, or hold its real and imaginary parts as two arrays"
            )
        if not jnp.issubdtype(program.dtype(value), jnp.inexact):
            producer = program.producer.get(value)
            cause = f" (made by {program.equations[producer].name})" if producer is not None else ""
            way = "ask for the layer before it, the scores or logits" if what == "of" else "give floating-point numbers"
            raise NotDifferentiableError(
                f"{what}={name!r} of {point.network.name!r} is {program.dtype(value)}{cause}, which has no derivative; {way}"
            )
