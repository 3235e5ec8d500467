"""The picture of growth: one line a framework, one point a size, numbers beside it."""

from __future__ import annotations

import json
from functools import lru_cache

import matplotlib.image
import pytest

from benchmarks import scaling
from benchmarks.workloads import GROWING, NAMED, WORKLOADS


def test_the_command_draws_a_picture_and_writes_its_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "GROWING", {"width": {3: WORKLOADS["tiny"], 4: WORKLOADS["tiny"]}})
    monkeypatch.setattr(scaling, "PEERS", ("jax",))
    monkeypatch.setattr(scaling, "measure", lru_cache(scaling.measure))  # both sizes are of one workload
    picture = tmp_path / "new" / "growth.png"
    assert scaling.main(["width", "--picture", str(picture), "--runs", "1"]) == 0
    assert matplotlib.image.imread(picture).shape[0] > 300
    curves = json.loads(picture.with_suffix(".json").read_text())["width"]
    assert list(curves) == ["netjac", "jax"]
    for curve in curves.values():
        assert [point["size"] for point in curve] == [3, 4]
        assert all(point["seconds"] > 0 and point["peak"] >= 0 for point in curve)
    assert "width 4" in capsys.readouterr().err


def test_without_an_axis_every_one_is_measured_and_drawn(tmp_path, monkeypatch):
    asked = []
    curves = {"netjac": [{"size": size, "seconds": 0.1, "first": 1.0, "peak": 2**20} for size in (1, 2)]}
    monkeypatch.setattr(scaling, "grown", lambda axis, runs: asked.append((axis, runs)) or curves)
    picture = tmp_path / "growth.png"
    assert scaling.main(["--picture", str(picture)]) == 0
    assert asked == [(axis, scaling.RUNS) for axis in GROWING]
    assert json.loads(picture.with_suffix(".json").read_text()) == dict.fromkeys(GROWING, curves)
    assert matplotlib.image.imread(picture).shape[1] > 300 * len(GROWING)


def test_each_axis_grows_what_its_label_says():
    assert list(GROWING) == list(scaling.LABELS)
    for sizes in GROWING.values():
        assert list(sizes) == sorted(sizes)
        assert all(NAMED[workload.name] is workload for workload in sizes.values())
    assert [w.shape[0] for w in GROWING["width"].values()] == list(GROWING["width"])
    assert [len(w.layers) for w in GROWING["depth"].values()] == list(GROWING["depth"])
    assert [w.batch for w in GROWING["batch"].values()] == list(GROWING["batch"])


def test_an_unknown_axis_is_refused(capsys):
    with pytest.raises(SystemExit):
        scaling.main(["height"])
    assert "height" in capsys.readouterr().err
