"""`stream`: the Jacobian of as many samples as there are, written to a Zarr store chunk by chunk."""

from __future__ import annotations

from math import ceil
from typing import Any

from netjac.errors import StoreError, TooLargeError
from netjac.memory import budget
from netjac.pieces import Options
from netjac.plan.table import memory as in_words
from netjac.progress import Progress, counted
from netjac.scale import identity
from netjac.scale.feed import Coming, Lying, count, feed
from netjac.scale.rows import Rows, rows_of
from netjac.scale.store import Store, afford, held, needed, opened

USUAL = 64 * 2**20
"""Bytes of a chunk, about: large against what opening a file costs, small against memory."""


def stream(
    model: Any,
    batches: Any,
    store: Any,
    *,
    wrt: str = "input",
    of: str = "output",
    resume: bool = True,
    chunk: int | None = None,
    engine: str = "auto",
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Any:
    """Write ∂of/∂wrt of all samples to a Zarr v3 store, and go on where an earlier run was stopped, however it was.

    `batches`: an array (also a memory map or a Zarr array), a dict of arrays by input, or anything that gives arrays batch by
    batch, of any sizes. `store`: a folder, a URL, or a Zarr store. Returns the `zarr.Array` "jacobian" in it: (N, *out, *in)
    as `netjac.jacobian` has it, and for wrt="parameters" (N·m, M) as `netjac.parameter_matrix`, the columns of each parameter
    in the group's attributes. bfloat16 is stored as float32.

    `chunk`: samples a chunk (by default about 64 MiB; an existing store keeps its own). A chunk counts once it is whole: after
    `kill -9` the same call computes what is missing and nothing else. Every chunk keeps a digest of its samples, which are
    read again and compared, so a store written for another network, other weights or other data is refused; `resume=False`
    begins anew. `progress` is told of chunks (the total is 0 where the number of batches is not known).

    Raises `StoreError` for a store that is unreadable, another's, or in use, or a disk that is full, `TooLargeError` when the
    disk has no room for the whole, `ShapeError` where samples see each other, and what `netjac.jacobian` raises.
    """
    needed()
    samples = feed(batches)
    first = samples.first()
    options = Options(engine, precision, memory, progress)
    rows = rows_of(model, first, wrt, of, options)
    size = chunk or _usual(rows, samples.total)
    with held(store):
        place = opened(store, identity.of_rows(rows, first), _layout(rows, size), samples.total, resume)
        afford(place, samples.total)
        return place.close(_write(place, samples, rows))


def _write(store: Store, samples: Lying | Coming, rows: Rows) -> int:
    total = None if samples.total is None else ceil(samples.total / store.chunk)
    seen = chunks = 0
    for index, x in enumerate(counted(samples.runs(store.chunk), total, rows.options.progress, "rows")):
        digest, whole = identity.of_samples(x), store.whole(index)
        if whole is None:
            store.write(index, rows(x), digest)
        elif whole != digest:
            raise StoreError(
                f"the samples from {seen} to {seen + count(x)} are not those that the store was written for; give another "
                "place, or resume=False to begin anew"
            )
        seen, chunks = seen + count(x), chunks + 1
    if store.written() > chunks:
        raise StoreError(
            f"the store was written for more samples than the {seen} that came; give another place, or resume=False to begin "
            "anew"
        )
    return seen


def _usual(rows: Rows, total: int | None) -> int:
    """Samples a chunk. Raises `TooLargeError` where one sample's rows are more than memory holds."""
    room = budget(rows.options.memory)
    if rows.bytes > room:
        raise TooLargeError(
            f"one sample's rows take {in_words(rows.bytes)}, over the memory budget of {in_words(room)}; keep them as factors "
            "(netjac.parameter_matrix), name one parameter in wrt=, a smaller `of`, or give a larger memory="
        )
    fitting = max(1, min(USUAL, room // 4) // max(rows.bytes, 1))
    return fitting if total is None else min(fitting, total)


def _layout(rows: Rows, chunk: int) -> dict[str, Any]:
    attributes = {
        "of": rows.of,
        "wrt": rows.wrt,
        "samples per chunk": chunk,
        "rows per sample": rows.per,
        "columns": {name: list(place) for name, place in rows.columns.items()},
    }
    names = ["row", "column"] if rows.columns else None
    return {"attributes": attributes, "inner": rows.inner, "dtype": rows.dtype, "names": names}
