"""`netjac flow`: the table, JSON, CSV and picture are those of `netjac.gradient_flow`."""

from __future__ import annotations

import csv
import itertools
import json
import sys

import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

NETWORKS = """
import jax, jax.numpy as jnp
import numpy as np
import netjac as nj

V, W = np.random.default_rng(0).standard_normal((2, 6, 6))

def net(x):
    h = nj.mark(jax.nn.relu(x @ V.astype(x.dtype)), "hidden")
    return nj.mark(jnp.tanh(h @ W.astype(x.dtype)), "last")
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"cli_flow_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("x.npy", np.random.default_rng(1).standard_normal((20, 6)))
    return name


def expected(module, **options):
    return nj.gradient_flow(nj.network(sys.modules[module].net, batched=True), np.load("x.npy"), **options)


def test_json_and_csv_hold_what_the_library_finds(module, capsys):
    assert main(["flow", f"{module}:net", "x.npy", "--batched", "--json", "-o", "flow.csv"]) == 0
    told, flow = json.loads(capsys.readouterr().out), expected(module)
    assert told.pop("file") == "flow.csv"
    assert told == flow.data()
    assert [layer["layer"] for layer in told["layers"]] == ["hidden", "last"]
    assert told["layers"][0]["through"]["rms"] == flow["hidden"].through.rms
    with open("flow.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["own rms"]) == flow["hidden"].own.rms
    assert rows[1]["by"] == "hidden"
    assert float(rows[0]["dead"]) == flow["hidden"].dead
    table = flow.table()
    assert table.loc["hidden", "σmax"] == flow["hidden"].through.largest


def test_the_table_names_layers_verdicts_and_thresholds(module, capsys):
    assert main(["flow", f"{module}:net", "x.npy", "--batched", "--samples", "3", "--layer", "hidden"]) == 0
    told = capsys.readouterr().out
    assert str(expected(module, samples=3, layers=["hidden"])) in told
    assert "spectra at 3 samples, units over 20" in told
    assert "vanishing: rms σ < 0.1" in told
    assert "hidden" in told


@pytest.mark.parametrize("ending", ["json", "png"])
def test_it_is_saved_by_the_ending_of_its_name(module, capsys, ending):
    assert main(["flow", f"{module}:net", "x.npy", "--batched", "-o", f"flow.{ending}", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    if ending == "json":
        with open("flow.json", encoding="utf-8") as file:
            assert json.load(file) == expected(module).data()
    else:
        with open("flow.png", "rb") as file:
            assert file.read(4) == b"\x89PNG"


def test_the_picture_shows_root_mean_squares_spectra_and_units(module):
    assert main(["flow", f"{module}:net", "--shape", "2,6", "--batched", "--quiet"]) == 0
    flow = expected(module)
    own, through, norms, units = flow.plot().axes
    assert np.allclose(norms.lines[0].get_ydata(), [layer.own.rms for layer in flow.layers])
    assert np.allclose(norms.lines[1].get_ydata(), [layer.through.rms for layer in flow.layers])
    values = flow["last"].own.singular_values
    seen = values[values > flow["last"].own.resolution[:, None]]
    assert own.lines[0].get_ydata()[1] == pytest.approx(np.median(seen))
    assert through.get_yscale() == "log"
    assert units.lines[0].get_ydata()[0] == flow["hidden"].dead
    html = flow._repr_html_()
    assert "<td>hidden</td>" in html


def test_bad_input_is_refused_in_one_line(module, capsys):
    assert main(["flow", f"{module}:net", "x.npy", "--batched", "--layer", "hiden"]) == 2
    assert "'hidden'" in capsys.readouterr().err
    assert main(["flow", f"{module}:net", "x.npy", "--batched", "-o", "flow.txt"]) == 2
    assert ".json or .csv" in capsys.readouterr().err
