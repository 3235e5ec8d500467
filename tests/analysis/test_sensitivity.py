"""Sensitivities beside published values, brute force, and the networks' own behaviour."""

import csv
import io
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import netjac as nj
from netjac.analysis import passes
from netjac.analysis.sensitivity_result import STATISTICS, Interrupted, _quantiles
from netjac.errors import NonFiniteError, NotDifferentiableError, ShapeError, TooLargeError, UnknownNameError

W = np.random.default_rng(0).standard_normal((4, 3))
X = np.random.default_rng(1).standard_normal((90, 4)) * [1, 2, 0.1, 1]


def ishigami(x):
    return (jnp.sin(x[:, 0]) + 7 * jnp.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * jnp.sin(x[:, 0]))[:, None]


def f(x):
    return jnp.tanh(x @ W.astype(x.dtype)) + jnp.sum(x**2, -1, keepdims=True)


@pytest.fixture(scope="module")
def net():
    return nj.network(f, batched=True)


@pytest.fixture(scope="module")
def found(net):
    return nj.sensitivity(net, X)


def brute_force(J):
    """From all samples' Jacobians, (N, m, n)."""
    J = np.asarray(J, np.float64)
    return {
        "mean": J.mean(0),
        "std": J.std(0),
        "rms": np.sqrt(np.mean(J**2, 0)),
        "mean_abs": np.abs(J).mean(0),
        "dgsm": np.mean(J**2, 0),
    }


def test_ishigamis_function_has_its_published_measures():
    """A = 7, B = 0.1, uniform on [−π, π]³: Sobol & Kucherenko 2009; the exact ν and bounds within the intervals."""
    x = np.random.default_rng(0).uniform(-np.pi, np.pi, (20_000, 3))
    s = nj.sensitivity(nj.network(ishigami, batched=True), x, ranges=(-np.pi, np.pi))
    for name, exact in (("dgsm", [7.71959, 24.5, 10.98731]), ("dgsm_bound", [2.23036, 7.07858, 3.17447])):
        low, high = s.interval(name)
        assert ((low < exact) & (exact < high)).all()
        assert np.allclose(s.statistic(name)[0], exact, rtol=0.03)
        assert (high / low < 1.12).all()


def test_bounds_of_a_linear_function_are_its_sobol_indices_times_a_known_number():
    a = np.array([1.0, -2.0, 0.5])
    linear = nj.network(lambda x: x @ a[:, None], batched=True)
    x = np.random.default_rng(2).uniform(-1, 1, (400, 3)) * [1, 3, 2]
    variance = (x @ a).var()
    s = nj.sensitivity(linear, x, ranges=np.array([[-1, 1], [-3, 3], [-2, 2]]))
    assert np.allclose(s.dgsm_bound, a**2 * np.array([2, 6, 4]) ** 2 / np.pi**2 / variance, rtol=1e-12)
    s = nj.sensitivity(linear, x, bound="normal")
    assert np.allclose(s.dgsm_bound, a**2 * x.var(0) / variance, rtol=1e-12)
    s = nj.sensitivity(linear, x, bound="normal", ranges={"x1": 2.0, "x0": 1.0, "x2": 3.0})
    assert np.allclose(s.dgsm_bound, a**2 * np.array([1, 4, 9]) / variance, rtol=1e-12)
    assert (s.std == 0).all()


