"""A fitted scikit-learn model as steps: transformers one after another and side by side, and the network behind them.

    Pipeline           z = f_k(… f_1(x))
    ColumnTransformer  z = [w_1 f_1(x[:, C_1]), w_2 f_2(x[:, C_2]), …]   C_i: the columns of a part, none dropped
    FeatureUnion       z = [w_1 f_1(x), w_2 f_2(x), …]
    MLP                h_l = φ(h_{l−1} coefs_l + intercepts_l)

A step is known by its path in the model, "prep.scale", and so are its fitted numbers, "prep.scale.mean_"; the network's own
are "coefs_0", "intercepts_0", …, its layers "hidden_1", … and "output".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline

from netjac.errors import ModelLoadError, UnsupportedOperationError
from netjac.networks.sklearn_formulas import FORMULAS, UNSUPPORTED, Apply, Array
from netjac.points import mark

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "exp": jnp.exp,
}


@dataclass(frozen=True)
class Step:
    """A pure function of (parameters by path, rows of features), marking its layers, and what it was made of.

    `settings` is equal as long as the function is the same but for its parameters. `layers`: name → class.
    """

    apply: Apply
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    settings: Hashable = ()
    layers: dict[str, str] = field(default_factory=dict)


def network_of_steps(model: Any) -> Step:
    """The steps of a fitted MLP, alone or at the end of (nested) pipelines.

    Raises `ModelLoadError` for a step that is not fitted, and `UnsupportedOperationError` for one that has no derivative
    or is not known; both name it.
    """
    steps = [*_flat(model, "")]
    path, last = steps.pop()
    if not isinstance(last, MLPRegressor | MLPClassifier):
        inside = "Give its regressor_, whose output is the transformed target" if hasattr(last, "regressor_") else ""
        raise UnsupportedOperationError(
            f"{_called(path, last)} is no network; netjac differentiates MLPRegressor and MLPClassifier, alone or as the "
            f"last step of a Pipeline. {inside or 'For any other model write predict as a JAX function'}"
        )
    network = _perceptron(last, _called(path, last))
    return _in_turn([*(_transformer(step, path) for path, step in steps), network])


def first_step(model: Any) -> Any:
    """The step that is given the features."""
    return next(_flat(model, ""))[1]


def _flat(model: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The steps of a pipeline by path, those of pipelines at its end among them; steps that pass everything left out."""
    if not isinstance(model, Pipeline):
        yield path, model
        return
    *first, (name, last) = model.steps
    yield from ((_joined(path, n), step) for n, step in first if step not in (None, "passthrough"))
    yield from _flat(last, _joined(path, name))


def _transformer(step: Any, path: str) -> Step:
    """Any transformer, its output marked with its path."""
    if isinstance(step, str) and step == "passthrough":
        return Step(lambda _, x: x)
    own = _own_class(step, path)
    try:
        inner = _COMPOSED[own](step, path) if own in _COMPOSED else _by_formula(step, own, path)
    except AttributeError as error:
        raise ModelLoadError(_not_fitted(path, step, error)) from error
    marked = {path: type(step).__name__}
    return Step(
        lambda p, x: mark(inner.apply(p, x), path), inner.parameters, (path, own, inner.settings), marked | inner.layers
    )


def _own_class(step: Any, path: str) -> type:
    """The class, of those that are known, whose `transform` is the step's own: a subclass may not have changed it."""
    for own in (*_COMPOSED, *FORMULAS):
        if isinstance(step, own) and _where(type(step), "transform") is _where(own, "transform"):
            return own
    raise UnsupportedOperationError(
        _refused(path, step, UNSUPPORTED.get(type(step).__name__, "its transform is not known"))
    )


def _where(kind: type, method: str) -> type | None:
    """The class that defines the method which instances of `kind` have."""
    return next((base for base in kind.__mro__ if method in vars(base)), None)


def _by_formula(step: Any, own: type, path: str) -> Step:
    try:
        formula = FORMULAS[own](step)
    except UnsupportedOperationError as error:
        raise UnsupportedOperationError(_refused(path, step, str(error))) from error
    names = {name: _joined(path, name) for name in formula.parameters}

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        return formula.apply({name: p[full] for name, full in names.items()}, x)

    return Step(apply, {names[n]: np.asarray(v) for n, v in formula.parameters.items()}, formula.settings)


def _pipeline(step: Pipeline, path: str) -> Step:
    inner = [(_joined(path, n), s) for n, s in step.steps if s not in (None, "passthrough")]
    return _in_turn([_transformer(s, at) for at, s in inner])


def _column_transformer(step: ColumnTransformer, path: str) -> Step:
    parts, weights = [], step.transformer_weights or {}
    for name, part, columns in step.transformers_:
        chosen = _columns(columns, step)
        if (isinstance(part, str) and part == "drop") or not len(chosen):
            continue
        parts.append((chosen, float(weights.get(name, 1.0)), _transformer(part, _joined(path, name))))
    return _side_by_side(parts)


