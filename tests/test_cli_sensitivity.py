"""`netjac sensitivity`: the library's numbers, with the names of the file's first line."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

X = np.random.default_rng(0).standard_normal((40, 3))
NETWORK = "import jax.numpy as jnp\ndef net(x):\n    return jnp.stack([x[:, 0] ** 2 + x[:, 1], jnp.sin(x[:, 2])], 1)\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sensitive.py").write_text(NETWORK)
    np.savetxt("x.csv", X, delimiter=",", header="age,weight,dose", comments="")
    np.save("x.npy", X)
    return tmp_path


def expected(**options):
    net = nj.network(lambda x: jnp.stack([x[:, 0] ** 2 + x[:, 1], jnp.sin(x[:, 2])], 1), batched=True)
    return nj.sensitivity(net, X, **options)


COMMAND = ["sensitivity", "sensitive:net", "--batched"]


def test_a_csv_gives_names_and_the_table_says_what_matters(here, capsys):
    assert main([*COMMAND, "x.csv", "-o", "s.csv"]) == 0
    told = capsys.readouterr().out
    assert "over 40 samples" in told
    assert told.index("age") < told.index("weight") < told.index("dose")
    s = expected()
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["feature"] for row in rows] == ["age", "weight", "dose"] * 2
    assert np.allclose([float(row["rms"]) for row in rows], s.rms.ravel(), rtol=1e-12)
    assert f"{s.rms[0, 0]:.4g}" in told


def test_json_on_stdout_is_the_librarys(here, capsys):
    assert main([*COMMAND, "x.npy", "--json", "--scale", "std", "--bound", "normal", "--seed", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    s = expected(scale="std", bound="normal", seed=3)
    assert np.allclose(told["statistics"]["dgsm_bound"], s.dgsm_bound, rtol=1e-12)
    assert np.allclose(told["intervals"]["mean"]["low"], s.interval("mean")[0], rtol=1e-9)
    assert (told["scale"], told["samples"], told["file"]) == ("std", 40, None)


def test_pictures_and_json_are_saved_quietly(here, capsys):
    for name in ("s.png", "s.svg", "s.json"):
        assert main([*COMMAND, "x.npy", "--quiet", "-o", name]) == 0
        assert (here / name).stat().st_size > 500
    assert main([*COMMAND, "x.npy", "--quiet", "-o", "p.png", "--kind", "plane"]) == 0
    assert capsys.readouterr() == ("", "")
    assert json.loads((here / "s.json").read_text())["samples"] == 40


def test_what_is_wrong_is_told_in_one_line(here, capsys):
    for arguments, what in (
        ([*COMMAND, "x.npy", "-o", "s.txt"], ".csv"),
        ([*COMMAND, "x.npy", "-o", "s.png", "--kind", "maps"], "no images"),
        (["sensitivity", "sensitive:net", "x.npy"], "batched"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert what in told.err
    assert not (here / "s.png").exists()
