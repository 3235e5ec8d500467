"""The functions on which elimination orders are compared in the literature, written anew from their mathematics.

Sources: Griewank and Walther, Evaluating Derivatives (the Helmholtz energy); Roe, J. Comput. Phys. 43 (1981) 357 (the
flux); Denavit and Hartenberg, J. Appl. Mech. 22 (1955) 215 (the arm, with one wrist-partitioned set of lengths); Black
and Scholes, J. Polit. Econ. 81 (1973) 637; a perceptron and a transformer's encoder.
"""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.oracles import relative_error

RNG = np.random.default_rng(0)


def helmholtz(x):
    """The free energy of a mixture by the equation of state of Peng and Robinson, up to constants."""
    b = jnp.linspace(0.01, 0.02, x.size)
    A = 1 / (1 + jnp.abs(jnp.subtract.outer(jnp.arange(x.size), jnp.arange(x.size))))
    volume = b @ x
    attraction = (x @ A @ x) / (np.sqrt(8) * volume)
    mixing = jnp.sum(x * jnp.log(x / (1 - volume)))
    return mixing - attraction * jnp.log((1 + (1 + np.sqrt(2)) * volume) / (1 + (1 - np.sqrt(2)) * volume))


def roe_flux(left, right, gamma=1.4):
    """The flux between two states (density, momentum, energy) of a gas in one dimension."""

    def primitive(state):
        density, momentum, energy = state
        velocity = momentum / density
        pressure = (gamma - 1) * (energy - 0.5 * momentum * velocity)
        return density, velocity, pressure, (energy + pressure) / density

    def flux(state):
        _, velocity, pressure, _ = primitive(state)
        return jnp.stack([state[1], state[1] * velocity + pressure, (state[2] + pressure) * velocity])

    (rl, ul, pl, hl), (rr, ur, pr, hr) = primitive(left), primitive(right)
    wl, wr = jnp.sqrt(rl), jnp.sqrt(rr)
    u, h = (wl * ul + wr * ur) / (wl + wr), (wl * hl + wr * hr) / (wl + wr)
    c = jnp.sqrt((gamma - 1) * (h - 0.5 * u**2))
    density, jump = wl * wr, pr - pl
    waves = [
        ((jump - density * c * (ur - ul)) / (2 * c**2), u - c, jnp.stack([jnp.ones(()), u - c, h - u * c])),
        ((rr - rl) - jump / c**2, u, jnp.stack([jnp.ones(()), u, 0.5 * u**2])),
        ((jump + density * c * (ur - ul)) / (2 * c**2), u + c, jnp.stack([jnp.ones(()), u + c, h + u * c])),
    ]
    return 0.5 * (flux(left) + flux(right)) - 0.5 * sum(a * jnp.abs(speed) * vector for a, speed, vector in waves)


def robot_arm(angles):
    """Where a hand with six joints is, and how it is turned (three Euler angles)."""
    lengths, offsets = (0.0, 0.43, 0.02, 0.0, 0.0, 0.0), (0.67, 0.0, 0.15, 0.43, 0.0, 0.06)
    twists = (np.pi / 2, 0.0, -np.pi / 2, np.pi / 2, -np.pi / 2, 0.0)
    pose = jnp.eye(4)
    for k in range(6):
        c, s, ct, st = jnp.cos(angles[k]), jnp.sin(angles[k]), np.cos(twists[k]), np.sin(twists[k])
        rows = [
            [c, -s * ct, s * st, lengths[k] * c],
            [s, c * ct, -c * st, lengths[k] * s],
            [0.0, st, ct, offsets[k]],
            [0.0, 0.0, 0.0, 1.0],
        ]
        pose = pose @ jnp.stack([jnp.stack([jnp.asarray(e, angles.dtype) for e in row]) for row in rows])
    turned = [
        jnp.arctan2(pose[1, 0], pose[0, 0]),
        jnp.arctan2(-pose[2, 0], jnp.sqrt(pose[2, 1] ** 2 + pose[2, 2] ** 2)),
        jnp.arctan2(pose[2, 1], pose[2, 2]),
    ]
    return jnp.concatenate([pose[:3, 3], jnp.stack(turned)])


def black_scholes(market):
    """The price of a European call for (spot, strike, rate, volatility, time)."""
    spot, strike, rate, volatility, time = market
    spread = volatility * jnp.sqrt(time)
    d1 = (jnp.log(spot / strike) + (rate + 0.5 * volatility**2) * time) / spread
    below = jax.scipy.stats.norm.cdf
    return spot * below(d1) - strike * jnp.exp(-rate * time) * below(d1 - spread)


def perceptron(x, target, W1, b1, W2, b2):
    hidden = jnp.tanh(W1 @ x + b1)
    return -target @ jax.nn.log_softmax(W2 @ hidden + b2)


def normalised(h):
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def encoder(tokens, Wq, Wk, Wv, W1, W2, target):
    h = normalised(tokens)
    weights = jax.nn.softmax((h @ Wq) @ (h @ Wk).T / np.sqrt(Wq.shape[1]), -1)
    h = tokens + weights @ (h @ Wv)
    h = h + jax.nn.relu(normalised(h) @ W1) @ W2
    return -jnp.sum(target * jax.nn.log_softmax(h.mean(0)))


def drawn(*shape):
    return RNG.normal(size=shape)


STATE = np.array([1.0, 0.4, 2.6]), np.array([0.5, -0.1, 1.1])
MARKET = np.array([100.0, 95.0, 0.03, 0.25, 0.7])
EXAMPLES = {
    "Helmholtz": (helmholtz, (RNG.uniform(0.5, 2, 8),)),
    "RoeFlux": (roe_flux, STATE),
    "RobotArm": (robot_arm, (RNG.uniform(-1, 1, 6),)),
    "BlackScholes": (black_scholes, (MARKET,)),
    "BlackScholes, its Hessian": (jax.grad(black_scholes), (MARKET,)),
    "Perceptron": (perceptron, (drawn(4), np.eye(3)[1], drawn(8, 4), drawn(8), drawn(3, 8), drawn(3))),
    "Encoder": (
        encoder,
        (drawn(5, 6), drawn(6, 6), drawn(6, 6), drawn(6, 6), drawn(6, 12), drawn(12, 6), np.eye(6)[2]),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_more_operations_than_the_better_plain_mode_and_the_same_numbers(name):
    f, inputs = EXAMPLES[name]
    given = inputs if len(inputs) > 1 else inputs[0]
    plan = nj.explain(f, given)
    plain = {other.name: other.operations for other in plan.alternatives}
    assert 0 < plan.operations <= min(plain["plain reverse"], plain["plain forward"])
    with jax.enable_x64(True):
        expected = jax.jit(jax.jacrev(f, tuple(range(len(inputs)))))(*map(jnp.asarray, inputs))
    found = nj.jacobian(f, given)
    names = list(inspect.signature(f).parameters)[: len(inputs)]
    blocks = [found[name] for name in names] if len(inputs) > 1 else [found]
    for ours, theirs in zip(blocks, expected, strict=True):
        assert relative_error(np.asarray(ours), np.asarray(theirs)) < 1e-10
