"""One pass over any number of samples: the Jacobian of each, a run of samples at a time.

What is computed over a data set (sensitivities, scores of features, …) takes its numbers from here, so that it never holds
more than one run, whatever the samples come as.

    through = over(model, X)
    for run in through.runs():
        run.jacobian  # (count, m, n)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

import numpy as np

from netjac.data import columns_of, numbers_of
from netjac.errors import ShapeError, TooLargeError
from netjac.jacobian import Jacobian, input_names, jacobian, output_names, started
from netjac.linear_algebra import working
from netjac.memory import budget
from netjac.networks import Network
from netjac.pieces import Options
from netjac.plan.table import memory as in_words
from netjac.progress import Progress, counted
from netjac.scale.feed import Coming, Lying, Samples, count, feed
from netjac.tracing import meet, network

ROOM = 32 * 2**20
"""Bytes that a run may take, about: large against what one call costs, small enough for the processor's cache to help."""
MOST = 2**16
"""Samples of a run, so that a bar moves."""
SHARE = 4
"""A run takes no more than this part of the memory budget; two are held at a time."""


@dataclass(frozen=True, eq=False)
class Run:
    """Some samples, from number `start` on.

    `features` (count, n) and `values` (count, m) are the inputs and the output, flat in C order; `jacobian` (count, m, n) holds
    ∂value_i/∂feature_j of each sample. All in float32 or float64, as the network computes; not to be written to.
    """

    start: int
    features: np.ndarray
    values: np.ndarray
    jacobian: np.ndarray

    def __len__(self) -> int:
        return len(self.jacobian)


@dataclass(frozen=True, eq=False)
class _Started:
    """A run that is being computed: its samples, the number of its first, how many it was filled up to, y and the Jacobians."""

    x: Samples
    start: int
    filled: int
    y: Any
    found: dict[str, Jacobian]


@dataclass(frozen=True, eq=False)
class Pass:
    """Samples that a network is about to be differentiated at.

    `of` names the output, of shape `out_shape`; `in_shapes` has the inputs by name, whose entries, one input after another,
    are the n features; `columns` are a table's own names of them, None where X is none. `total` is the number of samples,
    None where they come batch by batch. A pass over batches can be made once.
    """

    network: Network
    of: str
    out_shape: tuple[int, ...]
    in_shapes: dict[str, tuple[int, ...]]
    columns: tuple[str, ...] | None
    size: int
    samples: Lying | Coming
    options: Options

    @property
    def m(self) -> int:
        return prod(self.out_shape)

    @property
    def n(self) -> int:
        return sum(map(prod, self.in_shapes.values()))

    @property
    def total(self) -> int | None:
        return self.samples.total

    def runs(self, what: str = "samples") -> Iterator[Run]:
        """Run after run, told of under the name `what`. Raises what `netjac.jacobian` raises.

        All runs have one shape for the compiler: the last is filled up by copies of its last sample, which are cut off again;
        of batches whose number is not known, a shorter last run is filled up to a power of two.
        """
        pieces = None if self.total is None else ceil(self.total / self.size)
        progress = False if self.options.progress is None and pieces == 1 else self.options.progress
        yield from counted(self._one_ahead(), pieces, progress, what)

    def _one_ahead(self) -> Iterator[Run]:
        """Each run once the next one has been started: JAX computes that while the caller works with this one."""
        start, waiting = 0, None
        for x in self.samples.runs(self.size):
            begun = self._started(x, start)
            if waiting is not None:
                yield self._finished(waiting)
            waiting = begun
            start += count(x)
        if waiting is not None:
            yield self._finished(waiting)

    def _started(self, x: Samples, start: int) -> _Started:
        number = count(x)
        filled = self.size if self.total is not None else min(self.size, 1 << (number - 1).bit_length())
        values, found, _ = started(
            self.network,
            _filled(x, filled - number),
            list(self.in_shapes),
            self.of,
            replace(self.options, progress=False, with_values=True),
        )
        return _Started(x, start, filled, values[self.of], found)

    def _finished(self, run: _Started) -> Run:
        number, filled = count(run.x), run.filled
        blocks = [working(run.found[name].to_numpy()).reshape((filled, self.m, -1))[:number] for name in self.in_shapes]
        given = dict(zip(*self.network.flatten(run.x), strict=True))
        flat = [np.asarray(given[name]).reshape((number, -1)) for name in self.in_shapes]
        return Run(
            run.start,
            working(flat[0] if len(flat) == 1 else np.concatenate(flat, 1)),
            working(np.asarray(run.y)).reshape((filled, self.m))[:number],
            blocks[0] if len(blocks) == 1 else np.concatenate(blocks, 2),
        )


