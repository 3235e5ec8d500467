"""Which few features determine what a network's outputs do: column subset selection with the network as the judge.

Let H = E JᵀJ and Σ the covariance of the features. For Gaussian features Poincaré's inequality (Chernoff 1981; Chen 1982),
applied at fixed x_S, bounds what is left to guess of the outputs when only the features S are known:

    E Var(f | x_S)  ≤  tr(H · Σ/S),        Σ/S = Σ − Σ_{:S} Σ_SS⁻¹ Σ_{S:}

with equality for linear f. A feature counts by what the network does with it (H) and by how well the chosen ones already
predict it (Σ/S): of two equal columns the second gains nothing. The bound falls by

    gain_j = (C H C)_jj / C_jj,            C = Σ/S,

when j joins S, after which C loses C_{:j} C_{j:} / C_jj: a Cholesky factorisation of Σ pivoted by the largest gain. It is
greedy generalised column subset selection (Farahat, Ghodsi & Kamel 2013, "A fast greedy algorithm for generalized column subset
selection") of the data's columns for the target data · H^½. With Σ diagonal, the gains are σ_j² H_jj: the ranking.

Example: H = [[1, 1], [1, 1]] (f = x_1 + x_2). For Σ = I both gain 1 and nothing is left after both. For Σ = [[1, 1], [1, 1]]
(equal columns) the first gains 4, which is all, and the second nothing.
"""

from __future__ import annotations

import numpy as np

DETERMINED = 1e-9
"""A feature of whose variance no more than this part is left is determined by the chosen ones."""


def greedy(gram: np.ndarray, covariance: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Up to `k` features in the order of choice, and the part of tr(H Σ) that is accounted for after each.

    Fewer where the chosen ones determine all others, or nothing is left to gain. O(n²) a feature, after one product H Σ.
    """
    left = np.array(covariance, np.float64)
    variances = np.diag(left).copy()
    moved = gram @ left
    total = rest = float(np.trace(moved))
    chosen: list[int] = []
    explained: list[float] = []
    while len(chosen) < k and rest > 0:
        own = np.diag(left)
        free = own > DETERMINED * variances
        free[chosen] = False
        gains = np.where(free, np.einsum("ij,ij->j", left, moved) / np.where(free, own, 1), 0)
        best = int(gains.argmax())
        if not gains[best] > 1e-12 * total:
            break
        column, by_column = left[:, best].copy(), moved[:, best].copy()
        moved -= np.outer(by_column, column / column[best])
        left -= np.outer(column, column / column[best])
        rest = max(rest - float(gains[best]), 0.0)
        chosen.append(best)
        explained.append(1 - rest / total)
    return chosen, explained
