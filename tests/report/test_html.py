"""What notebooks show of every result: readable, well-formed, and with every name escaped."""

import inspect
from functools import cache
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.analysis.flow.monitor import History
from netjac.analysis.flow.spectrum import Spectrum
from netjac.factorlist import Factor, Factors
from netjac.report.html import facts, paragraph, preformatted, rows
from netjac.structure import Structure

NAME = "<script>alert('x')</script>&"
RNG = np.random.default_rng(0)
W, V = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))
X = RNG.standard_normal((5, 3))


@cache
def net():
    def function(x):
        return nj.mark(jnp.tanh(nj.mark(x @ W, NAME)), f"{NAME}2") @ V

    function.__name__ = NAME
    return nj.network(function, batched=True)


@jax.tree_util.register_pytree_node_class
class Linear:
    def __init__(self, weights):
        self.weights = weights

    def __call__(self, x):
        return x @ self.weights

    def tree_flatten(self):
        return (self.weights,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


Linear.__name__ = NAME


def linear():
    return nj.network(Linear(W), batched=True)


def monitored():
    monitor = nj.FlowMonitor(net(), X, every=1)
    monitor.step()
    return monitor.history


def jacobian():
    J = nj.jacobian(net(), X, wrt=NAME)
    np.asarray(J)
    return J


# A result → how it is made, and whether its text has a name that the user gave.
RESULTS = {
    nj.Jacobian: (jacobian, True),
    nj.Check: (lambda: nj.check(net(), X), False),
    nj.Plan: (lambda: nj.explain(net(), X), True),
    nj.Network: (net, True),
    Structure: (lambda: nj.jacobian(net(), X, wrt=NAME).structure, False),
    Factor: (lambda: nj.jacobian(net(), X).factors[0], True),
    Factors: (lambda: nj.jacobian(net(), X).factors, True),
    nj.Sensitivity: (lambda: nj.sensitivity(net(), X, feature_names=[NAME, "b", "c"]), True),
    nj.Selection: (lambda: nj.select_features(net(), X, 3, feature_names=[NAME, "b", "c"]), True),
    nj.Flow: (lambda: nj.gradient_flow(net(), X), True),
    History: (monitored, True),
    Spectrum: (lambda: nj.gradient_flow(net(), X).layers[0].own, True),
    nj.attacks.Attack: (lambda: nj.attacks.deepfool(net(), X), False),
    nj.attacks.Curve: (lambda: nj.attacks.curve(net(), X, epsilons=[0.1, 1.0]), False),
    nj.Formula: (lambda: nj.formula(net(), X), True),
    nj.Drawing: (lambda: nj.draw(net(), X), True),
    nj.Report: (lambda: nj.report(net(), X, path=None, sections=["overview"]), True),
    nj.Fit: (lambda: nj.fit(linear(), X, X @ W + 1, max_iterations=1), True),
    nj.Lipschitz: (lambda: nj.lipschitz(net(), X, radius=0.1), False),
    nj.ParameterJacobian: (lambda: nj.parameter_matrix(linear(), X), True),
}


class Reader(HTMLParser):
    """The tags and the text of a page; tags that do not close in order are an error."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self._open = set(), "", []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        self.text += text


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_a_notebook_shows_every_result_with_names_escaped(kind):
    make, named = RESULTS[kind]
    result = make()
    assert isinstance(result, kind)
    read = Reader(result._repr_html_())
    assert not read.tags & {"script", "img", "iframe", "object", "link"}
    assert len(read.text) > 10
    assert "object at 0x" not in read.text
    assert (NAME in read.text) == named


def test_no_public_result_is_forgotten():
    public = [getattr(nj, name) for name in nj.__all__] + [getattr(nj.attacks, name) for name in nj.attacks.__all__]
    read = {thing for thing in public if inspect.isclass(thing) and "__repr__" in vars(thing)} - {nj.FlowThresholds}
    assert len(read) > 8
    assert {thing for thing in read if not hasattr(thing, "_repr_html_")} == set()


@pytest.mark.parametrize(
    "page",
    [paragraph([NAME, NAME]), preformatted(NAME), facts(NAME, [(NAME, NAME)]), rows([NAME], [[NAME]], [NAME], [NAME])],
)
def test_each_shape_escapes_all_that_it_is_told(page):
    read = Reader(page)
    assert "script" not in read.tags
    assert page.count("&lt;script&gt;") == read.text.count(NAME) > 0
