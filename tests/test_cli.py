import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

NETWORKS = """
import jax.numpy as jnp
import numpy as np
import netjac as nj

W = np.random.default_rng(0).standard_normal((6, 4))

def net(x):
    return jnp.tanh(nj.mark(x @ W.astype(x.dtype), "hidden"))

def two(x):
    return {"a": x * 2, "b": jnp.sin(x)}

def add(left, right):
    return left @ W.astype(left.dtype) * right

def best(x):
    return jnp.argmax(net(x), -1)

def interrupted(x):
    raise KeyboardInterrupt

def broken(x):
    raise RuntimeError("first line\\nsecond line")

class Nested:
    inner = staticmethod(net)

number = 3
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of networks in the current folder, which is empty but for it."""
    name = f"cli_networks_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def inputs(shape=(3, 6), dtype="float64"):
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


def refused(capsys, *arguments):
    """The one line on stderr of a command that is refused."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("netjac: ")
    return told.err


def test_jacobian_saves_what_the_library_computes(module, capsys):
    x = inputs()
    np.save("x.npy", x)
    assert main(["jacobian", f"{module}:net", "x.npy", "--batched", "-o", "j.npz"]) == 0
    found = np.load("j.npz")["jacobian"]
    expected = jax.vmap(jax.jacobian(sys.modules[module].net))
    with jax.enable_x64(True):
        assert np.allclose(found, expected(x), rtol=1e-14)
    assert found.dtype == np.float64
    assert "3 samples, out (4), in (6)" in capsys.readouterr().out


def test_an_npy_holds_one_jacobian_and_quiet_prints_nothing(module, capsys):
    assert main(["jacobian", f"{module}:Nested.inner", "--shape", "2,6", "--batched", "-o", "j.npy", "--quiet"]) == 0
    assert np.load("j.npy").shape == (2, 4, 6)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")
    assert sorted(os.listdir()) == sorted(["j.npy", f"{module}.py", *(["__pycache__"] * os.path.exists("__pycache__"))])


def test_a_picture_is_made_where_the_output_ends_in_png(module):
    assert main(["jacobian", f"{module}:net", "--shape", "2,6", "--batched", "--sample", "1", "-o", "j.png"]) == 0
    with open("j.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_several_jacobians_are_saved_by_name(module, capsys):
    np.savez("x.npz", left=inputs((6,)), right=inputs((4,)))
    assert main(["jacobian", f"{module}:add", "x.npz", "-o", "j.npz", "--json"]) == 0
    saved = np.load("j.npz")
    assert {name: saved[name].shape for name in saved.files} == {"left": (4, 6), "right": (4, 4)}
    told = json.loads(capsys.readouterr().out)
    assert list(told["jacobians"]) == ["left", "right"]
    assert "-o takes an .npz" in refused(capsys, "jacobian", f"{module}:add", "x.npz", "-o", "j.npy")


def test_names_may_be_repeated_for_layers(module):
    arguments = ["jacobian", f"{module}:net", "--shape", "2,6", "--batched"]
    assert main([*arguments, "--of", "hidden", "--of", "output", "--wrt", "x", "-o", "j.npz"]) == 0
    assert set(np.load("j.npz").files) == {"hidden", "output"}


def test_json_has_the_values_and_what_they_are(module, capsys):
    assert main(["jacobian", f"{module}:net", "--shape", "2,6", "--batched", "--json", "--dtype", "float64"]) == 0
    told = json.loads(capsys.readouterr().out)["jacobians"]["jacobian"]
    assert told["shape"] == [2, 4, 6] == list(np.shape(told["values"]))
    assert (told["of"], told["wrt"], told["dtype"]) == ("output", "x", "float64")
    assert told["structure"]["per_sample"] is True
    assert np.allclose(told["norm"], np.sqrt(np.square(told["values"]).sum((1, 2))))


def test_without_an_output_file_there_is_a_picture_in_characters(module, capsys):
    assert main(["jacobian", f"{module}:net", "--shape", "2,6", "--batched"]) == 0
    told = capsys.readouterr().out
    assert "full strength ±" in told
    assert "\x1b" not in told


def test_explain_prints_the_plan_and_computes_nothing(module, capsys):
    arguments = ["explain", f"{module}:net", "--shape", "2,6", "--batched"]
    assert main(arguments) == 0
    assert "plain reverse" in capsys.readouterr().out
    assert main([*arguments, "--json", "-o", "plan.txt"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"]
    assert "plain reverse" in Path("plan.txt").read_text(encoding="utf-8")


def test_check_passes_and_says_so_for_every_output(module, capsys):
    arguments = ["check", f"{module}:two", "--shape", "5"]
    assert main([*arguments, "-o", "check.json"]) == 0
    assert capsys.readouterr().out.count("is right") == 2
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(Path("check.json").read_text())
    assert told["passed"]
    assert set(told["checks"]) == {"a", "b"}


def test_a_check_that_fails_ends_with_one(module, capsys):
    assert main(["check", f"{module}:net", "--shape", "2,6", "--batched", "--tolerance", "0"]) == 1
    assert "NOT" in capsys.readouterr().out


def test_a_csv_is_one_sample_a_row(module):
    np.savetxt("x.csv", inputs(), delimiter=",", header="a,b,c,d,e,f", comments="")
    assert main(["jacobian", f"{module}:net", "x.csv", "--batched", "-o", "j.npy", "--quiet"]) == 0
    assert np.load("j.npy").shape == (3, 4, 6)


def test_an_npz_of_inputs_out_of_order_goes_by_name(module):
    np.savez("x.npz", right=inputs((4,)), left=inputs((6,)))
    assert main(["jacobian", f"{module}:add", "x.npz", "--wrt", "left", "-o", "j.npy", "--quiet"]) == 0
    assert np.allclose(np.load("j.npy"), inputs((4,))[:, None] * sys.modules[module].W.T)


def test_the_frameworks_engine_gives_the_same(module):
    arguments = ["jacobian", f"{module}:net", "--shape", "3,6", "--batched", "--quiet", "-o"]
    assert main([*arguments, "ours.npy"]) == main([*arguments, "theirs.npy", "--engine", "framework"]) == 0
    assert np.allclose(np.load("ours.npy"), np.load("theirs.npy"), rtol=1e-5, atol=1e-6)


def test_half_precision_is_saved_as_numbers_that_numpy_knows(module):
    arguments = ["jacobian", f"{module}:net", "--shape", "2,6", "--batched", "--dtype", "bfloat16"]
    assert main([*arguments, "-o", "j.npy", "--quiet"]) == 0
    assert np.load("j.npy").dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "3,6", "--of", "hiden"], "no layer, .* called 'hiden'. Did you mean 'hidden'"),
        (["--shape", "3,6", "--wrt", "weights"], "called 'weights'. There are: 'hidden'"),
        (["--shape", "3,7"], "contracting dimensions"),
        (["--shape", "3,six"], "--shape '3,six' is no shape; give sizes"),
        (["--shape", "3,-6"], "is no shape"),
        ([], "neither DATA nor --shape"),
        (["x.npy"], r"the data file 'x\.npy' does not exist; give"),
        (["x.npy", "--shape", "3"], "both DATA and --shape"),
        (["--shape", "3,6", "--engine", "fast"], "no engine is called 'fast'"),
        (["--shape", "3,6", "--memory", "much"], "memory='much' is no size"),
        (["--shape", "400,6", "--memory", "1KiB"], "over the memory budget of 1 KiB"),
        (["--shape", "3,6", "-o", "j.txt"], r"end it in \.npz or \.npy"),
        (["--shape", "3,6", "-o", "no/j.npz"], "is in no folder that exists"),
        (["--shape", "3,6", "--sample", "3", "-o", "j.png"], "there is no sample 3.* numbered 0 to 2"),
        (["--shape", "3,6", "--precision", "low"], "invalid choice: 'low'"),
    ],
)
def test_bad_questions_are_refused_in_one_line(module, capsys, arguments, message):
    told = refused(capsys, "jacobian", f"{module}:net", "--batched", *arguments)
    assert re.search(message, told), told
    assert not [name for name in os.listdir() if name.startswith((".j", "j"))]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("absent.keras", "absent.keras does not exist"),
        ("absent.pt2", "absent.pt2"),
        ("model.h5", "there is no file 'model.h5'"),
        ("no_such_module:net", "module 'no_such_module' is neither in"),
        ("{module}:nett", "is called 'nett'. Did you mean 'net'"),
        ("{module}:Nested.iner", "is called 'iner'. Did you mean 'inner'"),
        ("{module}:number", "int is no model netjac knows"),
        ("{module}:broken", ":broken: RuntimeError: first line second line"),
        ("{module}:best", "has no derivative; ask for the layer before it"),
    ],
)
def test_bad_models_are_refused_in_one_line(module, capsys, model, message):
    assert message in refused(capsys, "jacobian", model.format(module=module), "--shape", "3,6")


def test_a_module_that_fails_at_its_import_is_named(module, capsys):
    with open(f"{module}_bad.py", "w") as file:
        file.write("import no_such_thing")
    told = refused(capsys, "jacobian", f"{module}_bad:net", "--shape", "3")
    assert f"module 'no_such_thing', which '{module}_bad' imports" in told
    with open(f"{module}_worse.py", "w") as file:
        file.write("1 / 0")
    assert "ZeroDivisionError" in refused(capsys, "jacobian", f"{module}_worse:net", "--shape", "3")


@pytest.mark.parametrize("ending", ["pkl", "pt", "joblib"])
def test_a_pickle_is_no_model_and_is_not_opened(module, capsys, ending):
    with open(f"model.{ending}", "wb") as file:
        pickle.dump(Trap(), file)
    told = refused(capsys, "jacobian", f"model.{ending}", "--shape", "3")
    assert "pickle, which can run any code, and is not opened" in told
    assert not os.path.exists("opened")


class Trap:
    def __reduce__(self):
        return open, ("opened", "w")


def test_a_file_with_keras_ending_that_is_none_is_refused(module, capsys):
    with open("model.keras", "w") as file:
        file.write("not a model")
    told = refused(capsys, "jacobian", "model.keras", "--shape", "3")
    assert "corrupt" in told
    assert "Save the model again" in told


def test_a_damaged_archive_of_data_is_refused(module, capsys):
    np.savez("x.npz", x=inputs())
    with open("x.npz", "rb") as file:
        whole = file.read()
    with open("x.npz", "wb") as file:
        file.write(whole[:100])
    assert "'x.npz' is damaged" in refused(capsys, "jacobian", f"{module}:net", "x.npz")


def test_pickled_data_is_refused(module, capsys):
    np.save("x.npy", np.array([{}], dtype=object))
    assert "not opened" in refused(capsys, "jacobian", f"{module}:net", "x.npy")


def test_not_a_number_in_the_input_is_refused_with_its_place(module, capsys):
    x = inputs()
    x[2, 3] = np.nan
    np.save("x.npy", x)
    told = refused(capsys, "check", f"{module}:net", "x.npy", "--batched")
    assert "input 'x' of 'net' holds nan at index (2, 3); remove or replace it" in told


def test_integers_are_refused_and_dtype_is_the_way_out(module, capsys):
    np.save("x.npy", np.ones((3, 6), int))
    assert "integers, which have no derivative" in refused(capsys, "explain", f"{module}:net", "x.npy")
    assert main(["explain", f"{module}:net", "x.npy", "--dtype", "float32"]) == 0


def test_an_unknown_command_is_refused_in_one_line(capsys):
    assert "invalid choice: 'jacobi'" in refused(capsys, "jacobi")


def test_control_c_ends_with_130_and_one_line(module, capsys):
    assert main(["jacobian", f"{module}:interrupted", "--shape", "3"]) == 130
    assert capsys.readouterr().err == "netjac: interrupted; nothing was written\n"


def test_a_traceback_comes_when_asked_for(module, capsys):
    assert main(["jacobian", f"{module}:broken", "--shape", "3", "--traceback"]) == 2
    assert "in broken" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"netjac {nj.__version__}\n"


def test_the_command_runs_in_a_process_of_its_own_without_other_frameworks(module):
    code = (
        "import sys; from netjac.cli import main; "
        f"status = main(['jacobian', '{module}:net', '--shape', '2,6', '--batched', '--json']); "
        "assert not {'keras', 'tensorflow', 'torch', 'pandas', 'matplotlib.pyplot'} & set(sys.modules), 'imported'; "
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["jacobians"]["jacobian"]["shape"] == [2, 4, 6]
    assert done.stderr == ""


def test_a_reader_that_stops_early_is_no_error(module):
    command = [sys.executable, "-m", "netjac", "jacobian", f"{module}:net", "--shape", "2,6", "--batched", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.wait(120) == 0
        assert process.stderr.read() == ""


def test_bench_times_every_way_and_they_agree(module, capsys):
    assert main(["bench", f"{module}:net", "--shape", "2,6", "--batched", "--runs", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    ways = {way["way"]: way for way in told["ways"]}
    assert list(ways) == ["netjac", "JAX, plain reverse mode", "JAX, plain forward mode"]
    for way in ways.values():
        assert len(way["seconds"]) == 2
        assert way["first"] > 0
        assert way["difference"] < 1e-6


def test_bench_has_the_frameworks_own_way_and_a_table(tmp_path, monkeypatch, capsys):
    import torch

    class Net(torch.nn.Sequential):
        pass

    monkeypatch.chdir(tmp_path)
    example = torch.export.export(Net(torch.nn.Linear(4, 3), torch.nn.Tanh()), (torch.ones(2, 4),))
    torch.export.save(example, "net.pt2")
    assert main(["bench", "net.pt2", "--shape", "2,4", "--runs", "1", "-o", "times.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:26].strip() for line in lines] == [
        "way",
        "netjac",
        "JAX, plain reverse mode",
        "JAX, plain forward mode",
        "torch, row by row",
    ]
    assert Path("times.txt").read_text().splitlines() == lines


def test_bench_refuses_what_it_cannot_time(module, capsys):
    arguments = ["bench", f"{module}:net", "--shape", "2,6", "--batched"]
    assert "--runs 0 times nothing" in refused(capsys, *arguments, "--runs", "0")
    assert "--engine framework" in refused(capsys, *arguments, "--engine", "framework")
    assert "name one of each" in refused(capsys, "bench", f"{module}:two", "--shape", "2,6", "--batched")
    assert "--workload names" in refused(capsys, *arguments, "--workload", "lenet")


def test_bench_without_a_model_times_the_reference_workloads(tmp_path, monkeypatch, capsys):
    from netjac.commands import reference

    ran = []
    monkeypatch.setattr(reference.subprocess, "run", lambda command, **how: ran.append((command, how)) or Done())
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--workload", "lenet", "--workload", "tiny", "--runs", "3", "-o", "times.json"]) == 3
    command, how = ran[0]
    expected = ["lenet", "tiny", "--runs", "3", "--json", str(tmp_path.resolve() / "times.json")]
    assert command[1:] == ["-m", "benchmarks", *expected]
    assert (how["cwd"] / "benchmarks" / "__main__.py").exists()
    assert "--shape asks about a model" in refused(capsys, "bench", "--shape", "1,2")
    assert "-o TIMES.json" in refused(capsys, "bench", "--json")
    monkeypatch.setattr(reference.netjac, "__file__", str(tmp_path / "netjac" / "__init__.py"))
    assert "clone it" in refused(capsys, "bench")
    assert len(ran) == 1


class Done:
    returncode = 3
