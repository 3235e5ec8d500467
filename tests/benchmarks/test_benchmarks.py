"""The benchmark command runs, its contenders agree, and its table says who is who; times are nobody's test."""

from __future__ import annotations

import json

from benchmarks.__main__ import main
from benchmarks.table import HEAD


def test_the_command_measures_a_workload_and_the_contenders_agree(tmp_path, capsys):
    assert main(["tiny", "--rounds", "2", "--peers", "jax", "--json", str(tmp_path / "all.json")]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| " + " | ".join(HEAD) + " |"
    assert table[2].startswith("| tiny |")
    timings = {t["way"]: t for t in json.loads((tmp_path / "all.json").read_text())["tiny"]}
    assert set(timings) == {"netjac", "jax jacrev", "jax jacfwd"}
    assert all(len(t["seconds"]) == 2 and t["error"] < 1e-6 for t in timings.values())
