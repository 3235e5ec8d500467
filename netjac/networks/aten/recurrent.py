"""LSTM, GRU and RNN as scans over time, layer by layer and direction by direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import op

Cell = Callable[[tuple[Any, ...], Any, Any], tuple[Any, ...]]
"""(state, input's share of the gates, (recurrent weight, recurrent bias)) → state; state[0] is the output."""


def _lstm(state: tuple[Any, ...], gates: Any, recurrent: Any) -> tuple[Any, ...]:
    h, c = state
    i, f, g, o = jnp.split(gates + _affine(h, *recurrent), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(state: tuple[Any, ...], gates: Any, recurrent: Any) -> tuple[Any, ...]:
    (h,) = state
    r, z, n = jnp.split(gates, 3, -1)
    hr, hz, hn = jnp.split(_affine(h, *recurrent), 3, -1)
    r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
    n = jnp.tanh(n + r * hn)
    return ((1 - z) * n + z * h,)


def _rnn(activation: Callable[[Any], Any]) -> Cell:
    return lambda state, gates, recurrent: (activation(gates + _affine(state[0], *recurrent)),)


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


def _run(
    cell: Cell,
    x: Any,
    states: Sequence[Any],
    parameters: Sequence[Any],
    has_biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, list[Any]]:
    """The outputs over time and, for each kind of state, the last ones stacked over layers and directions."""
    alone = x.ndim == 2
    if alone:
        x, states = x[:, None], [s[:, None] for s in states]
    elif batch_first:
        x = jnp.swapaxes(x, 0, 1)
    directions, each = (2 if bidirectional else 1), (4 if has_biases else 2)
    if len(parameters) != layers * directions * each:
        raise NotImplementedError("a projected state, proj_size")
    lasts: list[list[Any]] = [[] for _ in states]
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            own = parameters[place * each : (place + 1) * each]
            biases = own[2:] if has_biases else (None, None)
            start = tuple(s[place] for s in states)
            end, ys = _one(cell, x, start, own[0], own[1], biases, direction == 1)
            outputs.append(ys)
            for kept, state in zip(lasts, end, strict=True):
                kept.append(state)
        x = outputs[0] if directions == 1 else jnp.concatenate(outputs, -1)
    finals = [jnp.stack(kept) for kept in lasts]
    if alone:
        return x[:, 0], [f[:, 0] for f in finals]
    return (jnp.swapaxes(x, 0, 1) if batch_first else x), finals


def _one(
    cell: Cell, x: Any, start: tuple[Any, ...], w_in: Any, w_state: Any, biases: Sequence[Any], backwards: bool
) -> tuple[tuple[Any, ...], Any]:
    gates = _affine(x, w_in, biases[0])

    def step(state: tuple[Any, ...], now: Any) -> tuple[tuple[Any, ...], Any]:
        state = cell(state, now, (w_state, biases[1]))
        return state, state[0]

    return lax.scan(step, start, gates, reverse=backwards)


@op("lstm.input")
def lstm(
    x: Any,
    states: Any,
    parameters: Any,
    has_biases: bool,
    layers: int,
    _p: float,
    _train: bool,
    both: bool,
    first: bool,
) -> Any:
    y, (h, c) = _run(_lstm, x, states, parameters, has_biases, layers, both, first)
    return y, h, c


def _single(cell: Cell) -> Callable[..., Any]:
    def run(
        x: Any, state: Any, parameters: Any, has_biases: bool, layers: int, _p: float, _t: bool, both: bool, first: bool
    ) -> Any:
        y, (h,) = _run(cell, x, [state], parameters, has_biases, layers, both, first)
        return y, h

    return run


op("gru.input")(_single(_gru))
op("rnn_tanh.input")(_single(_rnn(jnp.tanh)))
op("rnn_relu.input")(_single(_rnn(jax.nn.relu)))
