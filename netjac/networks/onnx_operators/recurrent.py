"""LSTM, GRU and RNN as scans over time, one direction after the other.

Gates lie in ONNX's order: i, o, f, c of an LSTM; z, r, h of a GRU.

    LSTM   c' = f ⊙ c + i ⊙ g(·),  h' = o ⊙ h(c')       with peepholes P: i, f see c, o sees c'
    GRU    h' = (1 − z) ⊙ ĥ + z ⊙ h,  ĥ = g(W x + R (r ⊙ h))   or, `linear_before_reset`, g(W x + r ⊙ (R h))
    RNN    h' = f(W x + R h + b)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.aten import activation as torch
from netjac.networks.onnx_operators.registry import Node, operator

Activation = Callable[[Any], Any]
Step = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]
"""(state, the input's share of the gates) → state; state[0] is the output."""


@operator("LSTM", known=(4,))
def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None
) -> Any:
    if node.get("input_forget", 0):
        raise NotImplementedError("input_forget, a coupled input gate")

    def cell(acts: Sequence[Activation], own: Direction) -> Step:
        gate, candidate, out = acts
        peep = jnp.split(own.peepholes, 3) if own.peepholes is not None else (0.0, 0.0, 0.0)

        def step(state: tuple[Any, ...], now: Any) -> tuple[Any, ...]:
            h, c = state
            i, o, f, g = jnp.split(now + h @ own.recurrent.T, 4, -1)
            i, f = gate(own.clipped(i + peep[0] * c)), gate(own.clipped(f + peep[2] * c))
            c = f * c + i * candidate(own.clipped(g))
            return gate(own.clipped(o + peep[1] * c)) * out(c), c

        return step

    return _directions(node, x, w, r, b, lengths, (h, c), p, cell, ["Sigmoid", "Tanh", "Tanh"], summed=4)


