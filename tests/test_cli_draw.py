"""`netjac draw`: the file is what `netjac.draw` gives, and bad input is refused in a line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

NETWORK = """
import jax.numpy as jnp
import netjac as nj

def net(x):
    return nj.mark(jnp.tanh(x * 2), "h") + 1
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "cli_draw_net.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("x.npy", np.ones((2, 3)))
    return "cli_draw_net"


def test_the_file_is_the_librarys_drawing(module, capsys, tmp_path):
    command = ["draw", f"{module}:net", "x.npy", "--batched", "--sample", "1", "-o", "net.svg", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": "net.svg", "kind": "units", "layers": ["h"]}
    network = nj.network(sys.modules[module].net, batched=True)
    assert (tmp_path / "net.svg").read_text(encoding="utf-8").strip() == nj.draw(network, np.ones((2, 3)), sample=1).svg


def test_what_cannot_be_drawn_is_refused_in_a_line(module, capsys):
    assert main(["draw", f"{module}:net", "--batched"]) == 2
    assert "give an example" in capsys.readouterr().err
    assert main(["draw", f"{module}:net", "x.npy", "-o", "net.png"]) == 2
    assert ".svg" in capsys.readouterr().err
