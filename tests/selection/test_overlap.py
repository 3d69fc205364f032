"""Chains that write their output over their input: when the bytes allow it, and that it is noticed when they do not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.chain_sites import find_sites
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.rooms import room_bytes_of
from app.selection.frontier import trace
from app.selection.overwriting import overwritten
from app.selection.schedule import make_schedule
from app.strips import StripMove, StripPlan, plan_strips, staging
from kernels import reference
from kernels.spec import Layout
from tests import nets
from tests.selection.test_schedule import play, random_costs
from tests.selection.test_strips import chains
from tests.strategies import operands


def clash(plan):
    """Whether a byte of the input is written before its last read: every byte, every call, by brute force."""
    first, out, last = plan.shapes[0], plan.shapes[-1], len(plan.shapes) - 1
    spoilt = np.zeros(max(np.prod(first.input_dims(0)), np.prod(out.output_dims)), bool)
    if np.prod(out.output_dims) > np.prod(first.input_dims(0)):
        return True
    for call in plan.calls:
        if call.layer == last:
            spoilt[call.first * out.m * out.ow : call.end * out.m * out.ow] = True
        if call.layer == 0:
            row = first.c * first.w
            if spoilt[call.input_rows[0] * row : (call.input_rows[0] + call.shape.h) * row].any():
                return True
    return False


@settings(max_examples=100, deadline=None)
@given(chains(), st.integers(1, 7), st.booleans())
def test_the_rule_allows_no_clash_and_forbids_little_else(shapes, height, staged):
    plan = plan_strips([*([staging(shapes[0])] if staged else []), *shapes], height)
    if plan.may_overwrite_input:
        assert not clash(plan)
    elif not clash(plan):
        # Only the end of an input that nobody reads may be more than the rule knows of.
        reads = [call.input_rows[0] + call.shape.h for call in plan.calls if call.layer == 0]
        assert max(reads) < plan.shapes[0].h


@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(1, 7), st.booleans())
def test_the_result_over_the_input_is_the_result(shapes, height, staged):
    plan = plan_strips([*([staging(shapes[0])] if staged else []), *shapes], height)
    if not plan.may_overwrite_input:
        return
    layers = [operands(shape, seed) for seed, shape in enumerate(plan.shapes)]
    x = np.random.default_rng(1).standard_normal(shapes[0].input_dims(0)).astype(np.float32)
    whole = x
    for shape, layer in zip(plan.shapes, layers, strict=True):
        whole = reference.compute(shape, layer.attrs, [whole], layer.weights, layer.bias)
    memory = Layout.HWC.store(x)  # the only whole tensor there is
    buffers = [np.full((s.m, rows, s.ow), np.nan) for s, rows in zip(plan.shapes, plan.buffer_rows[:-1], strict=False)]
    out = plan.shapes[-1]
    for step in plan.steps:
        if isinstance(step, StripMove):
            rows = buffers[step.layer][:, step.row : step.row + step.rows].copy()
            buffers[step.layer][:, step.to : step.to + step.rows] = rows
            continue
        if step.layer == 0:
            c, h, w = step.shape.input_dims(0)
            begin = step.input_rows[0] * c * w
            strip = Layout.HWC.load(memory[begin : begin + c * h * w], c, h, w)
        else:
            strip = buffers[step.layer - 1][:, step.input_rows[0] : step.input_rows[0] + step.shape.h]
        layer = layers[step.layer]
        y = reference.compute(step.shape, layer.attrs, [strip], layer.weights, layer.bias)
        if step.layer < len(buffers):
            buffers[step.layer][:, step.output_row : step.output_row + y.shape[1]] = y
        else:
            begin = step.output_row * out.m * out.ow
            memory[begin : begin + y.size] = Layout.HWC.store(y.astype(np.float32))
    result = Layout.HWC.load(memory[: out.m * out.oh * out.ow], *out.output_dims)
    np.testing.assert_allclose(result, whole, rtol=1e-4, atol=1e-4)


def tower():
    """Convolutions on few pixels after a stem: the second half keeps its size, so two neighbours set the arena."""
    net = nets.Net((1, 2, 24, 24))
    y = net.add("Relu", net.conv("x", 2, 8, strides=[2, 2]))
    for _ in range(4):
        y = net.add("Relu", net.conv(y, 8, 8))
    net.add("Relu", net.conv(y, 8, 4, strides=[2, 2]))
    return net.bytes()


def single():
    """One convolution between two that cannot be part of a chain of several nodes: its neighbours are of no chain."""
    net = nets.Net((1, 2, 16, 16))
    y = net.add("Abs", net.conv("x", 2, 8))
    y = net.add("Abs", net.conv(y, 8, 8))
    net.conv(y, 8, 2, 1)
    return net.bytes()


@pytest.mark.parametrize("build", [tower, single])
def test_the_smallest_points_write_over_their_input_and_compute_the_network(build):
    model = build()
    graph = import_onnx(model, name=build.__name__)
    inputs = nets.random_inputs(model, 1)
    expected = run(graph, inputs)
    front = trace(graph, random_costs(graph, 1), "arena")
    smallest = front.points[0]
    assert any(layer.strips and layer.in_place == 0 and " over 0" in layer.option for layer in smallest.layers)
    for point in front.points:
        outputs = play(graph, make_schedule(graph, point), inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_a_room_is_as_large_as_what_lay_there():
    graph = import_onnx(tower(), name="tower")
    sites = find_sites(graph)
    taken = [(site, room_bytes) for site in sites for room_bytes in site.takes_over]
    assert taken
    for site, room_bytes in taken:
        assert room_bytes >= site.output_bytes
        assert room_bytes_of(site.over_input(room_bytes)) in (0, room_bytes)
    assert any(site.staged for site in find_sites(import_onnx(single(), name="single")))


def pair():
    """A 3x3 convolution before a 1x1 one: row by row, its window is exactly one row too high to be overwritten."""
    net = nets.Net((1, 2, 16, 16))
    y = net.add("Abs", net.conv("x", 2, 8))
    y = net.add("Abs", net.conv(net.conv(y, 8, 16), 16, 8, 1))
    net.conv(y, 8, 2, 1)
    return net.bytes()


def test_a_row_too_early_is_noticed(monkeypatch):
    """The rule off by one row: the optimiser believes it, the check of the operands and the numbers do not."""
    true_rule = StripPlan.may_overwrite_input.fget

    def lax(plan):
        """As if each call of the last layer wrote a row less."""
        steps = tuple(
            step._replace(end=step.end - 1)
            if not isinstance(step, StripMove) and step.layer == len(plan.shapes) - 1
            else step
            for step in plan.steps
        )
        return true_rule(dataclasses.replace(plan, steps=steps))

    model = pair()
    graph = import_onnx(model, name="pair")
    inputs = nets.random_inputs(model, 1)
    expected = run(graph, inputs)
    honest = {site.name for site in find_sites(graph) if site.takes_over}
    costs = random_costs(graph, 0)
    make_schedule(graph, trace(graph, costs, "arena").points[0])
    monkeypatch.setattr(StripPlan, "may_overwrite_input", property(lax))
    wrong = {site.name for site in find_sites(graph) if site.takes_over} - honest
    assert wrong
    costs = random_costs(graph, 0)
    points = [
        point
        for point in trace(graph, costs, "arena").points
        if any(layer.strips in wrong and " over 0" in layer.option for layer in point.layers)
    ]
    assert points
    for point in points[:2]:
        with pytest.raises(ValueError, match="overwritten"):
            make_schedule(graph, point)
        with monkeypatch.context() as unchecked:
            unchecked.setattr("app.selection.schedule.overwritten", lambda _calls: "")
            schedule = make_schedule(graph, point)
        assert overwritten(schedule.calls)
        outputs = play(graph, schedule, inputs)
        assert any(np.abs(outputs[name] - value).max() > 0.01 * np.abs(value).max() for name, value in expected.items())
