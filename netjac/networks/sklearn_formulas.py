"""What scikit-learn's transformers compute, one function each: a fitted transformer in, its `Formula` out.

    StandardScaler      z = (x − mean_) / scale_
    MinMaxScaler        z = x · scale_ + min_               (clip=True: held to the range)
    PCA                 z = (x − mean_) components_ᵀ        (whiten=True: / √explained_variance_)
    PolynomialFeatures  z_k = Π_{j in I_k} x_j              (I_k: the columns of a monomial, one for each power)
    PowerTransformer    z = ((x + 1)^λ − 1) / λ for x ≥ 0, −((1 − x)^(2−λ) − 1) / (2 − λ) else, then standardised

Example: StandardScaler fitted to mean_ = (1, 2), scale_ = (2, 4) sends (3, 2) to (1, 0), with slopes 1/2 and 1/4.
The fitted numbers are `parameters`, read anew at every call; everything else that changes the function is in `settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from netjac.errors import UnsupportedOperationError

Array = jax.Array
Apply = Callable[[Mapping[str, Array], Array], Array]


@dataclass(frozen=True)
class Formula:
    """A pure function of (parameters, rows of features), with the parameters it reads by their fitted names."""

    apply: Apply
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    settings: Hashable = ()


def standard_scaler(step: StandardScaler) -> Formula:
    return _shifted_and_divided(step, "mean_" if step.with_mean else None, "scale_" if step.with_std else None)


def robust_scaler(step: RobustScaler) -> Formula:
    return _shifted_and_divided(
        step, "center_" if step.with_centering else None, "scale_" if step.with_scaling else None
    )


def max_abs_scaler(step: MaxAbsScaler) -> Formula:
    divided = _shifted_and_divided(step, None, "scale_")
    if not getattr(step, "clip", False):  # scikit-learn before 1.8 has no such argument
        return divided
    return Formula(lambda p, x: jnp.clip(divided.apply(p, x), -1, 1), divided.parameters, "clip")


def min_max_scaler(step: MinMaxScaler) -> Formula:
    ends = tuple(map(float, step.feature_range)) if step.clip else None

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        z = x * p["scale_"] + p["min_"]
        return z if ends is None else jnp.clip(z, *ends)

    return Formula(apply, {"scale_": step.scale_, "min_": step.min_}, ends)


def projection(step: PCA | IncrementalPCA) -> Formula:
    parameters = {"components_": step.components_, "mean_": step.mean_}
    if step.whiten:
        parameters["explained_variance_"] = step.explained_variance_

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        z = (x - p["mean_"]) @ p["components_"].T
        if "explained_variance_" in p:
            deviation = jnp.sqrt(p["explained_variance_"])
            z = z / jnp.maximum(deviation, jnp.finfo(deviation.dtype).eps)
        return z

    return Formula(apply, parameters)


def truncated_svd(step: TruncatedSVD) -> Formula:
    return Formula(lambda p, x: x @ p["components_"].T, {"components_": step.components_})


def fast_ica(step: FastICA) -> Formula:
    parameters = {"components_": step.components_}
    if step.whiten:
        parameters["mean_"] = step.mean_
    return Formula(lambda p, x: (x - p["mean_"] if "mean_" in p else x) @ p["components_"].T, parameters)


def factor_analysis(step: FactorAnalysis) -> Formula:
    """E[z | x] = (x − mean_) Ψ⁻¹ Wᵀ (1 + W Ψ⁻¹ Wᵀ)⁻¹ with W = components_ and Ψ = noise_variance_."""

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        weighted = p["components_"] / p["noise_variance_"]
        covariance = jnp.linalg.inv(jnp.eye(len(weighted), dtype=x.dtype) + weighted @ p["components_"].T)
        return (x - p["mean_"]) @ weighted.T @ covariance

    return Formula(apply, {name: getattr(step, name) for name in ("components_", "noise_variance_", "mean_")})


def normalizer(step: Normalizer) -> Formula:
    kind = step.norm

    def apply(_: Mapping[str, Array], x: Array) -> Array:
        if kind == "l2":
            squares = jnp.sum(x * x, -1, keepdims=True)
            norm = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        else:
            norm = (jnp.sum if kind == "l1" else jnp.max)(jnp.abs(x), -1, keepdims=True)
        return x / jnp.where(norm < 10 * jnp.finfo(x.dtype).eps, 1, norm)

    return Formula(apply, settings=kind)


def polynomial_features(step: PolynomialFeatures) -> Formula:
    """Each monomial as a product of columns; behind the last column is one of ones, for those of lower degree."""
    powers = step.powers_
    degree, ones = int(powers.sum(1).max(initial=0)), powers.shape[1]
    columns = np.full((len(powers), max(degree, 1)), ones)
    for k, row in enumerate(powers):
        factors = np.repeat(np.arange(ones), row)
        columns[k, : len(factors)] = factors

    def apply(_: Mapping[str, Array], x: Array) -> Array:
        extended = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
        product = extended[..., columns[:, 0]]
        for place in range(1, columns.shape[1]):
            product = product * extended[..., columns[:, place]]
        return product

    return Formula(apply, settings=columns.tobytes())


def power_transformer(step: PowerTransformer) -> Formula:
    formula = _box_cox if step.method == "box-cox" else _yeo_johnson
    parameters = {"lambdas_": step.lambdas_}
    if step.standardize:
        parameters |= {"mean_": step._scaler.mean_, "scale_": step._scaler.scale_}

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        z = formula(x, p["lambdas_"])
        return (z - p["mean_"]) / p["scale_"] if "mean_" in p else z

    return Formula(apply, parameters, step.method)


def selector(step: Any) -> Formula:
    """Any of scikit-learn's feature selections: some of the columns."""
    kept = np.flatnonzero(step.get_support())
    return Formula(lambda _, x: x[..., kept], settings=kept.tobytes())


