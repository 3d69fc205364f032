"""`tradespace bench` end to end: a tiny network, its real bundle, real onnxruntime, and the documents it writes."""

import contextlib
import dataclasses
import io
import json
import math
import os
from types import SimpleNamespace

import pytest

from app.benchmark import report
from app.benchmark.peers import PEERS
from app.benchmark.results import OURS, Row
from app.cli.bench import knee
from app.cli.program import run
from app.errors import UserError
from app.services import jobs
from app.services.context import Context
from app.settings import Settings
from tests.api.tiny import tiny_network
from tests.measuring import compiled_for

QUICK = ("--rounds", "2", "--burst", "2ms", "--warm-up", "1ms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A data folder for all tests of this module; the measuring program is built once for all sessions."""
    made = tmp_path_factory.mktemp("bench")
    (made / "data").mkdir()
    (made / "data" / "harness").symlink_to(compiled_for(tiny_network(), request.config.cache))
    (made / "tiny.onnx").write_bytes(tiny_network())
    return made


@pytest.fixture(scope="module")
def program(folder):
    """Runs the program in this process; returns an object with stdout and stderr."""

    def run_here(*arguments, status=0):
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name in [name for name in os.environ if name.startswith("TRADESPACE_")]:
                patch.delenv(name)
            patch.chdir(folder)
            patch.setenv("TRADESPACE_DATA", str(folder / "data"))
            code = run([str(argument) for argument in arguments])
        assert code == status, f"exit {code}\n{out.getvalue()}\n{err.getvalue()}"
        return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())

    return run_here


@pytest.fixture(scope="module")
def measured(program, folder):
    """The document and the Markdown of a run against everything."""
    options = ("-o", "out.json", "--markdown", "out.md")
    done = program("bench", "tiny.onnx", *QUICK, *options, "--json")
    document = json.loads(done.stdout)
    assert json.loads((folder / "out.json").read_text()) == document
    return document, (folder / "out.md").read_text()


def test_both_runtimes_are_timed_on_the_same_network_with_equal_outputs(measured):
    document, _ = measured
    rows = {row["runtime"]: row for row in document["rows"]}
    assert list(rows) == [OURS, *PEERS]
    for row in (rows[OURS], rows["onnxruntime"]):
        assert row["error"] == ""
        assert len(row["round_medians_ns"]) == 2
        assert 0 < row["min_round_ns"] <= row["median_ns"] <= row["max_round_ns"]
        assert row["p10_ns"] <= row["p90_ns"]
        assert row["runs"] >= 10
        assert 0 <= row["max_rel_err"] < 1e-4
        assert row["gflops"] > 0
        assert 0 < row["fma_peak_share"] < 10
        assert row["peak_bytes"] is None or row["peak_bytes"] > 0
    assert rows[OURS]["ratio"] == 1.0
    peer = rows["onnxruntime"]
    assert peer["ratio"] == pytest.approx(peer["median_ns"] / rows[OURS]["median_ns"])
    assert peer["ratio_min"] <= peer["ratio_max"]
    assert peer["resident_bytes"] > rows[OURS]["resident_bytes"]


def test_the_document_says_what_was_run_where_and_how(measured):
    document, _ = measured
    assert set(document) == {
        "format", "generator_version", "started_at", "host", "compiler", "flags", "device", "threads", "cpus",
        "rounds", "turn", "peers", "point", "memory", "networks", "rows",
    }  # fmt: skip
    assert document["format"] == report.FORMAT
    assert {"cpu", "cores", "kernel", "governor", "load_1min"} <= set(document["host"])
    assert document["turn"] == {"warm_up_ns": 1_000_000, "burst_ns": 2_000_000, "least_runs": 5, "most_runs": 10_000}
    assert document["peers"]["onnxruntime"]["version"]
    assert document["compiler"]
    assert "-O3" in document["flags"]
    (entry,) = document["networks"]
    assert entry["name"] == "tiny"
    memory, point = entry["memory"], entry["point"]
    assert memory["arena_bytes"] == point["arena_bytes"] == entry["verified"]["arena_used_bytes"]
    assert memory["io_bytes"] == 4 * (3 * 8 * 8 + 4)
    ours = document["rows"][0]
    assert ours["planned_bytes"] == memory["arena_bytes"] + memory["weights_bytes"] + memory["io_bytes"]
    assert {f.name for f in dataclasses.fields(Row)} == set(ours)
    design = {"network", "runtime", "threads", "median_ns", "p10_ns", "p90_ns", "ratio", "max_rel_err", "peak_bytes"}
    assert design <= set(ours)


