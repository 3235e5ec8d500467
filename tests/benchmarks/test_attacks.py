"""The benchmark of attacks: what it says of its rows, and that all take the same task."""

import numpy as np
import pytest
import torch

from benchmarks.attack_ways import Digits, bare, judged, model, restored, trained, ways
from benchmarks.attack_worker import timed
from benchmarks.attacks import Row, Way, _line, main, measured, pieces, successes


def test_a_row_compares_with_the_fastest_peer_and_counts_successes():
    ours, theirs = Way("netjac", 1.0, 0.0123, 0.1, [230, 231], 0.1), Way("foolbox", 1.0, 0.0369, 0.1, [204], 0.1)
    row = Row("pgd_linf", "mlp", [ours, theirs, Way("torchattacks", 40.0, 11.7, 40.0, [230, 231], 0.1)])
    assert row.ratio() == pytest.approx(3.0)
    assert row.at_least_as_good()
    assert _line(row) == ["`pgd_linf`", "dense", "12.3", "36.9", "11 700", "3×", "–", "–"]
    assert successes([row]).splitlines()[-1] == "| `pgd_linf` | dense | 230.5, 0.1000 | 204, 0.1000 | 230.5, 0.1000 |"
    row.ways[2].successes = [232, 231]  # its starts are drawn, and so are ours
    assert row.at_least_as_good()
    row.ways[2].successes = [233, 233]
    assert not row.at_least_as_good()


def test_the_floor_is_so_many_of_the_faster_gradients_and_the_forward_pass_that_verifies():
    bare = {"torch forward": 0.001, "torch gradient": 0.004, "netjac gradient": 0.003}
    ways = [Way("netjac", 1.0, 0.010, 0.1, [9]), Way("foolbox", 1.0, 0.012, 0.1, [9])]
    fgsm = Row("fgsm_l2", "mlp", ways, bare)
    assert (fgsm.floor(), fgsm.most()) == (pytest.approx(0.004), pytest.approx(3.0))
    assert _line(fgsm)[-3:] == ["1.2×", "4", "3×"]
    assert Row("pgd_linf_all", "mlp", ways, bare).floor() == pytest.approx(40 * 0.003 + 0.001)
    # A sample that succeeds stops: there is no telling how many gradients.
    assert Row("pgd_linf", "mlp", ways, bare).floor() is None
    assert Row("pgd_linf_40", "mlp", ways, bare).floor() is None
    assert pieces([fgsm]).splitlines()[-1] == "| dense | 1 ms | 4 ms | 3 ms |"


def test_the_least_of_all_calls_counts_and_a_way_that_has_taken_long_is_left_out():
    class Told:
        def __init__(self, seconds):
            self.seconds, self.first, self.asked = iter(seconds), seconds[:1], []

        def ask(self, attack, model, seconds):
            self.asked.append(seconds)
            return {"first": self.first[0], "processor": next(self.seconds), "successes": [5, 6], "distance": 0.2}

    # The first call compiles, and is no reason to leave the others out.
    workers = {"netjac": Told([3.0, 0.03, 0.04]), "foolbox": Told([3.0, 0.9])}
    row = measured("deepfool_linf", "cnn", {**workers, "torchattacks": Told([])}, 2)
    assert [way.name for way in row.ways] == ["netjac", "foolbox"]
    assert [way.processor for way in row.ways] == [0.03, 0.9]
    assert row.ways[0].successes == [5, 6, 5, 6, 5, 6]
    assert workers["netjac"].asked == [0.0, 0.2, 0.2]
    assert workers["foolbox"].asked == [0.0, 0.2]
    slow = {"netjac": Told([0.1, 0.1]), "foolbox": Told([9.0])}
    assert measured("deepfool_linf", "cnn", slow, 1).ways[1].processor == 9.0


def test_a_call_is_repeated_for_a_while_and_at_least_once():
    calls = []
    assert timed(lambda: calls.append(0), 0.0)["found"] == [None]
    found = timed(lambda: calls.append(0), 0.02)
    assert len(found["found"]) == len(calls) - 1 > 1
    assert 0 <= found["processor"] < 0.02


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
    assert told["successes"] == 8
    assert told["distance"] == pytest.approx(
        float(np.mean([(f - g).norm() / g.norm() for f, g in zip(found, x, strict=True)])), rel=1e-5
    )
    assert found.min() >= 0
    assert found.max() <= 1
    assert judged("fgsm_linf", network, given, x)["successes"] == 0
