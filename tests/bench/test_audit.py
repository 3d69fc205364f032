"""The audit of every network judges each point once, loses nothing when it is stopped, and finds what is wrong."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from app.candidates import list_candidates
from app.costs import Cost, CostTable
from app.errors import UserError
from app.graph.onnx_import import import_onnx
from app.profiling.device import host_device
from kernels.build import Toolchain
from tests import nets

BENCH = Path(__file__).parents[2] / "bench"
QUICK = ("_plain_", "im2", "kn2")
DEVICE = dataclasses.replace(host_device(), toolchain=Toolchain(host_device().toolchain.cc, ("-O0",)))
"""Nothing here is about speed, and the compiler is most of the time."""


def script(name):
    """A script of bench/, which imports others as it does when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def audit_module():
    return script("audit")


@pytest.fixture(scope="module")
def layers_module():
    return script("layers")


@pytest.fixture
def make(audit_module, tmp_path, monkeypatch, objects):
    """An audit with invented costs, a quick self-test and objects of other tests; and the builds it has made."""
    builds = []
    verify = audit_module.verify_bundle

    def counted(data, **options):
        builds.append(options["compiler"] + ("+" if options["sanitize"] else ""))
        return verify(data, **(options | {"runs": 1, "cache": objects}))

    def invented(_audit, graph):
        """Times that make routines dear which take a compiler long."""
        keys = list_candidates(graph).cost_keys()
        times = [
            (1000 + 137 * (i * 7919 % 101)) * (1 if any(word in key.primitive for word in QUICK) else 20)
            for i, key in enumerate(keys)
        ]
        return CostTable(Cost(k, (t,), t, t, t) for k, t in zip(keys, times, strict=True)), "invented"

    monkeypatch.setattr(audit_module, "verify_bundle", counted)
    monkeypatch.setattr(audit_module.Audit, "costs", invented)
    return lambda points="all": audit_module.Audit(tmp_path, DEVICE, points), builds


@pytest.fixture(scope="module")
def network(audit_module):
    data = nets.chain(depth=2, size=6)
    return audit_module.Network("chain", data, [nets.random_inputs(data)])


def self_test(path, log, name, times_ns):
    """A program that says what a bundle's self-test says, another time at each start; the last one again and again."""
    line = "max_rel_err=0 argmax=ok arena_used_bytes=64 arena_bytes=64 median_ns=$1 runs=5 class=0"
    later = " ".join(map(str, times_ns))
    path.write_text(
        f"#!/bin/sh\necho {name} >> {log}\nset -- {later}\nshift $(grep -c '^{name}$' {log})\n"
        f"[ $# -gt 0 ] || exit 1\necho {line}\n"
    )
    path.chmod(0o755)


def test_every_bundle_is_timed_three_times_with_others_between(audit_module, tmp_path):
    log, done = tmp_path / "log", []
    turns = audit_module.Turns((), done.append)
    for name in "abcd":
        program = tmp_path / name
        log.open("a").write(f"{name}\n")  # the timing that comes with the judgement
        self_test(program, log, name, (0, 0, 120, 100))
        turns.join({"name": name, "mismatch": "", "predicted_ns": 100}, program, 110)
        assert len(turns.waiting) <= 2
    turns.finish()
    assert "".join(log.read_text().split()) == "abacbadcbdcd"
    assert [row["name"] for row in done] == list("abcd")
    for row in done:
        assert row["times_ns"] == [110, 120, 100]
        assert row["measured_ns"] == 110
        assert row["error"] == pytest.approx(0.1)
        assert row["spread"] == pytest.approx(20 / 110)
    assert not [path for path in tmp_path.iterdir() if path != log]


def test_a_self_test_that_fails_when_timed_again_is_a_mismatch(audit_module, tmp_path):
    done = []
    turns = audit_module.Turns((), done.append)
    program = tmp_path / "program"
    self_test(program, tmp_path / "log", "program", ())
    turns.join({"mismatch": "", "predicted_ns": 100}, program, 110)
    turns.finish()
    assert "timed once more" in done[0]["mismatch"]
    assert not program.exists()


@pytest.mark.slow
def test_when_time_is_up_only_the_named_points_are_judged(audit_module, make, network):
    new, _ = make
    audit = new()
    audit.minutes = 0.0
    fronts, rows = audit.network(network)
    audit.turns.finish()
    assert {label for row in rows for label in row["point"].split(" = ")} == {"fastest", "knee", "smallest"}
    assert fronts[0]["judged"] == len(rows) < fronts[0]["points"]
    document = {"environment": DEVICE.environment(), "fronts": fronts, "rows": rows}
    document["summary"] = audit_module.audit_report.summary(rows)
    assert f", {len(rows)} judged | " in "\n".join(audit_module.audit_report.markdown(document))


