"""Planted features are found: a smaller run of `python -m benchmarks.selection`, with what it is to show."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import selection
from benchmarks.selection import DATA, by_test, judged, main, planted, trained, ways


@pytest.fixture(scope="module")
def found():
    """Ten informative features of fifty, alone and with near copies: the way's name and the kind of data → what it found."""
    table = {}
    for kind in DATA:
        data = planted(600, 50, 2, kind == "near copies", 0)
        model = trained(data, (24, 24), 0)
        for way, choose in ways(data, model, 0).items():
            table[way, kind] = judged(way, kind, 0, data, choose)
        table["test", kind] = judged("test", kind, 0, data, lambda d=data, m=model: by_test(d, m, 0, 4))
    return table


def test_planted_features_are_found_at_least_as_well_as_by_the_usual_ways(found):
    ours = found["netjac, rank", "independent"]
    assert ours.chosen == 10
    assert ours.precision == ours.recall >= 0.8
    assert ours.recall >= found["mutual information", "independent"].recall
    for way in (
        "permutation importance",
        "gradient × input",
    ):  # of the same network: as good, or one feature off
        assert ours.recall >= found[way, "independent"].recall - 0.11, way


def test_copies_are_not_chosen_beside_what_they_copy(found):
    ours = found["netjac, redundancy", "near copies"]
    assert ours.recall >= 0.9
    for way in ("netjac, rank", "permutation importance", "gradient × input", "mutual information"):
        assert ours.recall > found[way, "near copies"].recall, way


def test_the_test_finds_them_without_being_told_how_many(found):
    assert found["test", "independent"].precision >= 0.8
    assert found["test", "independent"].recall >= 0.7


def test_the_data_are_as_they_are_said_to_be():
    data = planted(50, 30, 2, True, 1)
    assert data.informative == 10
    assert sorted(np.bincount(data.source[data.source >= 0])) == [2] * 10
    for source in range(10):
        a, b = np.flatnonzero(data.source == source)
        assert np.corrcoef(data.X[:, a], data.X[:, b])[0, 1] > 0.9


def test_the_command_prints_one_table(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(selection, "by_test", lambda data, model, seed, shadows: np.flatnonzero(data.source >= 0))
    arguments = ["--samples", "60", "--features", "12", "--blocks", "1", "--hidden", "4", "--seeds", "1"]
    assert main([*arguments, "--json", str(tmp_path / "found.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| netjac") for line in lines) == 3
    assert any(line.startswith("| mutual information | 5 |") for line in lines)
    assert len(json.loads((tmp_path / "found.json").read_text())) == 2 * 6
