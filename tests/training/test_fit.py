"""Fits beside other solvers, in every form, with every loss; when they end; what they leave alone."""

from __future__ import annotations

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_iris

import netjac as nj
from netjac.pieces import Options
from netjac.precision import precise
from netjac.training import problem
from netjac.training.functions import traces
from netjac.training.losses import loss_of
from netjac.training.samples import Samples
from tests.oracles import relative_error
from tests.training.models import drawn, mlp, waves


def flat(parameters):
    return np.concatenate([np.ravel(parameters[name]) for name in sorted(parameters)])


def unflat(vector, like):
    found, start = {}, 0
    for name in sorted(like):
        found[name] = vector[start : start + like[name].size].reshape(like[name].shape)
        start += like[name].size
    return found


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


def cross_entropy(parameters, X, y):
    with jax.enable_x64(True):
        logits = mlp({name: jnp.asarray(value, jnp.float64) for name, value in parameters.items()}, jnp.asarray(X))
        return float(-jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]))


# Beside other solvers --------------------------------------------------------------------------------------------


def test_the_loss_is_scipys_from_the_same_start():
    X, teacher, noise = waves(80)[0], drawn(3, 3, 2, spread=2), np.random.default_rng(3)
    start = {name: value + 0.1 * noise.standard_normal(value.shape) for name, value in teacher.items()}
    Y = np.tanh(X @ teacher["W"] + teacher["b"]) @ teacher["V"] + 0.05 * noise.standard_normal((80, 2))

    def residuals(vector):
        p = unflat(vector, start)
        return np.ravel(np.tanh(X @ p["W"] + p["b"]) @ p["V"] + p["c"] - Y)

    theirs = scipy.optimize.least_squares(residuals, flat(start), method="lm", xtol=1e-12, ftol=1e-12, max_nfev=20000)
    ours = nj.fit(mlp, X, Y, parameters=start)
    assert ours.converged
    assert ours.loss == pytest.approx(2 * theirs.cost / Y.size, rel=1e-8)
    assert np.mean(residuals(flat(ours.parameters)) ** 2) == pytest.approx(ours.loss, rel=1e-12)


# The linear systems ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
@pytest.mark.parametrize(
    ("form", "m"), [("spectral", 2), ("normal", 2), ("kernel", 2), ("cg", 2), ("normal", 5), ("spectral", 5)]
)
def test_one_step_solves_the_damped_equations_in_every_form(form, m, loss):
    """(JᵀHJ + λD) δ = −g, with J by jax.jacrev; with five outputs, JᵀHJ comes from the factors of J."""
    X = waves(12)[0]
    Y = np.sin(X @ np.random.default_rng(2).standard_normal((3, m)))
    start, labels = drawn(3, 4, m), np.arange(12) % m
    damping = 1.0
    found = nj.fit(
        mlp, X, Y if loss == "mse" else labels, parameters=start, loss=loss, form=form, damping=damping,
        scaled=False, max_iterations=1, memory="1GiB",
    )  # fmt: skip
    assert found.history[0].accepted
    assert found.form == form
    with precise(True):
        of = jax.jit(lambda v: jnp.ravel(mlp(unflat(v, start), jnp.asarray(X))))
        J, y = np.asarray(jax.jit(jax.jacrev(of))(jnp.asarray(flat(start)))), np.asarray(of(jnp.asarray(flat(start))))
        if loss == "mse":
            u, H = y - Y.ravel(), np.eye(12 * m)
        else:
            whole = lambda v: -jnp.sum(jnp.eye(m)[labels] * jax.nn.log_softmax(v.reshape(12, m)))  # noqa: E731
            u, H = (
                np.asarray(jax.jit(jax.grad(whole))(jnp.asarray(y))),
                np.asarray(jax.jit(jax.hessian(whole))(jnp.asarray(y))),
            )
    A, g = J.T @ H @ J, J.T @ u
    D = {"kernel": np.trace(H @ J @ J.T) / (12 * m), "cg": g @ A @ g / (g @ g)}.get(form, np.diag(A).max())
    expected = -np.linalg.solve(A + damping * D * np.eye(len(g)), g)
    assert relative_error(flat(found.parameters) - flat(start), expected) < (1e-4 if form == "cg" else 1e-8)


