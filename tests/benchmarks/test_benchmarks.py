"""The benchmark command runs, its contenders agree, and its table says who is who; times are nobody's test."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.contenders import BY_HAND, OURS, WAYS, prepared, taking_part
from benchmarks.in_hand import WRITTEN
from benchmarks.measure import Measured, Timing
from benchmarks.table import absent, expense, times
from benchmarks.workloads import WORKLOADS, Workload, drawn

PEERS = [WAYS[framework] for framework in ("jax", "torch", "tensorflow")]


def test_the_command_measures_a_workload_and_the_contenders_agree(tmp_path, capsys):
    files = tmp_path / "all.json", tmp_path / "table.md", tmp_path / "page.md"
    written = [f"--{kind}={file}" for kind, file in zip(("json", "markdown", "page"), files, strict=True)]
    assert main(["tiny", "--runs", "2", "--peers", "jax", *written]) == 0
    printed = capsys.readouterr().out
    assert printed == files[1].read_text()
    page = files[2].read_text()
    assert page.startswith("# The latest run\n")
    assert "Medians of 2 calls" in page
    assert page.endswith(f"\n\n{printed}")
    assert "| workload (batch) | jax | netjac | predicted | floor |" in printed
    found = json.loads(files[0].read_text())["tiny"]
    timings = {timing["way"]: timing for timing in found["timings"]}
    assert list(timings) == ["netjac", "jax jacrev", "jax jacfwd"]
    for timing in timings.values():
        assert len(timing["seconds"]) == len(timing["processor"]) == 2
        assert timing["error"] < 1e-6
        assert not timing["failed"]
    assert found["predicted"]["operations"] > 0
    assert found["predicted"]["bytes"] == 4 * 2 * 3 * 4
    assert found["rates"]["product"] > found["rates"]["writing"] > 1e6


def test_the_ratio_is_to_the_fastest_way_of_all_peers():
    timings = [
        Timing("netjac", 1.0, [0.002, 0.004, 0.003]),
        Timing("jax jacrev", 1.0, [0.009], error=2e-7),
        Timing("jax jacfwd", 1.0, [0.006], error=3e-7),
        Timing("torch vmap(jacrev)", failed="RuntimeError: no"),
    ]
    measured = Measured("tiny", {"seconds": 0.001, "operations": 100, "order": "cut"}, timings)
    row = times([measured], ("jax", "torch")).splitlines()[-1]
    assert row == "| tiny (2) | 6 ms jacfwd | – | **3 ms** | 1 ms (cut, 1.0e+02 operations) | – | 2.00× | 3e-07 |"
    assert "- tiny: torch vmap(jacrev) fails: RuntimeError: no" in absent([measured], ("jax", "torch"))


def test_what_is_written_by_hand_is_shown_and_is_no_peer():
    timings = [Timing("netjac", 1.0, [0.003]), Timing("jax jacrev", 1.0, [0.006]), Timing("hand written", 1.0, [0.002])]
    measured = Measured("tiny", {"seconds": 0.001, "operations": 100, "order": "cut"}, timings)
    row = times([measured], ("jax", "hand")).splitlines()[-1]
    assert row == "| tiny (2) | 6 ms jacrev | 2 ms | **3 ms** | 1 ms (cut, 1.0e+02 operations) | – | 2.00× | 0e+00 |"
    assert taking_part(WORKLOADS["transformer"], ("hand",)) == (OURS,)
    assert tuple(WRITTEN) == BY_HAND


SMALL = {
    "square_batch": Workload("square_batch", (5,), (("dense", 4, "tanh"), ("dense", 6, "relu"), ("dense", 3, None)), 2),
    "whole_batch": Workload("whole_batch", (5,), (("dense", 4, "tanh"), ("dense", 3, None)), 3, whole=True),
    "lenet": dataclasses.replace(WORKLOADS["lenet"], batch=2),
    "resnet": Workload(
        "resnet",
        (16, 16, 3),
        (("conv", 4, 7, "HALF", 2, "relu"), ("pool", 3, 2), *(("residual", c, s) for c, s in ((4, 1), (5, 2))),
         ("mean",), ("dense", 10, None)),
        2,
    ),
    "lstm": Workload("lstm", (5, 3), (("lstm", 4, "all"), ("lstm", 4, "last"), ("dense", 2, None)), 2),
    "conv_autoencoder": Workload(
        "conv_autoencoder",
        (8, 8, 3),
        (("conv", 4, 3, "HALF", 2, "relu"), ("flatten",), *(("dense", n, "relu") for n in (3, 64)), ("shape", 4, 4, 4),
         ("deconv", 3, None)),
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_what_is_written_by_hand_is_the_jacobian(name):
    weights, x = drawn(SMALL[name])
    ours, theirs = (np.ravel(prepared(way, SMALL[name], weights, x)()) for way in (OURS, *WAYS["hand"]))
    assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(ours)


@pytest.mark.parametrize(("size", "says"), [(1000, "1.5 ms (2.0× it)"), (8000, "2 ms (1.5× it)")])
def test_the_floor_is_the_slower_of_computing_and_writing(size, says):
    predicted = {"seconds": 0.001, "operations": 3e8, "bytes": size, "order": "cut"}
    rates = {"product": 2e11, "writing": 4e6}
    row = times([Measured("tiny", predicted, [Timing("netjac", 1.0, [0.003])], rates=rates)], ()).splitlines()[-1]
    assert f"| {says} |" in row


def test_the_expense_is_set_beside_that_of_the_fastest_peer():
    timings = [
        Timing("netjac", 1.5, [0.002], [0.004], 3 * 2**20),
        Timing("jax jacrev", 1.25, [0.009], [0.012], 2**20),
        Timing("jax jacfwd", 0.5, [0.006], [0.008], 2 * 2**20),
    ]
    row = expense([Measured("tiny", {}, timings)]).splitlines()[-1]
    assert row == "| tiny | jax jacfwd | 4 ms | 8 ms | 1.50 s | 0.50 s | 3 MiB | 2 MiB |"


def test_weights_are_the_same_at_every_drawing():
    first, again = (drawn(WORKLOADS["transformer"]) for _ in range(2))
    assert all((a == b).all() for p, q in zip(first[0], again[0], strict=True) for a, b in zip(p, q, strict=True))
    assert (first[1] == again[1]).all()


@pytest.mark.parametrize(
    ("given", "says"), [(["tinny"], "no workload 'tinny'"), (["--peers", "jaks"], "no peer 'jaks'")]
)
def test_an_unknown_name_is_refused_with_the_known_ones(given, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(given)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


KINDS = {
    "convolutions": ((7, 6, 2), (("conv", 3, 3, "VALID", 1, "relu"), ("conv", 4, 3, "HALF", 2, "tanh"), ("flatten",))),
    "residual": ((9, 9, 3), (("conv", 4, 7, "HALF", 2, "relu"), ("pool", 3, 2), ("residual", 4, 1), ("residual", 6, 2),
                             ("mean",), ("dense", 2, None))),
    "pool": ((6, 6, 2), (("pool", 2, 2), ("flatten",), ("dense", 3, "tanh"))),
    "autoencoder": ((8, 8, 2), (("conv", 3, 3, "HALF", 2, "relu"), ("flatten",), ("dense", 48, None), ("shape", 4, 4, 3),
                                ("deconv", 4, "relu"))),
    "recurrent": ((5, 3), (("lstm", 4, "all"), ("lstm", 3, "last"), ("dense", 2, None))),
    "attention": ((5, 8), (("block", 2),)),
    "whole batch": ((4,), (("dense", 5, "tanh"), ("dense", 3, None))),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_every_framework_differentiates_the_same_network(kind):
    workload = Workload(kind, *KINDS[kind], 2, whole=kind == "whole batch")
    weights, x = drawn(workload)
    found = {way: np.asarray(prepared(way, workload, weights, x)()) for way in (OURS, *sum(PEERS, ()))}
    expected = found.pop(OURS)
    for way, J in found.items():
        assert np.linalg.norm(J.reshape(expected.shape) - expected) < 1e-5 * np.linalg.norm(expected), way
