"""The weights and inputs of one network that every framework is given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

rng = np.random.default_rng(0)
SIZES = (6, 8, 5, 3)
WEIGHTS = [(rng.standard_normal((m, n)), rng.standard_normal(n)) for m, n in pairwise(SIZES)]
X = rng.standard_normal((7, 6))
