"""The benchmark of attacks: what it says of its rows, and that all take the same task."""

import numpy as np
import pytest
import torch

from benchmarks.attack_ways import Digits, bare, judged, model, restored, trained, ways
from benchmarks.attacks import Row, Way, main, pieces, report


def test_a_row_compares_with_the_fastest_peer_and_counts_successes():
    ours = Way("netjac", 1.0, 2**20, 0.9, 0.1, [0.010, 0.011, 0.012])
    row = Row(
        "pgd_linf", "mlp", [ours, Way("foolbox", 1.0, 0, 0.8, 0.1, [0.033]), Way("torchattacks", 40.0, 0, 0.9, 0.1)]
    )
    assert row.ratio() == pytest.approx(3.0)
    assert row.at_least_as_good()
    told = report([row]).splitlines()[-1]
    assert "| pgd_linf | mlp | 11 ms, 90.0%, 0.1000 |" in told
    assert told.endswith("| 3.00× | – | – | – |")
    row.ways[2].success = 0.95
    assert not row.at_least_as_good()


def test_the_floor_is_so_many_of_the_faster_gradients_and_the_forward_pass_that_verifies():
    bare = {"torch forward": 0.001, "torch gradient": 0.004, "netjac gradient": 0.003}
    ours = Way("netjac", 1.0, 0, 0.9, 0.1, [0.010], [0.020, 0.015])
    theirs = Way("foolbox", 1.0, 0, 0.9, 0.1, [0.012], [0.030, 0.090])
    fgsm = Row("fgsm_l2", "mlp", [ours, theirs], bare)
    assert (fgsm.floor(), fgsm.most()) == (pytest.approx(0.004), pytest.approx(3.0))
    assert fgsm.processor_ratio() == pytest.approx(2.0)
    assert report([fgsm]).splitlines()[-1].endswith("| 1.20× | 2.00× | 4 ms | 3.00× |")
    assert Row("pgd_linf_all", "mlp", [ours, theirs], bare).floor() == pytest.approx(40 * 0.003 + 0.001)
    # A sample that succeeds stops: there is no telling how many gradients.
    assert Row("pgd_linf", "mlp", [ours, theirs], bare).floor() is None
    assert pieces([fgsm]).splitlines()[-1] == "| mlp | 1 ms | 4 ms | 3 ms |"


def test_the_pieces_of_the_floor_run():
    network = model("mlp").eval()
    given = Digits(torch.rand((4, 1, 8, 8)), torch.arange(4))
    assert all(torch.equal(call(), given.images) for call in bare(network, given).values())


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
