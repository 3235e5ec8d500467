"""Which normalisation a piece of a network is: layer (or group, or instance) norm, root mean square, or unit length.

x is divided by σ over groups of n entries, σ² = mean((x − μ)²) + ε, mean(x²) + ε or Σx² + ε, and x̂ = (x − μ)/σ (μ = 0 but
for the first) is scaled: y = γ ⊙ x̂ + β. Its Jacobian is diag(γ) (I − 11ᵀ/n − x̂x̂ᵀ/n)/σ (Ba, Kiros and Hinton, Layer
normalization, 2016), for the second without 11ᵀ/n, for the last diag(γ) (I − x̂x̂ᵀ)/σ, whatever ε is. The equations may be
written in many ways, so they are evaluated at some random x: a piece is called what it computes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from netjac.formula.expression import Atom
from netjac.formula.graph import Graph
from netjac.formula.trial import Trial, trials

Shape = tuple[int, ...]
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}


@dataclass(frozen=True)
class Normalisation:
    """`kind`: "layer", "rms" or "unit"; `count`: the entries of each group."""

    kind: str
    count: int


def normalisation(graph: Graph, atom: Atom) -> Normalisation | None:
    """What an atom of the kind "norm" is; None where it is none of these, or depends on more than its input."""
    values = sorted((*atom.inner, atom.head), key=graph.order)
    equations = {value: graph.equation(value) for value in values}
    root = next((v for v in values if equations[v].name in ("rsqrt", "sqrt")), None)
    sums = [equations[v] for v in values if equations[v].name == "reduce_sum" and v != root]
    sums = [eqn for eqn in sums if root is not None and graph.order(eqn.results[0]) < graph.order(root)]
    tolerance = TOLERANCE.get(str(graph.program.dtype(atom.head)))
    if root is None or not sums or tolerance is None:
        return None
    last = sums[-1]
    shape, axes = graph.program.shape(last.operands[0]), tuple(last.parameters["axes"])
    groups = prod(size for axis, size in enumerate(shape) if axis not in axes)
    sizes = {prod(shape), graph.program.size(atom.tail), graph.program.size(atom.head)}
    if len(sizes) > 1 or graph.program.size(root) != groups:
        return None
    tried = trials(graph, atom, (atom.head, root))
    if tried is None:
        return None
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    inverse = equations[root].name == "rsqrt"
    kind = _kind([_shaped(trial, inverse, shape, kept) for trial in tried], axes, tolerance)
    return None if kind is None else Normalisation(kind, prod(shape) // groups)


@dataclass(frozen=True)
class Run:
    """The piece at one x: y, σ, and dy along v."""

    x: np.ndarray
    v: np.ndarray
    y: np.ndarray
    dy: np.ndarray
    sigma: np.ndarray


def _shaped(trial: Trial, inverse: bool, shape: Shape, kept: Shape) -> Run:
    x, v, y, dy = (array.reshape(shape) for array in (trial.x, trial.v, trial.values[0], trial.moves[0]))
    sigma = trial.values[1].reshape(kept)
    return Run(x, v, y, dy, 1 / sigma if inverse else sigma)


def _kind(runs: list[Run], axes: tuple[int, ...], tolerance: float) -> str | None:
    """The kind whose σ, whose value and whose derivative are those of the piece.

    γ is not known, but is the same everywhere: y₁ − y₂ = γ ⊙ (x̂₁ − x̂₂).
    """

    def mean(array: np.ndarray) -> np.ndarray:
        return np.asarray(array.mean(axes, keepdims=True))

    for kind in ("layer", "rms", "unit"):
        centre = mean if kind == "layer" else np.zeros_like
        count = np.prod([runs[0].x.shape[axis] for axis in axes]) if kind == "unit" else 1
        hats = [(run.x - centre(run.x)) / run.sigma for run in runs]
        rests = [np.square(run.sigma) - count * mean(np.square(run.x - centre(run.x))) for run in runs]
        moves = [
            (run.v - centre(run.v) - hat * count * mean(hat * run.v)) / run.sigma
            for run, hat in zip(runs, hats, strict=True)
        ]
        pairs = [((runs[0].y - runs[1].y) * (hats[0] - hats[2]), (runs[0].y - runs[2].y) * (hats[0] - hats[1]))]
        pairs += [
            (run.dy * (hats[0] - hats[1]), (runs[0].y - runs[1].y) * move)
            for run, move in zip(runs, moves, strict=True)
        ]
        same = all(np.abs(a - b).max() <= tolerance * max(np.abs(a).max(), np.abs(b).max()) for a, b in pairs)
        if same and all(np.abs(rest - rests[0]).max() < tolerance for rest in rests):
            return kind
    return None
