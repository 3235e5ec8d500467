"""`check`: a Jacobian beside the framework's own reverse mode and beside central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from math import ceil, prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.differences import Differences
from netjac.errors import ShapeError
from netjac.jacobian import Asked, jacobian
from netjac.networks.arrays import to_numpy
from netjac.operator import Jacobian
from netjac.precision import precise
from netjac.vectors import Sides

ROWS = 8
COLUMNS = 4
# Of the framework's own derivative, and of differences, by the precision of J.
TOLERANCES = {"float64": (1e-9, 1e-6), "float32": (2e-5, 1e-3), "float16": (2e-2, 2e-2), "bfloat16": (2e-2, 2e-2)}
# A sample whose Jacobian is this much smaller than the largest is compared at this scale.
LEAST_SCALE = 1e-3

Where = tuple[int, ...] | None


@dataclass(frozen=True)
class Check:
    """How far a Jacobian is from two oracles, relative to the norm of what was compared of a sample.

    `framework_error` is of randomly drawn rows against the reverse mode named by `framework`, `difference_error` of
    randomly drawn columns against central differences; `…_where` is the index into J of the entry farthest off. `kinks`
    counts the entries, among the `entries` compared with differences, at which the network has no single slope.
    """

    passed: bool
    framework: str
    framework_error: float
    framework_where: Where
    framework_tolerance: float
    difference_error: float
    difference_where: Where
    difference_tolerance: float
    entries: int
    kinks: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON; errors that are not finite as strings."""
        found = asdict(self)
        for name in ("framework_error", "difference_error"):
            found[name] = found[name] if np.isfinite(found[name]) else str(found[name])
        return found

    def lines(self) -> list[str]:
        kinks = (
            f"; {self.kinks} of {self.entries} at a kink, not counted" if self.kinks else f"; {self.entries} entries"
        )
        return [
            "the Jacobian is right" if self.passed else "the Jacobian is NOT what the oracles say",
            _line(self.framework, self.framework_error, self.framework_tolerance, self.framework_where),
            _line("differences", self.difference_error, self.difference_tolerance, self.difference_where) + kinks,
        ]

    def __str__(self) -> str:
        return "\n  ".join(self.lines())

    def _repr_html_(self) -> str:
        first, *rest = (escape(line) for line in self.lines())
        return f"<p><b>{first}</b><br>{'<br>'.join(rest)}</p>"


def _line(oracle: str, error: float, tolerance: float, where: Where) -> str:
    place = f" at J[{', '.join(map(str, where))}]" if where is not None and error > 0 else ""
    sign = "≤" if error <= tolerance else ">"
    return f"{oracle}: largest relative error {error:.2g} {sign} {tolerance:.2g}{place}"


def check(
    model: Any,
    x: Any,
    *,
    wrt: str = "input",
    of: str = "output",
    samples: int = 64,
    seed: int = 0,
    tolerance: float | None = None,
) -> Check:
    """Compute `netjac.jacobian(model, x, wrt=wrt, of=of)` and compare it with two oracles.

    Rows drawn at random are compared with the framework's own reverse mode (layers: with JAX's, on the traced network),
    columns drawn at random, of about `samples` entries in all, with central differences in float64. `tolerance` replaces
    both default tolerances, which follow from the dtype of J.

    Raises `ShapeError` when `wrt` and `of` name more than one Jacobian, and whatever `netjac.jacobian` raises.
    """
    J = jacobian(model, x, wrt=wrt, of=of)
    if not isinstance(J, Jacobian):
        inner = next(iter(J.values()))
        asked = f"wrt= one of {_listed(inner)}" if isinstance(inner, dict) else ""
        several = f"of= or wrt= one of {_listed(J)}" if not asked else f"of= one of {_listed(J)}, {asked}"
        raise ShapeError(f"a check is of one Jacobian and this is {len(J)} of them by name; give {several}")
    return J.check(samples=samples, seed=seed, tolerance=tolerance)


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def check_jacobian(
    J: Jacobian, context: Asked | None, *, samples: int = 64, seed: int = 0, tolerance: float | None = None
) -> Check:
    """Compare J, computed if need be, with the oracles at the point where it was asked for. See `check`."""
    if context is None:
        raise ShapeError(
            "this Jacobian is the framework's own and has nothing to be checked against; ask for engine='auto' and "
            "check that one"
        )
    sides = J._sides
    program, of = context.point.traced.program, context.request.at(context.point).of[0]
    if (*sides.lead, *sides.out) != program.shape(of):
        raise ShapeError(
            f"these are {sides.batch or 1} of {context.point.samples} samples; check the Jacobian of all of them, or "
            "ask netjac.check with the samples that are wanted"
        )
    draw = np.random.default_rng(seed)
    with precise(J.dtype == np.float64):
        matrices = np.asarray(J.to_numpy()).astype(np.float64).reshape((*sides.lead, sides.m, sides.n))
    oracle, pull = _reverse_mode(context)
    framework = _against_rows(matrices, sides, pull, draw)
    differences = Differences(context.point, context.request.of[0], context.request.wrt[0], sides)
    own, by_difference = TOLERANCES[J.dtype.name]
    if differences.dtype != np.float64:
        by_difference = max(by_difference, TOLERANCES["float16"][1])
    limits = (tolerance, tolerance) if tolerance is not None else (own, by_difference)
    far, where, entries, kinks = _against_columns(matrices, sides, differences, samples, draw, limits[1])
    passed = framework[0] <= limits[0] and far <= limits[1]
    return Check(
        passed,
        oracle,
        framework[0],
        _index(framework[1], sides),
        limits[0],
        far,
        _index(where, sides),
        limits[1],
        entries,
        kinks,
    )


