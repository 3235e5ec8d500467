"""`sensitivity`: how much each output changes with each feature, over a set of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netjac.analysis.moments import GROUPS, Moments, Reservoir, width
from netjac.analysis.passes import SHARE, Pass, over
from netjac.analysis.sensitivity_result import SCALES, Bound, Interrupted, Sensitivity
from netjac.errors import ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.plan.table import memory as in_words
from netjac.progress import Progress

FEWEST_GROUPS = 20
SUMS = 256 * 2**20
"""Bytes that the groups' sums may take; wide Jacobians have fewer groups."""
KEPT, KEPT_BYTES = 2000, 16 * 2**20


def sensitivity(
    model: Any,
    X: Any,
    *,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    scale: str | None = None,
    wrt: str | list[str] = "input",
    of: str = "output",
    bound: str = "uniform",
    ranges: Any = None,
    confidence: float | None = 0.95,
    seed: int = 0,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Sensitivity:
    """Mean, standard deviation, rms and mean magnitude of ∂output_i/∂feature_j over the samples X, and DGSM with its bound.

    `X` as `netjac.analysis.passes.over` takes it: an array, table, memory map, or batches, of any length; it is gone through
    once. Names come from `feature_names` and `output_names`, or a table's columns. `scale`: "std" or "range" multiplies the
    derivatives by each feature's standard deviation or range over X, so that features of different units compare.

    The DGSM is ν_j = E[(∂f/∂x_j)²]. For independent features it bounds the total Sobol index S_j (the share of Var f that
    goes with x_j): S_j ≤ ν_j (b−a)²/(π² Var f) for x_j uniform on [a, b] (Sobol & Kucherenko, Math. Comput. Simul. 79, 2009),
    S_j ≤ ν_j σ²/Var f for a normal x_j (Kucherenko & Song, MCQMC 2014, Springer 2016): `bound` is "uniform" or
    "normal". `ranges` are the [a, b] as (n, 2), one pair for all, or a dict by feature; for "normal" the σ as (n,). By default
    they are those of X.

    `confidence` is that of the bootstrap intervals (None: none are kept); `seed` is theirs, no global state is touched. They
    assume that the samples are independent draws. An interrupt raises `Interrupted`, a `KeyboardInterrupt` whose `so_far` is
    the result of the samples until then.

    Raises `ShapeError`, `UnknownNameError`, `TooLargeError`, and what `netjac.jacobian` raises.
    """
    if scale not in SCALES:
        raise UnknownNameError.of("scale", str(scale), [name for name in SCALES if name])
    if confidence is not None and not 0 < confidence < 1:
        raise ShapeError(f"confidence={confidence!r} is no share; give a number between 0 and 1, such as 0.95, or None")
    through = over(model, X, wrt=wrt, of=of, precision=precision, memory=memory, progress=progress)
    features = _feature_names(through, feature_names)
    names = (features, _output_names(through, output_names))
    limits = Bound.of(bound, ranges, features)
    moments = Moments(through.m, through.n, _groups(through, confidence), seed)
    reservoir = Reservoir(min(KEPT, KEPT_BYTES // (8 * max(through.m * through.n, 1))), seed)

    def result() -> Sensitivity:
        kept = reservoir.kept(through.m, through.n)
        return Sensitivity(
            through.network.name, through.of, *names, through.out_shape, tuple(through.in_shapes.values()), scale, limits,
            confidence, seed, moments.totals(), kept,
        )  # fmt: skip

    try:
        for run in through.runs("sensitivity"):
            moments.add(run)
            reservoir.add(run)
    except KeyboardInterrupt:
        if not moments.count:
            raise
        raise Interrupted(result()) from None
    return result()


def _groups(through: Pass, confidence: float | None) -> int:
    """Groups of samples that memory has room for. Raises `TooLargeError`."""
    own, limit = 8 * width(through.m, through.n), budget(through.options.memory)
    most = GROUPS if through.total is None else min(GROUPS, through.total)
    fewest = min(most, FEWEST_GROUPS) if confidence is not None else 1
    groups = 1 if confidence is None else max(fewest, min(most, SUMS // own))
    if groups * own > limit // SHARE:
        groups = limit // SHARE // own
    if groups < fewest:
        way = "" if confidence is None else "leave the intervals out with confidence=None, "
        raise TooLargeError(
            f"the sums of {through.m} × {through.n} derivatives take {in_words(own * max(groups, FEWEST_GROUPS))}, more than a "
            f"quarter of the memory budget of {in_words(limit)}; {way}name a smaller output in of=, or give a larger memory="
        )
    return groups


def _feature_names(through: Pass, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        return _counted("feature_names", given, through.n, "features")
    if through.columns is not None and len(through.columns) == through.n:
        return _counted("the table of X", through.columns, through.n, "features")
    single = len(through.in_shapes) == 1
    names: list[str] = []
    for name, shape in through.in_shapes.items():
        if single and len(shape) == 1:
            names += [f"x{j}" for j in range(shape[0])]
        else:
            names += [f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(*shape)]
    return tuple(names)


def _output_names(through: Pass, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        return _counted("output_names", given, through.m, "outputs")
    if through.m == 1:
        return (through.of,)
    return tuple(f"{through.of}[{', '.join(map(str, place))}]" for place in np.ndindex(*through.out_shape))


def _counted(argument: str, given: Sequence[str], size: int, what: str) -> tuple[str, ...]:
    names = () if isinstance(given, str | Mapping) else tuple(map(str, given))
    if len(names) != size:
        raise ShapeError(f"{argument} has {len(names)} names and there are {size} {what}; give one for each")
    if len(set(names)) != size:
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(f"{argument} has {twice!r} more than once; give each of the {what} a name of its own")
    return names
