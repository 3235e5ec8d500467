"""`netjac select`."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from netjac.cli import main

CODE = "import jax.numpy as jnp\nimport numpy as np\nW = np.array([1.0, -3.0, 0.0, 0.5])\nnet = lambda x: jnp.tanh(x @ W)\n"


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "selected_from.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    x = np.random.default_rng(0).standard_normal((60, 4)) / 4
    np.savetxt("x.csv", x, delimiter=",", header="age,bmi,dose,rate", comments="")
    return "selected_from:net"


def test_it_prints_saves_and_gives_json(model, tmp_path, capsys):
    assert main(["select", model, "x.csv", "--batched", "-k", "2", "-o", "chosen.csv"]) == 0
    told = capsys.readouterr().out
    assert "2 of 4 features, those with the largest effect; 60 samples" in told
    assert told.index("bmi") < told.index("age")
    lines = (tmp_path / "chosen.csv").read_text().splitlines()
    assert lines[0] == "feature,index,importance,explained,p,adjusted_p"
    assert [line.split(",")[0] for line in lines[1:]] == ["bmi", "age"]
    assert (
        main(["select", model, "x.csv", "--batched", "--method", "redundancy", "-k", "4", "--json", "-o", "a.json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert [row["feature"] for row in told["selected"]] == ["bmi", "age", "rate"]
    assert told["file"] == "a.json"
    assert json.loads((tmp_path / "a.json").read_text())["selected"] == told["selected"]


def test_by_default_those_that_do_something(model, capsys):
    assert main(["select", model, "x.csv", "--batched", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["feature"] for row in told["selected"]} == {"age", "bmi", "rate"}
    assert told["adjusted_p"][2] == 1


def test_bad_questions_are_refused_in_one_line(model, capsys):
    assert main(["select", model, "x.csv", "--batched", "-k", "9"]) == 2
    assert capsys.readouterr().err == "netjac: k=9 of 4 features cannot be chosen; give 1 to 4\n"
    assert main(["select", model, "x.csv", "--batched", "-o", "a.png"]) == 2
    assert "end it in .csv or .json or .txt" in capsys.readouterr().err