def test_a_learned_network_has_the_sensitivities_of_what_it_learned():
    """Y = X1² + X2/2 + noise: ∂Y/∂X is (2 X1, 1/2, 0), X1 standard normal."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4000, 3))
    y = x[:, 0] ** 2 + 0.5 * x[:, 1] + 0.05 * rng.standard_normal(4000)
    learned = MLPRegressor(
        hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", max_iter=1500, random_state=0
    ).fit(x, y)
    (w1, w2), (b1, b2) = learned.coefs_, learned.intercepts_
    net = nj.network(lambda x: jnp.tanh(x @ w1 + b1) @ w2 + b2, batched=True)
    s = nj.sensitivity(net, x, feature_names=["X1", "X2", "X3"])
    assert np.allclose([s.mean[0], s.std[0], s.rms[0]], [[0, 0.5, 0], [2, 0, 0], [2, 0.5, 0]], atol=0.08)
    assert [name for name, _ in s.ranking()] == ["X1", "X2", "X3"]


def test_a_pipeline_answers_by_the_raw_features():
    """The scaler is part of the function: derivatives are per unit of the columns as they are."""
    rng = np.random.default_rng(6)
    table = pandas.DataFrame(
        rng.standard_normal((300, 3)) * [1, 100, 0.01] + [5, 0, 1], columns=["age", "income", "dose"]
    )
    y = table.age + 0.01 * table.income - 20 * table.dose
    network = MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", max_iter=300, random_state=0)
    fitted = make_pipeline(StandardScaler(), network).fit(table, y)
    s = nj.sensitivity(fitted, table)
    assert s.feature_names == ("age", "income", "dose")
    assert np.allclose(s.mean[0], [1, 0.01, -20], rtol=0.05)
    step = np.array([1e-4, 1e-2, 1e-6])
    for j, name in enumerate(table):
        up, down = (fitted.predict(table.assign(**{name: table[name] + sign * step[j]})) for sign in (1, -1))
        assert np.allclose(s.mean[0, j], np.mean(up - down) / (2 * step[j]), rtol=1e-6)
    assert np.allclose(nj.sensitivity(fitted, table, scale="std").mean[0], [1, 1, -0.2], rtol=0.15)
    with pytest.raises(ShapeError):
        nj.sensitivity(fitted, table[["dose", "age", "income"]])


@settings(max_examples=8)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    out=st.lists(st.integers(1, 3), min_size=0, max_size=2),
    dtype=st.sampled_from(["float32", "float64"]),
    cuts=st.lists(st.integers(1, 30), max_size=3),
    seed=st.integers(0, 99),
)
def test_random_networks_match_brute_force_however_the_samples_come(shape, out, dtype, cuts, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((int(np.prod(shape)), int(np.prod(out)))).astype(dtype)
    net = nj.network(lambda x: jnp.sin(x.reshape((len(x), -1)) @ w).reshape((len(x), *out)), batched=True)
    x = rng.standard_normal((31, *shape)).astype(dtype)
    expected = brute_force(np.asarray(nj.jacobian(net, x)).reshape((31, w.shape[1], w.shape[0])))
    s = nj.sensitivity(net, x)
    pieces = nj.sensitivity(net, iter(np.split(x, sorted(cuts))))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for name, values in expected.items():
        assert s.statistic(name).dtype == np.float64
        assert np.allclose(s.statistic(name), values, rtol=tolerance, atol=tolerance)
        assert np.allclose(pieces.interval(name), s.interval(name), rtol=10 * tolerance, atol=10 * tolerance)


def test_batches_of_any_sizes_give_one_answer(net, found, monkeypatch):
    monkeypatch.setattr(passes, "MOST", 16)
    for data in (X, iter([X[:1], X[1:50], X[50:]]), torch.tensor(X), pandas.DataFrame(X)):
        other = nj.sensitivity(net, data)
        for name in STATISTICS:
            assert np.allclose(other.statistic(name), found.statistic(name), rtol=1e-12)
            assert np.allclose(other.interval(name), found.interval(name), rtol=1e-10)
        assert np.allclose(np.sort(other.kept, 0), np.sort(found.kept, 0), rtol=1e-12)


def test_intervals_are_of_the_seed_and_touch_no_other(net, found):
    before = np.random.get_state()[1].copy()
    again, other = nj.sensitivity(net, X), nj.sensitivity(net, X, seed=1)
    assert np.array_equal(again.interval("rms"), found.interval("rms"))
    assert not np.array_equal(other.interval("rms"), found.interval("rms"))
    assert np.array_equal(np.random.get_state()[1], before)
    assert all((low <= high).all() for low, high in map(found.interval, STATISTICS))
    assert np.allclose(np.square(found.interval("rms")), found.interval("dgsm"))
    wider = nj.sensitivity(net, X, confidence=0.99).interval("mean")
    assert (wider[0] < found.interval("mean")[0]).all()


@pytest.mark.parametrize(("scale", "factors"), [("std", X.std(0)), ("range", np.ptp(X, 0))])
def test_a_scale_multiplies_derivatives_and_says_so(net, found, scale, factors):
    s = nj.sensitivity(net, X, scale=scale)
    for name in ("mean", "std", "rms", "mean_abs"):
        assert np.allclose(s.statistic(name), found.statistic(name) * factors, rtol=1e-12)
        assert np.allclose(s.interval(name), np.multiply(found.interval(name), factors), rtol=1e-12)
    assert np.allclose(s.dgsm, found.dgsm * factors**2, rtol=1e-12)
    assert np.allclose(s.dgsm_bound, found.dgsm_bound, rtol=1e-12)
    assert np.allclose(s.kept, found.kept * factors)
    assert {"std": "per standard deviation", "range": "per range"}[scale] in repr(s)


def test_an_output_that_does_not_vary_has_no_bound(tmp_path):
    net = nj.network(lambda x: jnp.stack([x[:, 0] ** 2, 0 * x[:, 1] + 0.1], 1), batched=True)
    s = nj.sensitivity(net, X)
    assert np.isnan(s.dgsm_bound[1]).all()
    assert np.isfinite(s.dgsm_bound[0]).all()
    assert (s.dgsm[1] == 0).all()
    told = json.loads(s.to_json(tmp_path / "s.json"))
    assert told == json.loads((tmp_path / "s.json").read_text())
    assert told["statistics"]["dgsm_bound"][1] == [None] * 4
    assert "NaN" not in s.to_json()


def test_one_sample_has_no_intervals(net):
    s = nj.sensitivity(net, X[:1])
    assert np.allclose(s.mean, np.asarray(nj.jacobian(net, X[:1]))[0])
    assert (s.std == 0).all()
    assert np.isnan(s.interval("mean")).all()
    assert np.isnan(s.dgsm_bound).all()
    assert nj.sensitivity(net, X, confidence=None).plot("bars")
    with pytest.raises(ShapeError, match="confidence=None"):
        nj.sensitivity(net, X, confidence=None).interval("mean")


def test_tables_and_files_hold_the_same_numbers(net, tmp_path):
    s = nj.sensitivity(net, pandas.DataFrame(X, columns=list("abcd")), output_names=["one", "two", "three"])
    table = s.table()
    assert list(table.columns[:5]) == ["output", "feature", "mean", "mean_low", "mean_high"]
    row = table[(table.output == "two") & (table.feature == "c")].iloc[0]
    for name in STATISTICS:
        assert row[name] == s.statistic(name)[1, 2]
        assert (row[f"{name}_low"], row[f"{name}_high"]) == tuple(end[1, 2] for end in s.interval(name))
    read = list(csv.DictReader(io.StringIO(s.to_csv(tmp_path / "s.csv"))))
    assert (tmp_path / "s.csv").read_text() == s.to_csv()
    assert [float(r["rms"]) for r in read] == table.rms.tolist()
    told = json.loads(s.to_json())
    assert told["features"] == ["a", "b", "c", "d"]
    assert told["statistics"]["mean"] == s.mean.tolist()
    assert told["intervals"]["std"]["high"] == s.interval("std")[1].tolist()


def test_features_are_ranked_by_magnitude_and_keep_their_sign(found):
    ranked = found.ranking("output[1]", by="mean")
    assert sorted(abs(v) for _, v in ranked)[::-1] == [abs(v) for _, v in ranked]
    assert dict(ranked) == dict(zip(["x0", "x1", "x2", "x3"], found.mean[1], strict=True))
    assert min(v for _, v in ranked) < 0
    with pytest.raises(ShapeError, match="3 outputs; name one"):
        found.ranking()
    with pytest.raises(UnknownNameError, match="output"):
        found.ranking("outpt[1]")
    with pytest.raises(ShapeError, match="no output 3"):
        found.ranking(3)
    with pytest.raises(UnknownNameError, match="mean_abs"):
        found.ranking(0, by="meanabs")


def test_an_interrupt_keeps_what_was_done(net, monkeypatch):
    monkeypatch.setattr(passes, "MOST", 30)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted after 60 samples") as told:
        nj.sensitivity(net, X, progress=stop)
    assert isinstance(told.value, Interrupted)
    assert np.allclose(told.value.so_far.mean, nj.sensitivity(net, X[:60]).mean, rtol=1e-12)


def test_memory_bounds_the_groups(net):
    few = nj.sensitivity(net, np.repeat(X, 3, 0), memory=40_000)
    assert 20 <= len(few.totals.sums) < 128
    with pytest.raises(TooLargeError, match="confidence=None"):
        nj.sensitivity(net, X, memory=8000)
    assert np.allclose(nj.sensitivity(net, X, memory=8000, confidence=None).mean, nj.sensitivity(net, X).mean)


def test_wide_jacobians_have_fewer_groups(net, monkeypatch):
    # The function of the package hides the module of its name.
    monkeypatch.setattr(sys.modules["netjac.analysis.sensitivity"], "SUMS", 30 * 8 * (1 + 6 + 8 + 36))
    assert len(nj.sensitivity(net, X).totals.sums) == 30
    monkeypatch.setattr(sys.modules["netjac.analysis.sensitivity"], "SUMS", 0)
    assert len(nj.sensitivity(net, X).totals.sums) == 20


def test_percentiles_are_numpys():
    drawn = np.random.default_rng(8).standard_normal((1000, 3))
    drawn[5, 1] = np.nan
    assert np.allclose(_quantiles(drawn, [0.025, 0.9]), np.quantile(drawn, [0.025, 0.9], axis=0), equal_nan=True)


def test_integers_beside_numbers_are_held_fixed():
    """An embedding's indices have no derivative; the numbers beside them do."""
    table = np.random.default_rng(9).standard_normal((5, 2))
    net = nj.network(lambda ids, x: jnp.sum(jnp.asarray(table, x.dtype)[ids], -1) * x[:, 0] ** 2, batched=True)
    ids = np.arange(90) % 5
    s = nj.sensitivity(net, {"ids": ids, "x": X})
    assert s.rms.shape == (1, 4)
    assert np.allclose(s.mean[0, 0], np.mean(2 * table.sum(1)[ids] * X[:, 0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "variance"}, UnknownNameError, "scale is called 'variance'"),
        ({"bound": "beta"}, UnknownNameError, "uniform"),
        ({"confidence": 95}, ShapeError, "between 0 and 1"),
        ({"feature_names": ["a"]}, ShapeError, "feature_names has 1 names and there are 4 features"),
        ({"feature_names": "abcd"}, ShapeError, "feature_names"),
        ({"feature_names": ["a", "b", "a", "c"]}, ShapeError, "'a' more than once"),
        ({"output_names": ["a"]}, ShapeError, "3 outputs"),
        ({"ranges": np.ones((3, 2))}, ShapeError, r"must be \(4, 2\)"),
        ({"ranges": (1, 1)}, ShapeError, "empty range"),
        ({"ranges": (0, np.inf)}, NonFiniteError, "not finite"),
        ({"ranges": {"x0": (0, 1)}}, ShapeError, "nothing for the feature 'x1'"),
        ({"ranges": {"y": (0, 1)}}, UnknownNameError, "'y'"),
    ],
)
def test_bad_arguments_are_named(net, options, error, message):
    with pytest.raises(error, match=message):
        nj.sensitivity(net, X, **options)