@pytest.mark.parametrize("form", ["spectral", "normal", "cg", "projected"])
def test_runs_of_samples_add_up_to_the_whole(form, monkeypatch):
    X, Y = waves(50)
    begun = {"parameters": drawn(3, 6, 2), "form": form, "max_iterations": 2, "acceleration": form != "projected"}
    whole = nj.fit(mlp, X, Y, **begun)
    taken = []
    cut = Samples.inputs
    monkeypatch.setattr(Samples, "inputs", lambda self, which: taken.append(which) or cut(self, which))
    monkeypatch.setattr(problem, "AT_ONCE", 40_000)
    parts = nj.fit(mlp, X, Y, **begun)
    assert slice(17, 34) in taken
    assert slice(0, 50) not in taken
    assert relative_error(flat(parts.parameters), flat(whole.parameters)) < (1e-6 if form == "cg" else 1e-9)


def test_the_form_follows_from_the_sizes():
    X, Y = waves(40)
    bent = lambda p, x: jnp.sin(mlp(p, x))  # noqa: E731
    for hidden, samples, form in ((4, 40, "spectral"), (40, 10, "kernel"), (22, 40, "kernel"), (22, 80, "normal")):
        found = nj.fit(bent, *waves(samples), parameters=drawn(3, hidden, 2), max_iterations=1)
        assert found.form == form
    assert nj.fit(mlp, X, Y, parameters=drawn(3, 300, 2), max_iterations=1, memory="200KiB").form == "cg"


def test_a_matrix_that_does_not_fit_is_refused_with_the_way_out():
    X, Y = waves(400)
    with pytest.raises(nj.TooLargeError, match="form='cg'"):
        nj.fit(mlp, X, Y, parameters=drawn(3, 300, 2), form="normal", memory="20MiB")


def test_float32_sums_in_float64():
    """A line through points far from zero: JᵀJ in float32 is singular to its last bit."""
    X = np.linspace(1000, 1001, 400, dtype="float32").reshape(-1, 1)
    Y = 3 * (X - np.float32(1000)) + 2
    found = nj.fit(
        lambda p, x: p["a"] * x + p["b"], X, Y, parameters={"a": np.float32(0), "b": np.float32(0)}, scaled=True
    )
    assert found.parameters["a"] == pytest.approx(3, rel=1e-2)
    assert found.parameters["a"].dtype == np.float32


def test_a_run_that_comes_up_among_sums_in_float64_computes_in_the_networks_own_dtype():
    X, Y = waves(30, "float32")
    network = nj.network(jax.tree_util.Partial(mlp, drawn(3, 5, 2, dtype="float32")), batched=True)
    parts = problem.Problem(network, Samples.of(X, Y), "mse", "output", Options())
    with precise(True):
        assert not parts.factored(7).kind.wide
        assert not parts.separated(8).sized.kind.wide
        assert parts.sized(9).program.dtype(parts.sized(9).of) == np.float32


# Losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mse", "cross-entropy", "logistic"])
def test_slopes_and_curvatures_are_the_losss_derivatives(name):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((5, 1 if name == "logistic" else 3))
    loss = loss_of("mse" if name == "mse" else "cross-entropy", y.shape)
    t = rng.random(y.shape)
    t = t / t.sum(-1, keepdims=True) if name == "cross-entropy" else t
    with precise(True):
        y, t = jnp.asarray(y), jnp.asarray(t)
        H = np.asarray(jax.hessian(lambda at: loss.value(at, t))(y)).reshape(y.size, y.size)
        assert relative_error(loss.slope(y, t), jax.grad(lambda at: loss.value(at, t))(y)) < 1e-12
        v = jnp.asarray(rng.standard_normal(y.shape))
        assert relative_error(np.ravel(loss.curved(y, v)), H @ np.ravel(v)) < 1e-12
        B = np.asarray(loss.rows(y, jnp.eye(y.size)))
        assert relative_error(B.T @ B, H) < 1e-12


def test_iris_by_cross_entropy_beats_bfgs_to_the_regularised_minimum(iris):
    X, y = iris
    start = drawn(4, 6, 3)
    found = nj.fit(mlp, X, y, parameters=start, loss="cross-entropy", max_iterations=60)
    assert found.loss == pytest.approx(cross_entropy(found.parameters, X, y), rel=1e-10)
    assert found.initial_loss == pytest.approx(cross_entropy(start, X, y), rel=1e-10)
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda v: -jnp.mean(
            jax.nn.log_softmax(mlp(unflat(v, start), X))[jnp.arange(len(y)), y])))  # fmt: skip
        theirs = scipy.optimize.minimize(
            lambda v: [np.asarray(part) for part in both(v)], flat(start), jac=True, method="BFGS",
            options={"maxiter": 60},
        )  # fmt: skip
    assert found.loss < theirs.fun
    shares = nj.fit(mlp, X, np.eye(3)[y], parameters=start, loss="cross-entropy", max_iterations=5)
    assert [one.loss for one in shares.history] == pytest.approx(
        [one.loss for one in found.history][: len(shares.history)]
    )


