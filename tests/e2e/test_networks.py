"""Real trained networks, import to verified bundle, under costs drawn at random.

Random costs send every network through primitives, layouts and conversions that no measured front would combine, so a
routine that is wrong on some real shape is found here even when it is never the fastest. Time is not judged.
"""

import json
import random
import zlib
from collections import Counter

import numpy as np
import pytest

from app.candidates import list_candidates
from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.plan import Provenance, make_plan
from app.costs import Cost, CostTable
from app.graph import oracle, zoo
from app.graph.onnx_import import import_onnx
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from app.verify import verify_bundle
from tests import nets

# (model, compiler, sanitizers): every network once, both compilers, the sanitizers where they finish quickly.
CASES = [
    ("digit_recognizer", "gcc", True),
    ("faceboxes", "clang", False),
    ("kws_arm_dscnn_s", "gcc", True),
    ("mlperftiny_ad_autoencoder", "clang", False),
    ("mlperftiny_kws_dscnn", "clang", False),
    ("mlperftiny_resnet8", "gcc", True),
    ("mlperftiny_vww_mobilenetv1", "gcc", True),
    ("mnist8", "clang", False),
    ("mobilenetv2_imagenet", "gcc", False),
    ("resnet20_cifar10", "clang", False),
    ("squeezenet1_1", "gcc", False),
    ("squeezenet1_1_winml", "clang", False),
    ("ultraface_rfb320", "gcc", False),
]

RESIDUAL = {"mlperftiny_resnet8", "mobilenetv2_imagenet", "resnet20_cifar10"}


def random_costs(graph, seed, dear=""):
    """Scalar reference routines are kept rare: they are right, and too slow to run whole networks with.

    So is every routine whose name begins with (one of) `dear`.
    """
    rng = random.Random(seed)
    costs = []
    for key in list_candidates(graph).cost_keys():
        rare = "_plain_" in key.primitive or (dear and key.primitive.startswith(dear))
        ns = rng.randrange(1_000, 100_000) * (10 if rare else 1)
        costs.append(Cost(key, (ns,), ns, ns, ns))
    return CostTable(costs)


def prove(name, data, inputs, *, compiler, sanitize, objects, dear=""):
    """Bundle of the fastest point under random costs, verified on `inputs`; returns the point and the proof."""
    graph = import_onnx(data, name=name)
    vectors = []
    for tensor in inputs:
        outputs = oracle.run_onnx(data, {graph.inputs[0]: tensor})
        vectors.append(([tensor], [outputs[n] for n in graph.outputs]))
    point = trace(graph, random_costs(graph, zlib.crc32(name.encode()), dear), "arena").points[-1]
    provenance = Provenance.of_point(
        point,
        generator_version="test",
        model_name=name,
        model_sha256="0" * 64,
        opset=None,
        device="random",
        compiler="none",
        flags=(),
        memory_axis="arena",
        budget_bytes=None,
        costs_digest="",
    )
    plan = make_plan(
        name, graph.constants, make_schedule(graph, point), prefix="net", vectors=vectors, provenance=provenance
    )
    proof = verify_bundle(
        pack(emit(plan), "net"),
        compiler=compiler,
        extra_flags=("-march=native",),
        sanitize=sanitize,
        runs=1,
        cache=objects,
    )
    assert proof.argmax_ok
    assert proof.max_rel_err <= 1e-3
    assert proof.arena_used_bytes == proof.arena_bytes == point.arena_bytes
    assert Counter(layer.op for layer in point.layers)["conv"] == sum(point.families.values())
    return point, proof


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiler", "sanitize"), CASES, ids=[case[0] for case in CASES])
def test_a_bundle_of_any_selection_computes_the_trained_network(shared_models, objects, name, compiler, sanitize):
    cases = sorted((shared_models / "ref").glob(f"{name}.*.in.npy"))[:2]
    data = (shared_models / f"{name}.onnx").read_bytes()
    inputs = [np.load(case) for case in cases]
    point, proof = prove(name, data, inputs, compiler=compiler, sanitize=sanitize, objects=objects)
    sums = [layer for layer in point.layers if "residual=1" in layer.shape]
    assert (len(sums) > 1) == (name in RESIDUAL)
    known = json.loads((shared_models / "ref" / "expected.json").read_text())
    assert len(proof.classes) == len(cases) > 0
    for case, found in zip(cases, proof.classes, strict=True):
        expected = known[case.name.removesuffix(".in.npy")]["expect"]
        assert expected.get("top1", found) == found


@pytest.mark.huge
@pytest.mark.parametrize("name", zoo.EXAMPLES)
def test_a_bundle_of_any_selection_computes_the_example_network(objects, name):
    """VGG-19 has 550 MB of weights, several times that as bundle and build."""
    image = np.random.default_rng(7).standard_normal((1, 3, 224, 224), np.float32)
    prove(name, zoo.materialise(name), [image], compiler="gcc", sanitize=False, objects=objects)


JOINED = {
    "branch_concat": nets.branch_concat,
    "dense_blocks": nets.dense_blocks,
    "squeezenet1_1": None,
    "faceboxes": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINED)
def test_a_bundle_whose_concats_copy_nothing_computes_the_network(shared_models, objects, name):
    build = JOINED[name]
    data = (shared_models / f"{name}.onnx").read_bytes() if build is None else build()
    inputs = list(nets.random_inputs(data, 3).values())
    sanitize = build is not None
    point, _ = prove(name, data, inputs, compiler="gcc", sanitize=sanitize, objects=objects, dear="concat_copy")
    joined = [layer for layer in point.layers if layer.family == "slices"]
    concats = [layer for layer in point.layers if layer.op == "concat"]
    assert len(joined) > len(concats) / 2 > 0


@pytest.mark.slow
def test_a_bundle_whose_slices_copy_nothing_computes_the_network(objects):
    data = nets.shuffle(c=32)
    inputs = list(nets.random_inputs(data, 3).values())
    point, _ = prove("shuffle", data, inputs, compiler="gcc", sanitize=True, objects=objects, dear="slice_copy")
    cuts = [layer.family for layer in point.layers if layer.op == "slice"]
    assert cuts.count("pieces") == len(cuts) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dear", "calls"),
    [
        ("residual", ("add",), 1),
        ("mlperftiny_resnet8", ("conv_winograd", "conv_direct", "conv_pointwise"), 2),
    ],
    ids=["one", "two"],
)
def test_a_bundle_computes_residuals_in_one_call_and_in_two(shared_models, objects, name, dear, calls):
    data = nets.residual() if name == "residual" else (shared_models / f"{name}.onnx").read_bytes()
    inputs = list(nets.random_inputs(data, 3).values())
    point, _ = prove(name, data, inputs, compiler="gcc", sanitize=True, objects=objects, dear=dear)
    sums = [layer for layer in point.layers if "residual=1" in layer.shape]
    assert calls in {len(layer.call_ns) for layer in sums}
