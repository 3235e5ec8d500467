"""The benchmarks of sensitivities: all who take part find the same, and the notes say what is measured."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import sensitivity, sensitivity_notes
from benchmarks.contenders import BY_PARAMETERS as WAYS
from benchmarks.contenders import OURS, installed, prepared, taking_part
from benchmarks.workloads import SENSITIVITIES, Workload, drawn

SMALL = {
    "sensitivity": Workload("s", (4,), (("dense", 6, "tanh"), ("dense", 3, None)), 40, asks="sensitivity"),
    "dgsm": Workload("d", (4,), (("dense", 6, "tanh"), ("dense", 1, None)), 40, asks="dgsm"),
}


@pytest.mark.parametrize("asks", SMALL)
def test_all_find_the_same_statistics(asks):
    workload = SMALL[asks]
    weights, x = drawn(workload)
    expected = prepared(OURS, workload, weights, x)()
    assert expected.shape == ((3, 3, 4) if asks == "sensitivity" else (2, 4))
    for way in WAYS[asks]:
        if installed(way.split()[0]):
            found = prepared(way, workload, weights, x)()
            assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected), way


def test_a_convolutional_network_is_for_those_who_know_it():
    assert "neuralsens jacobian_mlp" not in taking_part(SENSITIVITIES["sensitivity_lenet"], ("captum", "neuralsens"))


def test_the_notes_say_which_meaning_a_number_has():
    if installed("captum"):
        near, far = sensitivity_notes.captum_distances()
        assert near < 1e-5 < 1e-2 < far
    if installed("neuralsens"):
        near, far = sensitivity_notes.neuralsens_distances()
        assert near < 1e-5 < 1e-2 < far
    if installed("SALib"):
        near, far, step = sensitivity_notes.salib_distances()
        assert near < 0.15
        assert far > 2 * near
        assert 1e-4 < step < 0.1
    assert len(sensitivity_notes.notes()) == sum(map(installed, sensitivity_notes.NOTES))


def test_the_command_measures_and_notes(capsys):
    assert sensitivity.main(["dgsm_mlp", "--runs", "1"]) == 0
    told = capsys.readouterr().out
    assert "| dgsm_mlp (4096) |" in told
    assert "Where numbers differ by meaning" in told
