"""Concats by slices and residuals: offered where they are right, chosen where they pay, exact in what they compute."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.candidates import list_candidates
from app.costs import Cost, CostKey, CostTable
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.points import Point
from app.schedule import Region
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from app.slices import first_element
from kernels.spec import Layout, Shape
from tests import nets
from tests.nets import Net
from tests.selection.test_schedule import play


def costs(graph: Graph, seed: int, dear: Callable[[CostKey], bool]) -> CostTable:
    """Random costs, a hundred times higher where `dear` says so."""
    rng = random.Random(seed)
    table = []
    for key in list_candidates(graph).cost_keys():
        ns = rng.randrange(1_000, 10_000) * (100 if dear(key) else 1)
        table.append(Cost(key, (ns,), ns, ns, ns))
    return CostTable(table)


def copies(key: CostKey) -> bool:
    return key.primitive.startswith(("concat_copy", "convert"))


def nested() -> bytes:
    """[a, [b, [c, d]]] with readers on the way and after; the innermost runs first, and its b waits for it."""
    net = Net((1, 3, 6, 6))
    stem = net.add("Relu", net.conv("x", 3, 16))
    c, d = net.conv(stem, 16, 16), net.conv(stem, 16, 16, 1)
    inner = net.add("Concat", c, d, axis=1)
    b = net.conv(inner, 32, 16, 1)
    middle = net.add("Concat", b, inner, axis=1)
    a = net.add("MaxPool", middle, kernel_shape=[3, 3], pads=[1] * 4)
    net.conv(net.add("Concat", a, middle, axis=1), 96, 4, 1)
    return net.bytes()


def heads() -> bytes:
    """A detector's outputs: maps of two sizes, channels last, flattened and joined into graph outputs; one is read."""
    net = Net((1, 3, 8, 8))
    maps = [net.add("Relu", net.conv("x", 3, 16)), net.add("Relu", net.conv("x", 3, 16, strides=[2, 2]))]
    found = []
    for m in (4, 2):
        flat = []
        for y in maps:
            head = net.add("Transpose", net.conv(y, 16, m), perm=[0, 2, 3, 1])
            flat.append(net.add("Reshape", head, net.ints(1, -1, 2)))
        found.append(net.add("Concat", *flat, axis=1))
    return net.bytes(found[0], net.add("Softmax", found[1], axis=2))


def output_and_slice() -> bytes:
    """A concat of which one input is a graph output, one a graph input and one is read later: none may be a slice."""
    net = Net((1, 16, 6, 6))
    y, z = net.conv("x", 16, 16), net.conv("x", 16, 16, 1)
    first = net.add("Concat", y, z, axis=1)
    second = net.add("Concat", "x", net.conv(first, 32, 16, 1), axis=1)
    third = net.add("Concat", net.add("Neg", z), net.conv(second, 32, 16, 1), axis=1)
    return net.bytes(y, net.conv(third, 32, 4, 1), net.add("Exp", z))


NETS = {"branch_concat": nets.branch_concat, "dense": nets.dense_blocks, "nested": nested, "heads": heads}


def joined(point: Point) -> list[str]:
    return [layer.node for layer in point.layers if layer.family == "slices"]


