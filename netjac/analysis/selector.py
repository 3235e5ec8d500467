"""`NetjacSelector`: feature selection by a network's Jacobian, as a scikit-learn transformer."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.feature_selection import SelectorMixin
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from netjac.analysis.passes import over
from netjac.analysis.selection import Rule, chosen, effects_of
from netjac.analysis.significance import beside_shadows, least_p, p_values
from netjac.errors import ShapeError


class NetjacSelector(MetaEstimatorMixin, SelectorMixin, BaseEstimator):
    """Keeps the features that a network depends on. See `netjac.select_features`, which does the work.

    `estimator`: what is fitted to (X, y): a scikit-learn MLP, alone or in a Pipeline; by default StandardScaler and an
    MLPRegressor, or an MLPClassifier where y holds classes. With `prefit=True` it is a model that is trained already, of any
    framework, and is not fitted.

    `n_features_to_select`: a whole number, a part between 0 and 1, None (half), or "test": those that were found to do
    something at the level `alpha`. `threshold`: instead, the least importance, as a part of the largest. `method`,
    `negligible`, `correction` and `of` are as in `select_features`. `random_state` seeds the default network, the shadows and
    the bootstrap.

    `shadows`: how many shuffled copies of all features are put beside them when the estimator is fitted. With any, the p-values
    ask whether a feature does more than those copies, that is, more than chance lets a useless feature do in such a network,
    and `negligible` is not used. A p cannot be less than 1 / (1 + n · shadows); where
    none could then pass, "test" is refused, and with "fdr" no fewer than n / (alpha · (1 + n · shadows)) are found at once.

    After `fit`: `estimator_`, `selection_` (a `Selection`), `support_` (n,) booleans, `importances_` (n,), `p_values_` (n,),
    corrected, `n_features_in_`, and `feature_names_in_` where X has names.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_features_to_select: Any = None,
        method: str = "rank",
        threshold: float | None = None,
        alpha: float = 0.05,
        negligible: float = 0.1,
        correction: str = "holm",
        of: str = "output",
        shadows: int = 0,
        prefit: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_features_to_select = n_features_to_select
        self.method = method
        self.threshold = threshold
        self.alpha = alpha
        self.negligible = negligible
        self.correction = correction
        self.of = of
        self.shadows = shadows
        self.prefit = prefit
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the network to (X, y), unless it is trained already, and choose by its Jacobian at every sample of X."""
        table = X
        X, y = self._validated(X, y)
        n = X.shape[1]
        rule = Rule(self._count(n, self.n_features_to_select), self.method, self.threshold, self.alpha, self.correction)
        seed = self._seed()
        if self.shadows:
            self._refuse_shadows(n, rule)
            X = table = self._shadowed(X, seed)
        self.estimator_ = self._trained(table, X, y, fit_params)
        names = tuple(map(str, getattr(self, "feature_names_in_", [f"x{j}" for j in range(n)])))
        through = over(self.estimator_, X, of=self.of, progress=False)
        effects = effects_of(through, rule, seed)
        if self.shadows:
            importance = np.sqrt(effects.standardised)
            p, null = (
                beside_shadows(importance[:n], importance[n:]),
                "it does no more than shuffled copies of the features",
            )
        else:
            p = p_values(effects, self.negligible, seed)
            null = f"the effect is at most {self.negligible:g} times that of an average feature"
        self.selection_ = chosen(effects.first(n), p, null, rule, names)
        self.support_ = self.selection_.support
        self.importances_ = self.selection_.importance
        self.p_values_ = self.selection_.adjusted
        return self

    def _trained(self, table: Any, X: np.ndarray, y: Any, fit_params: dict[str, Any]) -> Any:
        if self.prefit:
            if self.estimator is None:
                raise ShapeError("prefit=True needs a trained model; give it as estimator=")
            return self.estimator
        if self.estimator is None:
            return self._default(y).fit(X, y, **fit_params)
        return clone(self.estimator).fit(table, y, **fit_params)

    def _refuse_shadows(self, n: int, rule: Rule) -> None:
        if self.prefit:
            raise ShapeError(
                "shadows are put beside the features when a network is fitted; leave out prefit=True or shadows="
            )
        least = least_p(n, n * self.shadows, self.correction)
        if rule.k is None and rule.threshold is None and least > self.alpha:
            raise ShapeError(
                f"with {self.shadows} shadows of {n} features no corrected p is below {least:.2g}, and alpha is "
                f"{self.alpha:g}; give more shadows=, or correction='fdr'"
            )

    def _shadowed(self, X: np.ndarray, seed: int) -> np.ndarray:
        """X with as many shuffled copies of its columns behind it as there are shadows."""
        draw = np.random.default_rng(seed)
        return np.concatenate([X, *(draw.permuted(X, axis=0) for _ in range(self.shadows))], 1)

    def _validated(self, X: Any, y: Any) -> tuple[np.ndarray, Any]:
        if y is None:
            if not self.prefit:
                raise ValueError("This NetjacSelector estimator requires y to be passed, but the target y is None")
            return validate_data(self, X, dtype=[np.float64, np.float32]), None
        return validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2, multi_output=True)

    def _default(self, y: Any) -> Any:
        kind = type_of_target(y)
        if kind.startswith("continuous"):
            network: Any = MLPRegressor(max_iter=500, random_state=self.random_state)
        else:
            check_classification_targets(y)
            network = MLPClassifier(max_iter=500, random_state=self.random_state)
        return make_pipeline(StandardScaler(), network)

    def _count(self, n: int, wanted: Any) -> int | None:
        if self.threshold is not None or (isinstance(wanted, str) and wanted == "test"):
            return None
        if wanted is None:
            return max(1, n // 2)
        if isinstance(wanted, Integral) and not isinstance(wanted, bool):
            return int(wanted)
        if isinstance(wanted, Real) and 0 < float(wanted) < 1:
            return max(1, int(n * float(wanted)))
        raise ShapeError(
            f"n_features_to_select={wanted!r} is none of: a whole number, a part between 0 and 1, None (half), 'test'"
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return 0 if self.random_state is None else int(self.random_state)

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self, "support_")
        return self.support_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = not self.prefit
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = False
        tags.input_tags.sparse = False
        return tags
