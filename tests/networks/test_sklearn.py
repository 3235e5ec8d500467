"""Fitted scikit-learn networks: values are its own predictions, derivatives hold against differences of those."""

from __future__ import annotations

import sys
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import netjac as nj
from netjac.analysis.passes import over
from netjac.cli import main
from tests.oracles import differences, relative_error

RNG = np.random.default_rng(0)
X = RNG.gamma(2.0, size=(60, 5)) * [0.5, 1, 0.2, 0.5, 0.8] + [0, -1, -0.5, 0, 0.5]
Y = np.sin(X[:, 0]) + X[:, 1] / 2 - X[:, 4]
PLACES = X[:3] + 0.01
NAMES = ["age", "bmi", "dose", "rate", "days"]

pytestmark = pytest.mark.filterwarnings("error:X (does not )?ha(s|ve) (valid )?feature names")


def regressor(**settings):
    return MLPRegressor(hidden_layer_sizes=(6, 4), activation="tanh", max_iter=5, random_state=0, **settings)


def classifier(**settings):
    return MLPClassifier((6,), max_iter=5, random_state=0, **settings)


def fitted(model, x=X, y=Y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def held(model, x=PLACES, names=None):
    """Value and Jacobian of the model beside its own predictions and differences of them."""

    def predict(values):
        own = model.predict_proba if hasattr(model, "predict_proba") else model.predict
        table = np.asarray(values) if names is None else pd.DataFrame(np.asarray(values), columns=names)
        return own(table)

    y, J = nj.value_and_jacobian(model, x)
    np.testing.assert_allclose(np.asarray(y), predict(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(nj.network(model)(x), predict(x))
    expected = np.stack([differences(lambda v: predict(v[None])[0], one) for one in np.asarray(x)])
    assert relative_error(np.asarray(J), expected) < 1e-6
    assert J.batch == len(x)
    return J


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_regressor_by_the_formula(activation):
    model = fitted(MLPRegressor(hidden_layer_sizes=(6, 4), activation=activation, max_iter=5, random_state=0))
    J = held(model)
    slope = {
        "identity": np.ones_like,
        "logistic": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
        "tanh": lambda z: 1 - np.tanh(z) ** 2,
        "relu": lambda z: (z > 0) * 1.0,
    }[activation]
    value = {"identity": lambda z: z, "logistic": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}.get(
        activation, lambda z: np.maximum(z, 0)
    )
    (V, W, u), (a, b, _) = model.coefs_, model.intercepts_
    for x, row in zip(PLACES, np.asarray(J), strict=True):
        z = x @ V + a
        w = value(z) @ W + b
        expected = V @ (slope(z) * (W @ (slope(w) * u[:, 0])))
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-13)


def test_outputs_are_those_of_predict_and_predict_proba():
    assert held(fitted(regressor())).shape == (3, 5)
    assert held(fitted(regressor(), y=np.stack([Y, Y**2], 1))).shape == (3, 2, 5)
    binary, several = fitted(classifier(), y=Y > 0), fitted(classifier(), y=np.digitize(Y, [-1, 0]))
    J = held(binary)
    assert J.shape == (3, 2, 5)
    np.testing.assert_allclose(np.asarray(J)[:, 0], -np.asarray(J)[:, 1])
    assert held(several).shape == (3, 3, 5)
    np.testing.assert_allclose(np.asarray(nj.jacobian(several, PLACES)).sum(1), 0, atol=1e-14)
    multilabel = fitted(classifier(), y=np.stack([Y > 0, Y < 0.5, X[:, 0] > 1], 1))
    assert held(multilabel).shape == (3, 3, 5)


def test_a_poisson_regressor_ends_in_an_exponential():
    held(fitted(regressor(loss="poisson"), y=np.abs(Y)))


def test_the_logit_is_the_pre_activation_of_the_output():
    model = fitted(make_pipeline(StandardScaler(), classifier()), y=Y > 0)
    logit = nj.jacobian(model, PLACES, of="output.pre")
    p = model.predict_proba(PLACES)[:, 1]
    assert logit.shape == (3, 1, 5)
    np.testing.assert_allclose(
        np.asarray(nj.jacobian(model, PLACES))[:, 1], np.asarray(logit)[:, 0] * (p * (1 - p))[:, None], rtol=1e-10
    )


TRANSFORMERS = {
    "standard": StandardScaler(),
    "standard, no mean": StandardScaler(with_mean=False),
    "standard, no deviation": StandardScaler(with_std=False),
    "min max": MinMaxScaler((-1, 2)),
    "min max, held": MinMaxScaler(clip=True),
    "max abs": MaxAbsScaler(),
    "robust": RobustScaler(quantile_range=(10, 90)),
    "robust, no centre": RobustScaler(with_centering=False),
    "robust, no scale": RobustScaler(with_scaling=False),
    "pca": PCA(3),
    "pca, white": PCA(3, whiten=True),
    "incremental pca": IncrementalPCA(2, whiten=True),
    "svd": TruncatedSVD(2),
    "factor analysis": FactorAnalysis(2),
    "ica": FastICA(3, random_state=0, whiten="unit-variance"),
    "l2": Normalizer(),
    "l1": Normalizer("l1"),
    "max": Normalizer("max"),
    "polynomial": PolynomialFeatures(3),
    "interactions": PolynomialFeatures(2, interaction_only=True, include_bias=False),
    "yeo-johnson": PowerTransformer(),
    "box-cox": make_pipeline(MinMaxScaler((0.1, 2)), PowerTransformer("box-cox", standardize=False)),
    "identity": FunctionTransformer(),
    "log1p": make_pipeline(MinMaxScaler(), FunctionTransformer(np.log1p)),
    "best": SelectKBest(f_regression, k=2),
    "varying": VarianceThreshold(0.3),
    "imputed": SimpleImputer(),
    "union": FeatureUnion([("a", PCA(2)), ("b", "passthrough"), ("c", "drop")], transformer_weights={"a": 3}),
}


def test_every_transformer_is_differentiated_through():
    """All side by side in one network, each by itself a layer, beside scikit-learn's own values and differences of them."""
    model = fitted(Pipeline([("all", FeatureUnion(list(TRANSFORMERS.items()))), ("net", regressor())]))
    layers = [f"all.{name}" for name in TRANSFORMERS]
    values, found = nj.value_and_jacobian(model, PLACES, of=layers)
    kinds = {spec.name: spec.kind for spec in nj.network(model, PLACES).layers}
    for name, step in model["all"].named_transformers.items():
        layer = f"all.{name}"
        assert kinds[layer] == type(step).__name__
        np.testing.assert_allclose(values[layer], step.transform(PLACES), rtol=1e-12, atol=1e-12)
        expected = [differences(lambda v, step=step: step.transform(np.asarray(v)[None])[0], x) for x in PLACES]
        assert relative_error(np.asarray(found[layer]), np.stack(expected)) < 1e-6, name


def test_yeo_johnson_at_its_seams():
    """λ = 0 and 2 have formulas of their own, and x = 0 is where the two halves meet, with slope 1."""
    x = np.array([[-0.5, 0.0, 2.0, 0.3], [0.0, -1.0, 0.5, 0.0]])
    step = PowerTransformer(standardize=False).fit(RNG.standard_normal((20, 4)))
    step.lambdas_ = np.array([0.0, 2.0, 1e-9, 0.7])
    net = make_pipeline(step, fitted(regressor(), step.transform(x).repeat(3, 0), np.arange(6.0)))
    y, J = nj.value_and_jacobian(net, x)
    np.testing.assert_allclose(y, net.predict(x), rtol=1e-12)
    expected = np.stack([differences(lambda v: net.predict(np.asarray(v)[None])[0], one) for one in x])
    assert relative_error(np.asarray(J), expected) < 1e-5


def columns():
    return [
        ("scale", StandardScaler(), ["dose", "age"]),
        ("both", Pipeline([("log", FunctionTransformer(np.log1p)), ("pca", PCA(1))]), ["age", "rate"]),
        ("same", "passthrough", ["days"]),
        ("less", "drop", ["bmi"]),
        ("none", MinMaxScaler(), []),
    ]


def test_columns_by_name_number_mask_slice_and_choice():
    table = pd.DataFrame(X, columns=NAMES)
    by_name = fitted(make_pipeline(ColumnTransformer(columns()), regressor()), table)
    assert held(by_name, names=NAMES).check().passed
    by_name[0].transformer_weights = {"scale": 2.5, "same": 0.1}
    held(by_name, names=NAMES)
    parts = [
        ("a", MinMaxScaler(), [3, -1]),
        ("b", "passthrough", slice(0, 2)),
        ("c", RobustScaler(), np.array([True, False, True, False, False])),
    ]
    held(fitted(make_pipeline(ColumnTransformer(parts), regressor())))
    held(fitted(make_pipeline(ColumnTransformer(parts[:1], remainder=StandardScaler()), regressor())))
    chosen = [("a", PCA(2), lambda x: [0, 4, 2]), ("b", "drop", slice("bmi", "dose"))]
    held(fitted(make_pipeline(ColumnTransformer(chosen, remainder="passthrough"), regressor()), table), names=NAMES)


def test_what_is_dropped_moves_nothing():
    table = pd.DataFrame(X, columns=NAMES)
    model = fitted(make_pipeline(ColumnTransformer(columns()), regressor()), table)
    J = np.asarray(nj.jacobian(model, table.iloc[:3]))
    assert np.array_equal((J == 0).all(0), [False, True, False, False, False])


def test_nested_pipelines_have_names_by_path():
    inner = Pipeline([("scale", StandardScaler()), ("white", PCA(3, whiten=True))])
    end = Pipeline([("again", MaxAbsScaler()), ("net", regressor())])
    model = fitted(Pipeline([("prep", inner), ("skip", "passthrough"), ("end", end)]))
    held(model)
    net = nj.network(model, PLACES)
    assert [spec.name for spec in net.layers] == [
        "prep.scale", "prep.white", "prep", "end.again", "hidden_1", "hidden_2", "output",
    ]  # fmt: skip
    assert {"prep.scale.mean_", "end.again.scale_", "coefs_0", "intercepts_2"} <= set(net.parameters)
    assert net.trainable == {f"{kind}_{i}" for kind in ("coefs", "intercepts") for i in range(3)}
    by_layer = np.asarray(nj.jacobian(model, PLACES, wrt="prep"))
    into = np.asarray(nj.jacobian(model, PLACES, of="prep"))
    np.testing.assert_allclose(
        np.einsum("bi,bij->bj", by_layer, into), np.asarray(nj.jacobian(model, PLACES)), rtol=1e-10
    )


def test_parameters_by_differences():
    model = fitted(make_pipeline(StandardScaler(), regressor()))
    J = {name: np.asarray(found) for name, found in nj.jacobian(model, PLACES, wrt="parameters").items()}
    last, own = model[-1], model[-1].coefs_[1].copy()

    def predict(weights):
        last.coefs_[1] = np.asarray(weights)
        return model.predict(PLACES)

    assert relative_error(J["coefs_1"], differences(predict, own)) < 1e-7
    last.coefs_[1] = own
    assert nj.jacobian(model, PLACES, wrt="coefs_1").check().passed
    np.testing.assert_allclose(J["intercepts_2"], np.ones((3, 1)))


def test_a_model_fitted_again_gives_its_new_jacobian():
    model = fitted(make_pipeline(StandardScaler(), regressor()))
    before = np.asarray(nj.jacobian(model, PLACES))
    fitted(model, X * 2, Y)
    after = held(model)
    assert relative_error(np.asarray(after), before) > 0.1
    model[-1].set_params(hidden_layer_sizes=(3,), activation="relu")
    assert held(fitted(model)).shape == (3, 5)


def test_dtypes_follow_the_input_and_whole_numbers_are_real_ones():
    model = fitted(make_pipeline(StandardScaler(), regressor()))
    wide, narrow = nj.jacobian(model, PLACES), nj.jacobian(model, PLACES.astype(np.float32))
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    assert relative_error(np.asarray(narrow), np.asarray(wide)) < 1e-5
    assert narrow.check().passed
    assert nj.network(model)(PLACES.astype(np.float32)).dtype == np.float32
    whole = PLACES.astype(int)
    assert np.array_equal(np.asarray(nj.jacobian(model, whole)), np.asarray(nj.jacobian(model, whole.astype(float))))
    assert not jax.config.jax_enable_x64


def test_no_samples_give_none():
    model = fitted(make_pipeline(StandardScaler(), classifier()), y=Y > 0)
    assert np.asarray(nj.jacobian(model, X[:0])).shape == (0, 2, 5)
    assert nj.network(model)(X[:0]).shape == (0, 2)


def test_tables_must_have_the_columns_of_training_in_their_order():
    table = pd.DataFrame(X, columns=NAMES)
    model = fitted(make_pipeline(StandardScaler(), regressor()), table)
    ours = np.asarray(nj.jacobian(model, table.head(3)))
    assert np.array_equal(ours, np.asarray(nj.jacobian(model, X[:3])))
    assert nj.jacobian(model, table.head(3)).check().passed
    assert nj.network(model).feature_names == tuple(NAMES)
    with pytest.raises(nj.ShapeError, match=r"another order .'bmi' stands where 'age' was.*feature_names_in_"):
        nj.jacobian(model, table[["bmi", "age", "dose", "rate", "days"]])
    with pytest.raises(nj.ShapeError, match="it lacks 'dose'; it was not fitted to 'sex'"):
        nj.jacobian(model, table.rename(columns={"dose": "sex"}))
    with pytest.raises(nj.ShapeError, match="another order"):
        over(model, table[["bmi", "age", "dose", "rate", "days"]])
    with pytest.raises(nj.ShapeError, match="columns rate of X hold no numbers"):
        nj.jacobian(model, table.assign(rate="high"))
    whole = table.round().astype({"age": int})
    assert nj.jacobian(model, whole).dtype == np.float64


def test_a_search_stands_for_its_best_and_the_frameworks_engine_is_jaxs():
    search = GridSearchCV(regressor(), {"alpha": [1e-4]}, cv=2)
    J = held(fitted(search))
    own = nj.jacobian(search, PLACES, engine="framework")
    assert relative_error(own.to_numpy(), np.asarray(J)) < 1e-12
    assert "jax (scikit-learn has none)" in str(J.check())


class Doubled(StandardScaler):
    def transform(self, X, copy=None):
        return 2 * super().transform(X, copy)


class Clipped(MLPRegressor):
    def predict(self, X):
        return np.maximum(super().predict(X), 0)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (OneHotEncoder(handle_unknown="ignore"), "step 'step' .OneHotEncoder. cannot .* categories.*pipeline.1:"),
        (KBinsDiscretizer(3), "KBinsDiscretizer.* step function"),
        (QuantileTransformer(n_quantiles=9), "QuantileTransformer.* staircase"),
        (Doubled(), "Doubled.* its transform is not known"),
        (FunctionTransformer(lambda x: x**2), "FunctionTransformer.*<lambda>.* is Python"),
        (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), "clip with kw_args"),
        (SimpleImputer(add_indicator=True), "SimpleImputer.* only missing_values=nan"),
        (ColumnTransformer([("cats", OneHotEncoder(handle_unknown="ignore"), [0])]), "step 'step.cats' .OneHotEncoder"),
    ],
)
def test_a_step_without_a_derivative_is_named(step, told):
    model = fitted(Pipeline([("step", step), ("net", regressor())]))
    with pytest.raises(nj.UnsupportedOperationError, match=told):
        nj.jacobian(model, PLACES)


