"""The table of the paper's claims on small networks with invented costs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from app.graph.onnx_import import import_onnx
from app.services import measurements, models
from app.services.context import Context
from app.settings import Settings
from tests import nets
from tests.selection.test_schedule import random_costs

SCRIPT = Path(__file__).parents[2] / "bench" / "paper.py"


@pytest.fixture(scope="module")
def paper():
    spec = importlib.util.spec_from_file_location("bench_paper", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_paper"] = module
    sys.path.insert(0, str(SCRIPT.parent))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules["bench_paper"]


@pytest.mark.parametrize("net", ["chain", "residual", "branch_concat"])
def test_no_simpler_choice_beats_the_optimum_and_the_allowance_is_kept(paper, net):
    graph = import_onnx(nets.ALL[net](), name=net)
    row = paper.claims(net, graph, random_costs(graph, 3), 1)
    for ratio in (row.greedy_ratio, row.direct_ratio, row.im2_ratio):
        assert ratio is None or ratio >= 1
    assert row.allowed_time_ratio <= 1 + paper.ALLOWANCE
    assert row.allowed_arena_time_ratio <= 1 + paper.ALLOWANCE
    assert row.allowed_workspace_bytes <= row.optimum_workspace_bytes
    assert row.allowed_arena_bytes <= row.optimum_arena_bytes
    text = paper.markdown([row], "Device host")
    assert text.count(f"| {net} |") == 2
    assert f"less arena {row.optimum_arena_bytes / row.allowed_arena_bytes:.2f}x (1 networks)" in text


def test_the_script_reads_the_data_folder_and_writes_both_files(paper, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with Context(Settings(data=tmp_path / "data", example="")) as site:
        record, _ = models.add(site, nets.chain(), name="tiny", file_name="tiny.onnx")
        device = site.device("host")
        site.costs.register(device.id, device.name, {})
        graph = import_onnx(nets.chain(), name="tiny")
        invented = random_costs(graph, 5)
        site.costs.put(device.id, [invented[key] for key in measurements.needed(site, record)])
    paper.main(["--data", str(tmp_path / "data"), "--only", "tiny", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "paper.md").read_text()
    document = json.loads((tmp_path / "out" / "paper.json").read_text())
    assert [row["network"] for row in document["networks"]] == ["tiny"]
    assert document["networks"][0]["points"] >= 1


def test_a_network_nobody_knows_is_refused(paper, tmp_path):
    with pytest.raises(paper.UserError):
        paper.main(["--data", str(tmp_path), "--only", "nobody", "--out", str(tmp_path / "out")])
