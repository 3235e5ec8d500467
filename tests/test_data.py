import pickle
import sys

import numpy as np
import pandas
import pytest
import zarr

from netjac.data import mapped, read
from netjac.errors import MissingExtraError, NetjacError, ShapeError

A = np.arange(6.0).reshape(2, 3)


def written(path, text):
    path.write_text(text)
    return path


def test_an_npy_comes_back_with_its_dtype(tmp_path):
    np.save(tmp_path / "x.npy", A.astype("float32"))
    found = read(tmp_path / "x.npy")
    assert found.dtype == np.float32
    assert (found == A).all()


def test_an_npz_of_one_array_is_that_array_and_of_several_a_dict(tmp_path):
    np.savez(tmp_path / "one.npz", a=A)
    np.savez(tmp_path / "two.npz", a=A, b=A + 1)
    assert (read(tmp_path / "one.npz") == A).all()
    found = read(str(tmp_path / "two.npz"))
    assert list(found) == ["a", "b"]
    assert (found["b"] == A + 1).all()


@pytest.mark.parametrize("head", ["", "a,b,c\n", "\ufeff'a b',b2,c\n"])
def test_a_csv_may_have_a_line_of_names(tmp_path, head):
    assert (read(written(tmp_path / "x.csv", head + "0,1, 2\n\n3,4,5e0\n")) == A).all()


def test_a_csv_of_one_row_or_one_column_is_a_matrix_still(tmp_path):
    assert read(written(tmp_path / "row.csv", "1,2,3\n")).shape == (1, 3)
    assert read(written(tmp_path / "column.csv", "1\n2\n")).shape == (2, 1)


def test_a_parquet_table_is_a_matrix(tmp_path):
    pandas.DataFrame(A, columns=list("abc")).to_parquet(tmp_path / "x.parquet")
    assert (read(tmp_path / "x.parquet") == A).all()


def test_words_in_a_parquet_table_are_named(tmp_path):
    pandas.DataFrame({"a": [1.0], "town": ["Graz"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ShapeError, match=r"columns town .* encode or drop"):
        read(tmp_path / "x.parquet")


def test_parquet_without_pandas_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"netjac\[tables\]"):
        read(written(tmp_path / "x.parquet", "PAR1"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.npy", "no array", "damaged"),
        ("x.npz", "no archive", "damaged"),
        ("x.parquet", "no table", "damaged"),
        ("x.csv", "1,2\n3\n", "line 2 .* has 1 numbers and the first has 2"),
        ("x.csv", "a,b\n3,much\n", "line 2, column 2 .* is 'much'"),
        ("x.csv", "a,b\n", "holds no rows"),
        ("x.txt", "1", r"give a \.npy, \.npz, \.csv, \.parquet or \.zarr"),
    ],
)
def test_bad_files_are_refused_with_the_path_and_the_reason(tmp_path, name, text, message):
    with pytest.raises(ShapeError, match=message) as told:
        read(written(tmp_path / name, text))
    assert str(tmp_path / name) in str(told.value)


def test_a_truncated_npz_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=A)
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[:-30])
    with pytest.raises(ShapeError, match="damaged"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_pickled_objects_are_refused_and_not_opened(tmp_path, ending):
    opened = []

    class Trap:
        def __reduce__(self):
            return opened.append, (1,)

    objects = np.array([Trap()], dtype=object)
    path = tmp_path / f"x.{ending}"
    np.savez(path, a=objects) if ending == "npz" else np.save(path, objects)
    with pytest.raises(ShapeError, match="pickle"):
        read(path)
    assert not opened


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NetjacError, match=r"absent\.npy' does not exist"):
        read(tmp_path / "absent.npy")


def test_words_in_an_array_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(ShapeError, match="no real numbers"):
        read(tmp_path / "x.npy")


def test_a_bare_pickle_is_refused_as_one(tmp_path):
    (tmp_path / "x.npy").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(ShapeError, match="pickle"):
        read(tmp_path / "x.npy")


def test_a_zarr_array_and_an_npy_stay_on_disk_until_they_are_cut(tmp_path):
    zarr.save_array(tmp_path / "x.zarr", A)
    np.save(tmp_path / "x.npy", A)
    assert isinstance(mapped(tmp_path / "x.zarr"), zarr.Array)
    assert isinstance(mapped(tmp_path / "x.npy"), np.memmap)
    for name in ("x.zarr", "x.npy"):
        assert type(read(tmp_path / name)) is np.ndarray
        assert (read(tmp_path / name) == A).all()


def test_a_zarr_group_is_a_dict_of_its_arrays_and_what_is_none_is_refused(tmp_path, monkeypatch):
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("a", data=A)
    group.create_array("b", data=A + 1)
    found = read(tmp_path / "x.zarr")
    assert (found["a"] == A).all()
    assert (found["b"] == A + 1).all()
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(ShapeError, match="holds no arrays"):
        read(tmp_path / "empty.zarr")
    (tmp_path / "x.zarr" / "zarr.json").write_text("{")
    with pytest.raises(ShapeError, match="damaged or is no Zarr store"):
        read(tmp_path / "x.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"netjac\[scale\]"):
        read(tmp_path / "x.zarr")


def test_an_array_without_entries_is_read(tmp_path):
    np.save(tmp_path / "x.npy", A[:0])
    assert read(tmp_path / "x.npy").shape == (0, 3)
