"""Flow in training: what is recorded, how often, and that training does not notice."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import netjac as nj
from netjac.analysis.flow.monitor import FlowMonitor
from tests.flow.models import chain, gaussian

X = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")


def module(activation, scale, depth=30, width=64):
    """Depth layers, with the parts that a careless look would change: dropout draws, batch norm counts."""
    torch.manual_seed(0)
    layers = [torch.nn.BatchNorm1d(width), torch.nn.Dropout(0.1)]
    for _ in range(depth):
        linear = torch.nn.Linear(width, width)
        torch.nn.init.normal_(linear.weight, std=scale / width**0.5)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 4))


def trained(made, watch, steps=12):
    torch.manual_seed(1)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.01, momentum=0.9)
    made.train()
    for number in range(steps):
        batch = torch.from_numpy(X[number % 4 * 16 :][:16])
        loss = made(batch).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        watch()
        assert made.training
    return {name: value.numpy().copy() for name, value in made.state_dict().items()}


@pytest.fixture(scope="module")
def watched():
    """A 30-layer tanh net and a relu net, trained with a monitor and without."""
    found = {}
    for name, activation, scale in (("tanh", torch.nn.Tanh, 0.5), ("relu", torch.nn.ReLU, 2**0.5)):
        plain = trained(module(activation, scale), lambda: None)
        made = module(activation, scale)
        monitor = nj.FlowMonitor(made, X, every=5)
        found[name] = plain, trained(made, monitor.step), monitor, made
    return found


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_weights_and_statistics_are_bit_for_bit_those_without(watched, name):
    plain, with_monitor, _, _ = watched[name]
    assert plain.keys() == with_monitor.keys()
    for key, value in plain.items():
        assert value.tobytes() == with_monitor[key].tobytes(), key


def test_records_are_made_at_the_interval_and_no_oftener(watched):
    for _, _, monitor, _ in watched.values():
        assert [record.step for record in monitor.history.records] == [5, 10]


def test_vanishing_is_shown_where_theory_says_so(watched):
    tanh, relu = (watched[name][2].history.records[-1] for name in ("tanh", "relu"))
    layers = watched["tanh"][2].history.layers
    assert tanh.verdict == "vanishing"
    assert relu.verdict == "moderate"
    by_name = dict(zip(layers, tanh.verdicts, strict=True))
    assert by_name["2"] == by_name["31"] == "vanishing"  # the first and the middle
    assert by_name["61"] == "moderate"  # the last tanh
    # Halved by every layer, from the last tanh back to the first.
    rms = dict(zip(layers, tanh.rms, strict=True))
    assert np.log2(rms["61"] / rms["3"]) == pytest.approx(29, abs=5)
    assert "vanishing" not in relu.verdicts


def test_a_record_has_the_numbers_of_gradient_flow(watched):
    _, _, _, made = watched["relu"]
    monitor = nj.FlowMonitor(made, X)
    record, flow = monitor.record(), nj.gradient_flow(made, X[:4])
    units = nj.gradient_flow(made, X, samples=1)
    assert monitor.history.layers == tuple(layer.name for layer in flow.layers)
    assert record.rms == pytest.approx([layer.through.rms for layer in flow.layers], rel=1e-5)
    assert record.whole == pytest.approx(flow.whole.rms, rel=1e-5)
    dead = [np.nan if layer.dead is None else layer.dead for layer in units.layers]
    assert np.array_equal(record.dead, dead, equal_nan=True)
    assert np.nanmax(dead) > 0


def test_many_outputs_are_estimated_from_signs_and_few_are_exact():
    network = chain(gaussian(1.0, depth=2, width=100), "tanh")
    x = np.random.default_rng(0).standard_normal((4, 100))
    record, flow = FlowMonitor(network, x).record(), nj.gradient_flow(network, x)
    assert record.rms == pytest.approx([layer.through.rms for layer in flow.layers], rel=0.1)
    assert record.rms[0] != pytest.approx(flow.layers[0].through.rms, rel=1e-9)


def test_a_gradient_whose_square_is_too_small_for_float32_is_still_told():
    network = chain(gaussian(0.1, depth=30, width=8), "linear")
    record = FlowMonitor(network, X[:, :8]).record()
    expected = nj.gradient_flow(network, X[:4, :8].astype("float64")).whole.rms
    assert expected < 1e-25
    assert record.whole == pytest.approx(expected, rel=1e-4)


def test_a_network_that_diverges_is_recorded_as_such():
    network = chain(gaussian(1e4, depth=20, width=8), "linear")
    record = FlowMonitor(network, X[:, :8]).record()
    assert record.verdict == "not finite"


def test_the_history_can_be_read(watched, tmp_path):
    history = watched["tanh"][2].history
    table = history.table()
    assert list(table.columns) == ["step", "layer", "rms", "dead", "saturated", "verdict"]
    assert len(table) == 2 * len(history.layers)
    told = json.loads(history.to_json(tmp_path / "h.json"))
    assert told == json.loads((tmp_path / "h.json").read_text())
    assert told["records"][1]["step"] == 10
    assert "step 10" in repr(history)
    image = history.plot(tmp_path / "h.png").axes[0].collections[0].get_array()
    assert image.shape == (len(history.layers), 2)
    assert np.allclose(image, np.log10(history.grid("rms").T))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(nj.RangeError, match="every=0"):
        nj.FlowMonitor(module(torch.nn.Tanh, 1.0, depth=1), X, every=0)
