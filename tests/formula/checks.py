"""What every formula is held to."""

from __future__ import annotations

import numpy as np
from latex2mathml.converter import convert

import netjac as nj
from tests.formula.latex import assert_well_formed


def batched(f):
    return nj.network(f, batched=True)


def equal(F, model, x, **names):
    """The formula's numbers are the engine's, to rounding, and its LaTeX can be read."""
    J = np.asarray(nj.jacobian(model, x, **names))
    found = F.evaluate(x)
    assert found.shape == J.shape
    scale = max(np.abs(J).max(), 1e-30) if J.size else 1
    assert np.abs(found - J).max(initial=0) <= (1e-11 if J.dtype == np.float64 else 1e-5) * scale
    assert convert(F.latex).startswith("<math")
    for latex in (F.latex, F.definitions, *(step.latex for step in F.derivation)):
        assert_well_formed(latex)