def test_two_classes_by_one_logit(iris):
    X, y = iris
    found = nj.fit(mlp, X, (y == 1) * 1, parameters=drawn(4, 4, 1), loss="cross-entropy", max_iterations=40)
    with jax.enable_x64(True):
        logits = np.asarray(mlp(found.parameters, X))[:, 0]
    assert np.mean((logits > 0) == (y == 1)) > 0.97
    assert found.loss == pytest.approx(np.mean(np.logaddexp(0, np.where(y == 1, -logits, logits))), rel=1e-9)


# How it goes, and when it ends -----------------------------------------------------------------------------------


def test_nothing_is_traced_again_from_one_iteration_to_the_next():
    X, Y = waves(60)
    network = nj.network(jax.tree_util.Partial(mlp, drawn(3, 5, 2)), batched=True)
    nj.fit(network, X, Y, max_iterations=3)
    before = dict(traces)
    longer = nj.fit(network, X, Y, max_iterations=25)
    assert longer.iterations == 25
    assert traces == before


def test_the_history_tells_of_every_try():
    X, Y = waves(60)
    found = nj.fit(mlp, X, Y, parameters=drawn(3, 5, 2), max_iterations=30)
    accepted = [one for one in found.history if one.accepted]
    assert all(a.loss > b.loss for a, b in itertools.pairwise(accepted))
    assert accepted[-1].loss == pytest.approx(found.loss, rel=1e-12)
    assert [one.seconds for one in found.history] == sorted(one.seconds for one in found.history)
    rejected = [(a, b) for a, b in itertools.pairwise(found.history) if not a.accepted]
    assert rejected
    assert all(a.damping < b.damping and a.iteration == b.iteration for a, b in rejected)
    assert list(found.table().columns) == list(vars(found.history[0]))
    assert json.loads(json.dumps(found.to_dict()))["iterations"] == 30
    assert "mse" in repr(found)
    assert "<b>" in found._repr_html_()


def test_it_ends_at_its_target_its_time_and_its_patience():
    X, Y = waves(60)
    start = drawn(3, 5, 2)
    assert nj.fit(mlp, X, Y, parameters=start, target=0.05).loss <= 0.05
    assert nj.fit(mlp, X, Y, parameters=start, max_seconds=0).iterations == 1
    noisy = Y + np.random.default_rng(2).standard_normal(Y.shape)
    beside = waves(200)[0][100:], waves(200)[1][100:]
    found = nj.fit(mlp, X, noisy, parameters=drawn(3, 20, 2), validation=beside, patience=4)
    assert "validation" in found.stopped
    losses = [one.validation for one in found.history if one.accepted]
    predicted = np.asarray(mlp(found.parameters, beside[0]))
    assert np.mean((predicted - beside[1]) ** 2) == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > min(losses)


def test_batches_lower_the_loss_of_all_and_depend_on_their_seed():
    X, Y = waves(300)
    start = drawn(3, 8, 2)
    one, same, other = (
        nj.fit(mlp, X, Y, parameters=start, batch=60, max_iterations=30, seed=seed) for seed in (0, 0, 1)
    )
    assert one.loss < 0.3 * one.initial_loss
    assert np.array_equal(flat(one.parameters), flat(same.parameters))
    assert not np.array_equal(flat(one.parameters), flat(other.parameters))


def test_with_batches_the_target_is_the_loss_of_all_samples_looked_at_once_each_time_round():
    X, Y = waves(300)
    found = nj.fit(mlp, X, Y, parameters=drawn(3, 8, 2), batch=60, target=0.1, max_iterations=400)
    assert "target" in found.stopped
    assert found.loss <= 0.1
    assert found.iterations % 5 == 0


def test_the_parameters_that_validated_best_come_back_whatever_ended_the_fit():
    X, Y = waves(60)
    noisy = Y + np.random.default_rng(2).standard_normal(Y.shape)
    beside = waves(200)[0][100:], waves(200)[1][100:]
    found = nj.fit(mlp, X, noisy, parameters=drawn(3, 20, 2), validation=beside, patience=99, max_iterations=20)
    assert found.stopped == "max_iterations=20"
    losses = [one.validation for one in found.history if one.accepted]
    assert losses[-1] > min(losses)
    assert np.mean((np.asarray(mlp(found.parameters, beside[0])) - beside[1]) ** 2) == pytest.approx(
        min(losses), rel=1e-5
    )
    assert found.loss == pytest.approx(np.mean((np.asarray(mlp(found.parameters, X)) - noisy) ** 2), rel=1e-5)


