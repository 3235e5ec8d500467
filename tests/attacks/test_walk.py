"""How many steps the walk of PGD takes, and that what fills a run up to its size takes none."""

import jax
import numpy as np
import pytest

import netjac as nj
from netjac.attacks import walk
from netjac.attacks.classifier import Scores
from netjac.graph import kind
from netjac.graph.key import Recent
from tests.attacks.references import Net


@pytest.fixture
def looks(monkeypatch):
    """The slots' samples at every look, and how many wait in all."""
    seen, look = [], walk._looked

    def noted(rule, view, samples, slots):
        jax.debug.callback(lambda index: seen.append(np.asarray(index)), slots.index)
        return look(rule, view, samples, slots)

    monkeypatch.setattr(walk, "_looked", noted)
    monkeypatch.setattr(kind, "_MADE", Recent(8))
    return seen


def linear():
    W = np.random.default_rng(0).standard_normal((6, 3))
    return nj.network(lambda x: x @ W, batched=True)


def test_a_sample_that_no_step_moves_takes_no_more_of_them(looks):
    network = linear()
    X = np.full((5, 6), 0.5)
    # Of a linear network of two rivals the best point is a corner of the ball, and steps as long as it is wide end there.
    found = nj.attacks.pgd(network, X, [0] * 5, targets=1, epsilon=0.01, steps=50, step_size=0.1, all_steps=True)
    jax.effects_barrier()
    assert len(looks) < 6
    assert np.allclose(np.abs(found.raw - X), 0.01, rtol=0, atol=1e-15)


def test_samples_that_one_step_does_for_are_left_out_of_the_walk(looks):
    net = Net((6, 8, 4), scale=2.0)
    network, X = net.network(), np.random.default_rng(1).uniform(0, 1, (300, 6))
    y = net.classes(X)
    given = {"epsilon": 0.1, "bounds": (0, 1)}
    once = nj.attacks.fgsm(network, X, y, **given)
    nj.attacks.pgd(network, X, y, steps=3, **given)
    jax.effects_barrier()
    walked = {int(i) for index in looks for i in index}
    failed = set(np.flatnonzero(~once.success))
    # 320 fill five runs of 64 slots; a slot without a sample holds their number.
    assert walked - {320} == failed
    assert 0 < len(failed) < 250


def test_a_start_that_succeeds_is_looked_at():
    """FGSM's step is flat here and nothing leads anywhere, but a third of the ball is of another class."""
    network = nj.network(
        lambda x: jax.numpy.stack([0 * x.sum(1) + 0.5, (x[:, 0] > 0.5).astype(x.dtype)], 1), batched=True
    )
    X = np.zeros((60, 2))
    found = nj.attacks.pgd(network, X, np.zeros(60, int), epsilon=1.0, steps=1)
    assert 5 < found.success.sum() < 30
    assert (found.raw[found.success][:, 0] > 0.5).all()
    assert np.array_equal(found.raw[~found.success], X[~found.success])


def positions(monkeypatch, **given):
    """Where the walk of one sample looks, from 0 to a class that is nearest at 0.3 and never reached."""
    seen, look = [], walk._looked

    def noted(rule, view, samples, slots):
        jax.debug.callback(lambda at: seen.append(float(at[0, 0])), slots.at)
        return look(rule, view, samples, slots)

    monkeypatch.setattr(walk, "_looked", noted)
    monkeypatch.setattr(kind, "_MADE", Recent(8))
    network = nj.network(lambda x: jax.numpy.stack([0 * x[:, 0], -1 - jax.numpy.abs(x[:, 0] - 0.3)], 1), batched=True)
    nj.attacks.pgd(network, np.zeros((1, 1)), [0], epsilon=1.0, random_start=False, **given)
    jax.effects_barrier()
    return seen


def test_steps_fall_evenly_from_the_radius(monkeypatch):
    sizes, at, expected = [1, 0.75, 0.5, 0.25], 0.0, [0.0]
    for size in sizes:
        at = min(max(at + size * np.sign(0.3 - at), -1), 1)
        expected.append(at)
    assert np.allclose(positions(monkeypatch, steps=4), expected, rtol=0, atol=1e-14)


def test_steps_of_a_size_that_is_given_are_all_of_it(monkeypatch):
    assert np.allclose(positions(monkeypatch, steps=4, step_size=0.2), [0.0, 0.2, 0.4, 0.2, 0.4], rtol=0, atol=1e-14)


def test_a_sample_takes_ten_steps_by_default(monkeypatch):
    assert len(positions(monkeypatch)) == 11


def test_no_radius_nor_number_nor_size_of_steps_compiles_anew(monkeypatch):
    traced, look = [], walk._looked
    monkeypatch.setattr(walk, "_looked", lambda *given: traced.append(0) or look(*given))
    monkeypatch.setattr(kind, "_MADE", Recent(8))
    net = Net((6, 8, 4), scale=2.0)
    network, X = net.network(), np.random.default_rng(1).uniform(0, 1, (20, 6))
    nj.attacks.pgd(network, X, epsilon=0.01)
    once = len(traced)
    assert once
    for given in ({"epsilon": 0.02}, {"epsilon": 0.01, "steps": 5}, {"epsilon": 0.01, "step_size": 0.003, "seed": 1}):
        nj.attacks.pgd(network, X, **given)
    assert len(traced) == once


def test_a_loop_outside_the_program_finds_the_same(monkeypatch):
    """As for convolutions, where each step writes over the state of the one before."""
    net = Net((6, 8, 4), scale=2.0)
    X = np.random.default_rng(1).uniform(0, 1, (300, 6))
    for attack, given in ((nj.attacks.pgd, {"epsilon": 0.1}), (nj.attacks.deepfool, {})):
        inside = attack(net.network(), X, bounds=(0, 1), **given)
        with monkeypatch.context() as patch:
            patch.setattr(Scores, "convolves", True)
            outside = attack(net.network(), X, bounds=(0, 1), **given)
            again = attack(net.network(), X, bounds=(0, 1), **given)
        assert np.array_equal(outside.raw, again.raw)
        assert np.allclose(inside.raw, outside.raw, rtol=0, atol=1e-12)
        assert np.array_equal(inside.success, outside.success)
