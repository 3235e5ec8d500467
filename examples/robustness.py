"""Robustness of an image classifier: the nearest adversarial digits, attacks over ε, and what is certified.

Three views of one network. DeepFool says how near an image lies that is classified otherwise (the true distance is no larger);
attacks say how many images fall within ε; bounds on the Jacobian prove that some do not.

    python examples/robustness.py [FIGURE.png]
"""

import sys

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import netjac as nj

EPSILONS = np.array([0.01, 0.02, 0.04, 0.08, 0.16])
CERTIFIED = 20


def classifier():
    """64-32-10 on handwritten digits of 8 × 8 pixels from 0 to 1: the logits, and images that were held out."""
    images, labels = load_digits(return_X_y=True)
    X = (images / 16).astype("float32")
    fitted = MLPClassifier((32,), learning_rate_init=0.01, max_iter=100, tol=1e-3, random_state=0)
    fitted.fit(X[450:], labels[450:])
    (W, V), (b, c) = (tuple(a.astype("float32") for a in part) for part in (fitted.coefs_, fitted.intercepts_))

    def logits(x):
        return jax.nn.relu(x @ W + b) @ V + c

    return nj.network(logits, batched=True), X[:450], labels[:450]


def certified_margins(net, x, y, radius):
    """The least that the label's logit can be above each other one, all over the box around each image.

    f_y − f_k at x′ is at least its value at x less radius · Σ_j of the largest |∂(f_y − f_k)/∂x_j| in the box: the mean value
    theorem with enclosed derivatives. A positive least is a proof, but for the float32 rounding of
    the scores themselves.
    """
    lower, upper = nj.bounds(net, x, radius)
    scores = np.asarray(net(x), np.float64)
    rows = np.arange(len(x))
    low, high = lower[rows, y][:, None] - upper, upper[rows, y][:, None] - lower
    steepest = np.maximum(np.abs(low), np.abs(high)).sum(-1)
    margins = scores[rows, y][:, None] - scores - radius * steepest
    margins[rows, y] = np.inf
    return margins.min(-1)


def main(figure=None):
    net, X, y = classifier()
    right = np.asarray(net(X)).argmax(-1) == y
    print(f"{right.mean():.1%} of {len(y)} digits are recognised\n")

    nearest = nj.attacks.deepfool(net, X, y, bounds=(0, 1))
    print(nearest, "\n")
    curves = [
        nj.attacks.curve(net, X, y, epsilons=EPSILONS, attack=attack, bounds=(0, 1))
        for attack in (nj.attacks.fgsm, nj.attacks.pgd)
    ]
    some, labels = X[right][:CERTIFIED], y[right][:CERTIFIED]
    proven = np.array([np.mean(certified_margins(net, some, labels, float(e)) > 0) for e in EPSILONS])
    attacked = nj.attacks.curve(net, some, labels, epsilons=EPSILONS, bounds=(0, 1)).success

    print(f"{'ε (L∞)':<8}{'FGSM':>8}{'PGD':>8}   of {CERTIFIED} digits: fall to PGD, certified not to")
    for row in zip(EPSILONS, *(c.success for c in curves), attacked, proven, strict=True):
        print(f"{row[0]:<8.2f}{row[1]:>8.1%}{row[2]:>8.1%}   {row[3]:>25.0%}{row[4]:>15.0%}")
    if figure:
        nj.attacks.plot_curves(curves, figure)
    return {"accuracy": right.mean(), "nearest": nearest, "curves": curves, "proven": proven, "attacked": attacked}


if __name__ == "__main__":
    main(*sys.argv[1:2])