def _feature_union(step: FeatureUnion, path: str) -> Step:
    weights = step.transformer_weights or {}
    parts = [
        (None, float(weights.get(name, 1.0)), _transformer(part, _joined(path, name)))
        for name, part in step.transformer_list
        if not (isinstance(part, str) and part == "drop")
    ]
    return _side_by_side(parts)


_COMPOSED: dict[type, Callable[[Any, str], Step]] = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    FeatureUnion: _feature_union,
}


def _columns(columns: Any, step: ColumnTransformer) -> np.ndarray:
    """Columns as a fitted ColumnTransformer has them (names, numbers, masks or slices) as numbers from 0 on."""
    count = step.n_features_in_
    names = {name: place for place, name in enumerate(getattr(step, "feature_names_in_", ()))}
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        start = names[start] if isinstance(start, str) else start
        stop = names[stop] + 1 if isinstance(stop, str) else stop  # of names, the last one is in
        return np.arange(count)[slice(start, stop, columns.step)]
    listed = [columns] if isinstance(columns, str | int | np.integer) else list(columns)
    if listed and all(isinstance(column, bool | np.bool_) for column in listed):
        return np.flatnonzero(np.array(listed, bool))
    return np.arange(count)[[names[c] if isinstance(c, str) else int(c) for c in listed]] if listed else np.arange(0)


def _in_turn(steps: Sequence[Step]) -> Step:
    def apply(p: Mapping[str, Array], x: Array) -> Array:
        for step in steps:
            x = step.apply(p, x)
        return x

    return _made_of(steps, apply)


def _side_by_side(parts: Sequence[tuple[np.ndarray | None, float, Step]]) -> Step:
    """Steps of some columns each (None: of all), weighted, their results one behind the other."""

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        found = []
        for columns, weight, step in parts:
            part = step.apply(p, x if columns is None else x[..., columns])
            found.append(part if weight == 1 else part * weight)
        return jnp.concatenate(found, -1) if found else x[..., :0]

    shared = tuple((None if columns is None else columns.tobytes(), weight) for columns, weight, _ in parts)
    return _made_of([step for _, _, step in parts], apply, shared)


def _made_of(steps: Sequence[Step], apply: Apply, settings: Hashable = ()) -> Step:
    parameters: dict[str, np.ndarray] = {}
    layers: dict[str, str] = {}
    for step in steps:
        parameters |= step.parameters
        layers |= step.layers
    return Step(apply, parameters, (settings, *(step.settings for step in steps)), layers)


def _perceptron(model: MLPRegressor | MLPClassifier, called: str) -> Step:
    """The network itself: what `predict` of a regressor, `predict_proba` of a classifier gives."""
    if not hasattr(model, "coefs_"):
        raise ModelLoadError(f"{called} is not fitted; call fit first")
    classifies, count = isinstance(model, MLPClassifier), len(model.coefs_)
    known, method = (MLPClassifier, "predict_proba") if classifies else (MLPRegressor, "predict")
    if _where(type(model), method) is not known:
        raise UnsupportedOperationError(
            f"{called} has a {method} of its own, which netjac cannot read; write it as a JAX function"
        )
    inner, outer = ACTIVATIONS[model.activation], ACTIVATIONS[model.out_activation_]

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        for place in range(count - 1):
            x = mark(inner(x @ p[f"coefs_{place}"] + p[f"intercepts_{place}"]), f"hidden_{place + 1}")
        y = outer(x @ p[f"coefs_{count - 1}"] + p[f"intercepts_{count - 1}"])
        if y.shape[-1] == 1:
            y = jnp.concatenate([1 - y, y], -1) if classifies else y[..., 0]
        return mark(y, "output")

    parameters: dict[str, np.ndarray] = {}
    for place, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        parameters |= {f"coefs_{place}": weights, f"intercepts_{place}": bias}
    shapes = tuple(w.shape for w in model.coefs_)
    layers = {f"hidden_{i + 1}": f"Dense ({model.activation})" for i in range(count - 1)}
    layers["output"] = f"Dense ({model.out_activation_})"
    return Step(apply, parameters, (classifies, model.activation, model.out_activation_, shapes), layers)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _called(path: str, step: Any) -> str:
    return f"step {path!r} ({type(step).__name__})" if path else type(step).__name__


def _refused(path: str, step: Any, reason: str) -> str:
    return (
        f"{_called(path, step)} cannot be differentiated: {reason}. Transform the data by the steps up to this one, and "
        "give netjac the steps behind it (`pipeline[1:]`, say) with what comes out"
    )


def _not_fitted(path: str, step: Any, error: AttributeError) -> str:
    return f"{_called(path, step)} is not fitted ({error}); call fit first"
