"""One pass over samples, however they come, gives what `netjac.jacobian` gives of all of them."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pandas
import pytest
import torch
import zarr

import netjac as nj
from netjac.analysis import passes
from netjac.analysis.passes import over
from netjac.data import named
from netjac.errors import NotDifferentiableError, ShapeError, TooLargeError

W = np.random.default_rng(0).standard_normal((4, 3))
X = np.random.default_rng(1).standard_normal((37, 4))


def f(x):
    return jnp.tanh(x @ W.astype(x.dtype)) * jnp.sum(x**2, -1, keepdims=True)


@pytest.fixture(scope="module")
def net():
    return nj.network(f, batched=True)


@pytest.fixture
def small_runs(monkeypatch):
    monkeypatch.setattr(passes, "MOST", 8)


def gathered(through):
    runs = list(through.runs())
    assert [run.start for run in runs] == list(np.cumsum([0, *map(len, runs)])[:-1])
    return [np.concatenate([getattr(run, name) for run in runs]) for name in ("features", "values", "jacobian")]


def as_it_comes(kind, tmp_path):
    if kind == "zarr":
        return zarr.create_array(tmp_path / "x.zarr", data=X)
    if kind == "memory map":
        np.save(tmp_path / "x.npy", X)
        return np.load(tmp_path / "x.npy", mmap_mode="r")
    return {
        "array": X,
        "torch": torch.tensor(X),
        "nested lists": X.tolist(),
        "table": pandas.DataFrame(X),
        "batches": iter([X[:5], X[5:5], X[5:30], X[30:]]),
        "batches of torch": [torch.tensor(X[:20]), torch.tensor(X[20:])],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["array", "torch", "nested lists", "table", "batches", "batches of torch", "memory map", "zarr"]
)
def test_every_kind_of_data_gives_all_samples_in_order(net, small_runs, kind, tmp_path):
    features, values, entries = gathered(over(net, as_it_comes(kind, tmp_path)))
    assert np.array_equal(features, X)
    assert np.allclose(values, np.tanh(X @ W) * np.sum(X**2, 1, keepdims=True), rtol=1e-13)
    assert entries.dtype == np.float64
    assert np.allclose(entries, np.asarray(nj.jacobian(net, X)), rtol=1e-13)


def test_one_buffer_filled_again_and_again_gives_every_batch(net, small_runs):
    buffer = np.empty((3, 4))

    def batches():
        for start in range(0, 36, 3):
            buffer[:] = X[start : start + 3]
            yield buffer

    features, _, entries = gathered(over(net, batches()))
    assert np.array_equal(features, X[:36])
    assert np.allclose(entries, np.asarray(nj.jacobian(net, X[:36])), rtol=1e-13)


def test_the_next_run_is_started_before_one_is_given(net, small_runs, monkeypatch):
    order, begin = [], passes.started
    monkeypatch.setattr(passes, "started", lambda *given: (order.append("start"), begin(*given))[1])
    for _ in over(net, X).runs():
        order.append("use")
    assert order == ["start", *["start", "use"] * 4, "use"]


@pytest.mark.parametrize(("data", "shapes"), [(X, 1), (iter([X[:5], X[5:30], X[30:35]]), 2)])
def test_all_runs_share_one_shape(small_runs, data, shapes):
    traced = []

    def counting(x):
        traced.append(x.shape)
        return f(x)

    through = over(nj.network(counting, batched=True), data)
    traced.clear()
    assert len(list(through.runs())) == 5
    assert len(set(traced)) == len(traced) == shapes


def test_what_a_run_takes_follows_the_memory_budget(net):
    assert over(net, X, memory="1GiB").size == 37
    assert over(net, X, memory=8000).size < 12
    with pytest.raises(TooLargeError, match=r"one sample's Jacobian takes .* name a smaller output"):
        over(net, X, memory=300)


def test_progress_tells_of_every_run(net, small_runs):
    told = []
    list(over(net, X, progress=lambda done, total: told.append((done, total))).runs())
    assert told == [(i, 5) for i in range(1, 6)]


def test_several_inputs_are_one_row_of_features():
    two = nj.network(lambda a, b: a**2 @ W + jnp.sin(b), batched=True)
    data = {"a": X, "b": X[:, :3]}
    through = over(two, data)
    assert (through.m, through.n, through.in_shapes) == (3, 7, {"a": (4,), "b": (3,)})
    entries = gathered(through)[2]
    J = nj.jacobian(two, (X, X[:, :3]))
    assert np.allclose(entries, np.concatenate([np.asarray(J["a"]), np.asarray(J["b"])], 2), rtol=1e-13)
    assert np.allclose(gathered(over(two, data, wrt="b"))[2], np.asarray(J["b"]), rtol=1e-13)


def test_samples_that_see_each_other_are_refused_with_the_reason():
    centred = nj.network(lambda x: x - jnp.mean(x, 0), batched=True)
    with pytest.raises(ShapeError, match=r"samples of 'output' see each other \(.*mixes the samples"):
        over(centred, X)
    with pytest.raises(ShapeError, match=r"batched=True"):
        over(f, X)


def test_what_has_no_derivative_is_refused_as_by_jacobian(net):
    with pytest.raises(NotDifferentiableError, match="argmax"):
        over(nj.network(lambda x: jnp.argmax(f(x), -1), batched=True), X)
    with pytest.raises(NotDifferentiableError, match="integers"):
        over(net, np.ones((3, 4), int))
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(nj.NonFiniteError, match=r"nan at index \(7, 2\)"):
        gathered(over(net, bad))
    with pytest.raises(ShapeError, match="no samples"):
        over(net, X[:0])
    with pytest.raises(ShapeError, match="outputs a, b; name one"):
        over(nj.network(lambda x: {"a": x, "b": x}, batched=True), X)
    with pytest.raises(ShapeError, match="is no input"):
        over(nj.network(lambda x: nj.mark(x, "h") ** 2, batched=True), X, wrt="h")


def test_float32_stays_and_lower_precision_comes_as_float32(net):
    assert gathered(over(net, X.astype("float32")))[2].dtype == np.float32
    through = over(net, jnp.asarray(X, jnp.bfloat16))
    assert {a.dtype for a in gathered(through)} == {np.dtype(np.float32)}


def test_a_table_has_names_and_words_in_it_are_refused(net, tmp_path):
    table = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    assert over(net, table).columns == ("a", "b", "c", "d")
    with pytest.raises(ShapeError, match=r"columns town of X hold no numbers"):
        over(net, table.assign(town="Graz"))
    assert over(net, table.astype("float32")).samples.first().dtype == np.float32
    mixed = table.assign(b=table.b > 0, d=[1, *range(36)]).astype({"a": "Float64"})
    assert over(net, mixed).samples.first().dtype == np.float64
    table.to_csv(tmp_path / "x.csv", index=False)
    table.to_parquet(tmp_path / "x.parquet")
    for path in ("x.csv", "x.parquet"):
        numbers, names = named(tmp_path / path)
        assert names == ("a", "b", "c", "d")
        assert np.allclose(numbers, X)
    np.save(tmp_path / "x.npy", X)
    assert named(tmp_path / "x.npy")[1] is None


def test_a_keras_model_and_a_torch_module():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)])
    assert np.allclose(
        gathered(over(model, X.astype("float32")))[2], np.asarray(nj.jacobian(model, X.astype("float32")))
    )
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    x = torch.tensor(X, dtype=torch.float32)
    assert np.allclose(gathered(over(module, x))[2], np.asarray(nj.jacobian(module, x)), atol=1e-7)


def test_the_users_settings_stay(net):
    before = jax.config.jax_enable_x64, np.random.get_state()[1].copy()
    list(over(net, X).runs())
    assert jax.config.jax_enable_x64 == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