def over(
    model: Any,
    X: Any,
    *,
    wrt: str | list[str] = "input",
    of: str = "output",
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Pass:
    """A pass over X, with nothing computed yet.

    `X`: an array of any framework, a DataFrame, a memory map, a Zarr array, nested lists, a dict of arrays by input, or
    anything that gives arrays batch by batch, of any sizes. `wrt`: "input" (all that have a derivative) or some inputs'
    names; `of`: one output's or layer's name. The rest is as in `netjac.jacobian`.

    Raises `ShapeError` where samples see each other (and says which operation mixes them), there are several outputs or no
    samples, `TooLargeError` where not even one sample's Jacobian fits, and what `netjac.jacobian` raises.
    """
    found, columns = network(model), columns_of(X)
    if columns is not None:
        found.check_columns(columns)
    samples = feed(_numbers(X))
    twice = _repeated(samples.first())  # of a single sample it cannot be seen whether samples see each other
    options = Options("auto", precision, memory, progress)
    point = meet(found, twice, precision)
    outputs, inputs = output_names(point, of)[0], input_names(point, wrt)[0]
    if point.samples is None:
        raise ShapeError(f"{found.name!r} has no axis of samples; make it a network with nj.network(f, batched=True)")
    if len(outputs) > 1:
        raise ShapeError(f"{found.name!r} has the outputs {', '.join(outputs)}; name one in of=")
    for name in inputs:
        if name not in point.traced.inputs:
            raise ShapeError(f"wrt={name!r} is no input of {found.name!r}; there are {', '.join(point.traced.inputs)}")
    local = jacobian(found, twice, of=outputs[0], wrt=inputs, precision=precision, memory=memory)
    for J in local.values():
        if J.batch is None or not point.apart(point.traced.value(outputs[0])):
            raise _seeing(
                outputs[0], J.structure.reason if J.batch is None else "a value that it is made of mixes them"
            )
    first = next(iter(local.values()))
    shapes = {name: J.in_shape for name, J in local.items()}
    size = _size(local, samples.total, budget(memory))
    return Pass(found, outputs[0], first.out_shape, shapes, columns, size, samples, options)


def _seeing(of: str, why: str) -> ShapeError:
    return ShapeError(
        f"the samples of {of!r} see each other ({why}), so that no sample has a Jacobian of its own; put layers that use "
        "batch statistics in inference mode, or use netjac.jacobian on all samples together"
    )


def _size(local: Mapping[str, Any], total: int | None, limit: int) -> int:
    """Samples of a run, all runs about equal. Raises `TooLargeError`."""
    own = sum(prod(J.shape[1:]) * max(J.dtype.itemsize, 4) for J in local.values())
    if SHARE * own > limit:
        raise TooLargeError(
            f"one sample's Jacobian takes {in_words(own)}, more than a quarter of the memory budget of {in_words(limit)}; "
            "name a smaller output in of=, or give a larger memory="
        )
    peak = max(J.plan.peak for J in local.values()) // 2
    room = min(ROOM, limit // SHARE)
    most = max(1, min(MOST, room // max(own + peak, 1)))
    if total is None:
        return most
    return ceil(total / ceil(total / most))


def _numbers(X: Any) -> Any:
    """X with its tables and nested lists as arrays."""
    if isinstance(X, Mapping):
        return {name: _numbers(value) for name, value in X.items()}
    if columns_of(X) is not None:
        return numbers_of(X, "X")
    nested = isinstance(X, list) and X and (isinstance(X[0], list) or np.isscalar(X[0]))
    return np.asarray(X) if nested else X


def _repeated(x: Samples) -> Samples:
    return {name: np.repeat(array, 2, 0) for name, array in x.items()} if isinstance(x, dict) else np.repeat(x, 2, 0)


def _filled(x: Samples, missing: int) -> Samples:
    if not missing:
        return x
    if isinstance(x, dict):
        return {name: _one_filled(array, missing) for name, array in x.items()}
    return _one_filled(x, missing)


def _one_filled(array: np.ndarray, missing: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], missing, 0)])