def test_what_is_no_network_or_not_fitted_is_named():
    with pytest.raises(nj.UnsupportedOperationError, match=r"step 'ridge' .Ridge. is no network"):
        nj.network(fitted(make_pipeline(StandardScaler(), Ridge())))
    with pytest.raises(nj.UnsupportedOperationError, match="Give its regressor_"):
        nj.network(fitted(TransformedTargetRegressor(regressor())))
    with pytest.raises(nj.UnsupportedOperationError, match="Clipped has a predict of its own"):
        nj.network(fitted(Clipped(max_iter=5)))
    with pytest.raises(nj.ModelLoadError, match="MLPRegressor is not fitted; call fit"):
        nj.network(regressor())
    with pytest.raises(nj.ModelLoadError, match=r"step 'standardscaler' .StandardScaler. is not fitted"):
        nj.network(make_pipeline(StandardScaler(), fitted(regressor())))
    with pytest.raises(nj.ModelLoadError, match=r"step 'mlpregressor' .MLPRegressor. is not fitted"):
        nj.network(make_pipeline(StandardScaler().fit(X), regressor()))
    with pytest.raises(nj.ModelLoadError, match="GridSearchCV holds no best estimator"):
        nj.network(GridSearchCV(regressor(), {}))


def test_a_sparse_matrix_and_a_wrong_width_are_refused():
    model = fitted(regressor())
    with pytest.raises(nj.ShapeError, match=r"sparse csr_array; give x.toarray\(\)"):
        nj.jacobian(model, csr_array(PLACES))
    with pytest.raises(nj.ShapeError, match=r"takes 'X' \(batch, 5\)"):
        nj.jacobian(model, PLACES[:, :4])
    with pytest.raises(nj.ShapeError, match="lacks the batch axis"):
        nj.jacobian(model, PLACES[0])


