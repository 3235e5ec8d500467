"""The examples run, and what they claim holds; so does the notebook, cell by cell, in a kernel of its own."""

import importlib.util
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path):
    """Runs an example as its command line does, and gives what it found; its figure is there afterwards."""

    def call(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        figure = tmp_path / f"{name}.png"
        found = module.main(figure)
        assert figure.read_bytes().startswith(PNG)
        return found

    return call


def test_sensitivity_of_a_learned_borehole_is_that_of_the_borehole(run):
    found = run("sensitivity")
    assert found["error"] < 0.05
    np.testing.assert_allclose(found["learned"].rms, found["true"].rms, rtol=0.02, atol=0.02)
    assert found["learned"].ranking(0, "rms")[0][0] == "radius of the borehole"


def test_control_by_a_learned_linearisation_balances_the_pendulum(run):
    found = run("control")
    for name, true in zip("AB", found["true"], strict=True):
        np.testing.assert_allclose(found[name], true, atol=2e-3)
    # cosh, by hand: without friction A would be [[cosh wt, sinh wt / w], …] with w² = 9.81.
    assert abs(found["A"][0, 0] - np.cosh(np.sqrt(9.81) * 0.05)) < 2e-3
    assert found["alone"] > 1 > found["closed"]
    assert np.abs(found["paths"]["u = −K x"][-1]).max() < 1e-3
    assert np.abs(found["paths"]["u = 0"]).max() > 1


def test_robustness_is_bounded_from_both_sides(run):
    found = run("robustness")
    assert found["accuracy"] > 0.9
    assert np.asarray(found["nearest"].success).all()
    fgsm, pgd = (curve.success for curve in found["curves"])
    assert (pgd >= fgsm).all()
    assert (np.diff(pgd) >= 0).all()
    # No image is both: certified, and misclassified by an attack.
    assert (found["proven"] + found["attacked"] <= 1).all()
    assert found["proven"][0] > 0.9


def test_diagnosis_tells_three_initialisations_apart(run):
    found = run("diagnosis")
    verdicts = {kind: flow.verdict for kind, flow in found.items()}
    assert verdicts == {"small": "vanishing", "large": "exploding", "orthogonal": "isometric"}
    assert found["small"]["layer 0"].through.rms < 1e-7


def test_training_by_least_squares_goes_where_adam_does_not(run):
    found = run("training")
    fit, adam = found["fit"], found["adam"]
    assert abs(fit.initial_loss - adam[0]) < 1e-5 * adam[0]
    assert fit.loss < adam.min() / 10
    assert fit.iterations * 20 <= len(adam)


def test_the_notebook_runs_and_its_results_show_themselves():
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    environment = os.environ.copy()
    path = os.pathsep.join([str(EXAMPLES.parent), environment.get("PYTHONPATH", "")])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env={**environment, "PYTHONPATH": path})
    shown = [out.data for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs if "data" in out]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    assert len(pages) >= 8
    assert any("image/png" in data for data in shown)


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "sensitivity",
        "control",
        "robustness",
        "diagnosis",
        "training",
    }
