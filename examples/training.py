"""Training: Levenberg and Marquardt beside Adam, on the sinc function.

Both start from the same 31 weights. A step of the first solves for all weights together, from the Jacobian of all samples by
all weights; Adam sees a gradient a step, and takes twenty times as many of them.

    python examples/training.py [FIGURE.png]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import netjac as nj

WIDTH = 10
ADAM_STEPS = 4_000


def net(p, x):
    return jnp.tanh(x @ p["W"] + p["b"]) @ p["V"] + p["c"]


def adam(start, X, Y, steps, rate=0.01):
    """Kingma and Ba, arXiv 1412.6980: the losses of every step."""

    def loss(p):
        return jnp.mean((net(p, X) - Y) ** 2)

    def step(state, number):
        p, m, v = state
        value, g = jax.value_and_grad(loss)(p)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1 - 0.9 ** (number + 1), 1 - 0.999 ** (number + 1)
        p = jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-8), p, m, v)
        return (p, m, v), value

    zeros = jax.tree.map(jnp.zeros_like, start)
    return np.asarray(jax.lax.scan(step, (start, zeros, zeros), jnp.arange(steps, dtype=jnp.float32))[1])


def main(figure=None):
    rng = np.random.default_rng(0)
    X = np.linspace(-1, 1, 200)[:, None]
    Y = np.sinc(3 * X)
    start = {
        "W": rng.standard_normal((1, WIDTH)) * 2,
        "b": rng.standard_normal(WIDTH),
        "V": rng.standard_normal((WIDTH, 1)) / 3,
        "c": np.zeros(1),
    }
    found = nj.fit(net, X, Y, parameters=start, max_iterations=200, target=1e-8)
    losses = adam({name: a.astype("float32") for name, a in start.items()}, X, Y, ADAM_STEPS)
    print(found)
    print(f"Adam: mse {losses[0]:.6g} → {losses.min():.6g} in {ADAM_STEPS} steps")
    if figure:
        drawn([found.initial_loss, *(one.loss for one in found.history if one.accepted)], losses, figure)
    return {"fit": found, "adam": losses}


def drawn(fitted, losses, figure):
    from matplotlib.figure import Figure

    picture = Figure(figsize=(6, 3.5), layout="constrained")
    axes = picture.subplots()
    axes.loglog(np.arange(1, len(fitted) + 1), fitted, label="Levenberg–Marquardt")
    axes.loglog(np.arange(1, len(losses) + 1), losses, label="Adam")
    axes.set(xlabel="step", ylabel="mean squared error")
    axes.legend(frameon=False)
    picture.savefig(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
