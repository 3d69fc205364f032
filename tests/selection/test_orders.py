"""Orders of real nodes: what is permuted equals what is built anew, and the joint front equals that of all orders."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from app.candidates import list_candidates
from app.costs import CostTable
from app.graph.ir import VIEW, Graph
from app.graph.onnx_import import import_onnx
from app.graph.order import operators, ordered
from app.graph.reference import run
from app.order import GIVEN, JOINT, PROFILES
from app.points import Frontier
from app.selection.frontier import trace
from app.selection.limits import Limits
from app.selection.orders import Arrangement, Chosen, choose
from app.selection.schedule import make_schedule
from solver import problem as sp
from solver.dp import DynamicProgram
from solver.order_search import Ordered, OrderSearch
from tests import nets
from tests.nets import Net
from tests.selection.test_schedule import play, random_costs
from tests.selection.test_slices import nested

FEW = ("direct", "im2row", "pointwise")
"""Families to choose from, where every order is tried."""


def cell(seed: int, most_nodes: int = 7) -> bytes:
    """A random cell of convolutions, pools, sums and a nest of concats between two stems, all loose ends joined."""
    rng = random.Random(seed)
    net = Net((1, 3, 6, 6), seed=seed)
    channels = {net.conv("x", 3, 8): 8}
    loose = set(channels)
    for _ in range(rng.randint(4, most_nodes)):
        x = rng.choice(list(channels))
        c = channels[x]
        alike = [y for y in channels if channels[y] == c and y != x]
        kind = rng.choice(["conv", "conv", "conv", "pool", "sum", "concat"])
        if kind == "sum" and alike:
            y, used = net.add("Add", x, alike[0]), {x, alike[0]}
        elif kind == "concat" and len(channels) > 2:
            other = rng.choice([y for y in channels if y != x])
            y, used, c = net.add("Concat", x, other, axis=1), {x, other}, c + channels[other]
        elif kind == "pool":
            y, used = net.add("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4), {x}
        else:
            m = rng.choice([4, 8, 16, 32])
            y, used, c = net.conv(x, c, m, rng.choice([1, 3])), {x}, m
        channels[y] = c
        loose = (loose - used) | {y}
    ends = sorted(loose)
    joined = net.add("Concat", *ends, axis=1) if len(ends) > 1 else ends[0]
    net.add("GlobalAveragePool", net.conv(joined, sum(channels[y] for y in ends), 4, 1))
    return net.bytes()


def all_orders(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Every order of the operators, by recursion over what is ready; written apart from solver.order."""
    needs = {
        node.name: {p.name for p in (graph.producer(graph.resolve(x).tensor) for x in node.inputs) if p is not None}
        for node in graph.nodes
        if node.op != VIEW
    }

    def grow(order: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if len(order) == len(needs):
            yield order
        for name, sources in needs.items():
            if name not in order and sources <= set(order):
                yield from grow((*order, name))

    yield from grow(())


def arranged(graph: Graph, costs: CostTable, families: tuple[str, ...] = FEW) -> Arrangement:
    return Arrangement(list_candidates(graph), Limits(only=families, order=JOINT), costs)


def numbers(graph: Graph, names: tuple[str, ...]) -> tuple[int, ...]:
    place = {name: v for v, name in enumerate(operators(graph))}
    return tuple(place[name] for name in names)


def shape_of(problem: sp.Problem) -> tuple[object, ...]:
    """A problem up to the order of options and of layouts, which is nobody's business."""
    nodes = [(n.name, frozenset(n.options), dict(n.out_bytes), n.stays_live, dict(n.parts)) for n in problem.nodes]
    edges = [(e.src, e.dst, e.port, dict(e.conversions)) for e in problem.edges]
    return nodes, edges, problem.align_bytes


NETS = {
    "branch": nets.branch_concat(),
    "residual": nets.residual(),
    "dense": nets.dense_blocks(depth=2),
    "nested": nested(),
} | {f"cell{seed}": cell(seed) for seed in range(6)}


@pytest.mark.parametrize("name", NETS)
def test_a_permuted_problem_is_the_one_built_in_that_order(name: str) -> None:
    graph = import_onnx(NETS[name], name=name)
    costs = random_costs(graph, 1)
    arrangement, anew = arranged(graph, costs), arranged(graph, costs)
    orders = [numbers(graph, order) for _, order in zip(range(400), all_orders(graph), strict=False)]
    for order in random.Random(name).sample(orders, min(12, len(orders))):
        assert shape_of(arrangement.problem(order)) == shape_of(anew.built(order).problem)


def efficient(points: set[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for point in sorted(points):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_joint_front_is_that_of_every_order(seed: int) -> None:
    """Each order is built anew and traced by the dynamic program; nothing is left out or merged beforehand."""
    while True:
        graph = import_onnx(cell(seed, 6), name="cell")
        orders = [numbers(graph, order) for _, order in zip(range(61), all_orders(graph), strict=False)]
        if 1 < len(orders) <= 60:
            break
        seed += 1000
    costs = random_costs(graph, seed)
    anew = arranged(graph, costs)
    points = set()
    for order in orders:
        for solved in DynamicProgram(anew.built(order).problem, sp.MemoryAxis.ARENA).trace():
            points.add((solved.need_bytes, solved.time_ns))
    fronts = {rule: trace(graph, costs, limits=Limits(only=FEW, order=rule)) for rule in (GIVEN, PROFILES, JOINT)}
    joint = fronts[JOINT]
    assert [(p.peak_bytes, p.latency_ns) for p in joint.points] == efficient(points)
    assert joint.order == JOINT
    assert not joint.order_because
    assert all(p.proven for p in joint.points)
    assert fronts[PROFILES].points[0].peak_bytes == joint.points[0].peak_bytes
    assert no_worse(fronts[PROFILES], fronts[GIVEN])
    assert no_worse(joint, fronts[PROFILES])


def no_worse(one: Frontier, two: Frontier) -> bool:
    """Whether every point of `two` is met or beaten by one of `one`."""
    return all(
        any(p.peak_bytes <= q.peak_bytes and p.latency_ns <= q.latency_ns for p in one.points) for q in two.points
    )


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("name", NETS)
def test_points_in_another_order_compute_the_network(name: str) -> None:
    graph = import_onnx(NETS[name], name=name)
    inputs = nets.random_inputs(NETS[name], 3)
    expected = run(graph, inputs)
    front = trace(graph, random_costs(graph, 2), limits=Limits(order=JOINT))
    for point in front.points:
        outputs = play(graph, make_schedule(graph, point), inputs)
        for tensor, value in expected.items():
            np.testing.assert_allclose(outputs[tensor], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_some_cell_runs_in_another_order_than_the_files() -> None:
    """The tests above would mean little if the file's order were always as good."""
    better = 0
    for seed in range(12):
        graph = import_onnx(cell(seed), name="cell")
        front = trace(graph, random_costs(graph, 2), limits=Limits(order=JOINT))
        better += any(tuple(layer.node for layer in p.layers) != operators(graph) for p in front.points)
    assert better >= 3


def test_an_order_is_refused_when_it_is_none() -> None:
    graph = import_onnx(nets.branch_concat(), name="branch")
    names = operators(graph)
    assert ordered(graph, names) is graph
    with pytest.raises(ValueError, match="runs before"):
        ordered(graph, names[::-1])
    with pytest.raises(ValueError, match="other nodes"):
        ordered(graph, names[1:])
    for order in zip(range(50), all_orders(graph), strict=False):
        assert operators(ordered(graph, order[1])) == order[1]


def test_the_rule_belongs_to_the_limits_and_to_the_front() -> None:
    graph = import_onnx(nets.branch_concat(), name="branch")
    costs = random_costs(graph, 4)
    assert Limits().order == PROFILES
    assert "order" not in Limits().to_json()
    assert Limits.from_json({"order": JOINT}) == Limits(order=JOINT)
    fronts = [trace(graph, costs, limits=Limits(order=rule)) for rule in (GIVEN, PROFILES, JOINT)]
    assert [front.order for front in fronts] == [GIVEN, PROFILES, JOINT]
    assert len({front.costs_digest for front in fronts}) == 3
    assert Frontier.from_json(fronts[2].to_json()) == fronts[2]
    old = fronts[0].to_json()
    assert Frontier.from_json({k: v for k, v in old.items() if not k.startswith("order")}) == fronts[0]


def test_a_search_that_is_cancelled_or_too_wide_says_that_orders_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = import_onnx(cell(4, 14), name="cell")
    arrangement = arranged(graph, random_costs(graph, 1))
    assert choose(arrangement, JOINT, "arena", 0, lambda: True) == Chosen((), "cancelled")
    assert choose(arrangement, JOINT, "workspace", 0) == Chosen((), "")
    monkeypatch.setattr("solver.order_tables.MOST_ENTRIES", 3)
    assert "layouts" in choose(arrangement, JOINT, "arena", 0).because


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_least_arena_does_not_depend_on_which_selection_is_known(seed: int) -> None:
    """Whatever is known to be possible, the order is the one found from the least of the file's order."""
    graph = import_onnx(cell(seed, 6), name="cell")
    costs = random_costs(graph, seed)
    given = arranged(graph, costs)
    program = DynamicProgram(given.problem(given.given), sp.MemoryAxis.ARENA)
    least_bytes, most = program.least_bytes(), program.solve()
    assert least_bytes is not None
    assert most is not None
    search = OrderSearch(given)
    best = search.first(search.least_bytes(least_bytes))
    assert best is not None
    expected = () if best.order == given.given else (best.order,)
    for known_bytes in {least_bytes, least_bytes + 64, most.need_bytes, 2 * most.need_bytes}:
        assert choose(arranged(graph, costs), PROFILES, "arena", known_bytes) == Chosen(expected, "")


def test_a_front_says_how_long_was_spent_solving(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still but where it is told to go on: not while points are reported, but in the search."""
    graph = import_onnx(cell(4, 6), name="cell")
    costs = random_costs(graph, 4)
    seconds = 0.0

    def goes_on(_point: object = None) -> None:
        nonlocal seconds
        seconds += 1.0

    monkeypatch.setattr("time.perf_counter", lambda: seconds)
    assert trace(graph, costs, limits=Limits(only=FEW, order=GIVEN), on_point=goes_on).solve_s == 0.0
    assert seconds > 0.0
    ask, asked = OrderSearch.solve, 0

    def counted(search: OrderSearch, budget_bytes: int | None) -> Ordered | None:
        nonlocal asked
        asked += 1
        goes_on()
        return ask(search, budget_bytes)

    monkeypatch.setattr(OrderSearch, "solve", counted)
    front = trace(graph, costs, limits=Limits(only=FEW, order=JOINT), on_point=goes_on)
    assert front.points
    assert not front.order_because
    assert front.solve_s == asked > len(front.points)