def test_what_jacobian_refuses_is_refused(net):
    with pytest.raises(NotDifferentiableError, match="argmax"):
        nj.sensitivity(nj.network(lambda x: jnp.argmax(x, -1), batched=True), X)
    with pytest.raises(NonFiniteError):
        nj.sensitivity(net, np.where(X > 1, np.nan, X))
    with pytest.raises(ShapeError, match="see each other"):
        nj.sensitivity(nj.network(lambda x: x / jnp.max(x), batched=True), X)
    before = X.copy()
    nj.sensitivity(net, X)
    assert np.array_equal(X, before)


@pytest.fixture(scope="module")
def digits():
    """Images of digits, and a smooth convolutional network on them in float64."""
    rng = np.random.default_rng(5)
    kernel, dense = rng.standard_normal((3, 3, 1, 4)) / 3, rng.standard_normal((256, 10)) / 16

    def net(x):
        h = jax.lax.conv_general_dilated(
            x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.tanh(h).reshape((len(x), -1)) @ dense.astype(x.dtype)

    return nj.network(net, batched=True), load_digits().images[:60, ..., None] / 16


def test_image_maps_predict_what_a_shift_of_one_pixel_does(digits):
    """J · t(shifted − image) is the change of the logits up to t²: the network is smooth (at relu's kinks it would not be)."""
    net, images = digits
    shift = np.roll(images, 1, 2) - images
    J = np.asarray(nj.jacobian(net, images))
    errors = []
    for t in (1e-1, 1e-2, 1e-3):
        values = [nj.value_and_jacobian(net, at)[0] for at in (images, images + t * shift)]
        predicted = np.einsum("boijc,bijc->bo", J, t * shift)
        errors.append(np.abs(values[1] - values[0] - predicted).max())
    assert np.allclose(np.array(errors[:-1]) / errors[1:], 100, rtol=0.1)
    s = nj.sensitivity(net, images)
    assert s.maps("mean").shape == (10, 8, 8, 1)
    assert np.allclose(s.maps("mean"), J.mean(0), rtol=1e-10, atol=1e-14)
    assert s.feature_names[9] == "x[1, 1, 0]"


def test_the_figures_show_the_numbers(digits, found, tmp_path):
    images = nj.sensitivity(*digits)
    figure = images.plot(path=tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 5000
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert np.allclose(drawn, images.maps("mean")[..., 0])
    bars = found.plot("bars", output=1).axes[0]
    assert [patch.get_width() for patch in bars.patches] == [value for _, value in found.ranking(1)]
    assert [text.get_text() for text in bars.get_yticklabels()] == [name for name, _ in found.ranking(1)]
    plane = found.plot("plane", output=2).axes[0]
    assert np.allclose(plane.collections[0].get_offsets(), np.stack([found.mean[2], found.std[2]], 1))
    assert len(found.plot("density").axes) == 3
    with pytest.raises(ShapeError, match="no images"):
        found.plot("maps")
    with pytest.raises(UnknownNameError, match="kind of plot"):
        found.plot("pie")


def test_it_reads_in_words(found):
    lines = repr(found).splitlines()
    assert lines[0] == "Sensitivity of 'output' of 'f' over 90 samples"
    assert "3 outputs × 4 features" in lines[1]
    assert "uniform on the ranges seen" in lines[3]
    odd = nj.sensitivity(nj.network(f, batched=True), X, feature_names=["<b>", "x", "y", "z"])
    assert "&lt;b&gt;" in odd._repr_html_()
    assert "<b>" not in odd._repr_html_()
