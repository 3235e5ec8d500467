"""A network met as a classifier: its scores, and any few combinations of the rows of their Jacobian, sample by sample.

Every attack asks for U·J with J = ∂scores/∂input, (classes × inputs), and a U of few rows: one for a gradient, two for a
saliency map, one for each other class in DeepFool. U·J is the Jacobian of U·scores by the input, so netjac's plan for that
finds it, with its structured factors, in the cheapest order.

Scores are logits where there are any, else the logarithms of probabilities, whose differences are those of logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.calibration import rates
from netjac.compiled import answers, samples_tied
from netjac.errors import NonFiniteError, ShapeError, UnsupportedOperationError
from netjac.execute import evaluated
from netjac.graph.kind import Kind
from netjac.graph.program import trace
from netjac.jacobian import input_names, output_names, refuse_integers
from netjac.plan.eliminate import Linearised, Question
from netjac.plan.plan import Plan
from netjac.plan.search import Setting, search
from netjac.precision import multiplied, precise
from netjac.rules.forward import other_ways
from netjac.tracing import Point, meet

# How far the rows of a softmax may be from 1 in sum.
SUM_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
LOOSE = 2e-2


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores as functions of the weights and of x (B, *in), for as many samples as were traced; traceable.

    `value` is the value of the program that they are read from; where `logarithms` holds, it is probabilities. Nothing here
    leads to the model: what is compiled serves all networks of the kind. `name` is that of the network, for errors.
    """

    kind: Kind
    value: int
    logarithms: bool
    name: str

    @property
    def samples(self) -> int:
        return self.kind.program.shape(self.value)[0]

    @property
    def classes(self) -> int:
        return self.kind.program.shape(self.value)[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.kind.program.shape(self.kind.program.inputs[-1])[1:]

    @property
    def convolves(self) -> bool:
        """Whether there is a convolution on the way to the scores."""
        return any(eqn.name == "conv_general_dilated" for eqn in self.kind.program.equations)

    def __call__(self, weights: Sequence[Any], x: jax.Array) -> jax.Array:
        """(B, classes)."""
        found = evaluated_at(self.kind, self.value, weights, x)
        return jnp.log(jnp.maximum(found, jnp.finfo(found.dtype).tiny)) if self.logarithms else found

    def rows(self, weights: Sequence[Any], x: jax.Array, combined: jax.Array) -> jax.Array:
        """U·J, (B, K, n), for U = `combined` (B, K, classes)."""
        question, linearised, plan = self._planned(tuple(weights), x, combined)
        shape = (*combined.shape[:2], int(np.prod(self.input_shape)))
        if not plan.answers:
            return jnp.zeros(shape, x.dtype)
        program = linearised.program
        with multiplied(self.kind.precision):
            primal = evaluated(plan, program, [*weights, x, combined], list(program.constants.values()), question.of)
            found = answers(plan, linearised, question, frozenset({(0, 0)}), primal, 0)
        return found[0].reshape(shape)

    def _planned(self, weights: tuple[Any, ...], x: Any, combined: Any) -> tuple[Question, Linearised, Plan]:
        def asked(*given: Any) -> jax.Array:
            return jnp.einsum("bkm,bm->bk", given[-1], self(given[:-2], given[-2]))

        program, _ = trace(asked, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (*weights, x, combined)))
        question = Question((program.inputs[-2],), program.outputs)
        linearised = Linearised(program)
        plan = search(linearised, question, Setting(program.dtype(program.outputs[0]).itemsize, rates(), x.shape[0]))
        if plan.answers and not samples_tied(plan.answers[0].pattern, x.shape[0]):
            raise UnsupportedOperationError(
                f"the samples of {self.name!r} see each other (J.structure says where), so that none can be perturbed by "
                "itself; attack the network in inference mode, or one sample at a time"
            )
        return question, linearised, plan

    def memory(self, rows: int) -> float:
        """Bytes a sample, about: every value of the forward pass, and the largest once for each row that is pulled back."""
        every, largest = self.kind.once("sizes of values", self._sizes)
        return (every + 2 * rows * largest) / self.samples

    def _sizes(self) -> tuple[int, int]:
        """Bytes of all values together, and of the largest."""
        program = self.kind.program
        numbers = {*program.inputs[-1:], *(r for eqn in program.equations for r in eqn.results)}
        sizes = [program.size(n) * program.dtype(n).itemsize for n in numbers if hasattr(program.types[n], "shape")]
        return sum(sizes), max(sizes)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network of one input met at samples, its scores, and its weights as they are now. `together`: the most samples
    that a forward pass has room for."""

    point: Point
    scores: Scores
    output: str
    together: int = 0

    @cached_property
    def weights(self) -> tuple[Any, ...]:
        """The parameters, and the program's constants."""
        with precise(self.point.wide):
            return (*self.point.arguments()[:-1], *self.point.traced.program.constants.values())

    def decide(self, x: np.ndarray) -> np.ndarray:
        """The class that the model itself gives each of any number of samples, (N,).

        By as many at once as were met; where the model takes any number at no further cost, by `together` of them.
        """
        own, found = self.scores.samples, []
        free = self._by_model and self.point.network.takes_any_number
        size = max(own, self.together) if free else own
        for start in range(0, len(x), size):
            part = x[start : start + size]
            short = 0 if free else size - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else part
            found.append(self._outputs(filled)[: len(part)].argmax(-1))
        return np.concatenate(found).astype(np.int32)

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        """What the model makes of a batch, in its own framework."""
        names = list(self.point.traced.outputs)
        if not self._by_model:
            return values(self.point, self.point.traced.value(self._judge), self.weights, x)
        return np.asarray(self.point.network.evaluate([x])[names.index(self._judge)])

    @property
    def _judge(self) -> str:
        """The output whose largest entry is the class."""
        names = list(self.point.traced.outputs)
        return self.output if self.output in names or len(names) > 1 else names[0]

    @property
    def _by_model(self) -> bool:
        """Whether the model's own framework is asked; a layer's value and JAX's are had by the program that was traced."""
        return self.point.network.framework != "jax" and self._judge in self.point.traced.outputs


