"""The cache a cost names is the one that measuring leaves the weights in, on this machine and on a board with a kit."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import pytest

from app.candidates import LAST_LEVEL_BYTES
from app.costs import CostKey
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.profiling.device import host_device
from app.profiling.plan import needed_costs
from app.profiling.run import EVICT_BYTES, measure
from app.services import kits, models
from app.services.context import Context
from app.settings import Settings
from app.sites import NEAR_BYTES
from kernels import registry
from kernels.harness import Harness
from kernels.spec import Shape
from tests import nets


def _wide(elems: int) -> Graph:
    """A network of two layers with more than `elems` weights, never written to a file."""
    graph = import_onnx(nets.chain(depth=1, size=4), name="wide")
    dense = next(node for node in graph.nodes if node.op == "dense")
    assert dense.shape is not None
    wide = dataclasses.replace(dense, shape=dataclasses.replace(dense.shape, m=elems))
    nodes = tuple(wide if node is dense else node for node in graph.nodes)
    output = graph.tensors[dense.output]
    tensors = graph.tensors | {dense.output: dataclasses.replace(output, dims=(1, elems), c=elems)}
    kept = nodes[: nodes.index(wide) + 1]
    return dataclasses.replace(graph, nodes=kept, tensors=tensors, outputs=(dense.output,))


def test_every_cache_that_costs_name_can_be_measured() -> None:
    small = import_onnx(nets.chain(depth=3, size=16), name="small")
    named = [{key.weights_from for key in needed_costs(graph)} for graph in (small, _wide(LAST_LEVEL_BYTES // 4))]
    assert named == [{"l2", "l3"}, {"dram"}]
    assert EVICT_BYTES.keys() == named[0] | named[1]


def test_calls_that_find_their_weights_near_keep_them_through_what_is_streamed() -> None:
    """Twice a usual first level, and with all that such a chain touches no more than the smallest second levels."""
    first_level_bytes, second_level_bytes = 32 * 2**10, 512 * 2**10
    assert EVICT_BYTES["l2"] >= 2 * first_level_bytes
    assert EVICT_BYTES["l2"] + NEAR_BYTES <= second_level_bytes
    assert EVICT_BYTES["l3"] == EVICT_BYTES["dram"] >= 2 * second_level_bytes


def _expected(weights_from: str) -> tuple[int, int]:
    """(bytes to stream, 1 if weights leave all caches) of a measurement."""
    return EVICT_BYTES[weights_from], int(weights_from == "dram")


@pytest.mark.parametrize("weights_from", sorted(EVICT_BYTES))
def test_this_machine_measures_from_the_cache_that_the_key_names(
    weights_from: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    time = Harness.time

    def recorded(harness: Harness, *arguments: object, **options: object) -> tuple[int, ...]:
        asked.append((options["evict_bytes"], int(options["dram_weights"])))  # type: ignore[call-overload]
        return time(harness, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Harness, "time", recorded)
    name = "clamp_elementwise_chw_chw_f32"
    key = CostKey(name, Shape("clamp", 2, 3, 5, 2, 3, 5).key(), registry.source_hash(name), weights_from)
    measure(host_device(), [key], data_dir=tmp_path, on_cost=lambda _cost: None)
    assert set(asked) == {_expected(weights_from)}


def test_a_kit_measures_from_the_caches_that_its_keys_name(tmp_path: Path) -> None:
    with Context(Settings(data=tmp_path, example="")) as site:
        model, _ = models.add(site, nets.chain(depth=3, size=16), name="small")
        data, _ = kits.make(site, model, "board")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        keys = [json.loads(line) for line in archive.read("kit-board/keys.jsonl").splitlines()]
        requests = archive.read("kit-board/requests.txt").decode().splitlines()
    assert {key["weights_from"] for key in keys} == {"l2", "l3"}
    for key, request in zip(keys, requests, strict=True):
        asked = dict(word.split("=") for word in request.split() if "=" in word)
        assert request.split()[1] == key["primitive"]
        assert (int(asked["evict_bytes"]), int(asked["dram_weights"])) == _expected(key["weights_from"])
