"""`netjac bounds` and `netjac lipschitz`."""

from __future__ import annotations

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

CODE = """import jax.numpy as jnp
import numpy as np
W = np.array([[1.0, -3.0], [0.5, 2.0]])
net = lambda x: jnp.tanh(x @ W)
odd = lambda x: jnp.sort(x, axis=-1)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "bounded_from.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("x.npy", np.array([[0.1, 0.2], [-0.3, 0.4]]))
    return "bounded_from:net"


def expected(radius):
    W = np.array([[1.0, -3.0], [0.5, 2.0]])
    return nj.network(lambda x: jnp.tanh(x @ W), batched=True), np.load("x.npy"), radius


def test_bounds_are_printed_and_saved(model, capsys):
    lower, upper = nj.bounds(*expected(0.1))
    assert main(["bounds", model, "x.npy", "--batched", "--radius", "0.1", "-o", "b.npz"]) == 0
    told = capsys.readouterr().out
    assert "J of shape (2, 2, 2) within ±0.1 of each sample" in told
    assert "sign certain: 8 of 8 entries (6 positive, 2 negative)" in told
    with np.load("b.npz") as saved:
        np.testing.assert_array_equal(saved["lower"], lower)
        np.testing.assert_array_equal(saved["upper"], upper)
    assert main(["bounds", model, "x.npy", "--batched", "--radius", "0.1", "--json", "-o", "b.json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["shape"], told["positive"], told["file"]) == ([2, 2, 2], 6, "b.json")
    with open("b.json") as saved:
        np.testing.assert_array_equal(json.load(saved)["upper"], upper)


def test_lipschitz_constants_are_printed_and_saved(model, capsys):
    net, x, radius = expected(0.1)
    found = nj.lipschitz(net, x, radius=radius)
    assert main(["lipschitz", model, "x.npy", "--batched", "--radius", "0.1", "-o", "l.npz"]) == 0
    assert repr(found) in capsys.readouterr().out
    with np.load("l.npz") as saved:
        np.testing.assert_array_equal(saved["local"], found.local)
    assert main(["lipschitz", model, "x.npy", "--batched", "--json", "-o", "l.json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["local"] is None
    np.testing.assert_allclose(told["product"], found.product)
    with open("l.json") as saved:
        assert json.load(saved)["lower"] == told["lower"]


def test_bad_questions_are_refused_in_one_line(model, capsys):
    assert main(["bounds", model, "x.npy", "--batched", "--radius", "-1"]) == 2
    assert capsys.readouterr().err == "netjac: radius holds -1.0; give finite numbers, zero or above\n"
    assert main(["lipschitz", "bounded_from:odd", "x.npy", "--batched"]) == 2
    assert "the operation 'sort' has no rule" in capsys.readouterr().err
    assert main(["bounds", model, "x.npy", "--radius", "1", "-o", "b.csv"]) == 2
    assert "end it in .npz or .json" in capsys.readouterr().err