def classifier(model: Any, x: np.ndarray, of: str | None, precision: str) -> Classifier:
    """The network met at x (B, *in). Raises `ShapeError` where it is no classifier of several classes of one input."""
    point = meet(model, x, precision)
    network = point.network
    if not network.batched:
        raise ShapeError(
            f"{network.name!r} is a JAX function without an axis of samples; say netjac.network(f, batched=True)"
        )
    if len(point.names) != 1:
        raise ShapeError(f"{network.name!r} has the inputs {', '.join(point.names)}; attacks perturb the input of one")
    inputs, _ = input_names(point, "input")
    outputs, _ = output_names(point, "output" if of is None else of)
    if len(outputs) != 1:
        raise ShapeError(f"{network.name!r} has the outputs {', '.join(outputs)}; name the scores by of=")
    refuse_integers(point, outputs, inputs)
    value = point.traced.value(outputs[0])
    _refuse_shape(point, outputs[0], value)
    # What a network ends in does not change with its weights, so it is looked at once.
    found, logarithms = point.traced.once(("scores", of), lambda: _read_from(point, value, of is None))
    return Classifier(point, Scores(point.traced.kind, found, logarithms, network.name), outputs[0])


def _refuse_shape(point: Point, name: str, value: int) -> None:
    shape = point.traced.program.shape(value)
    if len(shape) != 2 or shape[0] != point.samples:
        raise ShapeError(
            f"{name!r} of {point.network.name!r} is of shape {shape} for {point.samples} samples; an attack needs one score "
            "for each class, (samples, classes): name them by of="
        )
    if shape[1] < 2:
        raise ShapeError(
            f"{name!r} of {point.network.name!r} is one number a sample, so there is no other class to change to; attacks "
            "need a classifier with at least 2 outputs (of one logit z make two: 0 and z)"
        )


def _read_from(point: Point, value: int, through: bool) -> tuple[int, bool]:
    """The value that scores are read from, and whether by logarithms: `through` a softmax, to logits that are a value."""
    seen = values(point, value)
    if not np.isfinite(seen).all():
        raise NonFiniteError(
            f"the scores of {point.network.name!r} are not finite at these inputs; there is no way to follow"
        )
    # A few logits may happen to sum to 1; those of other inputs do not as well.
    elsewhere = values(point, value, x=_shaken(np.asarray(point.arrays[0])))
    if not (_are_probabilities(seen) and _are_probabilities(elsewhere[np.isfinite(elsewhere).all(-1)])):
        return value, False
    for layer, at in reversed(list(point.traced.layers.items())):
        before = point.traced.value(f"{layer}.pre") if through and at == value else value
        if before != value and point.traced.program.shape(before) == point.traced.program.shape(value):
            logits = values(point, before).astype(np.float64)
            exponents = np.exp(logits - logits.max(-1, keepdims=True))
            if np.allclose(exponents / exponents.sum(-1, keepdims=True), seen, atol=_tolerance(seen), rtol=0):
                return before, False
    return value, True


def evaluated_at(kind: Kind, value: int, weights: Sequence[Any], x: jax.Array) -> jax.Array:
    """A value of the program at x; traceable."""
    program, fixed = kind.program, len(kind.program.inputs) - 1
    with multiplied(kind.precision):
        needed = program.needed([value])
        instead = other_ways(program, needed)
        found = program.evaluate((*weights[:fixed], x), list(weights[fixed:]), needed, instead=instead)[value]
    return jnp.asarray(found)


def values(point: Point, value: int, weights: Sequence[Any] | None = None, x: np.ndarray | None = None) -> np.ndarray:
    """The numbers of a value of the program at the point, or with other weights at other samples x (B, *in)."""
    kind = point.traced.kind
    with precise(point.wide):
        run = kind.once(("value", value), lambda: jax.jit(partial(evaluated_at, kind, value)))
        if weights is None:
            weights = (*point.arguments()[:-1], *point.traced.program.constants.values())
        return np.asarray(run(weights, point.arrays[0] if x is None else x))


def _shaken(x: np.ndarray) -> np.ndarray:
    """Other inputs of the same shape and about the same size."""
    noise = np.random.default_rng(0).standard_normal(x.shape)
    return (x + noise * (float(np.std(x.astype(np.float64))) or 1.0)).astype(x.dtype)


def _are_probabilities(scores: np.ndarray) -> bool:
    """Rows of numbers from 0 to 1 that sum to 1."""
    wide = scores.astype(np.float64)
    return bool((wide >= 0).all() and np.allclose(wide.sum(-1), 1, atol=_tolerance(scores), rtol=0))


def _tolerance(scores: np.ndarray) -> float:
    return SUM_TOLERANCE.get(str(scores.dtype), LOOSE)
