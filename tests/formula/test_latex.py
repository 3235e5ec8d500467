"""The LaTeX of formulas, factors and steps is well formed, whatever the network's names are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from latex2mathml.converter import convert

import netjac as nj
from tests.formula.checks import batched
from tests.formula.latex import assert_well_formed

W = np.random.default_rng(0).standard_normal((4, 4))


@pytest.mark.parametrize(
    "wrong", [r"\frac{1}{2", r"\left( x", r"\begin{aligned} x", r"\foo", "φ", "a & b", "x_1_2", "50%"]
)
def test_the_check_finds_what_tex_would_not_set(wrong):
    with pytest.raises(AssertionError):
        assert_well_formed(wrong)


def test_names_that_mean_something_to_tex():
    name = r"50%_of {a} & #1 $^\~"
    F = nj.formula(batched(lambda x: nj.mark(jnp.tanh(x @ W), name)), np.ones((1, 4)))
    assert [symbol.layer for symbol in F.symbols] == [name, name]
    assert_well_formed(F.latex)
    assert_well_formed(F.definitions)
    assert r"50\%\_of \{a\} \& \#1 \$\textasciicircum{}\textbackslash{}\textasciitilde{}" in F.definitions


def test_a_product_too_long_for_a_line_has_several():
    def deep(x):
        for _ in range(20):
            x = jnp.tanh(x @ W)
        return x

    F = nj.formula(batched(deep), np.ones((1, 4)))
    rows = F.latex.split(r"\\")
    assert len(rows) > 2
    assert max(map(len, rows)) < 400
    assert "".join(rows).count("varphi") == 20
    assert_well_formed(F.latex)
    assert convert(F.latex).startswith("<math")


def test_short_formulas_stay_on_one_line():
    assert (
        nj.formula(batched(lambda x: jnp.tanh(x @ W)), np.ones((1, 4))).latex
        == r"J = \varphi'_{1}(z_{1}) \, W_{1}^{\top}"
    )
