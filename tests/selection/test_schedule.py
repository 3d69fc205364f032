"""A schedule, played on a real block of bytes by the float64 definitions, gives the network's outputs.

The player knows nothing of the optimiser: it reads operands where the schedule says they lie, poisons every byte that
no planned buffer owns at that moment, and stores results in the routine's layout. A wrong offset, lifetime, layout,
in-place choice or conversion changes the output.
"""

import random

import numpy as np
import pytest

from app.candidates import list_candidates
from app.costs import Cost, CostTable, MissingCost
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.points import Frontier, Point
from app.schedule import Region
from app.selection.digest import costs_digest
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from kernels import reference, registry
from kernels.spec import Layout
from tests import nets

NETS = nets.ALL


def random_costs(graph, seed):
    """Costs that make every selection equally plausible, so fronts wander through layouts and families."""
    rng = random.Random(seed)
    table = []
    for key in list_candidates(graph).cost_keys():
        ns = rng.randrange(100, 10_000) // (10 if key.primitive.startswith("convert") else 1)
        table.append(Cost(key, (ns,), ns, ns, ns))
    return CostTable(table)


def stretches(layout, dims, pitch):
    """Indices of a (c, h, w) tensor that is part of a larger one: channels of its pixels in hwc, rows of its planes."""
    c, h, w = dims
    if layout is Layout.HWC:
        count, length, step = h * w, c, pitch
    else:
        count, length, step = -(-c // layout.block), h * w * layout.block, pitch * layout.block
    return (np.arange(count)[:, None] * step + np.arange(length)).reshape(-1)


def play(graph, schedule, inputs):
    """Outputs of a schedule, operand by operand on real bytes."""
    arena = np.full(schedule.arena_bytes // 4, np.nan, np.float32)
    sources = [np.ascontiguousarray(inputs[port.name], np.float32).reshape(-1) for port in schedule.inputs]
    results = [np.full(int(np.prod(port.dims)), np.nan, np.float32) for port in schedule.outputs]
    memory = {Region.INPUT: sources, Region.OUTPUT: results}

    def at(operand):
        block = arena if operand.region is Region.ARENA else memory[operand.region][operand.index]
        first = operand.offset_bytes // 4
        return block[first : first + operand.size_bytes // 4]

    for number, call in enumerate(schedule.calls):
        owned = np.zeros(arena.size, bool)
        for buffer in schedule.buffers:
            if buffer.first <= number < buffer.last:
                piece = slice(buffer.offset_bytes // 4, (buffer.offset_bytes + buffer.size_bytes) // 4)
                assert not owned[piece].any(), "two live buffers overlap"
                owned[piece] = True
        arena[~owned] = np.nan
        primitive = registry.get(call.primitive)
        loaded = []
        for port, operand in enumerate(call.inputs):
            dims, held = call.shape.input_dims(port), at(operand).copy()
            assert operand.size_bytes == 4 * primitive.input_elems(call.shape, port)
            layout = primitive.port_layout(port)
            residual = call.shape.op == "conv" and port == 1
            if pitch := call.shape.y_pitch if residual else call.shape.x_pitch if port == 0 else 0:
                held = held[stretches(layout, dims, pitch)]
            loaded.append(layout.load(held, *dims))
        y = reference.compute(
            call.shape,
            call.attrs,
            loaded,
            graph.constants[call.weights] if call.weights else None,
            graph.constants[call.bias] if call.bias else None,
        )
        if call.workspace is not None:
            at(call.workspace)[:] = np.nan
        stored = primitive.out_layout.store(y.astype(np.float32))
        if call.shape.y_pitch:
            at(call.output)[stretches(primitive.out_layout, y.shape, call.shape.y_pitch)] = stored
        else:
            at(call.output)[:] = stored
    for source, target in schedule.copies:
        at(target)[:] = at(source)
    return {port.name: result.reshape(port.dims) for port, result in zip(schedule.outputs, results, strict=True)}


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("memory", ["arena", "workspace"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", NETS)
def test_every_point_of_a_front_computes_the_network(net, seed, memory):
    model = NETS[net]()
    graph = import_onnx(model, name=net)
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    front = trace(graph, random_costs(graph, seed), memory)
    assert front.points
    baselines = [baseline.point for baseline in front.baselines]
    for point in (*front.points, *baselines):
        schedule = make_schedule(graph, point)
        outputs = play(graph, schedule, inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        assert max((b.offset_bytes + b.size_bytes for b in schedule.buffers), default=0) == point.arena_bytes
        assert point.arena_bytes >= point.peak_bytes


def test_a_front_survives_json():
    graph = import_onnx(nets.residual(), name="residual")
    front = trace(graph, random_costs(graph, 1), "arena")
    assert Frontier.from_json(front.to_json()) == front
    assert Point.from_json(front.points[0].to_json()) == front.points[0]


def test_more_memory_is_never_slower_and_points_keep_their_id_across_sweeps():
    graph = import_onnx(nets.branch_concat(), name="branch")
    costs = random_costs(graph, 5)
    first, second = trace(graph, costs, "arena"), trace(graph, costs, "arena")
    latencies = [p.latency_ns for p in first.points]
    assert latencies == sorted(latencies, reverse=True)
    assert [p.id for p in first.points] == [p.id for p in second.points]
    assert first.costs_digest == second.costs_digest == costs_digest(graph, costs)


def test_a_missing_cost_is_an_error_that_lists_every_missing_key():
    graph = import_onnx(nets.chain(), name="chain")
    complete = random_costs(graph, 0)
    keys = list(complete)
    with pytest.raises(MissingCost) as caught:
        trace(graph, CostTable(complete[key] for key in keys[3:]), "arena")
    assert set(caught.value.keys) == set(keys[:3])
    assert costs_digest(graph, CostTable(complete[key] for key in keys[3:])) == ""


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("seed", [0, 2])
def test_a_chain_that_ends_in_a_sum_or_product_reads_its_second_operand_row_by_row(op, seed):
    """A clamp before the sum: it is no residual of a convolution, but may be the last step of a chain."""
    net = nets.Net((1, 8, 12, 12))
    stem = net.conv("x", 8, 8)
    gate = net.add("Relu", net.conv(net.add("Relu", net.conv(stem, 8, 8)), 8, 8, 1))
    net.add("GlobalAveragePool", net.add(op, gate, stem))
    model = net.bytes()
    graph = import_onnx(model, name="gated")
    inputs = nets.random_inputs(model)
    expected = run(graph, inputs)
    points = trace(graph, random_costs(graph, seed), "arena").points
    assert any(layer.strips for point in points for layer in point.layers if layer.op == op.lower())
    for point in points:
        outputs = play(graph, make_schedule(graph, point), inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("seed", [15, 1002, 1004])
def test_every_point_and_baseline_of_a_network_drawn_at_random_computes_it(seed):
    """Residuals, concats, slices, several outputs; what a plan calls live at a call is what that call touches."""
    model = nets.drawn(seed, 8)
    graph = import_onnx(model, name="drawn")
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    front = trace(graph, random_costs(graph, seed), "arena")
    for point in (*front.points, *(baseline.point for baseline in front.baselines)):
        schedule = make_schedule(graph, point)
        outputs = play(graph, schedule, inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        assert max((b.offset_bytes + b.size_bytes for b in schedule.buffers), default=0) == point.arena_bytes
