"""The order of a chain: dynamic programming over brackets.

A network whose values are, at some points, the only way from input to output is a chain of factors there. For factors
i…j with C[j, i] the cheapest way to their Jacobian (Naumann, generalised dense Jacobian chain bracketing):

    C[i, i] = E_i · min(m_i, n_i)                                   or 0 for a matrix that is already in hand
    C[j, i] = min over k of  C[j, k] + C[k−1, i] + 2 m_j n_k n_i    product
                             C[k−1, i] + n_i (E_k + … + E_j)        push the lower part forward
                             C[j, k] + m_j (E_i + … + E_{k−1})      pull the upper part back

m and n are a factor's outputs and inputs, E its operations for one vector. An autoencoder comes out cut at its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """One factor of the chain: `outputs` × `inputs`, `sweep` operations a vector, `ready` when it is a matrix in hand."""

    outputs: int
    inputs: int
    sweep: int
    ready: bool = False


@dataclass(frozen=True)
class Bracket:
    """How factors `low`…`high` are accumulated: a `leaf`, or split before factor `split` by product, push or pull."""

    low: int
    high: int
    form: str
    split: int = 0
    lower: Bracket | None = None
    upper: Bracket | None = None


def best_bracket(links: Sequence[Link]) -> Bracket:
    """The cheapest way to the Jacobian of the whole chain, by operations."""
    total = [0]
    for link in links:
        total.append(total[-1] + link.sweep)
    cost: dict[tuple[int, int], float] = {}
    choice: dict[tuple[int, int], tuple[str, int]] = {}
    for i, link in enumerate(links):
        cost[i, i] = 0 if link.ready else link.sweep * min(link.outputs, link.inputs)
        choice[i, i] = ("leaf", i)
    for length in range(2, len(links) + 1):
        for low in range(len(links) - length + 1):
            high = low + length - 1
            m, n = links[high].outputs, links[low].inputs
            options = []
            for k in range(low + 1, high + 1):
                upper, lower = cost[k, high], cost[low, k - 1]
                options.append((upper + m * (total[k] - total[low]), "pull", k))
                options.append((lower + n * (total[high + 1] - total[k]), "push", k))
                options.append((upper + lower + 2 * m * links[k].inputs * n, "product", k))
            best = min(options, key=lambda option: option[0])
            cost[low, high], choice[low, high] = best[0], (best[1], best[2])
    return _tree(0, len(links) - 1, choice)


def _tree(low: int, high: int, choice: dict[tuple[int, int], tuple[str, int]]) -> Bracket:
    form, split = choice[low, high]
    if form == "leaf":
        return Bracket(low, high, "leaf", low)
    lower = _tree(low, split - 1, choice) if form != "pull" else None
    upper = _tree(split, high, choice) if form != "push" else None
    return Bracket(low, high, form, split, lower, upper)
