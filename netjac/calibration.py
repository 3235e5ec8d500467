"""`calibrate`: this device's rates, measured once and kept, for plans to be chosen by instead of the usual ones.

They are kept in a file of their own for each kind of device, number of cores and JAX version, under NETJAC_CACHE,
XDG_CACHE_HOME/netjac or ~/.cache/netjac. Without such a file the rates of `netjac.plan.cost` are taken: orders are then chosen
alike on all machines, and no first call waits for a measurement.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.errors import ShapeError
from netjac.plan.cost import RATES, Rates

SIDE, IMAGES, CHANNELS, LONG = 1024, (16, 32, 32), 32, 2**22
TRIALS = 7


def rates() -> Rates:
    """Those of the default device that `calibrate` measured, else the usual ones of its kind."""
    return _kept(_place())


def calibrate() -> Rates:
    """Measure the default device's rates and keep them for plans made from now on, in this process and in later ones.

    Takes a few seconds; nothing else should run meanwhile. Returns the rates: operations a second (a multiplication and an
    addition count as one each), bytes a second, seconds a launch. Raises `ShapeError` where they cannot be written.
    """
    found = measured()
    place = _place()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(dataclasses.asdict(found), indent=1), encoding="utf-8")
        os.replace(beside, place)
    except OSError as error:
        raise ShapeError(
            f"the measured rates cannot be kept in {str(place)!r} ({error.strerror}); set NETJAC_CACHE to a folder that can be "
            "written to"
        ) from error
    _kept.cache_clear()
    return found


def measured() -> Rates:
    """The rates of matrix products, convolutions, short ones, pulls of max pools and elementwise operations, in float32."""
    launch = _seconds(lambda x: x + 1, jnp.zeros(1))
    matrix, long = jnp.ones((SIDE, SIDE)), jnp.ones(LONG)
    images, kernel = jnp.ones((*IMAGES, CHANNELS)), jnp.ones((3, 3, CHANNELS, CHANNELS))
    tiny = jnp.ones((IMAGES[0], 2, 2, CHANNELS))
    entries = images.size

    def convolved(x: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def pooled(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    def picked(x: jax.Array) -> jax.Array:
        y, pull = jax.vjp(pooled, x)
        return pull(y)[0]

    def worked(x: jax.Array) -> jax.Array:
        for _ in range(64):
            x = x * 0.5 + 0.5
        return x

    def rate(amount: float, function: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
        return float(f"{amount / max(_seconds(function, x) - launch, 1e-9):.2g}")

    return Rates(
        product=rate(2 * SIDE**3, lambda a: a @ a, matrix),
        convolution=rate(2 * 9 * CHANNELS * entries, convolved, images),
        short=rate(2 * 9 * CHANNELS * tiny.size, convolved, tiny),
        picking=rate(entries + entries // 4, picked, images),
        elementwise=rate(128 * LONG, worked, long),
        bandwidth=rate(8 * LONG, lambda x: x + 1, long),
        launch=float(f"{launch:.2g}"),
    )


def _seconds(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    """The least of several calls of a compiled function."""
    ready = jax.jit(function)
    jax.block_until_ready(ready(x))
    taken = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        jax.block_until_ready(ready(x))
        taken.append(time.perf_counter() - start)
    return min(taken)


def _place() -> Path:
    home = os.environ.get("NETJAC_CACHE")
    root = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netjac"
    device = jax.devices()[0]
    kind = re.sub(
        r"[^A-Za-z0-9]+", "-", f"{device.platform}-{device.device_kind}-{os.cpu_count()}-jax{jax.__version__}"
    )
    return root / f"rates-{kind}.json"


@lru_cache
def _kept(place: Path) -> Rates:
    usual = RATES.get(jax.devices()[0].platform, RATES["cpu"])
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        read = Rates(**{field.name: float(found[field.name]) for field in dataclasses.fields(Rates)})
    except (OSError, ValueError, KeyError, TypeError):
        return usual
    return read if all(value > 0 for value in dataclasses.astuple(read)) else usual
