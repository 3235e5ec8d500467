"""The benchmark of fits: every way runs, each descends, and the picture has its numbers beside it."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from benchmarks import fit


def test_the_command_times_every_way_and_draws_them(tmp_path, monkeypatch, capsys):
    small = replace(fit.TASKS["Mackey–Glass"], name="small", layers=(4, 3, 1), target=1e-12)
    monkeypatch.setattr(fit, "TASKS", {"small": small})
    monkeypatch.setattr(fit, "RATES", (1e-2,))
    picture = tmp_path / "new" / "fit.png"
    assert fit.main(["small", "--seconds", "0.3", "--seeds", "1", "--picture", str(picture)]) == 0
    assert matplotlib.image.imread(picture).shape[0] > 200
    courses = json.loads(picture.with_suffix(".json").read_text())["small"]
    assert list(courses) == list(fit.WAYS)
    for several in courses.values():
        losses = [loss for _, loss in several[0]["curve"]]
        assert min(losses) < losses[0]
    assert "not in 0.3 s" in capsys.readouterr().out


def test_the_data_are_what_they_say():
    for task in fit.TASKS.values():
        X, Y = task.data()
        assert (X.shape[1], Y.shape[1]) == (task.layers[0], task.layers[-1])
        assert X.dtype == Y.dtype == np.float32
    X, Y = fit.mackey_glass()
    assert np.array_equal(X[6:, 3], Y[:-6, 0])
    assert 0.2 < Y.min() < 0.6 < 1.2 < Y.max() < 1.5


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit):
        fit.main(["mnist"])
    assert "mnist" in capsys.readouterr().err