def _reverse_mode(context: Asked) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """The oracle's name, and uᵀJ by it for a cotangent of the shape of `of`."""
    point, of, wrt = context.point, context.request.of[0], context.request.wrt[0]
    network, traced = point.network, point.traced
    outputs = list(traced.outputs)
    ours = wrt in traced.inputs or wrt in traced.trainable
    if of in outputs and ours:
        inputs = [to_numpy(value) for value in point.given]

        def pull(u: np.ndarray) -> np.ndarray:
            seeds = [u if name == of else None for name in outputs]
            with precise(point.wide):
                by_input, by_parameter = network.pull_back(inputs, seeds)
            found = by_input[point.names.index(wrt)] if wrt in traced.inputs else by_parameter[wrt]
            return np.asarray(found).astype(np.float64)

        return f"reverse mode of {network.framework}", pull

    def sweep(u: np.ndarray) -> np.ndarray:
        with precise(point.wide):
            return np.asarray(context.sweep((0, 0), "pull", jnp.asarray(u)[None])[0]).astype(np.float64)

    return "reverse mode of jax, on the traced network", sweep


def _against_rows(
    matrices: np.ndarray, sides: Sides, pull: Callable[[np.ndarray], np.ndarray], draw: np.random.Generator
) -> tuple[float, Where]:
    """The largest relative error of some rows, and its place (batch?, i, j)."""
    together = sides.batch is not None and not sides.shared
    lead = sides.lead if together else ()
    # Where a row of every sample comes from one sweep, rows are numbered within a sample; else over all samples.
    rows = matrices if together else matrices.reshape((-1, sides.n))
    count = rows.shape[-2]
    chosen = np.sort(draw.choice(count, min(count, ROWS), replace=False)) if rows.size else np.zeros(0, int)
    expected = np.zeros((*lead, len(chosen), sides.n))
    for k, i in enumerate(chosen):
        seed = np.zeros((*lead, count), sides.dtype)
        seed[..., i] = 1
        expected[..., k, :] = pull(seed.reshape((*sides.lead, *sides.out))).reshape((*lead, sides.n))
    found = rows[..., chosen, :]
    error = _relative(np.abs(found - expected), _scale(found, expected))
    largest, where = _largest(error)
    if where is None:
        return largest, None
    *before, k, j = where
    row = (*before, int(chosen[k])) if together else np.unravel_index(chosen[k], matrices.shape[:-1])
    return largest, (*(int(r) for r in row), j)


def _against_columns(
    matrices: np.ndarray, sides: Sides, differences: Differences, samples: int, draw: np.random.Generator, limit: float
) -> tuple[float, Where, int, int]:
    """The largest relative error of some columns, its place, how many entries were compared, how many lie at a kink."""
    if not matrices.size:
        return 0.0, None, 0, 0
    together = sides.batch is not None and not sides.shared
    count = min(sides.n, max(COLUMNS, ceil(samples / (sides.m * prod(sides.lead)))))
    shape = sides.lead if together else ()
    drawn = [draw.choice(sides.n, count, replace=False) for _ in range(prod(shape))]
    entries = np.moveaxis(np.array(drawn).reshape((*shape, count)), -1, 0)
    index = entries.T[:, None, :] if together else entries
    found = np.take_along_axis(matrices, index, -1) if together else matrices[..., index]
    slopes = [differences.along(j) for j in entries]
    scale = _scale(found, np.stack([s.central for s in slopes], -1))
    errors, kinks = np.zeros_like(found), np.zeros(found.shape, bool)
    for k, s in enumerate(slopes):
        column = found[..., k]
        slack = np.broadcast_to(limit * scale[..., 0], column.shape)
        kinks[..., k] = s.kinks(column, slack)
        errors[..., k] = s.error(column)
    largest, where = _largest(np.where(kinks, 0, _relative(errors, scale)))
    if where is None:
        return largest, None, found.size, int(kinks.sum())
    *before, k = where
    j = entries[k, before[0]] if together else entries[k]
    return largest, (*before, int(j)), found.size, int(kinks.sum())


def _scale(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """For each sample, the norm of what is compared: (batch?, 1, 1)."""
    finite = np.where(np.isfinite(found), found, 0), np.where(np.isfinite(expected), expected, 0)
    norms = np.maximum(*(np.sqrt(np.sum(np.square(a), axis=(-2, -1), keepdims=True)) for a in finite))
    floor = LEAST_SCALE * norms.max(initial=0)
    return np.maximum(norms, floor) if floor else np.ones_like(norms)


def _relative(error: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(error), np.inf, error / scale)


def _largest(error: np.ndarray) -> tuple[float, Where]:
    if not error.size:
        return 0.0, None
    where = np.unravel_index(int(error.argmax()), error.shape)
    return float(error[where]), tuple(int(i) for i in where)


def _index(where: Where, sides: Sides) -> Where:
    """(batch?, i, j) as an index into an array of the shape of J."""
    if where is None:
        return None
    *before, i, j = where
    inside = (*np.unravel_index(i, sides.out), *np.unravel_index(j, sides.inn))
    return (*before, *(int(k) for k in inside))