def test_values_that_are_not_scikit_learns_own_fail_the_check(monkeypatch):
    model = fitted(make_pipeline(StandardScaler(), regressor()))
    J = nj.jacobian(model, PLACES)
    monkeypatch.setattr(type(model[-1]), "_forward_pass_fast", lambda self, X, check_input=True: np.zeros((len(X), 1)))
    with pytest.raises(nj.UnsupportedOperationError, match=r"gives values that are .* from those of the steps"):
        J.check()


def test_the_model_and_its_input_are_left_as_they_were():
    model, x = fitted(make_pipeline(StandardScaler(), regressor())), PLACES.copy()
    before = {name: np.array(value) for name, value in nj.network(model).parameters.items()}
    nj.jacobian(model, x).check()
    assert np.array_equal(x, PLACES)
    for name, value in nj.network(model).parameters.items():
        assert np.array_equal(value, before[name])


def test_the_command_line_takes_one_from_a_module_and_opens_no_pickle(tmp_path, monkeypatch, capsys):
    code = "import numpy as np\nfrom sklearn.neural_network import MLPRegressor\n"
    code += "net = MLPRegressor(hidden_layer_sizes=(3,)).partial_fit(np.eye(4), np.ones(4))\n"
    (tmp_path / "trained_with_sklearn.py").write_text(code)
    (tmp_path / "net.joblib").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["check", "trained_with_sklearn:net", "--shape", "2,4"]) == 0
    assert "is right" in capsys.readouterr().out
    assert main(["jacobian", "net.joblib", "--shape", "2,4"]) == 2
    assert "on the command line as module:attribute" in capsys.readouterr().err
