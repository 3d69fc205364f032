"""Slices without copying: offered where they are right, chosen where they pay, exact in what they hold and compute."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.candidates import list_candidates
from app.costs import CostKey
from app.graph.ir import Node
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.order import GIVEN, JOINT
from app.points import Point
from app.selection.frontier import trace
from app.selection.limits import Limits
from app.selection.problem import build_problem
from app.selection.robustness import chosen_by
from app.selection.schedule import make_schedule
from app.selection.what_if import WarmModel
from app.splits import _pieces
from kernels.spec import Layout, Shape
from solver import problem as sp
from solver.arena import place
from solver.check import check
from solver.dp import DynamicProgram
from solver.evaluate import evaluate, lifetimes
from tests import nets
from tests.nets import Net
from tests.selection.test_orders import all_orders, arranged, efficient, numbers, shape_of
from tests.selection.test_schedule import play
from tests.selection.test_slices import costs
from tests.solver import brute_force


def gated() -> bytes:
    """Both halves of the channels are read after the slices, the first one last; rows are cut of the result."""
    net = Net((1, 3, 6, 8))
    y = net.conv("x", 3, 32)
    net.add("Split", y, net.ints(16, 16), outputs=2, axis=1)
    a, b = net.nodes[-1].output
    gate = net.add("Sigmoid", net.conv(b, 16, 16, 1))
    y = net.add("Mul", a, gate)
    top = net.add("Slice", y, net.ints(0), net.ints(4), net.ints(2))
    net.conv(top, 16, 4, 1)
    return net.bytes()


def cut_of_joined() -> bytes:
    """A concat is split again, one part of it is split once more and joined with what was read of the whole."""
    net = Net((1, 3, 6, 6))
    y = net.add("Concat", net.conv("x", 3, 16), net.conv("x", 3, 16, 1), axis=1)
    whole = net.conv(y, 32, 8, 1)
    net.add("Split", y, net.ints(8, 24), outputs=2, axis=1)
    a, b = net.nodes[-1].output
    inner = net.add("Slice", net.add("Relu", b), net.ints(8), net.ints(24), net.ints(1))
    y = net.add("Concat", net.conv(a, 8, 8), net.conv(inner, 16, 8, 1), whole, axis=1)
    net.conv(y, 24, 4, 1)
    return net.bytes()


def outside() -> bytes:
    """Pieces of a graph input; a tensor that is a graph output, and a slice that is one: neither is held or a piece."""
    net = Net((1, 32, 6, 6))
    left = net.add("Slice", "x", net.ints(0), net.ints(16), net.ints(1))
    right = net.add("Slice", "x", net.ints(16), net.ints(32), net.ints(1))
    y = net.add("Add", net.conv(left, 16, 16), net.conv(right, 16, 16, 1))
    part = net.add("Slice", y, net.ints(0), net.ints(8), net.ints(1))
    z = net.conv(part, 8, 16, 1)
    given = net.add("Slice", z, net.ints(8), net.ints(16), net.ints(1))
    return net.bytes(net.add("Neg", left), y, given, net.conv(z, 16, 4, 1))


NETS = {"shuffle": nets.shuffle, "gated": gated, "cut_of_joined": cut_of_joined, "outside": outside}


def slices(key: CostKey) -> bool:
    return key.primitive.startswith(("slice_copy", "convert"))


def uncut(point: Point) -> list[str]:
    return [layer.node for layer in point.layers if layer.family == "pieces"]


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("dear", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", NETS)
def test_every_point_computes_the_network_with_what_it_says_it_takes(net: str, seed: int, dear: bool) -> None:
    model = NETS[net]()
    graph = import_onnx(model, name=net)
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    front = trace(graph, costs(graph, seed, lambda key: dear and slices(key)))
    assert not front.uncertified_because
    assert uncut(front.points[-1]) or not dear
    for point in front.points:
        schedule = make_schedule(graph, point)
        assert not {call.label for call in schedule.calls} & set(uncut(point))
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        assert max(b.offset_bytes + b.size_bytes for b in schedule.buffers) == point.arena_bytes
        outputs = play(graph, schedule, inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_of_a_shuffle_unit_one_half_is_read_where_it_lies_and_the_other_goes_into_the_concat() -> None:
    graph = import_onnx(nets.shuffle(), name="shuffle")
    point = trace(graph, costs(graph, 1, slices)).points[-1]
    units = [[layer for layer in point.layers if layer.op == op] for op in ("slice", "concat")]
    assert [layer.family for layer in units[0]][1::2] == ["pieces"] * 2
    schedule = make_schedule(graph, point)
    whole = next(call.output for call in schedule.calls if call.label == graph.nodes[0].name)
    reader = next(call for call in schedule.calls if call.shape.op == "conv" and call.shape.c == 6)
    pitch = 4 if reader.shape.x_pitch else 4 * 64
    assert reader.inputs[0].offset_bytes == whole.offset_bytes + 6 * pitch
    assert reader.shape.x_pitch in (0, 12)


def test_a_whole_is_held_until_the_last_piece_of_it_is_read() -> None:
    graph = import_onnx(gated(), name="gated")
    point = trace(graph, costs(graph, 0, slices)).points[-1]
    assert len(uncut(point)) == 3
    schedule = make_schedule(graph, point)
    first = graph.nodes[0].name
    (whole,) = (b for b in schedule.buffers if b.name == first and b.kind == "output")
    after = next(number for number, call in enumerate(schedule.calls) if call.shape.op == "mul")
    assert (whole.size_bytes, whole.last) == (4 * 32 * 6 * 8, after + 1)


def test_what_belongs_to_the_caller_is_no_whole_but_its_input_may_be() -> None:
    graph = import_onnx(outside(), name="outside")
    candidates = list_candidates(graph)
    cuts = [node for node in graph.nodes if node.op == "slice"]
    assert [any(o.cuts for o in candidates.options[node.name]) for node in cuts] == [True, True, False, False]
    assert not candidates.holds


@pytest.mark.parametrize(("net", "op"), [("shuffle", "slice"), ("cut_of_joined", "concat")])
def test_what_lies_in_other_memory_can_be_pinned_and_banned(net: str, op: str) -> None:
    graph = import_onnx(NETS[net](), name=net)
    table = costs(graph, 1, lambda _key: False)
    layer = next(node.name for node in graph.nodes if node.op == op)
    lying = {o.name for o in list_candidates(graph).options[layer] if not o.calls}
    name = "slice_where_it_lies_chw" if op == "slice" else "concat_by_slices_chw"
    assert name in lying
    pinned = trace(graph, table, limits=Limits(pins=((layer, name),)))
    assert {layer: name}.items() <= {choice.node: choice.primitive for choice in pinned.points[0].layers}.items()
    assert not {"fastest-per-layer", "greedy-planner"} & {baseline.name for baseline in pinned.baselines}
    banned = trace(graph, table, limits=Limits(bans=tuple((layer, name) for name in sorted(lying))))
    assert all(choice.primitive not in lying for p in banned.points for choice in p.layers if choice.node == layer)


@pytest.mark.parametrize("axis", ["arena", "workspace"])
def test_a_question_is_answered_as_the_front_answers_it(axis: str) -> None:
    graph = import_onnx(gated(), name="gated")
    table = costs(graph, 1, slices)
    model = WarmModel(graph, table)
    front = trace(graph, table, axis, limits=Limits(order=GIVEN))
    for point in front.points:
        found = model.ask(Limits(order=GIVEN), axis, getattr(point, f"{axis}_bytes"))
        assert found.point.latency_ns == point.latency_ns
        assert evaluate(model.built.problem, chosen_by(model.built, point)).time_ns == point.latency_ns


def test_fronts_with_pieces_are_never_worse_than_without(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = import_onnx(nets.shuffle(), name="shuffle")
    table = costs(graph, 5, lambda _key: False)
    with_pieces = trace(graph, table).points
    monkeypatch.setattr("app.splits.Splitting._split", lambda *_: ())
    without = trace(graph, table).points
    assert not any(uncut(point) for point in without)
    assert with_pieces[-1].latency_ns < without[-1].latency_ns
    for point in without:
        assert any(p.arena_bytes <= point.arena_bytes and p.latency_ns <= point.latency_ns for p in with_pieces)


def few(graph, seed: int):
    """The problem with two or three options of each operator, those that lie in others among them."""
    rng = random.Random(seed)
    table = costs(graph, seed, lambda _key: False)
    candidates = list_candidates(graph, {"direct", "pointwise", "im2row"})
    options = {}
    for name, offered in candidates.options.items():
        plain = [o for o in offered if "@" not in o.key and o.in_layouts[0] in ("chw", "hwc") and o.out_layout == "hwc"]
        other = [o for o in offered if "@" in o.key and ("hwc@" in o.key or o.cuts)]
        picked = rng.sample(plain or [o for o in offered if "@" not in o.key], 1)
        picked += rng.sample(other, min(2, len(other)))
        options[name] = tuple(picked)
    return build_problem(dataclasses.replace(candidates, options=options, sites=()), table.ns).problem


@pytest.mark.parametrize("seed", range(40))
def test_the_front_is_that_of_all_selections_played_by_other_code(seed: int) -> None:
    """And the checker passes what is allowed, with its placement, and nothing else."""
    problem = few(import_onnx(gated(), name="gated"), seed)
    sp.validate(problem)
    assert sum(len(node.options) > 1 for node in problem.nodes) > 2
    solved = DynamicProgram(problem, sp.MemoryAxis.ARENA).trace()
    assert [(s.need_bytes, s.time_ns) for s in solved] == brute_force.front(problem, sp.MemoryAxis.ARENA)
    played = brute_force.all_plays(problem)
    for selection, figures in played[:: max(1, len(played) // 8)]:
        arena = place(lifetimes(problem, selection).buffers, problem.align_bytes)
        assert not check(
            problem, selection, evaluation=figures, placements=arena.placements, arena_bytes=arena.arena_bytes
        )


@pytest.mark.parametrize("net", ["shuffle", "gated", "cut_of_joined"])
def test_a_permuted_problem_is_the_one_built_in_that_order(net: str) -> None:
    graph = import_onnx(NETS[net](), name=net)
    table = costs(graph, 1, slices)
    arrangement, anew = arranged(graph, table), arranged(graph, table)
    orders = [numbers(graph, order) for _, order in zip(range(400), all_orders(graph), strict=False)]
    for order in random.Random(net).sample(orders, min(12, len(orders))):
        assert shape_of(arrangement.problem(order)) == shape_of(anew.built(order).problem)


@pytest.mark.parametrize("net", ["gated", "cut_of_joined"])
def test_the_joint_front_is_that_of_every_order(net: str) -> None:
    model = NETS[net]()
    graph = import_onnx(model, name=net)
    table = costs(graph, 3, slices)
    orders = [numbers(graph, order) for order in all_orders(graph)]
    assert 1 < len(orders) <= 400
    anew = arranged(graph, table)
    points = set()
    for order in orders:
        for solved in DynamicProgram(anew.built(order).problem, sp.MemoryAxis.ARENA).trace():
            points.add((solved.need_bytes, solved.time_ns))
    joint = trace(graph, table, limits=Limits(only=("direct", "im2row", "pointwise"), order=JOINT))
    assert [(p.peak_bytes, p.latency_ns) for p in joint.points] == efficient(points)
    inputs = nets.random_inputs(model, 3)
    for name, value in run(graph, inputs).items():
        for point in joint.points:
            found = play(graph, make_schedule(graph, point), inputs)[name]
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


dims = st.tuples(*[st.integers(1, 20)] * 3)


@given(dims, st.integers(0, 2), st.data())
def test_a_piece_is_where_its_elements_are(chw: tuple[int, int, int], axis: int, data: st.DataObject) -> None:
    """Cut a stored tensor of distinct numbers: the piece found by address is the slice cut by index."""
    at = data.draw(st.integers(0, chw[axis] - 1))
    extent = data.draw(st.integers(1, chw[axis] - at))
    tensor = np.arange(1, np.prod(chw) + 1, dtype=np.float32).reshape(chw)
    part = tensor.take(range(at, at + extent), axis)
    start = tuple(at if a == axis else 0 for a in range(3))
    node = Node("n", "slice", ("x",), "y", Shape("slice", *chw, *part.shape, start=start))
    found = dict(_pieces(node))
    assert axis != 0 or extent == chw[0] or Layout.CHW in found
    for layout, piece in found.items():
        flat = layout.store(tensor)
        held = flat[piece.offset_bytes // 4 :][: piece.size_bytes // 4]
        assert held.size == piece.size_bytes // 4
        if piece.pitch:
            pixels = np.arange(chw[1] * chw[2])[:, None] * piece.pitch + np.arange(extent)
            held = held[pixels.reshape(-1)]
        np.testing.assert_array_equal(held, piece.layout.store(part))
