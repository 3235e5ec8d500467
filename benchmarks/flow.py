"""`python -m benchmarks.flow`: what watching gradient flow costs a training, and a deep network's flow beside `jax.jacrev`.

Trainings are of 30 layers of tanh and of relu, 1000 batches of 32 an epoch, in Keras on each backend and in torch, each in a
process of its own; epochs with a monitor at its default interval and without come in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.table import milliseconds, surroundings, table

WAYS = ("keras on jax", "keras on tensorflow", "keras on torch", "torch")
LAYERS, WIDTH, BATCH, STEPS = 30, 64, 32, 1000
SCALES = {"tanh": 0.5, "relu": 2**0.5}
DEPTH, WIDE = 50, 256


def main(argv: list[str] | None = None) -> int:
    """0; 1 when the flow of the deep network disagrees."""
    args = _parser().parse_args(argv)
    if args.worker:
        print("@" + json.dumps(trained(args.worker, args.activation, args.epochs, args.steps)), flush=True)
        return 0
    print(surroundings())
    rows = []
    for way in args.way or WAYS:
        for activation in SCALES:
            rows.append(_row(way, activation, _in_process(way, activation, args)))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(
        table(["training", "epoch without", "with", "one record", "share of the epoch", "first record", "found"], rows)
    )
    return _deep(args.runs) if args.runs else 0


def _row(way: str, activation: str, found: dict[str, Any]) -> list[str]:
    without, with_monitor = statistics.median(found["without"]), statistics.median(found["with"])
    record = statistics.median(found["records"])
    return [
        f"{activation}, {way}",
        milliseconds(without),
        milliseconds(with_monitor),
        milliseconds(record),
        f"{len(found['records']) / len(found['with']) * record / without:.1%}",
        milliseconds(found["first"]),
        found["verdict"],
    ]


def _in_process(way: str, activation: str, args: argparse.Namespace) -> dict[str, Any]:
    backend = way.removeprefix("keras on ") if way != "torch" else "jax"
    command = [sys.executable, "-m", "benchmarks.flow", "--worker", way, "--activation", activation]
    command += ["--epochs", str(args.epochs), "--steps", str(args.steps)]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            return json.loads(line[1:])
    raise RuntimeError(f"a training failed: {done.stderr[-2000:]}")


def trained(way: str, activation: str, epochs: int, steps: int) -> dict[str, Any]:
    """Seconds of epochs without a monitor and with, of its records after the first, and of the first, which compiles."""
    from netjac.analysis.flow.monitor import FlowMonitor

    seconds: list[float] = []
    original = FlowMonitor.record

    def timed(monitor: Any) -> Any:
        start = time.perf_counter()
        record = original(monitor)
        seconds.append(time.perf_counter() - start)
        return record

    FlowMonitor.record = timed  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((BATCH * steps, WIDTH)).astype("float32"), rng.integers(0, 10, BATCH * steps)
    epoch, monitor = (_torch if way == "torch" else _keras)(activation, X, y)
    epoch(False), epoch(True)  # compile both
    first = seconds[0]
    seconds.clear()
    found: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(2 * epochs):
        start = time.perf_counter()
        epoch(number % 2 == 1)
        found["with" if number % 2 else "without"].append(time.perf_counter() - start)
    return {**found, "records": seconds, "first": first, "verdict": monitor().history.records[0].verdict}


def _keras(activation: str, X: np.ndarray, y: np.ndarray) -> tuple[Callable[[bool], Any], Callable[[], Any]]:
    import keras

    import netjac as nj

    keras.utils.set_random_seed(0)
    normal = keras.initializers.RandomNormal(stddev=SCALES[activation] / WIDTH**0.5)
    hidden = [keras.layers.Dense(WIDTH, activation, kernel_initializer=normal) for _ in range(LAYERS)]
    model = keras.Sequential([keras.Input((WIDTH,)), *hidden, keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = nj.flow_callback(X[:128])

    def epoch(watched: bool) -> Any:
        model.fit(X, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[callback] if watched else [])

    return epoch, lambda: callback.monitor


def _torch(activation: str, X: np.ndarray, y: np.ndarray) -> tuple[Callable[[bool], Any], Callable[[], Any]]:
    import torch

    import netjac as nj

    torch.manual_seed(0)
    layers: list[Any] = []
    for _ in range(LAYERS):
        linear = torch.nn.Linear(WIDTH, WIDTH)
        torch.nn.init.normal_(linear.weight, std=SCALES[activation] / WIDTH**0.5)
        layers += [linear, torch.nn.Tanh() if activation == "tanh" else torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 10))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    monitor = nj.FlowMonitor(module, X[:128])
    monitor.record()

    def epoch(watched: bool) -> Any:
        for start in range(0, len(X), BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(
                module(inputs[start : start + BATCH]), labels[start : start + BATCH]
            ).backward()
            optimiser.step()
            if watched:
                monitor.step()

    return epoch, lambda: monitor


def _deep(runs: int) -> int:
    """All spectra of 50 layers of 256, by netjac and by `jax.jacrev` of each layer and of each layer's rest."""
    import jax
    import jax.numpy as jnp

    import netjac as nj

    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((WIDE, WIDE)) / WIDE**0.5, "float32") for _ in range(DEPTH)]
    x = rng.standard_normal((1, WIDE)).astype("float32")

    def net(x: Any) -> Any:
        for number, W in enumerate(weights):
            x = nj.mark(jnp.tanh(x @ W), f"h{number}")
        return x

    network = nj.network(net, batched=True)
    local = jax.jit(jax.jacrev(lambda h, W: jnp.tanh(h @ W)))

    def rest(number: int) -> Any:
        def tail(h: Any) -> Any:
            for W in weights[number:]:
                h = jnp.tanh(h @ W)
            return h

        return jax.jit(jax.jacrev(tail))

    tails = [rest(number) for number in range(DEPTH + 1)]

    def peer() -> list[np.ndarray]:
        h, found = jnp.asarray(x[0]), []
        for number, W in enumerate(weights):
            own, h = local(h, W), jnp.tanh(h @ W)
            found += [np.linalg.svd(own, compute_uv=False), np.linalg.svd(tails[number + 1](h), compute_uv=False)]
        return found

    def ours() -> list[np.ndarray]:
        flow = nj.gradient_flow(network, x)
        return [s.singular_values[0] for layer in flow.layers for s in (layer.own, layer.through) if s is not None]

    found, seconds = {}, {}
    for name, way in (("netjac", ours), ("jax.jacrev", peer)):
        start = time.perf_counter()
        found[name] = way()
        seconds[name] = [time.perf_counter() - start]
    for _ in range(runs):
        for name, way in (("netjac", ours), ("jax.jacrev", peer)):
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    error = max(float(np.abs(a - b).max() / b.max()) for a, b in zip(found["netjac"], found["jax.jacrev"], strict=True))
    rows = [[name, milliseconds(statistics.median(s[1:])), milliseconds(s[0])] for name, s in seconds.items()]
    print(table([f"flow of {DEPTH} layers of {WIDE}", "again", "first call"], rows))
    print(f"singular values differ by {error:.0e} of the largest at most")
    return int(error > 1e-4)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=__doc__.splitlines()[0])
    parser.add_argument("--way", action="append", choices=WAYS, help="only this; may repeat")
    parser.add_argument("--epochs", type=int, default=3, help="epochs each way (default %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of an epoch (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="calls of each way on the deep network; 0 for none")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--activation", default="tanh", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