@operator("GRU", known=(4,))
def gru(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    after = bool(node.get("linear_before_reset", 0))

    def cell(acts: Sequence[Activation], own: Direction) -> Step:
        gate, candidate = acts
        rz, rr, rh = jnp.split(own.recurrent, 3)
        both = jnp.concatenate([rz, rr])
        late = own.recurrent_bias[-rh.shape[0] :] if own.recurrent_bias is not None else 0

        def step(state: tuple[Any, ...], now: Any) -> tuple[Any, ...]:
            (h,) = state
            zr, hidden = now[..., : both.shape[0]], now[..., both.shape[0] :]
            z, reset = jnp.split(gate(own.clipped(zr + h @ both.T)), 2, -1)
            inner = reset * (h @ rh.T + late) if after else (reset * h) @ rh.T + late
            new = candidate(own.clipped(hidden + inner))
            return ((1 - z) * new + z * h,)

        return step

    return _directions(node, x, w, r, b, lengths, (h,), None, cell, ["Sigmoid", "Tanh"], summed=2)


@operator("RNN", known=(4,))
def rnn(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    def cell(acts: Sequence[Activation], own: Direction) -> Step:
        return lambda state, now: (acts[0](own.clipped(now + state[0] @ own.recurrent.T)),)

    return _directions(node, x, w, r, b, lengths, (h,), None, cell, ["Tanh"], summed=1)


class Direction:
    """The weights of one direction, for one step: `recurrent` (gates · H, H), biases (gates · H) or None."""

    def __init__(self, recurrent: Any, recurrent_bias: Any, peepholes: Any, clip: float | None) -> None:
        self.recurrent = recurrent
        self.recurrent_bias = recurrent_bias
        self.peepholes = peepholes
        self._clip = clip

    def clipped(self, gates: Any) -> Any:
        return gates if self._clip is None else jnp.clip(gates, -self._clip, self._clip)


def _directions(
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    starts: Sequence[Any],
    peepholes: Any,
    cell: Callable[[Sequence[Activation], Direction], Step],
    default: list[str],
    summed: int,
) -> tuple[Any, ...]:
    """The outputs over time (T, directions, B, H), and the last of each state (directions, B, H); B first with `layout`.

    The recurrent bias of the first `summed` gates is added to the input's.
    """
    first = bool(node.get("layout", 0))
    x = jnp.swapaxes(x, 0, 1) if first else x
    if lengths is not None and np.any(lengths != x.shape[0]):
        raise NotImplementedError("sequences of different lengths, sequence_lens")
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[
        node.get("direction", "forward")
    ]
    hidden, acts = r.shape[-1], _activations(node, default, len(directions))
    lasts: list[list[Any]] = [[] for _ in starts]
    outputs = []
    for place, backwards in enumerate(directions):
        own = _weights(node, r, b, peepholes, place)
        gates = x @ w[place].T
        if b is not None:
            bias, late = jnp.split(b[place], 2)
            gates = gates + bias + jnp.concatenate([late[: summed * hidden], jnp.zeros_like(late[summed * hidden :])])
        start = tuple(_start(s, place, x, hidden, first) for s in starts)
        end, ys = _over_time(cell(acts[place], own), start, gates, backwards)
        outputs.append(ys)
        for kept, state in zip(lasts, end, strict=True):
            kept.append(state)
    y, finals = jnp.stack(outputs, 1), [jnp.stack(kept) for kept in lasts]
    if first:
        return y.transpose(2, 0, 1, 3), *(jnp.swapaxes(f, 0, 1) for f in finals)
    return y, *finals


def _weights(node: Node, r: Any, b: Any, peepholes: Any, place: int) -> Direction:
    late = None if b is None else jnp.split(b[place], 2)[1]
    return Direction(r[place], late, None if peepholes is None else peepholes[place], node.get("clip"))


def _start(state: Any, place: int, x: Any, hidden: int, batch_first: bool) -> Any:
    if state is None:
        return jnp.zeros((x.shape[1], hidden), x.dtype)
    return state[:, place] if batch_first else state[place]


def _over_time(step: Step, start: tuple[Any, ...], gates: Any, backwards: bool) -> tuple[tuple[Any, ...], Any]:
    def one(state: tuple[Any, ...], now: Any) -> tuple[tuple[Any, ...], Any]:
        state = step(state, now)
        return state, state[0]

    return lax.scan(one, start, gates, reverse=backwards)


def _activations(node: Node, default: list[str], directions: int) -> list[list[Activation]]:
    """Each direction's, named in `activations`, with their α and β where they take any."""
    names = node.get("activations") or default * directions
    alphas, betas = iter(node.get("activation_alpha", [])), iter(node.get("activation_beta", []))
    found = [_activation(name, alphas, betas) for name in names]
    each = len(found) // directions
    return [found[i * each : (i + 1) * each] for i in range(directions)]


def _activation(name: str, alphas: Any, betas: Any) -> Activation:
    plain: dict[str, Activation] = {
        "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": torch.relu, "softsign": lambda x: x / (1 + jnp.abs(x)),
        "softplus": jax.nn.softplus,
    }  # fmt: skip
    kind = name.lower()
    if kind in plain:
        return plain[kind]
    with_alpha: dict[str, tuple[float, Callable[[Any, float], Any]]] = {
        "leakyrelu": (0.01, torch.leaky_relu), "elu": (1.0, torch.elu),
        "thresholdedrelu": (1.0, lambda x, a: torch.threshold(x, a, 0.0)),
    }  # fmt: skip
    if kind in with_alpha:
        usual, function = with_alpha[kind]
        alpha = next(alphas, usual)
        return lambda x: function(x, alpha)
    with_both: dict[str, tuple[float, float, Callable[[Any, float, float], Any]]] = {
        "affine": (1.0, 0.0, lambda x, a, b: a * x + b),
        "scaledtanh": (1.0, 1.0, lambda x, a, b: a * jnp.tanh(b * x)),
        "hardsigmoid": (0.2, 0.5, lambda x, a, b: torch.hardtanh(a * x + b, 0.0, 1.0)),
    }
    if kind not in with_both:
        raise NotImplementedError(f"the activation {name!r}")
    a, b, both = with_both[kind]
    alpha, beta = next(alphas, a), next(betas, b)
    return lambda x: both(x, alpha, beta)
