"""The benchmark of fits: every way runs, each descends, and the picture has its numbers beside it."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from benchmarks import fit, fit_tasks, fit_ways, least_squares
from benchmarks.contenders import installed
from benchmarks.fit_tasks import TASKS, started
from benchmarks.fit_ways import WAYS, Course, taking_part
from benchmarks.nist import MISRA1A
from benchmarks.worker import STATUS

HERE = [way for way in WAYS if way != "optimistix" or installed(way)]


@pytest.mark.parametrize("way", HERE)
def test_every_way_descends_from_the_start_to_the_target(way, monkeypatch):
    monkeypatch.setattr(fit_ways, "RATES", (1e-2,))
    task = replace(TASKS["Mackey–Glass"], layers=(4, 3, 1), target=0.02)
    X, Y = task.data()
    start = started(task, 0)
    assert np.mean((fit_tasks.network(start, X) - Y) ** 2) > 0.2
    course = WAYS[way](task, X, Y, start, 60.0)
    assert course.way == way
    assert course.first > 0
    assert course.best <= task.target
    assert course.seconds(task.target) == course.curve[-1][0]
    assert course.seconds(course.best / 2) == np.inf


def test_the_command_times_every_way_in_its_own_process_and_draws_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fit, "taking_part", lambda task, Y: ("netjac", "L-BFGS"))
    picture = tmp_path / "new" / "fit.png"
    assert fit.main(["diabetes", "--seconds", "0.2", "--seeds", "1", "--picture", str(picture)]) == 0
    assert matplotlib.image.imread(picture).shape[0] > 200
    courses = json.loads(picture.with_suffix(".json").read_text())["diabetes"]
    assert list(courses) == ["netjac", "L-BFGS"]
    for several in courses.values():
        losses = [loss for _, loss in several[0]["curve"]]
        assert min(losses) < losses[0]
        assert several[0]["peak"] > 0 or not STATUS.exists()
    assert " MiB" in capsys.readouterr().out


def test_a_row_tells_who_did_not_get_there():
    reached, missed = [Course("Adam", 1.0, [(4.0, 1e-9)])], [Course("Adam", 1.0, [(4.0, 0.5)])]
    found = {"netjac": [Course("netjac", 1.0, [(2.0, 1e-9)])] * 3, "Adam": reached * 2 + missed, "L-BFGS": missed * 3}
    assert fit.row(TASKS["sinc"], found, 6.0)[2:] == [
        "**2 s**", "4 s (1 of 3 ended at 0.5), 2×", "not in 6 s (3 of 3 ended at 0.5)", "–", "–",
    ]  # fmt: skip


def test_who_would_factor_too_large_a_matrix_is_left_out():
    task = TASKS["digits to 6, linearly"]
    assert "SciPy" not in taking_part(task, task.data()[1])
    assert taking_part(TASKS["sinc"], TASKS["sinc"].data()[1]) == tuple(HERE)


def test_the_data_are_what_they_say():
    for task in TASKS.values():
        X, Y = task.data()
        assert (X.shape[1], Y.shape[1]) == (task.layers[0], task.layers[-1])
        assert X.dtype == Y.dtype == np.float32
        assert task.parameters == sum(W.size + b.size for W, b in started(task, 0))
    X, Y = fit_tasks.mackey_glass()
    assert np.array_equal(X[6:, 3], Y[:-6, 0])
    assert 0.2 < Y.min() < 0.6 < 1.2 < Y.max() < 1.5
    for principal, task in ((2, TASKS["digits to 2"]), (6, TASKS["digits to 6"])):
        X = task.data()[0]
        left = np.sum(np.linalg.svd(X - X.mean(0), compute_uv=False)[principal:] ** 2) / X.size
        assert task.target < 0.7 * left
    assert np.allclose(fit_tasks.small_digits()[0][:, 0], fit_tasks.digits()[0][:, [0, 1, 8, 9]].mean(1))


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit):
        fit.main(["mnist"])
    assert "mnist" in capsys.readouterr().err


@pytest.mark.parametrize("way", [way for way in least_squares.WAYS if way in HERE])
def test_every_way_reaches_a_published_answer_and_a_row_tells_it(way):
    one = least_squares.solved(MISRA1A, np.array(MISRA1A.starts[1]), way)
    assert one.matches(MISRA1A)
    assert one.digits(MISRA1A) > 8
    assert "digits" in least_squares.told(one, MISRA1A)
    worse = replace(one, squares=1.01 * one.squares, b=one.b * (1 + 1e-3))
    assert not worse.matches(MISRA1A)
    assert worse.digits(MISRA1A) == pytest.approx(3, abs=0.1)
    assert least_squares.told(worse, MISRA1A).startswith("sum of squares 0.1258, 3.0 digits")