def test_rows_of_the_jacobian_held_at_a_time_are_a_fifth_of_the_memory_budget(monkeypatch):
    X, Y = waves(3000)
    whole = nj.fit(mlp, X, Y, parameters=drawn(3, 5, 2), max_iterations=2)
    taken = []
    cut = Samples.inputs
    monkeypatch.setattr(Samples, "inputs", lambda self, which: taken.append(which) or cut(self, which))
    parts = nj.fit(mlp, X, Y, parameters=drawn(3, 5, 2), max_iterations=2, memory="2MiB")
    most = max(which.stop - which.start for which in taken)
    assert most * 2 * 32 * 8 < 2**21 / 5
    assert most > 100
    assert relative_error(flat(parts.parameters), flat(whole.parameters)) < 1e-9


def test_ctrl_c_keeps_what_was_found():
    X, Y = waves(60)

    def pressed(done, total):
        if done == 3:
            raise KeyboardInterrupt

    found = nj.fit(mlp, X, Y, parameters=drawn(3, 5, 2), progress=pressed)
    assert "interrupted" in found.stopped
    assert found.iterations == 3
    assert found.loss < found.initial_loss


def test_a_picture_of_its_course(tmp_path):
    X, Y = waves(30)
    nj.fit(mlp, X, Y, parameters=drawn(3, 3, 2), max_iterations=5, validation=(X, Y)).plot(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").read_bytes()[1:4] == b"PNG"


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"method": "adam"}, nj.UnknownNameError, "levenberg-marquardt"),
        ({"loss": "mae"}, nj.UnknownNameError, "mse"),
        ({"form": "lu"}, nj.UnknownNameError, "normal"),
        ({"batch": 99}, nj.ShapeError, "batch=99 of 20"),
        ({"damping": 0}, nj.ShapeError, "gauss-newton"),
        ({"max_iterations": 0}, nj.ShapeError, "max_iterations"),
        ({"Y": np.zeros((20, 3))}, nj.ShapeError, r"\(20, 3\).*\(20, 2\)"),
        ({"Y": np.zeros((19, 2))}, nj.ShapeError, r"\[19, 20\]"),
        ({"Y": np.full((20, 2), np.nan)}, nj.NonFiniteError, "Y holds nan"),
        ({"X": np.zeros((0, 3)), "Y": np.zeros((0, 2))}, nj.ShapeError, "no samples"),
        ({"parameters": {"W": np.full((3, 5), np.nan)}}, nj.NonFiniteError, "at the start"),
        ({"loss": "cross-entropy", "Y": np.full(20, 7)}, nj.ShapeError, "class 7"),
        ({"loss": "cross-entropy", "Y": np.full((20, 2), 0.7)}, nj.ShapeError, "probabilities"),
        ({"of": "nowhere"}, nj.UnknownNameError, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(changed, error, said):
    X, Y = waves(20)
    given = {"X": X, "Y": Y, **changed}
    given["parameters"] = {**drawn(3, 5, 2), **changed.get("parameters", {})}
    with pytest.raises(error, match=said):
        nj.fit(mlp, **given)


def test_parameters_are_for_functions_alone_and_must_be_there():
    X, Y = waves(20)
    with pytest.raises(nj.ShapeError, match="no trainable parameters"):
        nj.fit(lambda x: x[:, :2], X, Y)
    with pytest.raises(nj.ShapeError, match="parameters="):
        nj.fit(3, X, Y, parameters={})


def test_with_many_outputs_runs_are_as_large_as_the_factors_allow_and_of_one_size():
    """Rows of J for 100 samples would fill some 10 runs; their factors fill three."""
    X = waves(100)[0]
    parts = problem.Problem(
        nj.network(jax.tree_util.Partial(mlp, drawn(3, 8, 40)), batched=True), Samples.of(X, np.zeros((100, 40))),
        "mse", "output", Options(memory="20MiB"),
    )  # fmt: skip
    lengths = [len(range(*run.indices(100))) for run in Samples.of(X, X).runs(parts.size)]
    assert len(lengths) <= 4
    assert max(lengths) - min(lengths) <= len(lengths)