@pytest.mark.slow
def test_every_point_is_judged_once_and_a_stopped_audit_goes_on(audit_module, make, network, tmp_path):
    new, builds = make
    cc = DEVICE.toolchain.cc

    def judged(points="all"):
        audit = new(points)
        found = audit.network(network)
        audit.turns.finish()
        return found

    fronts, rows = judged()
    assert [front["axis"] for front in fronts] == ["arena", "workspace"]
    assert len(rows) == fronts[0]["points"] > 1
    assert not any(row["mismatch"] for row in rows)
    assert all(row["arena_used_bytes"] == row["arena_bytes"] == row["predicted_arena_bytes"] for row in rows)
    everything = sum(row["everything"] for row in rows)
    assert sorted(builds) == sorted([cc] * len(rows) + ["clang", f"{cc}+"] * everything)
    figures = audit_module.audit_report.summary(rows)
    assert (figures["bundles"], figures["mismatches"]) == (len(rows), 0)

    builds.clear()
    _, three = judged("three")
    assert builds == []
    assert {label for row in three for label in row["point"].split(" = ")} == {"fastest", "knee", "smallest"}
    assert [row["bundle_sha256"] for row in three] == [row["bundle_sha256"] for row in rows if row["everything"]]

    # A kill in the middle of a line loses that line alone.
    file = tmp_path / "rows.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == len(rows)
    file.write_text("".join(lines[:-1]) + lines[-1][:40])
    builds.clear()
    _, again = judged()
    lost = json.loads(lines[-1])
    assert len(builds) == (3 if lost["everything"] else 1)
    assert [row["bundle_sha256"] for row in again] == [row["bundle_sha256"] for row in rows]
    kept = [json.loads(line)["point_id"] for line in file.read_text().splitlines()]
    assert sorted(kept) == sorted(row["point_id"] for row in rows)
    assert not list((tmp_path / "programs").iterdir())

    # What an audit had that timed once is judged again.
    file.write_text("".join(json.dumps(row | {"times_ns": row["times_ns"][:1]}) + "\n" for row in rows[:1]))
    assert new().known == []

    document = {"environment": DEVICE.environment(), "fronts": fronts, "rows": again, "summary": figures}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    audit_module.write(tmp_path, document, ["### more"], page)
    text = page.read_text()
    assert text.startswith("before\n<!-- tables -->\n")
    assert text.endswith("### more\n\n<!-- end of tables -->\nafter\n")
    assert "old" not in text
    assert text.count("| chain | ") == len(rows) + 1
    assert json.loads((tmp_path / "audit.json").read_text()) == document


def test_what_is_wrong_is_a_mismatch_and_its_bundle_is_kept(audit_module, make, network, tmp_path, monkeypatch):
    new, _ = make

    def wrong(_data, **_options):
        raise UserError("bundle-mismatch", "the bundle does not compute what the model computes")

    monkeypatch.setattr(audit_module, "verify_bundle", wrong)
    audit = new("three")
    _, rows = audit.network(network)
    assert all("does not compute" in row["mismatch"] for row in rows)
    figures = audit_module.audit_report.summary(rows)
    assert figures["mismatches"] == len(rows)
    assert f"arena: {len(rows)}." in audit_module.audit_report.summary_sentence(figures)
    assert {audit.path_of(row) for row in rows} == set((tmp_path / "bundles").iterdir())
    assert "MISMATCH" in audit_module.audit_report.sentence(rows[0])


def test_the_prediction_errors_are_ranked_by_size(audit_module):
    errors = [0.01, -0.02, 0.03, -0.2, 0.04, 0.0, 0.05, 0.06, -0.07, 0.08]
    rows = [{"network": "n", "mismatch": "", "error": e, "max_rel_err": 1e-6, "spread": abs(e) / 2} for e in errors]
    figures = audit_module.audit_report.summary(rows)
    assert figures["error_median"] == pytest.approx(0.045)
    assert (figures["error_p90"], figures["error_worst"]) == (0.08, 0.2)
    assert figures["spread_median"] == pytest.approx(0.0225)
    assert figures["spread_worst"] == 0.1


def test_each_call_of_a_bundle_is_timed(audit_module, layers_module, make, network, tmp_path, monkeypatch):
    new, _ = make
    audit = new()
    graph = import_onnx(network.data, name="chain")
    costs, _ = audit.costs(graph)
    front = audit_module.trace(graph, costs, "arena")
    point = next((p for p in front.points if any(layer.strips for layer in p.layers)), front.points[0])
    path = tmp_path / "chain.zip"
    path.write_bytes(audit.export(network, graph, network.cases(graph), front, point))
    monkeypatch.setattr(layers_module, "RUN_NS", 20_000_000)
    found = layers_module.profile(path, audit.device.toolchain.cc, audit.flags, audit.runner)
    assert found.runs >= layers_module.LEAST_RUNS
    assert sum(layer.predicted_ns for layer in found.layers) == point.latency_ns
    measured = [layer.measured_ns for layer in found.layers]
    assert all(np.array(measured) >= 0)
    assert 0 < sum(measured) < 2 * found.run_ns
    table = layers_module.markdown(found, 100.0)
    assert sum(line.startswith("| ") for line in table) == 1 + len(found.layers)
    grouped = layers_module.grouped(found.layers)
    assert sum(layer.calls for layer in grouped) == len(found.layers)
    assert sum(layer.measured_ns for layer in grouped) == sum(measured)


def test_a_schedule_that_hides_a_call_is_refused(layers_module):
    golden = Path(__file__).parents[1] / "codegen" / "golden" / "net.c"
    text = golden.read_text()
    calls = text.count("    /* ") - text.count("    /* Outputs")
    with pytest.raises(UserError, match="does not show"):
        layers_module.with_clock(text, calls + 1)
