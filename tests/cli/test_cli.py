"""The program as a user or a build script runs it: exit codes, JSON shapes, kept work, real measurements."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.cli.program import run
from tests.api.tiny import tiny_network
from tests.measuring import compiled_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A data folder for all tests of this module; the measuring program is built once for all sessions."""
    made = tmp_path_factory.mktemp("cli")
    (made / "data").mkdir()
    (made / "data" / "harness").symlink_to(compiled_for(tiny_network(), request.config.cache))
    (made / "tiny.onnx").write_bytes(tiny_network())
    (made / "ref").mkdir()
    np.save(made / "ref" / "tiny.case.in.npy", np.ones((1, 3, 8, 8), np.float32))
    return made


@pytest.fixture(scope="module")
def environment(folder):
    """Variables of a process that runs the program."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADESPACE_")}
    return inherited | {"TRADESPACE_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def shell(folder, environment):
    """Runs the program as a process of its own; returns the finished process."""

    def run_process(*arguments, status=0):
        command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run_process


@pytest.fixture(scope="module")
def program(folder, environment):
    """Runs the program in this process, which is quicker; returns an object with stdout and stderr."""

    def run_here(*arguments, status=0, **extra):
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(folder)
            for name, value in (environment | extra).items():
                patch.setenv(name, value)
            code = run([str(argument) for argument in arguments])
        assert code == status, f"exit {code}\n{out.getvalue()}\n{err.getvalue()}"
        return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())

    return run_here


@pytest.fixture(scope="module")
def bundle(program):
    """What `run --json` says about the tiny network, with the zip beside it."""
    done = program("run", "tiny.onnx", "--budget", "1MiB", "-o", "out.zip", "--prefix", "tiny", "--json")
    return json.loads(done.stdout)


def test_run_does_everything_and_says_what_it_did(bundle, program, folder):
    assert set(bundle) >= {"model", "frontier", "measured", "reused", "cut", "elapsed_s", "point", "verify", "bundle"}
    assert bundle["measured"] > 0
    assert bundle["verify"]["argmax"] == "ok"
    assert bundle["verify"]["arena_used_bytes"] == bundle["point"]["arena_bytes"] <= 2**20
    with zipfile.ZipFile(folder / "out.zip") as archive:
        assert "tiny/manifest.json" in archive.namelist()
    text = program("run", "tiny.onnx", "--budget", "1MiB", "-o", "out2.zip", "--prefix", "tiny").stdout
    assert "0 costs measured" in text
    assert "proven optimal" in text
    assert "largest relative error" in text


@pytest.mark.usefixtures("bundle")
def test_a_process_ends_with_the_documented_exit_codes(shell):
    assert json.loads(shell("query", "tiny", "--budget", "1MiB", "--json").stdout)["point"]
    assert "smallest selection needs" in shell("query", "tiny", "--budget", "64", status=1).stderr
    assert "nonsense" in shell("nonsense", status=2).stderr
    assert shell("--version").stdout.startswith("tradespace ")


def test_a_second_measurement_has_nothing_to_measure(bundle, program):
    found = json.loads(program("measure", "tiny", "--json").stdout)
    assert set(found) == {"measured", "reused", "cut", "elapsed_s"}
    assert (found["measured"], found["reused"]) == (0, bundle["measured"])


def test_the_front_has_its_documented_shape(bundle, program):
    found = json.loads(program("frontier", "tiny", "--json").stdout)
    assert set(found) >= {"model", "device", "memory", "solve_s", "certified_by", "points"}
    names = {"id", "latency_ns", "arena_bytes", "workspace_bytes", "weights_bytes", "total_bytes", "proven", "gap"}
    assert all(set(point) >= names | {"families"} for point in found["points"])
    assert found["model"] == bundle["model"]
    assert "proven" in program("frontier", "tiny").stdout
    total = json.loads(program("frontier", "tiny", "--memory", "total", "--json").stdout)
    assert total["memory"] == "total"


def test_a_budget_query_answers_or_exits_1_with_what_would_fit(bundle, program):
    found = json.loads(program("query", "tiny", "--budget", "1MiB", "--json").stdout)
    assert found["point"]["id"] == bundle["point"]["id"]
    assert found["stale"] is False
    refused = json.loads(program("query", "tiny", "--budget", "64", "--json", status=1).stdout)
    assert refused["type"] == "/problems/budget-infeasible"
    least = refused["facts"]["smallest_bytes"]
    assert refused["facts"]["excess_bytes"] == least - 64
    program("query", "tiny", "--budget", least)
    program("query", "tiny", "--budget", least - 1, status=1)
    slow = program("query", "tiny", "--max-latency", "1ns", status=1)
    assert "the fastest selection takes" in slow.stderr


@pytest.mark.usefixtures("bundle")
def test_export_needs_one_way_to_choose_and_refuses_what_does_not_fit(program, folder):
    assert "which point" in program("export", "tiny", "-o", "x.zip", status=2).stderr
    program("export", "tiny", "-o", "x.zip", "--fastest", "--smallest", status=2)
    program("export", "tiny", "-o", "x.zip", "--budget", "1", status=1)
    assert "prefix" in program("export", "tiny", "-o", "x.zip", "--fastest", "--prefix", "1x", status=2).stderr
    assert not (folder / "x.zip").exists()


@pytest.mark.usefixtures("bundle")
def test_a_bundle_can_be_verified_again_and_an_altered_one_exits_1(program, folder):
    found = json.loads(program("verify", "out.zip", "--json").stdout)
    assert found["argmax"] == "ok"
    with zipfile.ZipFile(folder / "out.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    source = next(name for name in files if name.endswith("tiny.c"))
    files[source] = files[source].replace(b"int tiny_run", b"/* */ int tiny_run")
    with zipfile.ZipFile(folder / "altered.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    program("verify", "altered.zip", status=1)
    (folder / "text.zip").write_text("no zip")
    program("verify", "text.zip", status=2)
    program("verify", "missing.zip", status=2)


def test_models_are_added_shown_and_removed(program, folder):
    (folder / "second.onnx").write_bytes(tiny_network(2))
    record = json.loads(program("models", "add", "second.onnx", "--name", "other", "--json").stdout)
    assert record["name"] == "other"
    assert "other" in program("models", "list").stdout
    shown = json.loads(program("models", "show", record["id"][:10], "--json").stdout)
    assert [layer["op"] for layer in shown["layers"]] == ["conv", "conv", "avg_pool"]
    program("models", "show", "nothing", status=2)
    program("models", "rm", "other")
    assert json.loads(program("models", "list", "--json").stdout)["items"][0]["name"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["query"], "MODEL"),
        (["query", "tiny", "--budget", "96 bananas"], "96 bananas"),
        (["query", "tiny", "--max-latency", "5"], "not a time"),
        (["frontier", "tiny", "--memory", "disk"], "disk"),
        (["frontier", "tiny", "--device", "toaster"], "toaster"),
        (["models", "add", "missing.onnx"], "missing.onnx"),
        (["models", "add", "text.onnx"], "ONNX"),
        (["measure", "tiny", "--families", ","], "no family"),
        (["models", "add", "tiny.onnx", "--dim", "N"], "NAME=NUMBER"),
        (["costs", "import", "text.onnx"], "cannot be read"),
        (["devices", "add", "x", "--cc", "gcc"], "TRADESPACE_TOOLCHAINS"),
    ],
)
def test_bad_input_exits_2_with_a_line_that_names_it(program, folder, arguments, words):
    (folder / "text.onnx").write_text("not a network")
    done = program(*arguments, status=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("bundle")
def test_costs_survive_the_way_out_and_back(program, folder):
    program("costs", "export", "-o", "costs.json", "--model", "tiny")
    exported = json.loads((folder / "costs.json").read_text())
    assert exported["costs"]
    assert exported["costs"][0]["samples_ns"]
    done = program("costs", "import", "costs.json", "--device", "copy", "--json")
    assert json.loads(done.stdout) == {"device": "copy", "imported": len(exported["costs"])}
    front = json.loads(program("frontier", "tiny", "--device", "copy", "--json").stdout)
    here = json.loads(program("frontier", "tiny", "--json").stdout)
    assert [point["latency_ns"] for point in front["points"]] == [point["latency_ns"] for point in here["points"]]
    exported["costs"][3]["samples_ns"] = []
    (folder / "broken.json").write_text(json.dumps(exported))
    assert "costs[3]" in program("costs", "import", "broken.json", "--device", "other", status=2).stderr
    program("frontier", "tiny", "--device", "other", status=2)


def test_a_kit_measures_where_there_is_no_python_and_its_results_make_a_front(bundle, program, folder):
    made = json.loads(program("kit", "tiny", "--device", "board", "-o", "kit.zip", "--json").stdout)
    assert made["costs"] == bundle["measured"]
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        archive.extractall(folder)
    built = subprocess.run(
        ["make", "-C", folder / "kit-board", "CC=gcc", "CFLAGS=-O1"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    results = folder / "kit-board" / "results.jsonl"
    found = json.loads(program("costs", "import", results, "--json").stdout)
    assert found == {"device": "board", "imported": bundle["measured"]}
    assert json.loads(program("frontier", "tiny", "--device", "board", "--json").stdout)["points"]
    environment = json.loads(program("devices", "show", "board", "--json").stdout)["environment"]
    assert environment["flags"] == "-O1"
    cut = folder / "cut.jsonl"
    cut.write_text("\n".join(results.read_text().splitlines()[:-1]))
    assert "interrupted" in program("costs", "import", cut, "--device", "board2", status=2).stderr


def test_ctrl_c_stops_a_measurement_and_keeps_what_is_done(program, folder, environment):
    (folder / "third.onnx").write_bytes(tiny_network(3, size=112, channels=64))
    program("models", "add", "third.onnx", "--name", "third")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "measure", "third", "--all"],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "measuring:" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, rest
    assert "kept" in rest
    assert "Traceback" not in rest
    assert json.loads(program("measure", "tiny", "--json").stdout)["measured"] == 0


def test_a_backup_is_a_database_and_never_overwrites(program, folder):
    program("backup", "copy.db")
    assert (folder / "copy.db").read_bytes().startswith(b"SQLite format 3")
    program("backup", "copy.db", status=2)


def test_tokens_show_their_secret_once(program):
    made = json.loads(program("tokens", "add", "ci", "--json").stdout)
    assert made["token"].startswith("ts_")
    listed = program("tokens", "list", "--json").stdout
    assert made["token"] not in listed
    program("tokens", "rm", made["id"])
    program("tokens", "rm", made["id"], status=2)


def test_serving_beyond_this_machine_without_a_token_is_refused(program):
    assert "without a token" in program("serve", "--host", "0.0.0.0", "--port", "0", status=2).stderr


def test_a_missing_compiler_is_one_clear_line(program):
    done = program("devices", "list", status=2, CC="no-such-compiler")
    assert "no-such-compiler" in done.stderr


def test_devices_are_added_to_the_toolchains_file_only_when_their_compiler_answers(program, folder):
    file = folder / "devices.toml"
    program("devices", "add", "bad", "--cc", "no-such-compiler", status=2, TRADESPACE_TOOLCHAINS=str(file))
    assert not file.exists()
    program("devices", "add", "plain", "--cc", "gcc", "--flags=-O2", TRADESPACE_TOOLCHAINS=str(file))
    found = json.loads(program("devices", "list", "--json", TRADESPACE_TOOLCHAINS=str(file)).stdout)["items"]
    assert {device["name"]: device["flags"] for device in found}["plain"] == "-O2"


@pytest.mark.usefixtures("bundle")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_threads_are_a_device_of_their_own(program):
    shown = json.loads(program("devices", "show", "host@2", "--json").stdout)
    assert (shown["name"], shown["threads"], len(shown["environment"]["pinned_cpus"])) == ("host@2", 2, 2)
    assert any(
        device["name"].startswith("host@")
        for device in json.loads(program("devices", "list", "--json").stdout)["items"]
    )
    problem = json.loads(program("frontier", "tiny", "--threads", "2", "--json", status=2).stdout)
    assert problem["type"] == "/problems/cost-missing", "costs of one thread are not those of two"
    assert json.loads(program("measure", "tiny", "--threads", "2", "--json").stdout)["reused"] == 0
    assert json.loads(program("measure", "tiny", "--device", "host@2", "--json").stdout)["measured"] == 0
    front = json.loads(program("frontier", "tiny", "--threads", "2", "--json").stdout)
    assert front["device"] == "host@2"
    exported = json.loads(program("export", "tiny", "--threads", "2", "--fastest", "-o", "two.zip", "--json").stdout)
    assert exported["verify"]["argmax"] == "ok"


def test_more_threads_than_processors_are_refused(program):
    problem = json.loads(program("devices", "show", "host@64", "--json", status=2).stdout)
    assert problem["type"] == "/problems/device-invalid"
