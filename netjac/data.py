"""Reading a network's input from a file. Nothing in a file is ever executed: pickles are refused."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netjac.errors import MissingExtraError, ShapeError

Data = np.ndarray | dict[str, np.ndarray]
ENDINGS = ".npy, .npz, .csv, .parquet or .zarr"


def read(path: str | Path) -> Data:
    """The numbers in a file: an array, or for an `.npz` of several arrays a dict of them by name.

    `.csv` (a first line of names is skipped) and `.parquet` give (rows, columns) in float64, one sample a row.

    Raises `ShapeError` when the file is missing, of another kind, damaged, or holds anything but numbers, and
    `MissingExtraError` for `.parquet` without pandas and `.zarr` without zarr.
    """
    return read_named(path)[0]


def read_named(path: str | Path) -> tuple[Data, tuple[str, ...] | None]:
    """The same, and the names of the columns: of a `.csv` with a first line of names, or a `.parquet`."""
    found, names = named(path)
    if isinstance(found, Mapping):
        return {name: np.asarray(array) for name, array in found.items()}, names
    return np.array(found) if isinstance(found, np.memmap) else np.asarray(found), names


def mapped(path: str | Path) -> Any:
    """What `read` gives, but an `.npy` file and the arrays of a `.zarr` folder stay on disk until they are cut."""
    return named(path)[0]


def named(path: str | Path) -> tuple[Any, tuple[str, ...] | None]:
    """What `mapped` gives, and the names of the columns."""
    path = Path(path)
    if path.suffix.lower() == ".zarr" and path.is_dir():
        return _zarr(path), None
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise ShapeError(f"the data file {str(path)!r} {kind}; give the path of a {ENDINGS} file")
    tables, arrays = {".csv": _csv, ".parquet": _parquet}, {".npy": _npy, ".npz": _npz}
    ending = path.suffix.lower()
    if ending in tables:
        return tables[ending](path)
    if ending not in arrays:
        raise ShapeError(f"{str(path)!r} is of no kind that netjac reads; give a {ENDINGS} file (np.save makes one)")
    return arrays[ending](path), None


def columns_of(table: Any) -> tuple[str, ...] | None:
    """The names of a DataFrame's columns; None for anything else."""
    columns = getattr(table, "columns", None)
    return None if columns is None or callable(columns) or not hasattr(table, "to_numpy") else tuple(map(str, columns))


def numbers_of(frame: Any, name: str) -> np.ndarray:
    """A pandas DataFrame's numbers, (rows, columns): in float64, what is missing as NaN; in float32 where all columns are.

    Raises `ShapeError` where a column holds no numbers.
    """
    if not hasattr(frame.dtypes, "items"):  # Polars and others of its kind
        return np.asarray(frame.to_numpy())
    words = [str(column) for column, kind in frame.dtypes.items() if not _is_numeric(kind)]
    if words:
        raise ShapeError(f"columns {', '.join(words[:5])} of {name} hold no numbers; encode or drop them")
    single = len(frame.dtypes) and all(kind == np.float32 for kind in frame.dtypes)
    found: np.ndarray = frame.to_numpy(np.float32 if single else np.float64, na_value=np.nan)
    return found


def _is_numeric(kind: Any) -> bool:
    return getattr(kind, "kind", "O") in "fiub" or bool(getattr(kind, "_is_numeric", False))


def _npy(path: Path) -> np.ndarray:
    try:
        try:
            array = np.load(path, allow_pickle=False, mmap_mode="r")
        except ValueError:  # an array without entries cannot be mapped
            array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _refused(path, error) from error
    return _numeric(path, path.name, array)


def _npz(path: Path) -> Data:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: _numeric(path, name, archive[name]) for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        if isinstance(error, ShapeError):
            raise
        raise _refused(path, error) from error
    if not arrays:
        raise ShapeError(f"{str(path)!r} holds no arrays; save them with np.savez(path, name=array)")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _refused(path: Path, error: Exception) -> ShapeError:
    # NumPy takes every file that is none of its own for a pickle; a true one begins with its protocol.
    if "Object arrays" in str(error) or path.read_bytes()[:1] == b"\x80":
        return ShapeError(
            f"{str(path)!r} holds Python objects (a pickle), which can run any code and are not opened; save an array "
            "of numbers with np.save or np.savez"
        )
    return ShapeError(f"{str(path)!r} is damaged or is no {path.suffix} file; save it again with NumPy")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _csv(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(c.strip() for c in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ShapeError(f"{str(path)!r} is no text of comma-separated numbers ({_short(error)})") from error
    names = None
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        names, rows = tuple(cell.strip() for cell in rows[0][1]), rows[1:]
    if not rows:
        raise ShapeError(f"{str(path)!r} holds no rows of numbers; write one sample a line, its numbers with commas")
    width = len(rows[0][1])
    table = np.empty((len(rows), width))
    for place, (number, row) in enumerate(rows):
        if len(row) != width:
            raise ShapeError(f"line {number} of {str(path)!r} has {len(row)} numbers and the first has {width}; fix it")
        for column, cell in enumerate(row):
            if not _is_number(cell):
                raise ShapeError(
                    f"line {number}, column {column + 1} of {str(path)!r} is {cell!r}, no number; replace or drop it"
                )
            table[place, column] = float(cell)
    return table, names if names is not None and len(names) == width else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    try:
        import pandas
    except ImportError:
        raise MissingExtraError.of("pandas", "tables", f"reading {str(path)!r}") from None
    try:
        frame = pandas.read_parquet(path)
    except ImportError:
        raise MissingExtraError.of("pyarrow", "tables", f"reading {str(path)!r}") from None
    except (ValueError, OSError) as error:
        raise ShapeError(f"{str(path)!r} is damaged or is no parquet file ({_short(error)})") from error
    return numbers_of(frame, repr(str(path))).astype(np.float64, copy=False), columns_of(frame)


def _zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError:
        raise MissingExtraError.of("zarr", "scale", f"reading {str(path)!r}") from None
    try:
        found: Any = zarr.open(path, mode="r")
        arrays = (
            {name: _numeric(path, name, array) for name, array in found.arrays()} if hasattr(found, "arrays") else None
        )
    except ShapeError:
        raise
    except Exception as error:  # whatever a damaged store makes Zarr raise
        raise ShapeError(f"{str(path)!r} is damaged or is no Zarr store ({_short(error)})") from error
    if arrays is None:
        return _numeric(path, path.name, found)
    if not arrays:
        raise ShapeError(f"{str(path)!r} holds no arrays; give a store of one, or of one for each input")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _numeric(path: Path, name: str, array: Any) -> Any:
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"{name!r} of {str(path)!r} holds {array.dtype}, no real numbers; convert it first")
    return array
