"""Rates: measured once, kept by device, read back, and what plans are chosen by."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac import calibration
from netjac.cli import main
from netjac.plan.cost import RATES


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A cache of its own; what was read is forgotten before and after."""
    monkeypatch.setenv("NETJAC_CACHE", str(tmp_path / "cache"))
    calibration._kept.cache_clear()
    yield tmp_path / "cache"
    calibration._kept.cache_clear()


def keep(folder, rates):
    folder.mkdir(exist_ok=True)
    calibration._place().write_text(json.dumps(rates))
    calibration._kept.cache_clear()


def test_without_a_measurement_the_usual_rates_are_taken(empty):
    assert calibration.rates() == RATES["cpu"]
    assert not empty.exists()


def test_what_was_measured_is_kept_and_read_back(empty):
    found = nj.calibrate()
    assert calibration.rates() == found
    assert all(value > 0 for value in dataclasses.astuple(found))
    assert found.product > found.elementwise > found.picking
    assert found.launch < 1e-2
    calibration._kept.cache_clear()
    assert calibration.rates() == found
    assert [path.name.split("-")[0] for path in empty.iterdir()] == ["rates"]


@pytest.mark.parametrize(
    "spoiled", ["", "{}", '{"product": 1}', "[1]", json.dumps({**dataclasses.asdict(RATES["cpu"]), "launch": -1})]
)
def test_a_spoiled_file_is_no_measurement(empty, spoiled):
    empty.mkdir()
    calibration._place().write_text(spoiled)
    assert calibration.rates() == RATES["cpu"]


def test_rates_that_cannot_be_kept_are_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETJAC_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(calibration, "measured", lambda: RATES["cpu"])
    assert main(["calibrate"]) == 2
    assert "NETJAC_CACHE" in capsys.readouterr().err


def test_a_plan_is_chosen_by_the_measured_rates(empty):
    """Where a launch costs a second, the order with the fewest steps is taken, whatever it computes."""
    rng = np.random.default_rng(0)
    W = [rng.standard_normal(s).astype("float32") for s in ((32, 32), (32, 2), (2, 32), (32, 32))]

    def f(x):
        for matrix in W:
            x = jnp.tanh(x @ matrix)
        return x

    x = np.zeros((4, 32), "float32")
    usual = nj.explain(nj.network(f, batched=True), x)
    keep(empty, {**dataclasses.asdict(RATES["cpu"]), "launch": 1.0})
    slow = nj.explain(nj.network(f, batched=True), x)
    assert usual.seconds < 1e-2
    assert slow.seconds >= len(slow.working_steps)
    assert len(slow.working_steps) <= len(usual.working_steps)


def test_the_command_shows_the_rates_beside_the_usual_ones(empty, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "measured", lambda: dataclasses.replace(RATES["cpu"], launch=3e-6))
    assert main(["calibrate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[-1].split() == ["launch", "(s)", "3e-06", "2e-06"]
    assert main(["calibrate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["launch"] == 3e-6
