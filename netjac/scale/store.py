"""A Zarr v3 group that rows are written to chunk by chunk, and that knows after any end what of it is whole.

`jacobian` holds the rows, `done` one digest of the samples for each chunk, written after the chunk itself: a chunk counts
once its digest is there. Zarr puts every object in place whole (files by renaming), so a process that is killed leaves
chunks that count and chunks that do not, and nothing between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from netjac.errors import MissingExtraError, StoreError, TooLargeError
from netjac.plan.table import memory as in_words
from netjac.scale.identity import SIZE

try:
    import fcntl
except ImportError:  # Windows: two writers are not kept apart there
    fcntl = None  # type: ignore[assignment]

FORMAT = "netjac rows 1"
MEANING = {
    "question": "another question",
    "program": "another network (or the same one by another version of JAX)",
    "weights": "other weights",
    "layout": "rows of another shape or dtype",
}
LOCK = ".netjac-lock"


class Store:
    """An open store. `path` is its folder, None where it is none (a bucket, memory)."""

    def __init__(self, group: Any, rows: Any, done: Any, path: Path | None) -> None:
        self._group, self.rows, self._done, self.path = group, rows, done, path
        self.chunk: int = group.attrs["samples per chunk"]
        self.per: int = group.attrs["rows per sample"]
        self._digests = np.asarray(done[:])

    def whole(self, index: int) -> bytes | None:
        """The digest of a chunk's samples; None where the chunk is not whole."""
        if index >= len(self._digests) or not self._digests[index].any() or not self._there(index):
            return None
        return self._digests[index].tobytes()

    def written(self) -> int:
        """Chunks that are whole."""
        return sum(self.whole(index) is not None for index in range(len(self._digests)))

    def _there(self, index: int) -> bool:
        """Whether the chunk's file is there in full: after a power failure a file can be shorter than it was written."""
        if self.path is None:
            return True
        name = "/".join(["c", str(index), *("0" for _ in self.rows.shape[1:])])
        file = self.path / "jacobian" / name
        checksum = 4
        return (
            file.is_file()
            and file.stat().st_size == int(np.prod(self.rows.chunks)) * self.rows.dtype.itemsize + checksum
        )

    def write(self, index: int, rows: np.ndarray, digest: bytes) -> None:
        """One chunk, its digest after it. Raises `StoreError`."""
        start = index * self.chunk * self.per
        with saying(f"chunk {index} cannot be written"):
            if start + len(rows) > self.rows.shape[0]:
                self.rows.resize((start + len(rows), *self.rows.shape[1:]))
            if index >= self._done.shape[0]:
                self._done.resize((index + 1, SIZE))
                self._digests = np.concatenate(
                    [self._digests, np.zeros((index + 1 - len(self._digests), SIZE), np.uint8)]
                )
            self.rows[start : start + len(rows)] = rows
            self._digests[index] = np.frombuffer(digest, np.uint8)
            self._done[index] = self._digests[index]

    def close(self, samples: int) -> Any:
        """The rows, cut to as many samples as there were. Raises `StoreError`."""
        with saying("the store cannot be closed"):
            if self.rows.shape[0] != samples * self.per:
                self.rows.resize((samples * self.per, *self.rows.shape[1:]))
        return self.rows


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Errors of the disk or the store in netjac's words."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(
            f"{what}: {why}. What was written before is whole; mend that and run again to go on"
        ) from error


@contextmanager
def held(place: Any) -> Iterator[None]:
    """The folder's lock, for as long as one process writes: it ends with the process, however that ends."""
    path = folder(place)
    if path is None:
        yield
        return
    with saying(f"{str(path)!r} cannot be written"):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    with lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"another process is writing to {str(path)!r}; wait for it, or give another store"
            ) from None
        for left in path.rglob("*.partial"):
            left.unlink()
        yield


def folder(place: Any) -> Path | None:
    """The folder that a store is, if it is one."""
    if isinstance(place, os.PathLike):
        return Path(place)
    if isinstance(place, str):
        return Path(place) if "://" not in place else None
    return Path(place.root) if any(kind.__name__ == "LocalStore" for kind in type(place).__mro__) else None


