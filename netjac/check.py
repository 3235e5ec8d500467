"""`check`: a Jacobian beside the framework's own reverse mode and beside central differences in float64."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from netjac.comparison import Entries, Pull, Where, against_columns, against_products, against_rows, sweeps
from netjac.differences import Differences
from netjac.errors import ShapeError
from netjac.jacobian import Asked, Names, jacobian
from netjac.memory import budget
from netjac.networks.arrays import to_numpy
from netjac.operator import Jacobian
from netjac.precision import precise

# Of the framework's own derivative, and of differences, by the precision of J.
TOLERANCES = {"float64": (1e-10, 1e-6), "float32": (2e-5, 1e-4), "float16": (2e-2, 2e-2), "bfloat16": (2e-2, 2e-2)}
# The share of the memory budget that a dense J in float64 may take; a larger one is checked by sweeps.
DENSE_SHARE = 0.25


@dataclass(frozen=True)
class Check:
    """How far a Jacobian is from two oracles, relative to the norm of what was compared of a sample.

    `framework_error` is of randomly drawn rows against the reverse mode named by `framework`, or of products of all rows
    where those are off by more than the tolerance; `difference_error` of randomly drawn columns against central
    differences. `…_where` is the index into J of the entry farthest off. `kinks` counts the entries, among the `entries`
    compared with differences, at which the network has no single slope; they do not count as failures there.
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
        from netjac.report.html import paragraph

        return paragraph(self.lines())


def _line(oracle: str, error: float, tolerance: float, where: Where) -> str:
    place = f" at J[{', '.join(map(str, where))}]" if where is not None and error > 0 else ""
    sign = "≤" if error <= tolerance else ">"
    return f"{oracle}: largest relative error {error:.2g} {sign} {tolerance:.2g}{place}"


def check(
    model: Any,
    x: Any,
    *,
    wrt: Names = "input",
    of: Names = "output",
    samples: int = 64,
    seed: int = 0,
    tolerance: float | None = None,
    **options: Any,
) -> Check:
    """Compute `netjac.jacobian(model, x, wrt=wrt, of=of, **options)` and compare it with two oracles.

    Rows drawn at random, and products of all rows with random signs, are compared with the framework's own reverse mode
    (layers: with JAX's, on the traced network); columns drawn at random, of about `samples` entries in all, with central
    differences in float64. `tolerance` replaces both default tolerances, which follow from the dtype of J. A Jacobian
    that would take too much memory is checked by its sweeps.

    Raises `ShapeError` when `wrt` and `of` name more than one Jacobian, and whatever `netjac.jacobian` raises.
    """
    J = jacobian(model, x, wrt=wrt, of=of, **options)
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
    context = _whole(J, context)
    draw = np.random.default_rng(seed)
    own = Entries.of(J, sweeps(context), int(DENSE_SHARE * budget(context.options.memory)))
    oracle, pull = _reverse_mode(context)
    differences = Differences(context.point, context.request.of[0], context.request.wrt[0], J._sides)
    limits = (tolerance, tolerance) if tolerance is not None else _tolerances(J.dtype.name, differences.dtype.name)
    by_rows = against_rows(own, pull, draw)
    by_products = against_products(own, pull, draw, limits[0])
    error, where = by_products if by_products[0] > max(limits[0], by_rows[0]) else by_rows
    far, far_where, entries, kinks = against_columns(own, differences, samples, draw, limits[1])
    return Check(
        error <= limits[0] and far <= limits[1],
        oracle,
        error,
        own.index(where),
        limits[0],
        far,
        own.index(far_where),
        limits[1],
        entries,
        kinks,
    )


def _whole(J: Jacobian, context: Asked | None) -> Asked:
    """The request that J answers, all of it. Raises `ShapeError`."""
    if context is None:
        raise ShapeError(
            "this Jacobian is the framework's own and has nothing to be checked against; ask for engine='auto' and "
            "check that one"
        )
    program, of = context.point.traced.program, context.request.at(context.point).of[0]
    if (*J._sides.lead, *J._sides.out) != program.shape(of):
        raise ShapeError(
            f"these are {J.batch or 1} of {context.point.samples} samples; check the Jacobian of all of them, or "
            "ask netjac.check with the samples that are wanted"
        )
    return context


def _tolerances(dtype: str, differences: str) -> tuple[float, float]:
    own, by_difference = TOLERANCES[dtype]
    return own, by_difference if differences == "float64" else max(by_difference, TOLERANCES["float16"][1])


def _reverse_mode(context: Asked) -> tuple[str, Pull]:
    """The oracle's name, and uᵀJ by it for a cotangent of the shape of `of`."""
    point, of, wrt = context.point, context.request.of[0], context.request.wrt[0]
    network, traced = point.network, point.traced
    outputs = list(traced.outputs)
    if of not in outputs or not (wrt in traced.inputs or wrt in point.network.trainable):
        sweep = sweeps(context)
        return "reverse mode of jax, on the traced network", lambda u: sweep("pull", u)
    inputs = [to_numpy(value) for value in point.given]

    def pull(u: np.ndarray) -> np.ndarray:
        seeds = [u if name == of else None for name in outputs]
        with precise(point.wide):
            by_input, by_parameter = network.pull_back(inputs, seeds)
        found = by_input[point.names.index(wrt)] if wrt in traced.inputs else by_parameter[wrt]
        return np.asarray(found).astype(np.float64)

    return f"reverse mode of {network.oracle}", pull
