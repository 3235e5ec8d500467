"""The benchmarks of ∂output/∂parameters: all who take part answer the same question, and the table says who is who."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import spectrum
from benchmarks.contenders import BY_PARAMETERS as WAYS
from benchmarks.contenders import OURS, installed, prepared, taking_part
from benchmarks.measure import Measured, Timing
from benchmarks.parameters import main, times
from benchmarks.workloads import BY_PARAMETERS, Workload, drawn

IMAGES = (("conv", 3, 3, "VALID", 1, "relu"), ("pool", 2, 2), ("conv", 4, 3, "HALF", 2, "relu"), ("flatten",))
RESIDUAL = (("conv", 4, 3, "HALF", 1, "relu"), ("residual", 4, 1), ("residual", 6, 2), ("mean",), ("dense", 1, None))
VECTORS = (("dense", 5, "tanh"), ("dense", 3, None))
SMALL = {
    "kernel": ((8, 8, 2), (*IMAGES, ("dense", 5, "relu"), ("dense", 3, None))),
    "norms": ((8, 8, 3), RESIDUAL),
    "rows": ((4,), VECTORS),
    "push": ((4,), VECTORS),
    "pull": ((4,), VECTORS),
}


@pytest.mark.parametrize("asks", SMALL)
def test_all_answer_the_same_question(asks):
    workload = Workload(asks, *SMALL[asks], 3, asks=asks)
    weights, x = drawn(workload)
    ways = [way for way in WAYS[asks] if installed(way.split()[0])]
    expected = np.asarray(prepared(OURS, workload, weights, x)())
    for way in ways:
        found = np.asarray(prepared(way, workload, weights, x)())
        assert np.linalg.norm(found.reshape(-1) - expected.reshape(-1)) < 2e-5 * np.linalg.norm(expected), way
    assert {"jax", "torch"} <= {way.split()[0] for way in ways}


def test_who_is_not_installed_takes_no_part(monkeypatch):
    workload = BY_PARAMETERS["kernel_mlp"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "backpack" else True)
    assert taking_part(workload, ("jax", "backpack")) == (OURS, "jax dense J", "jax jacrev, by parameter")


def test_the_table_has_every_way_the_fastest_first():
    timings = [
        Timing("netjac", 1.0, [0.002]),
        Timing("jax vmap(grad)", 1.0, [0.009], error=2e-7),
        Timing("opacus grad_sample", 1.0, [0.006], error=3e-7),
    ]
    row = times([Measured("norms_resnet", {}, timings)]).splitlines()[-1]
    assert row == "| norms_resnet (64) | **2 ms** | opacus grad_sample 6 ms, jax vmap(grad) 9 ms | 3.00× | 3e-07 |"


def test_the_command_measures(tmp_path, capsys):
    assert main(["push_mlp", "--runs", "1", "--json", str(tmp_path / "all.json")]) == 0
    assert "| push_mlp (128) |" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["push_mlp"]["timings"][0]["way"] == "netjac"
    with pytest.raises(SystemExit):
        main(["pushed"])


def test_singular_values_of_what_memory_does_not_hold(capsys):
    assert spectrum.main(["--samples", "600", "--values", "3"]) == 0
    told = capsys.readouterr().out
    assert "6,000 × 99,385 (2 GiB)" in told
    assert "error bars" in told
    assert spectrum.main(["--samples", "1500", "--values", "3", "--workers", "1", "--memory", "2GiB"]) == 0
    told = capsys.readouterr().out
    away = float(told.partition("from the factors: ")[2].split()[0])
    assert away < 1e-2
