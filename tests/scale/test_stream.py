"""Rows written to a store: the numbers of one call, whatever happened on the way."""

import errno
import json
import multiprocessing
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore

import netjac as nj
from netjac.cli import main
from netjac.scale import store as stores
from netjac.scale import stream as streams
from tests.scale.networks import INPUTS, OUTPUTS, SAMPLES, network, samples, weights

WRT = ["input", "parameters", "parameters.a"]


def whole(wrt, x):
    if wrt == "parameters":
        return nj.parameter_matrix(network(), x).to_numpy()
    return nj.jacobian(network(), x, wrt=wrt).to_numpy()


def files(folder):
    """What lies there, with the time of each file's last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != stores.LOCK}


@pytest.fixture
def computed(monkeypatch):
    """How many samples were computed, run by run."""
    runs = []
    original = streams.Rows.__call__

    def call(self, x):
        runs.append(len(x) if not isinstance(x, dict) else len(next(iter(x.values()))))
        return original(self, x)

    monkeypatch.setattr(streams.Rows, "__call__", call)
    return runs


@pytest.mark.parametrize("wrt", WRT)
@pytest.mark.parametrize("chunk", [1, 7, 80, 1000])
def test_the_store_holds_what_one_call_gives(tmp_path, wrt, chunk):
    x = samples(count=40)
    rows = nj.stream(network(), x, tmp_path / "rows", wrt=wrt, chunk=chunk)
    assert rows.metadata.zarr_format == 3
    assert rows.dtype == np.float64
    assert rows.shape == whole(wrt, x).shape
    assert np.abs(rows[:] - whole(wrt, x)).max() <= 1e-15 * np.abs(rows[:]).max()
    again = zarr.open_group(tmp_path / "rows", mode="r")
    assert (again["jacobian"][:] == rows[:]).all()


def test_columns_say_where_each_parameter_is(tmp_path):
    nj.stream(network(), samples(), tmp_path / "rows", wrt="parameters")
    told = zarr.open_group(tmp_path / "rows", mode="r").attrs["columns"]
    J = nj.parameter_matrix(network(), samples())
    assert {name: slice(*place) for name, place in told.items()} == J.names


def batches(x, sizes):
    start = 0
    for size in sizes:
        yield x[start : start + size]
        start += size
    assert start >= len(x)


@pytest.mark.parametrize("sizes", [[240], [1] * 240, [77, 100, 63], [0, 13, 0, 227, 0]])
def test_batches_of_any_sizes_give_the_same_store(tmp_path, sizes, computed):
    x = samples()
    told = []
    rows = nj.stream(
        network(), batches(x, sizes), tmp_path / "rows", chunk=50, progress=lambda *done: told.append(done)
    )
    assert rows.shape == (SAMPLES, OUTPUTS, INPUTS)
    assert computed == [50, 50, 50, 50, 40]
    assert told == [(k, 0) for k in range(1, 6)]
    assert (rows[:] == nj.stream(network(), x, tmp_path / "other", chunk=50)[:]).all()
    before = files(tmp_path)
    computed.clear()
    nj.stream(network(), batches(x, sizes[::-1]), tmp_path / "rows", chunk=50)
    assert not computed
    assert files(tmp_path) == before


def test_inputs_by_name_from_disk(tmp_path):
    def f(left, right):
        return left * jnp.sum(right, 1, keepdims=True)

    x = {"left": samples(2), "right": samples(3)}
    for name, array in x.items():
        zarr.save_array(tmp_path / name, array)
    model = nj.network(f, batched=True)
    rows = nj.stream(
        model,
        {name: zarr.open_array(tmp_path / name, mode="r") for name in x},
        tmp_path / "rows",
        wrt="right",
        chunk=99,
    )
    assert (rows[:] == nj.jacobian(model, x, wrt="right").to_numpy()).all()
    with pytest.raises(nj.ShapeError, match="disagree about the number of samples"):
        nj.stream(model, {"left": x["left"], "right": x["right"][:3]}, tmp_path / "none")


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, computed):
    x = samples()

    def failing():
        yield from (x[:50], x[50:100])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nj.stream(network(), failing(), tmp_path / "rows", chunk=25)
    computed.clear()
    rows = nj.stream(network(), batches(x, [240]), tmp_path / "rows", chunk=25)
    assert computed == [25] * 5 + [15]
    assert (rows[:] == nj.stream(network(), x, tmp_path / "other", chunk=25)[:]).all()


@pytest.mark.parametrize("place", [2, 4])
@pytest.mark.parametrize("harm", ["gone", "short", "no digest"])
def test_a_chunk_that_is_not_whole_is_computed_again_and_no_other(tmp_path, harm, place, computed):
    x = samples()
    rows = nj.stream(network(), x, tmp_path / "rows", chunk=50)
    expected = rows[:]
    chunk = tmp_path / "rows" / "jacobian" / "c" / str(place) / "0" / "0"
    if harm == "gone":
        chunk.unlink()
        assert np.isnan(rows[50 * place : 50 * (place + 1)]).all(), "what is missing is no number"
    elif harm == "short":
        chunk.write_bytes(chunk.read_bytes()[:-1])
    else:
        (tmp_path / "rows" / "done" / "c" / str(place) / "0").unlink()
    computed.clear()
    assert (nj.stream(network(), x, tmp_path / "rows", chunk=50)[:] == expected).all()
    assert computed == [50 if place < 4 else 40]


def test_a_damaged_chunk_is_no_wrong_number(tmp_path):
    rows = nj.stream(network(), samples(), tmp_path / "rows", chunk=60)
    chunk = tmp_path / "rows" / "jacobian" / "c" / "2" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        rows[:]


@pytest.mark.parametrize("point", ["group", "rows", "nothing"])
def test_a_store_that_was_only_begun_is_finished(tmp_path, point):
    """As it lies after a kill between its making and its first chunk."""
    nj.stream(network(), samples(), tmp_path / "rows", chunk=60)
    if point == "nothing":
        shutil.rmtree(tmp_path / "rows")
        (tmp_path / "rows").mkdir()
        (tmp_path / "rows" / "zarr.0123.partial").write_text("{")
    else:
        shutil.rmtree(tmp_path / "rows" / "done")
        if point == "group":
            shutil.rmtree(tmp_path / "rows" / "jacobian")
    rows = nj.stream(network(), samples(), tmp_path / "rows", chunk=60)
    assert (rows[:] == whole("input", samples())).all()
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": samples(9)}, "samples from 0 to 60 are not those"),
        ({"x": np.concatenate([samples()[:-1], samples(9)[:1]])}, "samples from 180 to 240 are not those"),
        ({"x": samples()[:239]}, "was written for 240 samples, not 239"),
        ({"weights": 5}, "was written for other weights"),
        ({"model": lambda x: jnp.sin(x[:, :3])}, "was written for another question|other weights"),
        ({"wrt": "parameters"}, "another question"),
        ({"precision": "default"}, "another question"),
    ],
)
def test_a_store_of_something_else_is_refused_and_left_as_it_was(tmp_path, change, message):
    nj.stream(network(), samples(), tmp_path / "rows", chunk=60)
    before = files(tmp_path)
    x = change.pop("x", samples())
    model = change.pop("model", None)
    model = nj.network(model, batched=True) if model else network(weights(change.pop("weights", 0)))
    with pytest.raises(nj.StoreError, match=message):
        nj.stream(model, x, tmp_path / "rows", **change)
    assert files(tmp_path) == before
    assert nj.stream(model, x, tmp_path / "rows", resume=False, chunk=40, **change).shape[0] in (239, 240, 720)


def test_another_network_with_the_same_weights_is_refused(tmp_path):
    same = [nj.network(lambda x, f=f: f(x) * 2.0, batched=True) for f in (jnp.sin, jnp.tanh)]
    nj.stream(same[0], samples(), tmp_path / "rows")
    with pytest.raises(nj.StoreError, match="another network"):
        nj.stream(same[1], samples(), tmp_path / "rows")


def test_fewer_batches_than_were_written_are_refused(tmp_path):
    x = samples()
    nj.stream(network(), batches(x, [240]), tmp_path / "rows", chunk=60)
    with pytest.raises(nj.StoreError, match="more samples than the 120"):
        nj.stream(network(), iter([x[:120]]), tmp_path / "rows")


def test_what_is_no_store_of_netjacs_is_left_alone(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "diary.txt").write_text("dear diary")
    zarr.save_array(tmp_path / "array", samples())
    zarr.open_group(tmp_path / "group", mode="w", attributes={"mine": 1})
    for name, message in [("rows", "folder of other things"), ("array", "cannot be read"), ("group", "did not write")]:
        for resume in (True, False):
            before = files(tmp_path / name)
            with pytest.raises(nj.StoreError, match=message):
                nj.stream(network(), samples(), tmp_path / name, resume=resume)
            assert files(tmp_path / name) == before


def test_a_store_that_cannot_be_read_is_said(tmp_path):
    nj.stream(network(), samples(), tmp_path / "rows")
    (tmp_path / "rows" / "zarr.json").write_text('{"half":')
    with pytest.raises(nj.StoreError, match="cannot be read as a store of rows"):
        nj.stream(network(), samples(), tmp_path / "rows")
    (tmp_path / "file").write_text("")
    with pytest.raises(nj.StoreError, match="file"):
        nj.stream(network(), samples(), tmp_path / "file" / "rows")


class Full(LocalStore):
    """A disk on which there is room for some objects."""

    room = 9

    async def set(self, key, value):
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        Full.room -= 1
        await super().set(key, value)


def test_a_disk_that_fills_up_is_said_and_nothing_is_lost(tmp_path, monkeypatch, computed):
    monkeypatch.setattr(Full, "room", 9)
    with pytest.raises(nj.StoreError, match=r"No space left on device.*run again"):
        nj.stream(network(), samples(), Full(tmp_path / "rows"), chunk=20)
    before = len(computed)
    assert 1 < before < 12
    computed.clear()
    rows = nj.stream(network(), samples(), tmp_path / "rows", chunk=20)
    assert len(computed) in (12 - before, 13 - before)
    assert (rows[:] == whole("input", samples())).all()


def test_a_disk_without_room_is_said_before_any_work(tmp_path, monkeypatch, computed):
    nothing = shutil._ntuple_diskusage(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: nothing)
    with pytest.raises(nj.TooLargeError, match=r"28\.1 KiB more, and its disk has 1000 B free"):
        nj.stream(network(), samples(), tmp_path / "rows", chunk=60)
    assert not computed


def test_a_row_over_the_memory_budget_is_said_before_any_work(tmp_path):
    with pytest.raises(nj.TooLargeError, match="parameter_matrix"):
        nj.stream(network(), samples(), tmp_path / "rows", wrt="parameters", memory="1KiB")
    assert not (tmp_path / "rows").exists()


def writing(place):
    x = samples()
    rows = (x[k : k + 1] for k in range(len(x)))
    nj.stream(network(), rows, place, chunk=1, progress=lambda *_: None)


def test_two_writers_at_once_are_one_too_many(tmp_path):
    with (
        stores.held(tmp_path / "rows"),
        pytest.raises(nj.StoreError, match="another process is writing"),
    ):
        nj.stream(network(), samples(), tmp_path / "rows")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with stores.held(tmp_path / "rows"), pytest.raises(nj.StoreError, match="another process"):
            pool.apply(writing, (str(tmp_path / "rows"),))
        pool.apply(writing, (str(tmp_path / "rows"),))


def test_a_store_need_not_be_a_folder(computed):
    place = MemoryStore()
    rows = nj.stream(network(), samples(), place, chunk=100)
    assert (rows[:] == whole("input", samples())).all()
    computed.clear()
    nj.stream(network(), samples(), place)
    assert not computed


def test_samples_that_see_each_other_are_refused(tmp_path):
    centred = nj.network(lambda x: jnp.tanh(x - x.mean(0)), batched=True)
    for one in (centred, nj.network(lambda x: x.sum(0), batched=True), nj.network(jnp.sin)):
        with pytest.raises(nj.ShapeError, match=r"see each other|no axis of samples"):
            nj.stream(one, samples(), tmp_path / "rows")


def test_questions_and_batches_that_mean_nothing_are_said(tmp_path):
    for x, message in [
        (samples()[:0], "no samples"),
        (iter([]), "no batch came"),
        (iter([samples()[:0]]), "empty ones alone"),
        (3, "neither an array nor"),
        ([(1, 2)], "a batch came as a tuple"),
        (iter([samples(), samples()[:, :2]]), "do not fit together"),
    ]:
        with pytest.raises(nj.ShapeError, match=message):
            nj.stream(network(), x, tmp_path / "rows", chunk=1000)
    with pytest.raises(nj.ShapeError, match="name one thing"):
        nj.stream(network(), samples(), tmp_path / "rows", wrt=["input"])
    with pytest.raises(nj.NonFiniteError, match="holds nan"):
        nj.stream(network(), np.full((3, INPUTS), np.nan), tmp_path / "rows")


@pytest.mark.parametrize(("dtype", "kept"), [("float32", "float32"), ("float16", "float16"), ("bfloat16", "float32")])
def test_narrow_dtypes_are_kept_exactly(tmp_path, dtype, kept):
    x = np.asarray(jnp.asarray(samples(count=9), dtype))
    rows = nj.stream(network(), x, tmp_path / "rows", chunk=4)
    assert rows.dtype == kept
    assert (rows[:] == np.concatenate([nj.jacobian(network(), x[k : k + 4]).to_numpy() for k in (0, 4, 8)])).all()


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(nj.MissingExtraError, match=r"netjac\[scale\]"):
        nj.stream(network(), samples(), tmp_path / "rows")


def test_the_command_writes_a_store_and_goes_on(tmp_path, monkeypatch, capsys, computed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "streamed_net.py").write_text("import jax.numpy as jnp\ndef net(x):\n    return jnp.tanh(x)[:, :2]\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("x.npy", samples())
    line = ["stream", "streamed_net:net", "x.npy", "--batched", "--chunk", "100", "-o", "rows.zarr"]
    assert main(line) == 0
    assert "/jacobian in rows.zarr: 240 × 2 × 5, float64" in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [240, 2, 5]
    assert computed == [100, 100, 40]
    assert main([*line, "--begin-anew", "--quiet"]) == 0
    assert computed == [100, 100, 40] * 2
    assert main(line[:-2]) == 2
    assert "-o STORE is missing" in capsys.readouterr().err
    np.save("x.npy", samples(4))
    assert main(line) == 2
    assert "not those that the store was written for" in capsys.readouterr().err