def channels_last() -> bytes:
    """An inception module whose branches all end in convs that channels-last routines write side by side."""
    net = Net((1, 3, 8, 8))
    stem = net.add("Relu", net.conv("x", 3, 16))
    branches = [net.add("Relu", net.conv(stem, 16, m, k)) for m, k in ((8, 1), (24, 3), (12, 5))]
    net.conv(net.add("Concat", *branches, axis=1), 44, 4, 1)
    return net.bytes()


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", NETS)
def test_where_copying_is_dear_every_concat_that_may_is_joined_and_computes_the_network(net: str, seed: int) -> None:
    model = NETS[net]()
    graph = import_onnx(model, name=net)
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    front = trace(graph, costs(graph, seed, copies))
    assert not front.uncertified_because
    concats = [node.name for node in graph.nodes if node.op == "concat"]
    assert joined(front.points[-1]) == concats
    for point in front.points:
        schedule = make_schedule(graph, point)
        assert all(
            call.primitive.split("_")[0] != "concat" or call.label not in joined(point) for call in schedule.calls
        )
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        outputs = play(graph, schedule, inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_a_block_of_dense_layers_lies_in_one_buffer() -> None:
    graph = import_onnx(nets.dense_blocks(), name="dense")
    point = trace(graph, costs(graph, 0, copies)).points[-1]
    last = [node for node in graph.nodes if node.op == "concat"][2]
    (place,) = (o for o in point.layers if o.node == last.name)
    whole = place.option.split("@")[1].split(" ")[0]
    assert sum(whole in layer.option for layer in point.layers) == 7  # the pool, three convs, three joins
    pool = next(layer.node for layer in point.layers if layer.op == "max_pool")
    made = {buffer.node: buffer.size_bytes for buffer in point.buffers if buffer.kind == "output"}
    assert made[pool] == 4 * 64 * 8 * 8
    assert not {layer.node for layer in point.layers if whole in layer.option} & (set(made) - {pool})


def test_channels_last_slices_are_written_with_the_pitch_of_the_whole() -> None:
    model = channels_last()
    graph = import_onnx(model, name="hwc")
    cheap = ("hwc_hwc", "convert")
    table = costs(graph, 2, lambda k: not any(word in k.primitive for word in cheap) or "concat" in k.primitive)
    point = trace(graph, table).points[-1]
    assert len(joined(point)) == 1
    schedule = make_schedule(graph, point)
    assert [c.shape.y_pitch for c in schedule.calls if c.shape.op == "conv"] == [0, 44, 44, 44, 0]
    branches = [c.output for c in schedule.calls if c.shape.y_pitch]
    assert [o.offset_bytes - branches[0].offset_bytes for o in branches] == [0, 4 * 8, 4 * 32]
    inputs = nets.random_inputs(model, 2)
    for name, value in run(graph, inputs).items():
        np.testing.assert_allclose(play(graph, schedule, inputs)[name], value, rtol=1e-4, atol=1e-4)


def test_a_block_of_dense_layers_is_read_where_it_grows_channels_last() -> None:
    """No concat moves a byte, and neither do its readers: all read prefixes and write channels with one pitch."""
    model = nets.dense_blocks()
    graph = import_onnx(model, name="dense")
    cheap = ("hwc_hwc", "chw_hwc")
    dear = costs(graph, 1, lambda k: copies(k) or not any(word in k.primitive for word in cheap))
    schedule = make_schedule(graph, trace(graph, dear).points[-1])
    assert not any(c.shape.op in ("concat", "convert") for c in schedule.calls)
    read = [c.shape.x_pitch for c in schedule.calls if c.shape.op == "scale"]
    assert read == [64, 64, 64, 0, 80, 80, 80, 0]  # the last concat of a block is dense
    assert [c.shape.y_pitch for c in schedule.calls if c.shape.y_pitch] == [64] * 4 + [80] * 4
    inputs = nets.random_inputs(model, 1)
    for name, value in run(graph, inputs).items():
        np.testing.assert_allclose(play(graph, schedule, inputs)[name], value, rtol=1e-4, atol=1e-4)


def test_who_cannot_read_with_a_pitch_gets_a_dense_copy() -> None:
    net = Net((1, 3, 6, 6))
    y = net.add("Relu", net.conv("x", 3, 8))
    wide = net.add("Softmax", y, axis=1)  # in no layout with a pitch
    z = net.add("Concat", y, net.add("Relu", net.conv(wide, 8, 8)), axis=1)
    model = net.bytes(net.conv(z, 16, 4, 1))
    graph = import_onnx(model, name="softmax")
    dear = costs(graph, 1, lambda k: k.primitive.startswith("concat") or "hwc_hwc" not in k.primitive)
    schedule = make_schedule(graph, trace(graph, dear).points[-1])
    (copy,) = (c for c in schedule.calls if c.shape.op == "convert" and c.label.endswith(f"for node_{wide}"))
    assert (copy.primitive, copy.shape.x_pitch) == ("convert_copy_hwc_hwc_f32", 16)
    inputs = nets.random_inputs(model, 1)
    for name, value in run(graph, inputs).items():
        np.testing.assert_allclose(play(graph, schedule, inputs)[name], value, rtol=1e-4, atol=1e-4)


def test_slices_of_a_graph_output_are_written_into_the_callers_memory() -> None:
    graph = import_onnx(heads(), name="heads")
    schedule = make_schedule(graph, trace(graph, costs(graph, 1, copies)).points[-1])
    outside = [c for c in schedule.calls if c.output.region is Region.OUTPUT and c.shape.op == "conv"]
    assert [c.output.offset_bytes for c in outside] == [0, 4 * 4 * 8 * 8]


def test_what_others_read_later_and_what_belongs_to_the_caller_is_no_slice() -> None:
    graph = import_onnx(output_and_slice(), name="none")
    candidates = list_candidates(graph)
    concats = [node.name for node in graph.nodes if node.op == "concat"]
    assert [any(not o.calls for o in candidates.options[name]) for name in concats] == [False, False, True]


def test_fronts_with_slices_are_never_worse_than_without(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = import_onnx(nets.dense_blocks(), name="dense")
    table = costs(graph, 5, lambda _key: False)
    with_slices = trace(graph, table).points
    monkeypatch.setattr("app.slices.Slicing._qualifies", lambda _self, _node: False)
    without = trace(graph, table).points
    assert not any(joined(point) for point in without)
    assert with_slices[-1].latency_ns < without[-1].latency_ns
    for point in without:
        assert any(p.arena_bytes <= point.arena_bytes and p.latency_ns <= point.latency_ns for p in with_slices)


@pytest.mark.parametrize(("separate", "calls"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_a_residual_is_one_call_or_two_whichever_is_cheaper(separate: bool, calls: int, seed: int) -> None:
    model = nets.residual()
    graph = import_onnx(model, name="residual")
    # A routine that adds the residual itself has a cost for that shape.
    front = trace(graph, costs(graph, seed, lambda key: separate == ("residual=1" in key.shape)))
    sums = {node.name for node in graph.nodes if node.shape and node.shape.residual}
    assert len(sums) == 2
    if not separate:  # not every sum's shape has a routine that adds it
        options = list_candidates(graph).options
        sums = {name for name in sums if any(len(o.calls) == 1 for o in options[name])}
    assert {len(layer.call_ns) for layer in front.points[-1].layers if layer.node in sums} == {calls}
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    for point in front.points:
        schedule = make_schedule(graph, point)
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        for name, value in play(graph, schedule, inputs).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_a_residual_conv_may_write_over_its_residual_but_not_over_what_it_convolves() -> None:
    net = Net((1, 3, 8, 8))
    stem = net.add("Relu", net.conv("x", 3, 8))
    side = net.conv(stem, 8, 8)
    net.add("Relu", net.add("Add", net.conv(stem, 8, 8), side))  # side is read here last: it may be overwritten
    graph = import_onnx(net.bytes(), name="net")
    candidates = list_candidates(graph)
    last = graph.nodes[-1]
    assert {option.in_place for option in candidates.options[last.name]} == {None, 1}
    assert {len(option.calls) for option in candidates.options[last.name]} == {1, 2}
    over = {o.key for o in candidates.options[last.name] if o.in_place == 1 and len(o.calls) == 1}
    assert over
    assert all(o.name in o.key for o in candidates.options[last.name])


def test_limits_on_families_hold_for_convs_with_a_residual() -> None:
    graph = import_onnx(nets.residual(), name="residual")
    candidates = list_candidates(graph, {"im2col"})
    sums = [node.name for node in graph.nodes if node.shape and node.shape.residual]
    assert all(o.family == "im2col" and len(o.calls) == 2 for name in sums for o in candidates.options[name])
    assert all("family" in candidates.refused[name]["conv_direct_plain_chw_chw_f32"] for name in sums)


dims = st.tuples(*[st.integers(1, 20)] * 3)


@given(st.sampled_from(list(Layout)), dims, st.integers(0, 2), st.data())
def test_a_slice_is_where_its_elements_are(layout: Layout, chw: tuple[int, int, int], axis: int, data: st.DataObject):
    """Cut a stored tensor of distinct numbers: the slice found by address is the slice cut by index."""
    at = data.draw(st.integers(0, chw[axis] - 1))
    extent = data.draw(st.integers(1, chw[axis] - at))
    tensor = np.arange(1, np.prod(chw) + 1, dtype=np.float32).reshape(chw)
    part = tensor.take(range(at, at + extent), axis)
    first = first_element(layout, chw, axis, at)
    if axis == 0 and at + extent < chw[0] and extent % layout.block:
        return  # the next part would have to begin inside a block
    if first is None:
        assert axis != 0 or layout is Layout.HWC or at % layout.block
        return
    flat = layout.store(tensor)
    np.testing.assert_array_equal(flat[first : first + layout.elems(*part.shape)], layout.store(part))


def test_keys_of_shapes_tell_residuals_apart() -> None:
    plain = Shape("conv", 4, 8, 8, 4, 8, 8)
    assert plain.key() != Shape("conv", 4, 8, 8, 4, 8, 8, residual=1).key()
