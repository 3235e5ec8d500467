"""What attacks refuse, and how they say so."""

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.attacks.references import Net

ATTACKS = {
    "fgsm": (nj.attacks.fgsm, {"epsilon": 0.1}),
    "pgd": (nj.attacks.pgd, {"epsilon": 0.1, "steps": 2}),
    "deepfool": (nj.attacks.deepfool, {}),
    "jsma": (nj.attacks.jsma, {"gamma": 0.5}),
}


@pytest.fixture(scope="module")
def network():
    return Net((5, 3)).network()


@pytest.fixture(name="X")
def inputs():
    return np.random.default_rng(0).uniform(0.2, 0.8, (6, 5))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_input_outside_its_bounds_is_told_by_how_much_and_where(name, network, X):
    attack, given = ATTACKS[name]
    X[4, 2] = 1.25
    with pytest.raises(nj.RangeError, match=r"X\[4, 2\] is 1\.25, outside bounds \[0, 1\] by 0\.25 \(1 entries"):
        attack(network, X, np.zeros(6, int), bounds=(0, 1), **given)
    assert attack(network, X, np.zeros(6, int), **given).raw.shape == X.shape  # nothing is assumed without


@pytest.mark.parametrize("name", ATTACKS)
def test_inputs_are_never_changed(name, network, X):
    attack, given = ATTACKS[name]
    y, low, high = np.zeros(6, int), np.zeros(5), np.ones(5)
    kept = [a.copy() for a in (X, y, low, high)]
    found = attack(network, X, y, bounds=(low, high), **given)
    for array, before in zip((X, y, low, high), kept, strict=True):
        assert np.array_equal(array, before)
        array.setflags(write=False)
    assert not np.shares_memory(found.raw, X)
    assert not np.shares_memory(found.adversarial, X)
    again = attack(network, X, y, bounds=(low, high), **given)  # of arrays that cannot be written to
    assert np.array_equal(again.raw, found.raw)


@pytest.mark.parametrize("name", ATTACKS)
def test_bounds_may_differ_by_entry(name, network, X):
    attack, given = ATTACKS[name]
    low, high = X.min(0), X.max(0)
    found = attack(network, X, bounds=(low, high), **given)
    assert (found.adversarial >= low).all()
    assert (found.adversarial <= high).all()
    assert np.array_equal(np.clip(found.raw, low, high), found.adversarial)


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.zeros(5, int), r"y is of shape \(5,\); give \(6,\)"),
        (np.eye(3)[[0, 1, 2, 0, 1, 2]], r"of one-hot rows, give their argmax"),
        (np.full(6, 0.5), "no whole numbers"),
        (np.zeros((6, 1), int), r"of one column, give it as \[:, 0\]"),
        (np.full(6, 2**32 + 1), r"y\[0\] is 4294967297, which is no class"),
        (np.full(6, np.inf), r"y\[0\] is inf, which is no class"),
        (np.array(["a"] * 6), "no whole numbers|holds no numbers"),
    ],
)
def test_labels_of_another_shape_or_kind_are_refused(network, X, y, told):
    with pytest.raises((nj.ShapeError, nj.RangeError, nj.NotDifferentiableError), match=told):
        nj.attacks.fgsm(network, X, y, epsilon=0.1)


@pytest.mark.parametrize("name", ATTACKS)
def test_classes_that_there_are_none_of_are_refused(name, network, X):
    attack, given = ATTACKS[name]
    with pytest.raises(nj.RangeError, match=r"y\[3\] is 3, and the model's 3 classes are numbered 0 to 2 \(1 of 6"):
        attack(network, X, [0, 1, 2, 3, 0, 1], **given)
    with pytest.raises(nj.RangeError, match=r"targets\[0\] is -1"):
        attack(network, X, targets=-1, **given)
    with pytest.raises(nj.RangeError, match=r"targets\[2\] is 1, the sample's own label"):
        attack(network, X, [0, 0, 1, 0, 0, 0], targets=1, **given)


def test_what_is_no_classifier_is_refused(X):
    def made(f):
        return nj.network(f, batched=True)

    with pytest.raises(nj.ShapeError, match="one number a sample"):
        nj.attacks.deepfool(made(lambda x: x[:, :1]), X)
    with pytest.raises(nj.ShapeError, match="one score for each class"):
        nj.attacks.deepfool(made(lambda x: x.reshape((-1, 1, 5))), X)
    with pytest.raises(nj.ShapeError, match="batched=True"):
        nj.attacks.deepfool(lambda x: x, X)
    with pytest.raises(nj.NotDifferentiableError, match="the scores or logits"):
        nj.attacks.deepfool(made(lambda x: jnp.argmax(x, -1, keepdims=True)), X)
    with pytest.raises(nj.ShapeError, match="the outputs a, b; name the scores by of="):
        nj.attacks.deepfool(made(lambda x: {"a": x, "b": 2 * x}), X)
    with pytest.raises(nj.ShapeError, match="the inputs 'left', 'right'"):
        nj.attacks.deepfool(nj.network(lambda left, right: left + right, batched=True), {"left": X, "right": X})
    with pytest.raises(nj.UnsupportedOperationError, match="see each other"):
        nj.attacks.deepfool(made(lambda x: x - x.mean(0)), X)


