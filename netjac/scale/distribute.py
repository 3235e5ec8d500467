"""`distribute`: the Jacobian of many samples as a dask array, computed by whatever workers there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netjac.errors import MissingExtraError, ShapeError, TooLargeError
from netjac.memory import budget
from netjac.pieces import Options
from netjac.plan.table import memory as in_words
from netjac.scale import identity
from netjac.scale.feed import Samples, is_arrays
from netjac.scale.rows import Rows, rows_of
from netjac.scale.shipped import Shipped, posed, shipped

MOST_SENT = 256 * 2**20
"""Bytes of weights that travel within the graph, where the scheduler keeps them for workers that come later."""
SHARE = 0.25
"""Of a worker's memory for each of its threads: dask keeps results, and starts to spill at 0.6."""


def distribute(
    model: Any,
    data: Any,
    client: Any = None,
    *,
    wrt: str = "input",
    of: str = "output",
    chunk: int | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Any:
    """∂of/∂wrt of all samples as a `dask.array.Array`, nothing of it computed yet.

    `data`: an array (dask, NumPy, Zarr) with samples along axis 0, or a dict of them by input. The layout is that of
    `netjac.stream`: (N, *out, *in), and (N·m, M) for wrt="parameters", one block a run of samples, which
    `dask.array.linalg.tsqr` and `svd_compressed(…, compute=True)` take as it is. `client`: a `dask.distributed.Client`, whose
    workers' memory then bounds the blocks; None for whatever dask computes with. Workers need netjac and JAX, not the
    model's framework. A block that is lost with its worker is computed again.

    `chunk`: samples a block, by default as many as fit a quarter of a thread's share of its worker's memory (`memory` gives
    another bound). `folder`: one that all workers see, for weights of more than 256 MiB.

    Raises `ShapeError`, `TooLargeError`, `UnsupportedOperationError` for networks that call back into Python,
    `MissingExtraError`, and what `netjac.jacobian` raises.
    """
    da, delayed = _dask()
    if not is_arrays(data):
        raise ShapeError(
            "data must be an array, or a dict of arrays by input; for batches that come one by one use stream"
        )
    arrays = {name: _as_dask(da, array) for name, array in (data if isinstance(data, Mapping) else {"": data}).items()}
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1 or not (total := lengths.pop()):
        raise ShapeError(
            f"every input must have samples along axis 0, equally many: {[a.shape for a in arrays.values()]}"
        )
    room = budget(memory) if memory is not None or client is None else _share(client)

    def blank(samples: int) -> Samples:
        zeros = {name: np.zeros((samples, *array.shape[1:]), array.dtype) for name, array in arrays.items()}
        return zeros if isinstance(data, Mapping) else zeros[""]

    rows = rows_of(model, blank(1), wrt, of, Options(precision=precision))
    size = min(chunk or _fitting(rows, blank, total, room), total)
    program = shipped(rows, blank(size), _placing(rows, folder))
    ordered = [arrays[name] for name in program.names] if isinstance(data, Mapping) else list(arrays.values())
    return _graph(da, delayed, program, [array.rechunk((size, *array.shape[1:])) for array in ordered], rows)


def computed(program: Shipped, *arrays: np.ndarray) -> np.ndarray:
    """One block, on a worker."""
    return program(*arrays)


def _graph(da: Any, delayed: Any, program: Shipped, arrays: list[Any], rows: Rows) -> Any:
    node = delayed(program, pure=True, name=f"network-{program.token}")
    letters = iter(range(1, 1000))
    inputs = [part for array in arrays for part in (array, (0, *(next(letters) for _ in array.shape[1:])))]
    inner = {next(letters): length for length in rows.inner}
    return da.blockwise(
        computed, (0, *inner), node, None, *inputs, new_axes=inner, adjust_chunks={0: lambda n: n * rows.per},
        concatenate=True, dtype=rows.dtype, meta=np.empty((0,) * (1 + len(inner)), rows.dtype),
        name=f"jacobian-{program.token}-{'-'.join(array.name for array in arrays)}",
    )  # fmt: skip


def _fitting(rows: Rows, blank: Callable[[int], Samples], total: int, room: int) -> int:
    """Samples a block. Raises `TooLargeError` when not even one fits."""
    size = max(1, min(total, room // max(2 * rows.bytes, 1)))
    while (takes := posed(rows, blank(size))[2]) > room:
        if size == 1:
            raise TooLargeError(
                f"one sample's rows take {in_words(takes)} to compute, and a worker's thread has {in_words(room)} for them; "
                "give workers more memory or fewer threads, name one parameter in wrt=, or a smaller `of`"
            )
        size = max(1, min(size // 2, int(size * room / takes)))
    return size


def _placing(rows: Rows, folder: str | os.PathLike[str] | None) -> Callable[[np.ndarray], np.ndarray | Path]:
    """Where weights go: into the graph, or each into a file that is named by its content. Raises `TooLargeError`."""
    total = sum(int(np.prod(array.shape)) * array.dtype.itemsize for array in rows.network.parameters.values())
    if folder is None:
        if total > MOST_SENT:
            raise TooLargeError(
                f"the weights of {rows.network.name!r} are {in_words(total)}, too many to travel with the graph; give "
                "folder=, one that all workers see"
            )
        return lambda array: array
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)

    def written(array: np.ndarray) -> Path:
        file = place / f"{identity.of_arrays([('', array)]).hex()}.npy"
        if not file.exists():
            beside = file.with_suffix(f".{os.getpid()}")
            with beside.open("wb") as out:
                np.save(out, array)
            beside.replace(file)
        return file

    return written


def _share(client: Any) -> int:
    """Bytes for one block: of the worker with the least memory a thread."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    each = [worker["memory_limit"] / worker["nthreads"] for worker in workers if worker["memory_limit"]]
    return int(SHARE * min(each)) if each else budget(None)


def _as_dask(da: Any, array: Any) -> Any:
    return array if isinstance(array, da.Array) else da.from_array(array)


def _dask() -> tuple[Any, Any]:
    try:
        import dask.array
        from dask.delayed import delayed
    except ImportError:
        raise MissingExtraError.of("dask", "scale", "an array over many workers") from None
    return dask.array, delayed
