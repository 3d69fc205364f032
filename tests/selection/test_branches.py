"""Chains with branches: residual blocks, fire and inception modules run strip by strip, and what ties their nodes."""

import random

import numpy as np
import pytest

from app.candidates import list_candidates
from app.chain_sites import find_sites
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.selection.frontier import trace
from app.selection.problem import build_problem
from app.selection.schedule import make_schedule
from app.sites import TOKEN
from solver import flow
from solver.dp import DynamicProgram
from solver.evaluate import evaluate
from solver.frontier import trace as trace_problem
from solver.problem import MemoryAxis
from tests import nets
from tests.selection.test_chain_slices import grown
from tests.selection.test_schedule import play, random_costs


def residuals():
    """Two blocks with a shortcut as it is, one with a projection; small ends, large maps between."""
    net = nets.Net((1, 2, 24, 20))
    y = net.add("Relu", net.conv("x", 2, 16))
    for _ in range(2):
        inner = net.add("Relu", net.conv(y, 16, 8, 1))
        y = net.add("Relu", net.add("Add", net.conv(inner, 8, 16), y))
    inner = net.add("Relu", net.conv(y, 16, 8, strides=[2, 2]))
    y = net.add("Relu", net.add("Add", net.conv(inner, 8, 8), net.conv(y, 16, 8, 1, strides=[2, 2])))
    net.conv(y, 8, 2, 1)
    return net.bytes()


def fires():
    """Squeeze and expand, twice, the concat read by a pool."""
    net = nets.Net((1, 2, 24, 20))
    y = net.add("Relu", net.conv("x", 2, 8))
    for _ in range(2):
        y = net.add("Relu", net.conv(y, 8, 4, 1))
        wide = [net.add("Relu", net.conv(y, 4, 16, 1)), net.add("Relu", net.conv(y, 4, 16))]
        y = net.add("MaxPool", net.add("Concat", *wide, axis=1), kernel_shape=[2, 2], strides=[2, 2])
        y = net.conv(y, 32, 8, 1)
    return net.bytes()


def inception():
    """Four branches of different depth, a concat in a concat, and the sum of the result with itself pooled."""
    net = nets.Net((1, 2, 16, 16))
    y = net.add("Relu", net.conv("x", 2, 12))
    reduced = net.add("Relu", net.conv(y, 12, 6, 1))
    pooled = net.add("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4)
    inner = net.add("Concat", net.conv(reduced, 6, 8), net.conv(pooled, 12, 6, 1), axis=1)
    y = net.add("Relu", net.add("Concat", net.conv(y, 12, 10, 1), inner, axis=1))
    y = net.add("Add", y, net.add("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4))
    net.conv(y, 24, 2, strides=[2, 2])
    return net.bytes()


NETS = [residuals, fires, inception]


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("build", NETS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_point_of_a_front_computes_the_network_and_the_smallest_ones_use_branches(build, seed):
    model = build()
    graph = import_onnx(model, name=build.__name__)
    inputs = nets.random_inputs(model, 1)
    expected = run(graph, inputs)
    front = trace(graph, random_costs(graph, seed), "arena")
    assert any(" branched" in layer.strips for layer in front.points[0].layers)
    for point in front.points:
        outputs = play(graph, make_schedule(graph, point), inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("build", NETS)
def test_a_branched_chain_has_one_input_and_one_output(build):
    graph = import_onnx(build(), name=build.__name__)
    sites = [site for site in find_sites(graph) if site.branched]
    assert sites
    for site in sites:
        inside = {node.output for node in site.nodes}
        outside = {name for node in site.nodes[:-1] for name in node.inputs} - inside
        assert outside == {site.source}
        assert not inside & set(graph.outputs) - {site.nodes[-1].output}
        for node in graph.nodes:
            if node not in site.nodes:
                assert not set(node.inputs) & (inside - {site.nodes[-1].output})


def selections(problem, seed):
    """Selections all over a front, by a dynamic program that knows nothing of ties and needs."""
    program = DynamicProgram(problem, MemoryAxis.ARENA)
    rng = random.Random(seed)
    front = program.trace()
    yield from (solved.selection for solved in front)
    for _ in range(60):
        closed = set()
        for v in rng.sample(range(len(problem.nodes)), 3):
            node = problem.nodes[v]
            layout = rng.choice(node.options).out_layout
            closed |= {(v, i) for i, o in enumerate(node.options) if o.out_layout == layout}
        budget = rng.choice(front).need_bytes + rng.randrange(0, 2000)
        solved = program.solve(budget, frozenset(closed))
        if solved is not None:
            yield solved.selection


@pytest.mark.parametrize("build", [*NETS, nets.branch_concat, grown])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_choice_is_said_to_need_more_than_a_selection_with_it_takes(build, seed):
    graph = import_onnx(build(), name="net")
    costs = random_costs(graph, seed)
    problem = build_problem(list_candidates(graph).with_chains(costs.ns), costs.ns).problem
    found = flow.build(problem, MemoryAxis.ARENA, weights_matter=False, prune=False)
    column = {choice: j for j, choice in enumerate(found.options)}
    pairs = {(pair.arc, pair.layout, pair.demand): y for y, pair in enumerate(found.pairs)}
    seen = set()
    for selection in selections(problem, seed):
        arena_bytes = evaluate(problem, selection).arena_bytes
        taken = [column[choice] for choice in enumerate(selection.options)]
        served = [
            pairs[a, found.option(taken[arc.src]).out_layout, found.demand_of[a][taken[arc.dst]]]
            for a, arc in enumerate(found.arcs)
        ]
        assert max(found.x_need[j] for j in taken) <= arena_bytes
        assert max(found.y_need[y] for y in served) <= arena_bytes
        for row in found.rows:
            said = row.base_bytes + sum(row.x.get(j, 0) for j in taken) + sum(row.y.get(y, 0) for y in served)
            assert said <= arena_bytes, row.label
        seen |= {found.option(j).out_layout for j in taken}
    assert seen & problem.tied


@pytest.mark.parametrize("build", [*NETS, nets.branch_concat, grown])
def test_tied_layouts_are_taken_together(build):
    """What Problem.tied promises, of selections found without it."""
    graph = import_onnx(build(), name="net")
    costs = random_costs(graph, 4)
    problem = build_problem(list_candidates(graph).with_chains(costs.ns), costs.ns).problem
    able = [{option.out_layout for option in node.options} & problem.tied for node in problem.nodes]
    feeds = {(edge.src, edge.dst) for edge in problem.edges}
    assert any(layout.startswith(TOKEN) for layout in problem.tied)
    for selection in selections(problem, 5):
        written = [node.options[i].out_layout for node, i in zip(problem.nodes, selection.options, strict=True)]
        for v in range(len(problem.nodes)):
            for u in range(v):
                if problem.last_reader[u] > v and (u, v) not in feeds:
                    for layout in able[u] & able[v]:
                        assert (written[u] == layout) == (written[v] == layout)


@pytest.mark.parametrize("build", NETS)
def test_fronts_with_branches_are_certified_by_both_methods(build):
    graph = import_onnx(build(), name="net")
    costs = random_costs(graph, 6)
    problem = build_problem(list_candidates(graph).with_chains(costs.ns), costs.ns).problem
    front = trace_problem(problem, MemoryAxis.ARENA)
    assert front.certified_by.endswith("+dp")
    assert all(point.proven for point in front.points)
