"""The benchmark of attacks: what it says of its rows, and that all take the same task."""

import numpy as np
import pytest
import torch

from benchmarks.attack_ways import Digits, judged, restored, trained, ways
from benchmarks.attacks import Row, Way, main, report


def test_a_row_compares_with_the_fastest_peer_and_counts_successes():
    ours = Way("netjac", 1.0, 2**20, 0.9, 0.1, [0.010, 0.011, 0.012])
    row = Row(
        "pgd_linf", "mlp", [ours, Way("foolbox", 1.0, 0, 0.8, 0.1, [0.033]), Way("torchattacks", 40.0, 0, 0.9, 0.1)]
    )
    assert row.ratio() == pytest.approx(3.0)
    assert row.at_least_as_good()
    told = report([row]).splitlines()[-1]
    assert "| pgd_linf | mlp | 11 ms, 90.0%, 0.1000 |" in told
    assert told.endswith("| 3.00× |")
    row.ways[2].success = 0.95
    assert not row.at_least_as_good()


def test_an_attack_that_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["deepfood"])
    assert "there is no attack 'deepfood'" in capsys.readouterr().err


def test_netjacs_way_attacks_the_trained_model_within_bounds(tmp_path):
    with torch.random.fork_rng():
        accuracy = trained("mlp", tmp_path / "mlp.npz")
    assert accuracy > 0.85
    network = restored("mlp", tmp_path / "mlp.npz")
    x = torch.rand((8, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    given = Digits(x, network(x).argmax(1))
    found = ways("deepfool_l2", network, given)["netjac"]()
    told = judged("deepfool_l2", network, given, found)
    assert told["success"] == 1
    assert told["distance"] == pytest.approx(
        float(np.mean([(f - g).norm() / g.norm() for f, g in zip(found, x, strict=True)])), rel=1e-5
    )
    assert found.min() >= 0
    assert found.max() <= 1
    assert judged("fgsm_linf", network, given, x)["success"] == 0
