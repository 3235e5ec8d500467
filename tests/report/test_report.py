"""The report's numbers are those of the library, its sections are independent, its size is bounded, its names escaped."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import netjac as nj
from netjac.cli import main
from netjac.report.page import render
from netjac.report.page.pictures import coarse
from netjac.report.page.sections import SECTIONS

BAD = "<script>window.broken = 1</script>"
V, W = np.random.default_rng(0).standard_normal((2, 6, 6))
X = np.random.default_rng(1).standard_normal((20, 6))
Y = np.arange(20) % 6

NETWORK = """
import jax, jax.numpy as jnp, numpy as np
import netjac as nj
V, W = np.random.default_rng(0).standard_normal((2, 6, 6))

def net(x):
    return nj.mark(nj.mark(jnp.tanh(x @ V.astype(x.dtype)), "hidden") @ W.astype(x.dtype), "last")
"""


def net(x):
    import jax.numpy as jnp

    return nj.mark(jnp.tanh(x @ V.astype(x.dtype)), BAD) @ W.astype(x.dtype)


@pytest.fixture(scope="module")
def model():
    return nj.network(net, batched=True)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "r.html"
    names = [BAD, *"bcdef"]
    return nj.report(model, X, Y, path, feature_names=names, output_names=names, samples=5)


def test_all_sections_are_there_with_the_librarys_numbers(made, model):
    assert list(made.numbers) == [section.name for section in SECTIONS]
    assert not [name for name, found in made.numbers.items() if "error" in found or "absent" in found]
    chosen = made.numbers["jacobian"]["samples"]
    J = np.asarray(nj.jacobian(model, X[chosen]))
    told = made.numbers["jacobian"]["statistics"]
    assert np.allclose(told["mean |J|"], np.abs(J).mean(0), rtol=1e-12)
    assert np.allclose(told["mean J"], J.mean(0), rtol=1e-12)
    assert np.allclose(told["standard deviation of J"], J.std(0), rtol=1e-12)
    one = made.numbers["jacobian"]["each"][2]
    assert one["norm"] == pytest.approx(np.linalg.norm(J[2]))
    assert one["spectral"] == pytest.approx(np.linalg.norm(J[2], 2))
    assert abs(one["largest"][0]["value"]) == np.abs(J[2]).max()
    ranking = made.numbers["sensitivity"]["rankings"][1]["features"]
    expected = nj.sensitivity(model, X).ranking(1)
    assert [f["rms"] for f in ranking] == pytest.approx([rms for _, rms in expected])
    assert made.numbers["flow"]["whole"]["rms"] == nj.gradient_flow(model, X, samples=4).whole.rms
    assert made.numbers["plan"]["operations"] == nj.explain(model, X[chosen]).operations
    constants = made.numbers["robustness"]["lipschitz"]
    assert constants["seen"] <= constants["local"]
    assert made.numbers["check"]["passed"]


def test_the_file_is_the_page_and_json_has_the_same_numbers(made, tmp_path):
    assert made.path.read_text(encoding="utf-8") == made.html
    made.to_json(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == made.numbers
    assert "r.html" in repr(made)


def test_names_are_escaped_in_the_page_and_in_its_data(made):
    assert BAD not in made.html
    assert "&lt;script&gt;window.broken" in made.html
    assert len(re.findall("</script>", made.html)) == len(re.findall("<script", made.html)) == 4
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', made.html, re.DOTALL)[1]
    assert json.loads(data)["jacobian"]["outputs"][0] == BAD


def test_a_section_that_fails_says_so_and_the_rest_goes_on(model, monkeypatch):
    from netjac.report.page.sections import flow

    def fails(*given, **options):
        raise nj.TooLargeError("too much & more")

    monkeypatch.setattr(flow, "gradient_flow", fails)
    found = nj.report(model, X, path=None, sections=["overview", "flow", "robustness", "check"], without=["check"])
    assert list(found.numbers) == ["overview", "flow", "robustness"]
    assert found.numbers["flow"] == {"error": "TooLargeError: too much & more"}
    assert "too much &amp; more" in found.html
    assert "nothing says that this is a" in found.numbers["robustness"]["attack_absent"]
    assert found.numbers["robustness"]["lipschitz"] is not None


def test_what_nobody_expected_costs_its_section_alone_and_warns(model, monkeypatch):
    from netjac.report.page.sections import check, plan

    def breaks(*given, **options):
        raise ZeroDivisionError("<b>by nothing</b>")

    monkeypatch.setattr(check, "check", breaks)
    monkeypatch.setattr(plan, "MOST_STEPS", "many")
    with pytest.warns(RuntimeWarning, match="the report's section") as warned:
        found = nj.report(model, X, path=None, sections=["overview", "plan", "check", "provenance"])
    assert [re.search("section '(.*)' failed", str(one.message))[1] for one in warned] == ["plan", "check"]
    assert found.numbers["check"] == {"error": "ZeroDivisionError: <b>by nothing</b>"}
    assert found.numbers["plan"]["error"].startswith("TypeError")
    assert "ZeroDivisionError: &lt;b&gt;by nothing" in found.html
    assert found.numbers["provenance"]["seed"] == 0
    assert "check: ZeroDivisionError" in repr(found)


def test_of_a_large_jacobian_a_few_rows_are_shown_and_the_page_says_so(model, monkeypatch):
    from netjac.report.page import subject

    monkeypatch.setattr(subject, "MOST_ENTRIES", 100)
    found = nj.report(model, X, path=None, sections=["jacobian", "sensitivity"]).numbers["jacobian"]
    assert found["samples"] == [0, 6, 13, 19]
    assert len(found["outputs"]) == 6
    monkeypatch.setattr(subject, "CHOSEN_OUTPUTS", 2)
    page = nj.report(model, X, path=None, sections=["jacobian", "sensitivity"])
    assert len(page.numbers["jacobian"]["outputs"]) == 2
    assert "2 outputs with the largest mean" in page.html
    J = np.asarray(nj.jacobian(model, X[[0, 6, 13, 19]]))
    best = np.sort(np.argsort(-np.asarray(net(X[[0, 6, 13, 19]])).mean(0))[:2])
    assert np.allclose(page.numbers["jacobian"]["statistics"]["mean J"], J.mean(0)[best])


def test_blocks_keep_their_largest_entry_and_its_sign():
    values = np.zeros((5, 7))
    values[4, 6], values[0, 1] = -3, 2
    shown, blocks = coarse(values, 3, 3)
    assert blocks == (2, 3)
    assert shown.shape == (3, 3)
    assert shown[2, 2] == -3
    assert shown[0, 0] == 2


def test_a_part_that_would_make_the_file_too_large_is_left_out_of_it(model, monkeypatch):
    monkeypatch.setattr(render, "MOST_BYTES", 30_000)
    found = nj.report(model, X, path=None, sections=["overview", "jacobian", "sensitivity"])
    assert len(found.html.encode()) <= 30_000
    assert "would make the file too large" in found.html


LONG = "<script>🦉 and a name of many words & more " * 30
CHEAP = ["overview", "formula", "drawing", "jacobian", "explorer", "plan", "sensitivity", "provenance"]


def test_an_image_net_of_many_layers_and_classes_with_long_names_keeps_to_the_size(recwarn):
    import jax.numpy as jnp

    top = np.random.default_rng(0).standard_normal((48, 1000)).astype("float32")

    def deep(x):
        h = x.reshape(len(x), 4, 56, 4, 56, 3).mean((2, 4)).reshape(len(x), 48)
        for k in range(120):
            h = nj.mark(jnp.tanh(h), f"{k} {LONG}")
        return h @ top

    images = np.random.default_rng(1).uniform(0, 1, (3, 224, 224, 3)).astype("float32")
    deep.__name__ = LONG
    names = [f"{k} {LONG}" for k in range(1000)]
    made = nj.report(nj.network(deep, batched=True), images, path=None, sections=CHEAP, output_names=names)
    assert 100_000 < len(made.html.encode()) <= render.MOST_BYTES == 5_000_000
    assert {name: found["error"] for name, found in made.numbers.items() if "error" in found} == {}
    assert len(made.numbers["jacobian"]["outputs"]) == 8
    assert max(map(len, made.numbers["jacobian"]["outputs"])) == 120
    assert not [str(one.message) for one in recwarn if issubclass(one.category, RuntimeWarning)]


def test_thousands_of_features_and_outputs_with_long_names_keep_to_the_size():
    linear = np.random.default_rng(0).standard_normal((4096, 1000)).astype("float32")
    wide = nj.network(lambda x: x @ linear, batched=True)
    x = np.random.default_rng(1).standard_normal((4, 4096)).astype("float32")
    names = [f"{k} {LONG}" for k in range(4096)]
    made = nj.report(wide, x, path=None, sections=CHEAP, feature_names=names, output_names=names[:1000])
    assert len(made.html.encode()) <= 5_000_000
    assert not any("error" in found for found in made.numbers.values())
    assert "would make the file too large" not in made.html


def test_bad_arguments_are_refused_before_any_work(model):
    with pytest.raises(nj.UnknownNameError, match="sensitivity"):
        nj.report(model, X, path=None, sections=["sensitivty"])
    with pytest.raises(nj.ShapeError, match="y has 3 labels and X 20"):
        nj.report(model, X, [0, 1, 2], path=None)
    with pytest.raises(nj.ShapeError, match="feature_names has 1"):
        nj.report(model, X, path=None, feature_names=["a"])


def test_the_command_writes_page_and_numbers(tmp_path, monkeypatch, capsys):
    (tmp_path / "cli_report.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("x.npy", X)
    np.save("y.npy", Y)
    command = [
        "report",
        "cli_report:net",
        "x.npy",
        "--batched",
        "--labels",
        "y.npy",
        "-o",
        "page.html",
        "--section",
        "overview",
    ]
    assert main([*command, "--section", "provenance", "--numbers", "n.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("file") == "page.html"
    assert told == json.loads((tmp_path / "n.json").read_text(encoding="utf-8"))
    assert told["overview"]["layers"][0]["name"] == "hidden"
    assert "netjac report cli_report:net x.npy" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert main(["report", "cli_report:net", "x.npy", "-o", "page.pdf"]) == 2
    assert ".html" in capsys.readouterr().err


def test_the_pages_files_are_installed_with_the_package():
    root = Path(render.__file__).parents[3]
    listed = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    installed = {file for pattern in listed[render.ASSETS] for file in Path(render.__file__).parent.glob(pattern)}
    assert {f"{section.name}.html" for section in SECTIONS} | {"page.html", "report.css", "report.js"} == {
        file.name for file in installed
    }


def test_of_two_inputs_the_first_is_reported_and_values_are_of_both():
    def joined(x):
        import jax.numpy as jnp

        return jnp.concatenate([x["a"], x["b"]], 1) @ V[:5, :2].astype(x["a"].dtype)

    two = nj.network(joined, batched=True)
    x = {"a": X[:4, :3].astype("float32"), "b": X[:4, 3:5].astype("float32")}
    made = nj.report(two, x, path=None, sections=["overview", "formula", "drawing", "jacobian", "explorer"])
    assert not any("error" in found for found in made.numbers.values())
    assert "one input" in made.numbers["explorer"]["absent"]
    entries = [e for one in made.numbers["jacobian"]["each"] for e in one["largest"]]
    assert {e["feature"] for e in entries} <= {"x0", "x1", "x2"}
