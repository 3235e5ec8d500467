"""What a drawing says is what the network is: layers, edges, structures, and widths that follow |J|."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import netjac as nj
from netjac.graph.outline import outline
from netjac.report.drawing.layout import laid_out
from netjac.report.drawing.local import Locals
from netjac.report.drawing.product import Sum, product_of
from netjac.report.drawing.units import THICK, THIN
from netjac.tracing import meet

L = keras.layers
SVG = "{http://www.w3.org/2000/svg}"
ODD = "<script>alert('&')<script>"


def parsed(drawing):
    """The tree; nothing in it leads outside, and no id can collide with one in the page around it."""
    root = ElementTree.fromstring(drawing.svg)
    for part in root.iter():
        assert not {"id", "href", "src"} & set(part.attrib)
        assert not any(name.startswith("on") for name in part.attrib)
    assert "url(" not in drawing.svg
    return root


def layers(root):
    return {g.get("data-layer"): g.get("aria-label") for g in root.iter(SVG + "g") if g.get("data-layer") is not None}


def edges(root):
    return {(g.get("data-from"), g.get("data-to")) for g in root.iter(SVG + "g") if g.get("data-from") is not None}


@pytest.fixture(scope="module")
def mixed():
    """A Keras net with a layer of every structure."""
    i = keras.Input((8, 8, 1), name="image")
    h = L.Conv2D(4, 3, activation="relu", name="conv")(i)
    h = L.BatchNormalization(name="bn")(h)
    h = L.MaxPooling2D(name="pool")(h)
    h = L.ZeroPadding2D(name="pad")(h)
    h = L.Conv2D(2, 1, name="pointwise")(h)
    h = L.AveragePooling2D(3, 1, name="average")(h)
    h = L.Flatten(name="flatten")(h)
    h = L.Dropout(0.5, name="dropout")(h)
    h = L.LayerNormalization(name="norm")(h)
    d = L.Dense(18, name="branch")(h)
    h = L.Add(name="add")([h, d])
    h = L.Concatenate(name="both")([h, d])
    return keras.Model(i, L.Dense(25, activation="softmax", name="classes")(h), name="mixed")


def facts(model, x):
    point = meet(nj.network(model), x)
    traced = point.traced
    nodes = outline(traced.program, traced.inputs, traced.layers, traced.outputs)
    local = Locals(point)
    return nodes, {(n, s): local.factors(node, nodes[s]) for n, node in nodes.items() for s in node.sources}


def test_every_layer_is_there_with_its_shape_and_edges_are_the_flow_of_data(mixed):
    root = parsed(nj.draw(mixed))
    said = layers(root)
    assert set(said) == {layer.name for layer in mixed.layers}
    for layer in mixed.layers:
        assert said[layer.name].endswith("shape " + "×".join(map(str, layer.output.shape[1:])))
        if not isinstance(layer, L.InputLayer):
            assert type(layer).__name__ in said[layer.name]
    assert {("norm", "add"), ("branch", "add"), ("norm", "branch"), ("add", "both"), ("branch", "both")} <= edges(root)
    assert len(edges(root)) == 15


def test_each_layers_factors_have_the_structure_of_their_entries(mixed):
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 1)).astype("float32")
    nodes, factors = facts(mixed, x)
    kinds = {pair: [f.kind for f in found] for pair, found in factors.items()}
    assert kinds == {
        ("conv", "image"): ["diagonal", "band"], ("bn", "conv"): ["diagonal"], ("pool", "bn"): ["selection"],
        ("pad", "pool"): ["selection"], ("pointwise", "pad"): ["equal blocks"], ("average", "pointwise"): ["band"],
        ("flatten", "average"): ["identity"], ("dropout", "flatten"): ["identity"],
        ("norm", "dropout"): ["diagonal + low rank"], ("branch", "norm"): ["dense"], ("add", "norm"): ["identity"],
        ("add", "branch"): ["identity"], ("both", "add"): ["selection"], ("both", "branch"): ["selection"],
        ("classes", "both"): ["diagonal + low rank", "dense"],
    }  # fmt: skip
    network = nj.network(mixed)
    for head, tail in (("conv", "conv.pre"), ("pool", "bn"), ("pad", "pool"), ("flatten", "average")):
        entries = nj.jacobian(network, x, of=head, wrt=tail).matrix()[0]
        kind = kinds[head, tail][0] if tail in nodes else "diagonal"
        assert np.count_nonzero(entries, axis=1).max() == 1
        assert (np.count_nonzero(entries - np.diag(np.diag(entries))) == 0) if kind != "selection" else True
    entries = np.float64(nj.jacobian(network, x, of="classes", wrt="classes.pre").matrix()[0])
    p = mixed(x)[0].__array__().astype(float)
    assert np.linalg.matrix_rank(entries - np.diag(p), tol=1e-6) == 1


def test_the_chain_multiplies_to_the_networks_shape_and_keeps_the_way_around(mixed):
    nodes, factors = facts(mixed, np.zeros((1, 8, 8, 1), "float32"))
    chain = product_of(nodes, factors, "classes", "image")
    assert [p.kind for p in chain if not isinstance(p, Sum)] == [
        "diagonal + low rank", "dense", "diagonal + low rank", "band", "equal blocks", "selection", "selection",
        "diagonal", "diagonal", "band",
    ]  # fmt: skip
    (inner,) = [p for p in chain if isinstance(p, Sum)]
    assert len(inner.terms) == 2
    skip = [p for term in inner.terms for p in term if isinstance(p, Sum)]
    assert len(skip) == 1
    assert () in skip[0].terms
    shapes = [(p.rows, p.columns) for p in chain if not isinstance(p, Sum)]
    assert shapes[0][0] == 25
    assert shapes[-1][1] == 64
    assert all(a[1] == b[0] for a, b in pairwise(shapes[3:]))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.f = torch.nn.Sequential(torch.nn.Linear(24, 24), torch.nn.ReLU())

    def forward(self, x):
        return x + self.f(x)


def marked(x):
    h = nj.mark(jnp.tanh(x * 2), "h")
    return nj.mark(h + nj.mark(jnp.sin(h), ODD), "sum")


@pytest.mark.parametrize(
    ("model", "x", "expected"),
    [
        (
            torch.nn.Sequential(torch.nn.Linear(30, 24), Block(), torch.nn.Linear(24, 2)),
            torch.zeros(2, 30),
            {("input", "0"), ("0", "1.f.0"), ("1.f.0", "1.f.1"), ("0", "1"), ("1.f.1", "1"), ("1", "2")},
        ),
        (marked, np.zeros((3, 4)), {("x", "h"), ("h", ODD), ("h", "sum"), (ODD, "sum")}),
    ],
    ids=["torch", "jax"],
)
def test_a_residual_network_is_a_graph_with_its_way_around(model, x, expected):
    root = parsed(nj.draw(model, x))
    assert edges(root) == expected
    assert set(layers(root)) == {name for edge in expected for name in edge}
    assert not list(root.iter(SVG + "script"))


def test_widths_follow_the_paths_by_hand():
    """h = 2x₀ − x₁ and 3x₁ through tanh at x = 0, y = h₀ + h₁/2: shares 2, 1, 3/2 and 1, 1/2 of at most 2."""
    W, V = np.array([[2.0, 0.0], [-1.0, 3.0]]), np.array([[1.0], [0.5]])
    net = nj.network(lambda x: nj.mark(nj.mark(jnp.tanh(x @ W), "h") @ V, "y"), batched=True)
    root = parsed(nj.draw(net, np.zeros((1, 2))))
    found = {}
    for group in root.iter(SVG + "g"):
        for path in group.findall(SVG + "path"):
            place = group.get("data-from"), group.get("data-to"), path.get("data-unit")
            share = (float(path.get("stroke-width")) - THIN) / (THICK - THIN)
            found[place] = round(share * 2, 2), path.get("class")
    expected = {
        ("x", "h", "0,0"): (2, "plus"), ("x", "h", "0,1"): (1, "minus"), ("x", "h", "1,1"): (1.5, "plus"),
        ("h", "y", "0,0"): (1, "plus"), ("h", "y", "0,1"): (0.5, "plus"),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for place, (share, sign) in expected.items():
        assert found[place] == (pytest.approx(share, abs=0.011), sign)


def test_the_sample_asked_for_is_the_one_looked_at():
    W = np.array([[1.0]])
    net = nj.network(lambda x: nj.mark(jax.nn.relu(x @ W), "h"), batched=True)
    x = np.array([[1.0], [-1.0]])
    assert 'class="plus"' in nj.draw(net, x).svg
    assert 'class="plus"' not in nj.draw(net, x, sample=1).svg
    with pytest.raises(nj.ShapeError, match="no sample 2"):
        nj.draw(net, x, sample=2)


def test_without_an_input_declared_shapes_are_drawn_and_unknown_ones_asked_for():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, name="d")])
    drawing = nj.draw(model)
    assert drawing.kind == "units"
    assert "no input was given" in drawing.svg
    with pytest.raises(nj.ShapeError, match="give an example"):
        nj.draw(torch.nn.Linear(3, 2))


def chained(kept=None):
    def deep(x):
        after = 0.0
        for i in range(60):
            h = nj.mark(jnp.tanh(x * 1.5), f"a{i}")
            after = h if i == kept else after
            x = nj.mark(x + nj.mark(jnp.sin(h), f"b{i}"), f"sum{i}")
            if i == 30 and kept is None:
                x = nj.mark(jnp.concatenate([x, x[:, :2]], 1), "wider")
        return x if kept is None else nj.mark(x * after, "end")

    return nj.network(deep, batched=True)


def test_a_deep_network_goes_on_in_columns_and_stays_small():
    x = np.zeros((1, 40))
    traced = meet(chained(), x).traced
    plan = laid_out(outline(traced.program, traced.inputs, traced.layers, traced.outputs), 40)
    assert len({(s.rank, s.lane) for s in plan.stacks}) == len(plan.stacks)
    assert all(plan.stacks[w.tail].rank < plan.stacks[w.head].rank for w in plan.ways)

    def uneven(x):
        for i in range(60):
            x = nj.mark(jnp.concatenate([jnp.tanh(x), x[:, :1]], 1), f"a{i}")
        return x

    root = parsed(nj.draw(nj.network(uneven, batched=True), x))
    assert len(layers(root)) == 61
    assert 0.2 < float(root.get("width")) / float(root.get("height")) < 2.5


def test_equal_blocks_in_a_row_are_drawn_once_with_their_number():
    drawing = nj.draw(chained(), np.zeros((1, 40)))
    root = parsed(drawing)
    drawn = list(layers(root))
    assert [str(n) for n in drawn] == ["x", "a0", "b0", "sum0", "wider", "a31", "b31", "sum31"]
    assert "× 31 · 40" in drawing.svg
    assert "× 29 · 42" in drawing.svg
    assert "182 layers" not in drawing.svg
    assert "181 layers; × n: n equal blocks in a row" in drawing.svg
    assert "drawn once for 29 in a row: a31 to a59" in drawing.svg
    assert ("sum0", "wider") in set(edges(root))


def test_a_block_that_something_else_uses_is_drawn_by_itself():
    root = parsed(nj.draw(chained(10), np.zeros((1, 40))))
    drawn = layers(root)
    assert list(drawn) == ["x", "a0", "b0", "sum0", "a10", "b10", "sum10", "a11", "b11", "sum11", "end"]
    assert "drawn once for 10 in a row: a0 to a9" in drawn["a0"]
    assert "drawn once" not in drawn["a10"]
    assert "drawn once for 49 in a row: sum11 to sum59" in drawn["sum11"]
    assert {("a10", "end"), ("sum11", "end"), ("sum0", "a10"), ("sum10", "a11")} <= edges(root)


def test_names_that_xml_cannot_hold_are_drawn_and_the_file_is_whole(tmp_path):
    drawing = nj.draw(lambda x: nj.mark(x * jnp.arange(1, 41.0), 'a\x00"<b>&\x0b'), np.zeros(40), tmp_path / "n.svg")
    assert ElementTree.parse(tmp_path / "n.svg").getroot().get("role") == "img"
    assert drawing._repr_svg_() == drawing._repr_html_() == (tmp_path / "n.svg").read_text(encoding="utf-8")
    parsed(drawing)
    with pytest.raises(nj.ShapeError, match=r"\.svg"):
        drawing.save(tmp_path / "n.png")
