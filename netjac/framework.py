"""`engine="framework"`: the Jacobian by the framework's own reverse mode, one row after another.

The way out for networks with operations that no front end has a rule for, and the oracle of checks. Nothing is known of
the graph here, so the samples' independence is tested rather than proven: cotangents on half of the samples must give
nothing at the other half, for as many halvings as it takes to part every two samples.
"""

from __future__ import annotations

from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.errors import ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.networks import network_of
from netjac.networks.arrays import to_numpy
from netjac.networks.network import Network
from netjac.operator import Jacobian
from netjac.pieces import Options
from netjac.plan.table import memory as in_words
from netjac.precision import precise
from netjac.progress import tracked
from netjac.source import Held
from netjac.structure import Structure
from netjac.vectors import Sides


def framework_jacobian(model: Any, x: Any, wrt: Any, of: Any, options: Options) -> Any:
    """The Jacobians of the outputs by the inputs or parameters. Layers cannot be asked for this way."""
    network = network_of(model)
    names, given = network.flatten(x)
    inputs = [to_numpy(value) for value in given]
    wide = any(value.dtype == np.float64 for value in inputs)
    with precise(wide):
        outputs = network.evaluate(inputs)
        outs = network.output_names(len(outputs))
        chosen = list(range(len(outs))) if of == "output" else [_place(outs, n, "output") for n in _listed(of)]
        rows = {k: _rows(network, inputs, outputs, k, options) for k in chosen}
        found = {outs[k]: _columns(network, names, given, inputs, outputs[k], rows[k], wrt) for k in chosen}
    single_out = isinstance(of, str) and len(found) == 1
    flat = {
        n: next(iter(v.values())) if isinstance(wrt, str) and len(v) == 1 and wrt != "parameters" else v
        for n, v in found.items()
    }
    return next(iter(flat.values())) if single_out else flat


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _place(known: tuple[str, ...], name: str, what: str) -> int:
    if name not in known:
        raise UnknownNameError.of(f"{what} (engine='framework' knows no layers)", name, known)
    return known.index(name)


class Rows:
    """All rows of one output's Jacobian, (rows, …) for each input and parameter."""

    def __init__(self, by_input: list[np.ndarray], by_parameter: dict[str, np.ndarray], per_sample: bool) -> None:
        self.by_input = by_input
        self.by_parameter = by_parameter
        self.per_sample = per_sample


def _rows(
    network: Network, inputs: list[np.ndarray], outputs: tuple[np.ndarray, ...], k: int, options: Options
) -> Rows:
    shape = outputs[k].shape
    batched = network.batched and shape[:1] == inputs[0].shape[:1]
    per_sample = batched and _independent(network, inputs, outputs, k)
    m = prod(shape[1:]) if per_sample else prod(shape)
    need = m * sum(value.nbytes for value in inputs)
    if need > budget(options.memory):
        raise TooLargeError(
            f"the Jacobian takes {in_words(need)}, over the budget; use netjac's own engine, or rows of it"
        )
    grads: list[list[np.ndarray]] = [[] for _ in inputs]
    by_parameter: dict[str, list[np.ndarray]] = {}
    for i in tracked(range(m), options.progress, "rows"):
        seed = np.zeros((shape[0], m) if per_sample else m, outputs[k].dtype)
        seed[..., i] = 1
        by_input, parameters = network.pull_back(inputs, _only(outputs, k, seed.reshape(shape)))
        for found, grad in zip(grads, by_input, strict=True):
            found.append(np.asarray(grad))
        for name, grad in parameters.items():
            by_parameter.setdefault(name, []).append(np.asarray(grad))
    stacked = {} if batched and shape[0] > 1 else {name: np.stack(g) for name, g in by_parameter.items()}
    return Rows(
        [np.stack(g) if g else np.zeros((0, *v.shape)) for g, v in zip(grads, inputs, strict=True)], stacked, per_sample
    )


def _only(outputs: tuple[np.ndarray, ...], k: int, seed: np.ndarray) -> list[np.ndarray | None]:
    return [seed if i == k else None for i in range(len(outputs))]


def _independent(network: Network, inputs: list[np.ndarray], outputs: tuple[np.ndarray, ...], k: int) -> bool:
    samples = inputs[0].shape[0]
    draw = np.random.default_rng(0)
    for bit in range(max(samples - 1, 0).bit_length()):
        for side in (0, 1):
            chosen = (np.arange(samples) >> bit & 1) == side
            seed = draw.standard_normal(outputs[k].shape).astype(outputs[k].dtype)
            seed[~chosen] = 0
            by_input, _ = network.pull_back(inputs, _only(outputs, k, seed))
            if any(np.any(np.asarray(grad)[~chosen]) for grad in by_input):
                return False
    return True


def _columns(
    network: Network,
    names: tuple[str, ...],
    given: Any,
    inputs: list[np.ndarray],
    output: np.ndarray,
    rows: Rows,
    wrt: Any,
) -> dict[str, Jacobian]:
    if wrt == "input":
        wanted = [n for n, value in zip(names, inputs, strict=True) if value.dtype.kind == "f"]
    elif wrt == "parameters":
        wanted = list(rows.by_parameter) or sorted(network.trainable)
    else:
        wanted = _listed(wrt)
    return {n: _one(names, given, inputs, output, rows, n, network) for n in wanted}


def _one(
    names: tuple[str, ...],
    given: Any,
    inputs: list[np.ndarray],
    output: np.ndarray,
    rows: Rows,
    name: str,
    network: Network,
) -> Jacobian:
    if name in network.trainable:
        if name not in rows.by_parameter:
            raise ShapeError("engine='framework' gives parameter Jacobians for one sample at a time; give a batch of 1")
        array = rows.by_parameter[name].reshape((*output.shape, *rows.by_parameter[name].shape[1:]))
        sides = Sides(1, output.shape[1:], rows.by_parameter[name].shape[1:], output.dtype, shared=True)
    else:
        place = _place(names, name, "input")
        array, inner = rows.by_input[place], inputs[place].shape
        if rows.per_sample:
            array = np.moveaxis(array, 0, 1).reshape((*output.shape, *inner[1:]))
            sides = Sides(inner[0], output.shape[1:], inner[1:], output.dtype)
        else:
            array = array.reshape((*output.shape, *inner))
            sides = Sides(None, output.shape, inner, output.dtype)
    told = (
        "tested by the framework's own reverse mode"
        if rows.per_sample
        else "samples are not independent, or there are none"
    )
    structure = Structure("dense", rows.per_sample, told)
    with precise(output.dtype == np.float64):
        held = jnp.asarray(array.astype(output.dtype))
    return Jacobian(sides, Held(structure, held), given[0])
