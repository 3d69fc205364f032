"""The table of how long what-if answers take, on a small network with invented costs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from app.jobs.progress import Silent
from app.services import frontiers, models
from app.services.context import Context
from app.settings import Settings
from tests.api.test_question_routes import put_costs
from tests.api.tiny import tiny_network

SCRIPT = Path(__file__).parents[2] / "bench" / "what_if.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_what_if", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_what_if"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_what_if"]


@pytest.mark.parametrize("memory", ["arena", "workspace", "total"])
def test_every_layer_is_asked_about_at_three_budgets(bench, memory, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with Context(Settings(data=tmp_path / "data", example="")) as site:
        model, _ = models.add(site, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(site, model)
        with pytest.raises(SystemExit, match="trace it first"):
            bench.main(["tiny", "--data", str(tmp_path / "data"), "--memory", memory])
        record = frontiers.trace(site, model, site.device("host"), memory, Silent())
        front = frontiers.load(site, record)
        points, layers = len(front.points), len([la for la in front.points[-1].layers if la.primitive])
    bench.main(["tiny", "--data", str(tmp_path / "data"), "--memory", memory, "--cpu"])
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| question | asked | fits | median ms | p95 ms | worst ms |"
    cells = {row.split(" | ")[0].removeprefix("| "): row.strip("| ").split(" | ")[1:] for row in rows}
    assert {"first of a session, nothing shown before", "first after a front was shown"} <= set(cells)
    for name in ("smallest", "middle", "fastest"):
        asked, fits, median, p95, worst = map(float, cells[f"ban, {name}"])
        assert fits <= asked == layers
        assert median <= p95 <= worst
        for kind in ("ban in three layers", "pin", "forbid a family"):
            asked, fits, median, p95, worst = map(float, cells[f"{kind}, {name}"])
            assert 1 <= asked <= layers
            assert fits <= asked
    assert ("forbid winograd, budgets between" in cells) == (points > 1)


def test_of_many_questions_some_are_asked_evenly(bench):
    asked = [(bench.Limits(), budget_bytes) for budget_bytes in range(10)]
    assert [budget_bytes for _, budget_bytes in bench.spread(asked, 4)] == [0, 2, 5, 7]
    assert bench.spread(asked, 10) == bench.spread(asked, None) == asked


def test_an_answer_faster_than_the_front_is_an_error(bench, tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with Context(Settings(data=tmp_path / "data", example="")) as site:
        model, _ = models.add(site, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(site, model)
        frontiers.trace(site, model, site.device("host"), "arena", Silent())
    monkeypatch.setattr(bench.questions, "what_if", lambda *_, **__: {"point": {"latency_ns": 0}})
    with pytest.raises(AssertionError, match="faster than the front"):
        bench.main(["tiny", "--data", str(tmp_path / "data")])