def test_one_of_several_outputs_may_be_named(X):
    W = np.random.default_rng(1).standard_normal((5, 3))
    network = nj.network(lambda x: {"a": jnp.sin(x), "b": x @ W}, batched=True)
    found = nj.attacks.deepfool(network, X, of="b")
    assert found.success.all()
    assert np.array_equal((found.adversarial @ W).argmax(1), found.predicted)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"epsilon": 0.0}, "epsilon=0.0 is not positive"),
        ({"epsilon": np.nan}, "epsilon=nan is not positive"),
        ({"epsilon": "big"}, "epsilon='big' is no number"),
        ({"epsilon": np.array([0.1, 0.2])}, "is no number"),
        ({"epsilon": 1, "bounds": (None, 1)}, "is no pair"),
        ({"epsilon": 1, "bounds": (1, 0)}, "low ≤ high"),
        ({"epsilon": 1, "norm": 1}, "norm of an attack"),
        ({"epsilon": 1, "bounds": 1}, "is no pair"),
        ({"epsilon": 1, "bounds": (np.zeros(4), 1)}, "do not fit a sample of shape"),
    ],
)
def test_arguments_out_of_range_are_refused(network, X, arguments, told):
    with pytest.raises(nj.NetjacError, match=told):
        nj.attacks.fgsm(network, X, **arguments)


@pytest.mark.parametrize(
    ("attack", "arguments"),
    [
        ("pgd", {"steps": 0}),
        ("pgd", {"steps": 2.5}),
        ("pgd", {"seed": -1}),
        ("pgd", {"step_size": -1.0}),
        ("deepfool", {"overshoot": -0.1}),
        ("deepfool", {"candidates": 0}),
        ("deepfool", {"epsilon": -1.0}),
        ("jsma", {"theta": 0.0}),
        ("jsma", {"gamma": 1.5}),
        ("jsma", {"gamma": 0.1}),
        ("jsma", {"steps": 0}),
    ],
)
def test_settings_out_of_range_are_refused_by_name(network, X, attack, arguments):
    function, given = ATTACKS[attack]
    with pytest.raises(nj.NetjacError, match=next(iter(arguments))):
        function(network, X, **{**given, **arguments})


def test_samples_that_are_none_are_refused(network, X):
    X[1, 3] = np.nan
    with pytest.raises(nj.NonFiniteError, match=r"index \(1, 3\)"):
        nj.attacks.deepfool(network, X)
    with pytest.raises(nj.ShapeError, match="no samples"):
        nj.attacks.deepfool(network, X[:0])
    with pytest.raises(nj.ShapeError, match="single sample"):
        nj.attacks.deepfool(network, X[0])
    with pytest.raises(nj.NotDifferentiableError, match="int"):
        nj.attacks.deepfool(network, np.ones((3, 5), int))


def test_a_gradient_that_is_not_finite_is_told_of():
    network = nj.network(lambda x: jnp.stack([jnp.sum(jnp.sqrt(jnp.abs(x)), 1), 1 - x[:, 0]], 1), batched=True)
    X = np.ones((3, 2))
    X[2] = 0
    with pytest.raises(nj.NonFiniteError, match="sample 2"):
        nj.attacks.fgsm(network, X, epsilon=0.1, norm=2)
    with pytest.raises(nj.NonFiniteError, match="sample 2"):
        nj.attacks.pgd(network, X, epsilon=0.1, norm=2, random_start=False, steps=3)


def test_a_gradient_that_is_not_finite_on_the_way_is_told_of():
    """A step of 0.16 leads from 0.16 to 0, where the root has none, and no class changes before."""
    network = nj.network(lambda x: jnp.stack([jnp.sum(jnp.sqrt(jnp.abs(x)), 1), x[:, 0] - 9], 1), batched=True)
    X = np.array([[1.0], [0.16]])
    with pytest.raises(nj.NonFiniteError, match="sample 1"):
        nj.attacks.pgd(network, X, epsilon=0.5, norm=2, step_size=0.16, steps=3, random_start=False)


def test_samples_on_disk_are_taken_in_runs_and_told_of(network, tmp_path):
    X = np.random.default_rng(3).uniform(0, 1, (50, 5))
    np.save(tmp_path / "x.npy", X)
    lying, told = np.load(tmp_path / "x.npy", mmap_mode="r"), []
    found = nj.attacks.deepfool(network, lying, memory=20_000, progress=lambda done, total: told.append((done, total)))
    assert len(told) > 3
    assert told[-1][0] == told[-1][1] == len(told)
    assert np.allclose(found.raw, nj.attacks.deepfool(network, X).raw, rtol=0, atol=1e-12)
