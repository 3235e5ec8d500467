"""Control: a network learns how a pendulum moves, its Jacobian gives A and B, and these balance the pendulum upright.

The network predicts the change of (angle, angular velocity) over a step of 0.05 s from the state and the torque. At the upright
state x₊ = x + A x + B u to first order, with A and B two Jacobians of the network, asked for by name.

    python examples/control.py [FIGURE.png]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_discrete_are

import netjac as nj

STEP, GRAVITY, FRICTION = 0.05, 9.81, 0.1
SIZES = (3, 24, 2)


def pendulum(state, torque):
    """One step by Runge and Kutta; the angle is 0 upright, mass and length are 1."""

    def slope(s):
        return jnp.stack([s[..., 1], GRAVITY * jnp.sin(s[..., 0]) - FRICTION * s[..., 1] + torque[..., 0]], -1)

    a = slope(state)
    b = slope(state + STEP / 2 * a)
    c = slope(state + STEP / 2 * b)
    return state + STEP / 6 * (a + 2 * b + 2 * c + slope(state + STEP * c))


def learned_change(p, x):
    """The network: what a step changes of the state, of x = (angle, velocity, torque / 5)."""
    return jnp.tanh(x @ p["W"] + p["b"]) @ p["V"] + p["c"]


def trained(rng):
    """Levenberg and Marquardt on 800 steps, from states and torques drawn at random."""
    state, torque = rng.uniform(-1, 1, (800, 2)) * [1.2, 3], rng.uniform(-5, 5, (800, 1))
    change = np.asarray(pendulum(state, torque)) - state
    start = {
        "W": rng.standard_normal(SIZES[:2]) / 2,
        "b": rng.standard_normal(SIZES[1]) / 2,
        "V": rng.standard_normal(SIZES[1:]) / 50,
        "c": np.zeros(SIZES[2]),
    }
    return nj.fit(
        learned_change, np.hstack([state, torque / 5]), change, parameters=start, max_iterations=25, progress=False
    )


def main(figure=None):
    with jax.enable_x64(True):
        return balanced(figure)


def balanced(figure):
    found = trained(np.random.default_rng(0))
    print(found, "\n")
    weights = found.parameters

    def step(state, torque):
        return state + learned_change(weights, jnp.concatenate([state, torque / 5], -1))

    model = nj.network(step, batched=True)
    upright = {"state": np.zeros((1, 2)), "torque": np.zeros((1, 1))}
    by_name = nj.jacobian(model, upright, wrt=["state", "torque"])
    A, B = (np.asarray(by_name[name])[0] for name in ("state", "torque"))
    true_A, true_B = jax.jacobian(pendulum, (0, 1))(jnp.zeros(2), jnp.zeros(1))
    print("A of the network\n", A.round(4), "\nand of the pendulum\n", np.asarray(true_A).round(4))
    print("B of the network", B.ravel().round(4), "and of the pendulum", np.asarray(true_B).ravel().round(4))

    # The linear-quadratic regulator: u = −K x, from the discrete Riccati equation.
    Q, R = np.diag([10.0, 1.0]), np.eye(1)
    P = solve_discrete_are(A, B, Q, R)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    alone, closed = (np.abs(np.linalg.eigvals(M)).max() for M in (true_A, true_A - true_B @ K))
    print(f"\nlargest |eigenvalue| of the pendulum alone {alone:.3f}, with u = −K x {closed:.3f}")

    paths = {name: followed(gain) for name, gain in (("u = −K x", K), ("u = 0", 0 * K))}
    print(f"from 0.5 rad, after 5 s: {np.abs(paths['u = −K x'][-1]).max():.1e} with the controller")
    if figure:
        drawn(paths, figure)
    return {"A": A, "B": B, "true": (true_A, true_B), "alone": alone, "closed": closed, "paths": paths}


def followed(gain):
    """The true pendulum for five seconds, from half a radian off."""
    states = [np.array([0.5, 0.0])]
    for _ in range(100):
        states.append(np.asarray(_move(states[-1], -gain @ states[-1])))
    return np.array(states)


_move = jax.jit(pendulum)


def drawn(paths, figure):
    from matplotlib.figure import Figure

    picture = Figure(figsize=(6, 3.5), layout="constrained")
    axes = picture.subplots()
    for name, path in paths.items():
        axes.plot(np.arange(len(path)) * STEP, np.unwrap(path[:, 0]), label=name)
    axes.set(xlabel="seconds", ylabel="angle from upright (rad)", ylim=(-1, 7))
    axes.legend(frameon=False)
    picture.savefig(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