def simple_imputer(step: SimpleImputer) -> Formula:
    """Nothing at finite inputs, but that columns without any value in training are dropped."""
    statistics = np.asarray(step.statistics_)
    if (
        step.add_indicator
        or step.keep_empty_features
        or statistics.dtype.kind != "f"
        or not _is_nan(step.missing_values)
    ):
        raise UnsupportedOperationError(
            "only missing_values=nan, without add_indicator or keep_empty_features, is known"
        )
    kept = np.flatnonzero(~np.isnan(statistics))
    return Formula(lambda _, x: x[..., kept], settings=kept.tobytes())


ELEMENTWISE: dict[Any, Callable[[Array], Array]] = {
    getattr(np, name): getattr(jnp, name)
    for name in (
        "abs", "arcsinh", "arctan", "cbrt", "cos", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "negative",
        "reciprocal", "sin", "sinh", "sqrt", "square", "tanh",
    )
}  # fmt: skip


def function_transformer(step: FunctionTransformer) -> Formula:
    """The identity, or an elementwise function of NumPy's: what any other function does cannot be read."""
    if step.func is None:
        return Formula(lambda _, x: x)
    function = ELEMENTWISE.get(step.func) if isinstance(step.func, np.ufunc) else None
    if function is None or step.kw_args:
        told = getattr(step.func, "__name__", repr(step.func)) + (" with kw_args" if step.kw_args else "")
        raise UnsupportedOperationError(
            f"its function ({told}) is Python that netjac cannot differentiate; func=None and NumPy's elementwise "
            f"functions ({', '.join(f.__name__ for f in list(ELEMENTWISE)[:6])}, …) are known"
        )
    return Formula(lambda _, x: function(x), settings=step.func.__name__)


FORMULAS: dict[type, Callable[[Any], Formula]] = {
    StandardScaler: standard_scaler,
    MinMaxScaler: min_max_scaler,
    MaxAbsScaler: max_abs_scaler,
    RobustScaler: robust_scaler,
    PCA: projection,
    IncrementalPCA: projection,
    TruncatedSVD: truncated_svd,
    FastICA: fast_ica,
    FactorAnalysis: factor_analysis,
    Normalizer: normalizer,
    PolynomialFeatures: polynomial_features,
    PowerTransformer: power_transformer,
    FunctionTransformer: function_transformer,
    SimpleImputer: simple_imputer,
    SelectorMixin: selector,
}

UNSUPPORTED = {
    "OneHotEncoder": "it takes categories, by which there is no derivative",
    "OrdinalEncoder": "it takes categories, by which there is no derivative",
    "TargetEncoder": "it takes categories, by which there is no derivative",
    "KBinsDiscretizer": "it is a step function, whose derivative is zero wherever there is one",
    "Binarizer": "it is a step function, whose derivative is zero wherever there is one",
    "QuantileTransformer": "it is a staircase of up to n_quantiles straight pieces, whose slope is that of two samples",
}


def _shifted_and_divided(step: Any, shift: str | None, scale: str | None) -> Formula:
    parameters = {name: getattr(step, name) for name in (shift, scale) if name is not None}

    def apply(p: Mapping[str, Array], x: Array) -> Array:
        moved = x if shift is None else x - p[shift]
        return moved if scale is None else moved / p[scale]

    return Formula(apply, parameters, (shift, scale))


def _box_cox(x: Array, power: Array) -> Array:
    """(x^λ − 1) / λ, and log x at λ = 0."""
    zero = jnp.abs(power) < jnp.finfo(x.dtype).eps
    safe = jnp.where(zero, 1, power)
    return jnp.where(zero, jnp.log(x), jnp.expm1(safe * jnp.log(x)) / safe)


def _yeo_johnson(x: Array, power: Array) -> Array:
    """Box and Cox's function of 1 + |x|, with λ at x ≥ 0, and with 2 − λ, turned around, below."""
    positive = x >= 0
    size = 1 + jnp.where(positive, x, -x)
    return jnp.where(positive, _box_cox(size, power), -_box_cox(size, 2 - power))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value