def opened(
    place: Any, identity: Mapping[str, str], layout: Mapping[str, Any], total: int | None, resume: bool
) -> Store:
    """A store begun or gone on with. Raises `StoreError` where it was written for something else, or is none of netjac's."""
    zarr = needed()
    path, group = folder(place), None
    if _begun(place, path):
        try:
            group = zarr.open_group(place, mode="r+")
            attributes = dict(group.attrs)
        except (
            Exception
        ) as error:  # whatever a store that is damaged, of another kind, or out of reach makes Zarr raise
            raise StoreError(
                f"{_named(place)} cannot be read as a store of rows ({_short(error)}); give another"
            ) from error
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{_named(place)} holds something that netjac did not write; give another place")
        if resume:
            _same(place, attributes, identity, total)
        else:
            group = None
    with saying(f"{_named(place)} cannot be written"):
        if group is None:
            told = {"format": FORMAT, **layout["attributes"], "identity": dict(identity), "samples": total}
            group = zarr.open_group(place, mode="w", attributes=told, zarr_format=3)
        try:
            rows, done = _arrays(group, layout, total)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{_named(place)} is damaged ({_short(error)}); give another, or resume=False") from error
    return Store(group, rows, done, path)


def _arrays(group: Any, layout: Mapping[str, Any], total: int | None) -> tuple[Any, Any]:
    """Those of the group, made where a process was killed before it made them."""
    from zarr.codecs import Crc32cCodec

    chunk, per = group.attrs["samples per chunk"], group.attrs["rows per sample"]
    if "jacobian" not in group:
        group.create_array(
            "jacobian", shape=((total or 0) * per, *layout["inner"]), chunks=(chunk * per, *layout["inner"]),
            dtype=layout["dtype"], compressors=[Crc32cCodec()], dimension_names=layout["names"],
            fill_value=float("nan"),  # what is missing is no number
        )  # fmt: skip
    if "done" not in group:
        count = -(-(total or 0) // chunk)
        group.create_array("done", shape=(count, SIZE), chunks=(1, SIZE), dtype="uint8", compressors=None)
    return group["jacobian"], group["done"]


def _begun(place: Any, path: Path | None) -> bool:
    """Whether something is there already. Raises `StoreError` for a folder of other things."""
    if path is None:
        zarr = needed()
        try:
            zarr.open_group(place, mode="r")
        except FileNotFoundError:
            return False
        except Exception:
            return True
        return True
    there = {entry.name for entry in path.iterdir()} - {LOCK}
    if there and "zarr.json" not in there:
        raise StoreError(f"{str(path)!r} is a folder of other things; give an empty or a new one")
    return bool(there)


def _same(place: Any, attributes: Mapping[str, Any], identity: Mapping[str, str], total: int | None) -> None:
    was = attributes.get("identity", {})
    for part, value in identity.items():
        if was.get(part) != value:
            detail = f" ({was.get(part)}, not {value})" if part in ("question", "layout") else ""
            raise StoreError(
                f"{_named(place)} was written for {MEANING[part]}{detail}; give another place, or resume=False to begin anew"
            )
    if attributes.get("samples") != total:
        raise StoreError(
            f"{_named(place)} was written for {attributes.get('samples')} samples, not {total}; give another place, or "
            "resume=False to begin anew"
        )


def afford(store: Store, total: int | None) -> None:
    """Raises `TooLargeError` when the disk has no room for the chunks that are missing."""
    if store.path is None or total is None:
        return
    missing = -(-total // store.chunk) - store.written()
    needs = missing * int(np.prod(store.rows.chunks)) * store.rows.dtype.itemsize
    free = shutil.disk_usage(store.path).free
    if needs > free:
        raise TooLargeError(
            f"{str(store.path)!r} needs {in_words(needs)} more, and its disk has {in_words(free)} free; give another place, "
            "fewer samples, or a smaller `of`"
        )


def needed() -> Any:
    """The Zarr package. Raises `MissingExtraError`."""
    try:
        import zarr
    except ImportError:
        raise MissingExtraError.of("zarr", "scale", "a store of rows") from None
    return zarr


def _named(place: Any) -> str:
    path = folder(place)
    return repr(str(path)) if path is not None else str(place)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
