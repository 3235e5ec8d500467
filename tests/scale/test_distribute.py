"""A dask array over a cluster: the numbers of one process, whatever becomes of a worker."""

import os
import signal
import sys
import time

import dask.array as da
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import zarr
from distributed import Client, LocalCluster

import netjac as nj
from netjac.scale import distribute as distributing
from tests.oracles import relative_error
from tests.scale.networks import HIDDEN, INPUTS, OUTPUTS, SAMPLES, network, samples

PARAMETERS = INPUTS * HIDDEN + HIDDEN * OUTPUTS


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def whole(wrt, x):
    if wrt == "parameters":
        return nj.parameter_matrix(network(), x).to_numpy()
    return nj.jacobian(network(), x, wrt=wrt).to_numpy()


@pytest.mark.parametrize("wrt", ["input", "parameters", "parameters.b"])
def test_the_numbers_are_those_of_one_process(client, wrt):
    x = samples()
    expected = whole(wrt, x)
    for chunk in (7, 100, 1000):
        array = nj.distribute(network(), x, client, wrt=wrt, chunk=chunk)
        assert array.shape == expected.shape
        assert array.dtype == np.float64
        assert max(array.chunks[0]) == min(chunk, SAMPLES) * (OUTPUTS if wrt == "parameters" else 1)
        assert relative_error(array.compute(), expected) < 1e-15


def test_data_of_any_kind_and_cut_anyhow(client, tmp_path):
    x = samples()
    zarr.create_array(tmp_path / "x", data=x, chunks=(50, 5))
    expected = whole("input", x)
    for data in (da.from_array(x, chunks=((13, 200, 27), (2, 3))), zarr.open_array(tmp_path / "x", mode="r")):
        assert relative_error(nj.distribute(network(), data, client, chunk=64).compute(), expected) < 1e-15


def test_inputs_by_name_in_any_order():
    model = nj.network(lambda left, right: left * jnp.sum(jnp.sin(right), 1, keepdims=True), batched=True)
    x = {"right": samples(3), "left": samples(2)}
    array = nj.distribute(model, x, wrt="right", chunk=100)
    assert (array.compute() == nj.jacobian(model, x, wrt="right").to_numpy()).all()
    with pytest.raises(nj.ShapeError, match="equally many"):
        nj.distribute(model, {"left": x["left"], "right": x["right"][:5]})


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrow_dtypes(dtype):
    x = np.asarray(jnp.asarray(samples(count=10), dtype))
    expected = nj.jacobian(network(), x).to_numpy().astype("float32")
    array = nj.distribute(network(), x, chunk=10)
    assert array.dtype == (dtype if dtype != "bfloat16" else "float32")
    assert (array.compute().astype("float32") == expected).all()


def test_a_worker_needs_nothing_of_the_models_framework(client):
    module = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    x = np.random.default_rng(0).standard_normal((20, 1, 5)).astype("float32")
    array = nj.distribute(module, x, client, wrt="parameters", chunk=6).compute()
    assert (array == nj.parameter_matrix(module, x).to_numpy()).all() or relative_error(
        array, nj.parameter_matrix(module, x).to_numpy()
    ) < 1e-6
    assert not any(client.run(lambda: "torch" in __import__("sys").modules).values())


def test_a_worker_killed_in_the_middle_loses_nothing(client):
    x = samples(count=4000)
    array = nj.distribute(network(), x, client, wrt="parameters", chunk=5)
    first = client.run(os.getpid)
    future = client.persist(array)
    victim = sorted(first.values())[0]
    time.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    found = future.compute()
    assert relative_error(found, whole("parameters", x)) < 1e-15
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(first.values()), "a worker was killed and another came"


def test_singular_values_of_the_whole_from_its_blocks(client):
    x = samples(count=2000)
    expected = np.linalg.svd(whole("parameters", x), compute_uv=False)
    array = nj.distribute(network(), x, client, wrt="parameters", chunk=100)
    _, upper = da.linalg.tsqr(array)
    assert relative_error(np.linalg.svd(upper.compute(), compute_uv=False), expected) < 1e-13
    assert relative_error(da.linalg.svd(array)[1].compute(), expected) < 1e-13
    leading = da.linalg.svd_compressed(array, 5, n_power_iter=4, compute=True, seed=0)[1].compute()
    assert relative_error(leading, expected[:5]) < 1e-6


def test_blocks_keep_to_the_memory_of_a_thread(client):
    x = da.zeros((10**9, INPUTS), chunks=10**8)
    array = nj.distribute(network(), x, client, wrt="parameters")
    share = 2**30 // 4
    block = array.chunks[0][0] * PARAMETERS * 8
    assert share / 5 < block < share
    assert array.shape == (3 * 10**9, PARAMETERS)
    small = nj.distribute(network(), x[: 10**6], client, wrt="parameters", memory="1MiB")
    assert small.chunks[0][0] * PARAMETERS * 8 < 2**20
    with pytest.raises(nj.TooLargeError, match="one sample's rows take"):
        nj.distribute(network(), x, client, wrt="parameters", memory="1KiB")


def test_large_weights_lie_in_a_folder_that_all_see(client, tmp_path, monkeypatch):
    monkeypatch.setattr(distributing, "MOST_SENT", 100)
    with pytest.raises(nj.TooLargeError, match="folder="):
        nj.distribute(network(), samples(), client)
    array = nj.distribute(network(), samples(), client, wrt="parameters", chunk=100, folder=tmp_path / "weights")
    assert sorted(file.suffix for file in (tmp_path / "weights").iterdir()) == [".npy", ".npy"]
    assert relative_error(array.compute(), whole("parameters", samples())) < 1e-15
    again = nj.distribute(network(), samples(), client, wrt="parameters", chunk=100, folder=tmp_path / "weights")
    assert len(list((tmp_path / "weights").iterdir())) == 2
    assert again.name.rpartition("-")[0] == array.name.rpartition("-")[0]


def test_what_cannot_be_spread_is_said(monkeypatch):
    centred = nj.network(lambda x: jnp.tanh(x - x.mean(0)), batched=True)
    with pytest.raises(nj.ShapeError, match="see each other"):
        nj.distribute(centred, samples())
    with pytest.raises(nj.ShapeError, match="use stream"):
        nj.distribute(network(), iter([samples()]))
    with pytest.raises(nj.ShapeError, match="equally many"):
        nj.distribute(network(), samples()[:0])
    with pytest.raises(nj.NonFiniteError, match="not finite"):
        nj.distribute(network(), np.full((3, INPUTS), np.nan)).compute()
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(nj.MissingExtraError, match=r"netjac\[scale\]"):
        nj.distribute(network(), samples())
