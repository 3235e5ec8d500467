"""scikit-learn's networks: a fitted MLPRegressor or MLPClassifier, alone or as the last step of a Pipeline.

They are differentiated by the features as they are given to the pipeline, through its scalers and other transformers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from netjac.data import columns_of, numbers_of
from netjac.errors import (
    MissingExtraError,
    ModelLoadError,
    ShapeError,
    UnsupportedOperationError,
)
from netjac.networks.arrays import framework_of
from netjac.networks.network import Array, Network, Parameters, PureFunction, Spec
from netjac.networks.sklearn_steps import Step, first_step, network_of_steps
from netjac.networks.trees import flatten

AGREEMENT = {"float64": 1e-9, "float32": 1e-3}
"""How far, relative to the largest, the values may be from scikit-learn's own before a pull-back refuses."""


class SklearnNetwork(Network):
    """A fitted scikit-learn network and the transformers before it.

    The output is `predict` of a regressor (without an axis of outputs where there is one), `predict_proba` of a
    classifier (binary: both columns). Whole numbers are taken as real ones, in float64, as scikit-learn does. A table with
    names must have those of training, in that order. A search (GridSearchCV) stands for its best estimator.
    """

    framework = "sklearn"
    batched = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._steps()

    @property
    def oracle(self) -> str:
        return "jax (scikit-learn has none)"

    def _steps(self) -> Step:
        return network_of_steps(self._fitted)

    @property
    def _fitted(self) -> Any:
        if not isinstance(self.model, GridSearchCV | RandomizedSearchCV):
            return self.model
        if not hasattr(self.model, "best_estimator_"):
            raise ModelLoadError(f"{self.name} holds no best estimator; call fit, with refit=True")
        return self.model.best_estimator_

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the features, where the model was fitted to a table that has names."""
        found = getattr(first_step(self._fitted), "feature_names_in_", None)
        return None if found is None else tuple(map(str, found))

    def check_columns(self, columns: Sequence[str]) -> None:
        names = self.feature_names
        if names is None or tuple(columns) == names:
            return
        lacking, more = [n for n in names if n not in columns], [n for n in columns if n not in names]
        what = [f"it lacks {', '.join(map(repr, lacking[:8]))}"] if lacking else []
        what += [f"it was not fitted to {', '.join(map(repr, more[:8]))}"] if more else []
        first = next((pair for pair in zip(columns, names, strict=False) if pair[0] != pair[1]), ("", ""))
        told = "; ".join(what) or f"they are in another order ({first[0]!r} stands where {first[1]!r} was)"
        raise ShapeError(
            f"the columns of X are not those {self.name!r} was fitted to: {told}. Give X[model.feature_names_in_]"
        )

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: jnp.asarray(value) for name, value in self._steps().parameters.items()}

    @property
    def trainable(self) -> frozenset[str]:
        return frozenset(name for name in self._steps().parameters if name.startswith(("coefs_", "intercepts_")))

    def signature(self) -> Hashable:
        return self._steps().settings

    def layer_kinds(self) -> dict[str, str]:
        return self._steps().layers

    def output_names(self, count: int) -> tuple[str, ...]:
        return ("output",)

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        columns = columns_of(x)
        if columns is not None:
            self.check_columns(columns)
            x = numbers_of(x, "X")
        elif hasattr(x, "toarray"):
            raise ShapeError(f"x is a sparse {type(x).__name__}; give x.toarray(), or the rows that are wanted of it")
        spec = Spec("X", (None, int(first_step(self._fitted).n_features_in_)), "float64")
        (array,) = flatten(spec, x, f"model {self.name!r}")
        if framework_of(array) == "numpy" and np.asarray(array).dtype.kind in "iub":
            array = np.asarray(array, np.float64)
        return ("X",), (array,)

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        steps = self._steps()
        return lambda parameters, arrays: (steps.apply(parameters, arrays[0]),)

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        model = self._fitted
        predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
        if not len(x):
            return (predict(self._table(np.zeros((1, *x.shape[1:]))))[:0].astype(x.dtype),)
        return (np.asarray(predict(self._table(x)), x.dtype),)

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """JAX's reverse mode on the steps, since scikit-learn has none; their values are held against scikit-learn's own.

        Raises `UnsupportedOperationError` where those differ.
        """
        x, (seed,) = jnp.asarray(inputs[0]), cotangents
        steps, trainable = self._steps(), self.trainable
        values = {name: jnp.asarray(value, x.dtype) for name, value in steps.parameters.items()}
        trained = {name: value for name, value in values.items() if name in trainable}

        def along(moved: Parameters, x: Array) -> Array:
            return steps.apply({**values, **moved}, x)

        y, pull = jax.vjp(along, trained, x)
        self._refuse_other_values(inputs, np.asarray(y))
        by_parameter, by_input = pull(jnp.zeros_like(y) if seed is None else jnp.asarray(seed, y.dtype))
        return (np.asarray(by_input),), {name: np.asarray(grad) for name, grad in by_parameter.items()}

    def _refuse_other_values(self, inputs: Sequence[np.ndarray], y: np.ndarray) -> None:
        (own,) = self.evaluate(inputs)
        far = float(np.max(np.abs(np.asarray(y - own, np.float64)), initial=0))
        allowed = AGREEMENT.get(str(y.dtype), 5e-2) * float(np.max(np.abs(np.asarray(own, np.float64)), initial=1))
        if not far <= allowed:
            raise UnsupportedOperationError(
                f"{self.name!r} gives values that are {far:.2g} from those of the steps that netjac read from it; a step's "
                "class does something of its own. Write predict as a JAX function"
            )

    def _table(self, x: np.ndarray) -> Any:
        """The array as the model takes it: with names where it was fitted with names, else it warns or refuses."""
        wide = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
        names = self.feature_names
        if names is None:
            return wide
        try:
            import pandas
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", f"a {self.name} that was fitted to a table") from None
        return pandas.DataFrame(wide, columns=list(names))
