"""What the attacks are held against: the papers' formulas and loops in plain NumPy, one sample at a time, in float64."""

from __future__ import annotations

from itertools import combinations, pairwise

import jax.numpy as jnp
import numpy as np

import netjac as nj


class Net:
    """x ↦ W₂ tanh(W₁x + a) + b (without W₁: affine), with its Jacobian written out."""

    def __init__(self, sizes, seed=0, scale=1.0):
        rng = np.random.default_rng(seed)
        self.layers = [
            (scale * rng.standard_normal((m, n)) / np.sqrt(n), 0.3 * rng.standard_normal(m)) for n, m in pairwise(sizes)
        ]

    def scores(self, x):
        *hidden, (W, b) = self.layers
        for V, a in hidden:
            x = np.tanh(V @ x + a)
        return W @ x + b

    def jacobian(self, x):
        *hidden, (W, _) = self.layers
        J = np.eye(len(x))
        for V, a in hidden:
            x = np.tanh(V @ x + a)
            J = (1 - x**2)[:, None] * (V @ J)
        return W @ J

    def network(self):
        def f(x):
            for place, (V, a) in enumerate(self.layers):
                x = x @ V.T.astype(x.dtype) + a.astype(x.dtype)
                x = jnp.tanh(x) if place < len(self.layers) - 1 else x
            return x

        return nj.network(f, batched=True)

    def classes(self, X):
        return np.array([self.scores(x).argmax() for x in X])


def loss_gradient(net, x, label):
    """∇ₓ of −log softmax(scores)[label]."""
    s = net.scores(x)
    p = np.exp(s - s.max())
    p /= p.sum()
    return (p - np.eye(len(s))[label]) @ net.jacobian(x)


def fgsm(net, x, label, epsilon, sign=1):
    return x + sign * epsilon * np.sign(loss_gradient(net, x, label))


def deepfool(net, x, label, norm, overshoot=0.02, steps=50):
    """Algorithm 2 and section 3.3 of the paper, as its authors' code runs it."""
    total, at = np.zeros_like(x), x
    for _ in range(steps):
        s, J = net.scores(at), net.jacobian(at)
        if s.argmax() != label:
            break
        best = None
        for k in range(len(s)):
            if k == label:
                continue
            w, f = J[k] - J[label], s[k] - s[label]
            size = np.linalg.norm(w, 1 if norm == np.inf else 2)
            if best is None or abs(f) / size < best[0]:
                best = abs(f) / size, np.sign(w) if norm == np.inf else w / size
        total = total + best[0] * best[1]
        at = x + (1 + overshoot) * total
    return at


def jsma(net, x, target, theta, gamma, low, high):
    """Algorithms 2 and 3 of the paper: pairs one after another."""
    x, domain = x.copy(), [i for i in range(len(x)) if (x[i] < high if theta > 0 else x[i] > low)]
    most, done = int(gamma * len(x) / 2), 0
    while net.scores(x).argmax() != target and done < most and domain:
        J, best, chosen = net.jacobian(x), 0.0, None
        for p, q in combinations(domain, 2):
            alpha = J[target, p] + J[target, q]
            beta = sum(J[j, p] + J[j, q] for j in range(len(J)) if j != target)
            salient = (alpha > 0 and beta < 0) if theta > 0 else (alpha < 0 and beta > 0)
            if salient and -alpha * beta > best:
                best, chosen = -alpha * beta, (p, q)
        if chosen is None:
            break
        for i in chosen:
            x[i] = np.clip(x[i] + theta, low, high)
            if x[i] in (low, high):
                domain.remove(i)
        done += 1
    return x