def test_the_tables_hold_the_same_figures(measured):
    document, text = measured
    assert document["host"]["cpu"] in text
    assert document["compiler"] in text
    for row in document["rows"]:
        assert f"| tiny | {row['runtime']} | 1 |" in text
        assert row["error"] in text
        if not row["error"]:
            assert f"{row['median_ns'] / 1e6:.4g}" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line.count("|") for line in lines[-2 - len(document["rows"]) :]}
    assert widths == {len(report.DETAIL_COLUMNS) + 1}


@pytest.mark.usefixtures("measured")
def test_a_peer_that_is_not_installed_is_a_row_with_the_reason(program, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PEERS, "ncnn", dataclasses.replace(PEERS["ncnn"], distributions=("no-such-runtime",)))
        done = program("bench", "tiny", *QUICK, "--against", "ncnn", "--markdown", "missing.md", "--json")
    ours, missing = json.loads(done.stdout)["rows"]
    assert ours["median_ns"] > 0
    assert missing["median_ns"] is None
    assert "not installed: no-such-runtime" in missing["error"]
    assert "tradespace[bench]" in missing["error"]
    assert "tiny, ncnn: not installed" in (folder / "missing.md").read_text()


@pytest.mark.parametrize("peer", [name for name in PEERS if name != "onnxruntime"])
def test_every_installed_peer_computes_the_same(measured, peer):
    row = next(row for row in measured[0]["rows"] if row["runtime"] == peer)
    if PEERS[peer].missing():
        assert "not installed" in row["error"]
        pytest.skip(f"{peer} is not installed; it is part of the extra `bench`")
    assert row["error"] == ""
    assert row["max_rel_err"] < 1e-4


def test_one_network_that_fails_does_not_spoil_the_others(measured, program, folder):
    (folder / "larger.onnx").write_bytes(tiny_network(2, size=48))
    budget = measured[0]["networks"][0]["point"]["arena_bytes"]
    options = ("--budget", budget, "--against", "onnxruntime", "--markdown", "two.md", "--json")
    found = json.loads(program("bench", "larger.onnx", "tiny", *QUICK, *options, status=1).stdout)
    assert [(entry["name"], "error" in entry) for entry in found["networks"]] == [("larger", True), ("tiny", False)]
    assert {row["network"] for row in found["rows"]} == {"tiny"}
    assert "larger: nothing fits" in (folder / "two.md").read_text()
    (folder / "text.onnx").write_text("no network")
    program("bench", "tiny", "text.onnx", *QUICK, "--against", "onnxruntime", status=2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.usefixtures("measured")
def test_two_threads_are_the_device_of_two_threads_on_two_cores(program):
    done = program("bench", "tiny", *QUICK, "--against", "onnxruntime", "--threads", "2", "--json")
    document = json.loads(done.stdout)
    assert (document["device"], document["threads"], len(document["cpus"])) == ("host@2", 2, 2)
    assert [(row["threads"], row["error"]) for row in document["rows"]] == [(2, ""), (2, "")]


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny", "--against", "tensorflow"], "no such runtime: tensorflow"),
        (["tiny", "--threads", "63"], "63"),
        (["tiny", "--cpu", "x"], "not a list of cores"),
        (["tiny", "--cpu", "4095"], "usable"),
        (["tiny", "--point", "pt_nothing"], "no point"),
        (["tiny", "--point", "smallest", "--budget", "1MiB"], "not clear"),
        (["tiny", "--rounds", "1"], "rounds"),
        (["tiny", "--burst", "5"], "not a time"),
        (["nothing"], "no model"),
        (["tiny", "--json", "out.json"], "out.json"),
    ],
)
def test_bad_options_exit_2(program, arguments, words):
    done = program("bench", *arguments, status=2)
    assert words in done.stderr + done.stdout


@pytest.mark.usefixtures("measured")
def test_a_benchmark_is_a_job_like_others_but_is_not_tried_again_from_the_page(folder):
    with Context(Settings().model_copy(update={"data": folder / "data"})) as site:
        job = next(job for job in site.jobs.page() if job.kind == "bench")
        assert job.state.final
        with pytest.raises(UserError, match="command line"):
            jobs.retry(site, job.id)


def test_numbers_in_the_tables_are_finite():
    row = Row("n", "r", "", 1, max_rel_err=math.inf)
    assert json.loads(json.dumps(row.to_json(), allow_nan=False))["max_rel_err"] == 1e300


def front(*points):
    """A front of (arena bytes, latency), smallest first."""
    return SimpleNamespace(
        memory="arena",
        points=[SimpleNamespace(arena_bytes=arena, latency_ns=latency) for arena, latency in points],
    )


def test_the_knee_is_the_point_furthest_below_the_line_between_the_ends():
    bent = front((100, 1000), (200, 400), (600, 300), (1100, 100))
    assert knee(bent) is bent.points[1]
    assert knee(front((100, 1000))).arena_bytes == 100
