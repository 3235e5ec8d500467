"""How much memory there is, and how much was asked for."""

from __future__ import annotations

import re

import jax
import psutil

from netjac.errors import ShapeError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
SHARE = 0.6


def budget(memory: int | float | str | None) -> int:
    """The budget in bytes: a number, "4GiB", or (None) 60 % of what the device has free now."""
    if memory is None:
        return int(SHARE * _free())
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", memory)
        if not match or match[2].upper() not in UNITS:
            raise ShapeError(f"memory={memory!r} is no size; give bytes or a string such as '4GiB' or '500MB'")
        memory = float(match[1]) * UNITS[match[2].upper()]
    if memory <= 0:
        raise ShapeError(f"memory={memory!r} leaves no room at all; give a positive size such as '4GiB'")
    return int(memory)


def _free() -> int:
    device = jax.devices()[0]
    known = device.memory_stats() if device.platform != "cpu" else None
    if known and "bytes_limit" in known:
        return known["bytes_limit"] - known.get("bytes_in_use", 0)
    return psutil.virtual_memory().available
