"""Chains that read a slice of a buffer and write one: what is offered, what the calls touch, what they compute."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.candidates import list_candidates
from app.chain_sites import find_sites
from app.chain_slices import with_slices
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from app.options import pitched
from app.order import JOINT
from app.schedule import Call, Operand, Region, Strip
from app.selection.frontier import trace
from app.selection.limits import Limits
from app.selection.overwriting import overwritten
from app.selection.problem import build_problem, chain_options
from app.selection.schedule import make_schedule
from app.sites import WHOLE
from app.slices import buffer_of
from app.strips import INPUT
from kernels.spec import Attrs, Shape
from tests import nets
from tests.selection.test_schedule import play, random_costs


def grown():
    """Two dense blocks whose buffers are the largest tensors."""
    return nets.dense_blocks(c=2, size=16, m=8, growth=8, depth=2)


def skipped():
    """A tensor that a path of layers reads while it waits for a concat, as in a U-Net; the path's end is no part."""
    net = nets.Net((1, 2, 24, 20))
    skip = net.add("Relu", net.conv("x", 2, 8))
    wide = net.add("Relu", net.conv(skip, 8, 32, 1))
    low = net.add("MaxPool", wide, kernel_shape=[2, 2], strides=[2, 2])
    low = net.add("Resize", net.conv(low, 32, 8), "", net.constant([1.0, 1.0, 2.0, 2.0]), mode="nearest")
    net.conv(net.add("Concat", skip, net.add("Relu", net.conv(low, 8, 8)), axis=1), 16, 2, 1)
    return net.bytes()


def candidates_of(model):
    return list_candidates(import_onnx(model, name="net"))


def computes(graph, model, points, *, seed=1):
    """Whether every point computes the network, byte by byte on an arena that poisons what nobody owns."""
    inputs = nets.random_inputs(model, seed)
    expected = run(graph, inputs)
    for point in points:
        schedule = make_schedule(graph, point)
        outputs = play(graph, schedule, inputs)
        assert sum(call.predicted_ns for call in schedule.calls) == point.latency_ns
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def in_slices(point):
    return {layer.strips for layer in point.layers if " pitch " in layer.strips}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_smallest_points_of_dense_blocks_read_and_write_slices_and_compute_the_network(seed):
    model = grown()
    graph = import_onnx(model, name="grown")
    front = trace(graph, random_costs(graph, seed), "arena")
    assert front.certified_by.endswith("+dp")
    assert any(" from pitch 24 to pitch 24" in name for name in in_slices(front.points[0]))
    computes(graph, model, front.points)


def test_a_smaller_arena_than_without(monkeypatch):
    graph = import_onnx(grown(), name="grown")
    costs = random_costs(graph, 3)
    points = trace(graph, costs, "arena").points
    monkeypatch.setattr("app.candidates.with_slices", lambda sites, _graph, _slices: sites)
    without = trace(graph, costs, "arena").points
    assert points[0].arena_bytes < 0.8 * without[0].arena_bytes
    for point in without:
        assert any(p.arena_bytes <= point.arena_bytes and p.latency_ns <= point.latency_ns for p in points)


def test_a_chain_reads_what_waits_for_a_concat_and_writes_a_tensor_of_its_own():
    model = skipped()
    graph = import_onnx(model, name="skipped")
    offered = [site for site in list_candidates(graph).sites if site.x_pitch]
    assert offered
    assert {(site.x_pitch, site.y_pitch) for site in offered} == {(16, 0)}
    front = trace(graph, random_costs(graph, 0), "arena")
    assert any(in_slices(point) for point in front.points)
    computes(graph, model, front.points)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([4, 8, 12]), st.integers(10, 17), st.integers(0, 99))
def test_fronts_of_any_dense_blocks_are_proven_and_compute_the_network(depth, c, growth, size, seed):
    model = nets.dense_blocks(c=c, size=size, m=8, growth=growth, depth=depth)
    graph = import_onnx(model, name="grown")
    front = trace(graph, random_costs(graph, seed), "arena")
    assert all(point.proven for point in front.points)
    points = [front.points[0], random.Random(seed).choice(front.points)]
    computes(graph, model, points, seed=seed)


def test_any_selection_with_slices_in_chains_is_played_right():
    """Selections that no front has: chains are cheap at random, and what the least memory takes is ruled out."""
    model = grown()
    graph = import_onnx(model, name="grown")
    rng, seen = random.Random(5), set()
    for seed in range(4):
        costs = random_costs(graph, seed)
        kept = {key for key in costs if "pitch" not in key.shape or rng.random() < 0.7}
        dear = [dataclasses.replace(c, median_ns=c.median_ns * (1 if c.key in kept else 50)) for c in costs.values()]
        points = trace(graph, type(costs)(dear), "arena").points
        seen |= {name for point in points for name in in_slices(point)}
        computes(graph, model, rng.sample(points, min(3, len(points))), seed=seed)
    assert len(seen) > 4


@pytest.mark.parametrize("build", [grown, skipped])
def test_calls_at_the_ends_have_the_pitches_and_no_others(build):
    candidates = candidates_of(build())
    found = [site for site in candidates.sites if site.x_pitch or site.y_pitch]
    assert found
    for site in found:
        last = len(site.nodes) - 1
        for layer, shapes in enumerate(site.call_shapes):
            reads = site.x_pitch if site.feeds(layer)[0] == INPUT else 0
            for shape in shapes:
                assert (shape.x_pitch, shape.y_pitch) == (reads, site.y_pitch if layer == last else 0)
        assert not site.staged
        assert site.input_stays or not site.x_pitch
        twin = dataclasses.replace(site, x_pitch=0, y_pitch=0)
        assert any(other.nodes == site.nodes and other.plan == site.plan for other in candidates.sites if other != site)
        dense = [sum(shapes.values()) for shapes in twin.call_shapes]
        assert dense == [sum(shapes.values()) for shapes in site.call_shapes]


def test_what_one_concat_joins_is_all_in_its_buffer_or_not():
    """A chain that reads one part of a concat and makes another has both in the buffer, or neither."""
    candidates = candidates_of(grown())
    feeds = {(link.producer, link.consumer) for link in candidates.links}
    concats = [node.name for node in candidates.nodes if node.op == "concat"]
    seen = set()
    for site in candidates.sites:
        source = candidates.graph.producer(site.source)
        if source is not None and (site.x_pitch or site.y_pitch):
            shared = any({(source.name, c), (site.nodes[-1].name, c)} <= feeds for c in concats)
            seen.add(shared)
            assert not shared or site.x_pitch == site.y_pitch
    assert seen == {True, False}


@pytest.mark.parametrize("net", ["chain", "residual", "branch_concat", "depthwise", "nhwc"])
def test_networks_whose_slices_only_their_concat_reads_are_offered_what_they_were(net):
    candidates = candidates_of(nets.ALL[net]())
    assert not [site for site in candidates.sites if site.x_pitch or site.y_pitch]


def test_a_chain_reads_no_piece_of_a_whole_even_if_the_pitch_fits():
    """The hold of a whole ends with the last reader of a piece, and a chain reads when its last node runs."""
    candidates = candidates_of(nets.shuffle())
    pieces = [(name, layout, p.pitch) for name, some in candidates.pieces.items() for layout, p in some.items()]
    links = [(link, *piece[1:]) for piece in pieces for link in candidates.links if link.producer == piece[0]]
    pitches = [(link, layout, pitch) for link, layout, pitch in links if pitch and link.via is None]
    assert pitches
    for link, layout, pitch in pitches:
        assert candidates.steps(link, layout, pitched(pitch)) == ()
        assert candidates.steps(link, layout, f"{WHOLE}{pitched(pitch)}") is None


def test_inner_layouts_are_read_from_slices_of_that_pitch_only():
    graph = import_onnx(grown(), name="grown")
    costs = random_costs(graph, 0)
    built = build_problem(list_candidates(graph).with_chains(costs.ns), costs.ns)
    found = 0
    for edge, link in zip(built.problem.edges, built.links, strict=True):
        for (have, want), conversion in edge.conversions.items():
            if want.startswith(WHOLE) and "@pitch" in want:
                place = built.candidates.slices[link.producer][have]
                assert f"{WHOLE}{pitched(place.pitch)}" == want
                assert place.join != link.consumer
                assert not conversion.copies
                found += 1
    assert found


def test_chains_write_only_slices_that_their_last_node_may_write_within_the_limits():
    graph = import_onnx(grown(), name="grown")
    costs = random_costs(graph, 0)
    candidates = list_candidates(graph)
    last = next(site.nodes[-1].name for site in candidates.sites if site.x_pitch and site.y_pitch)
    concat = next(link.consumer for link in candidates.links if link.producer == last)
    narrowed = Limits(bans=((concat, "concat_by_slices_hwc"),)).narrow(candidates)
    for given_, allowed in ((candidates, True), (narrowed, False)):
        options = chain_options(given_.with_chains(costs.ns))[last]
        assert any(buffer_of(option.out_layout) for option in options) == allowed


def test_points_in_other_orders_compute_the_network():
    model = skipped()
    graph = import_onnx(model, name="skipped")
    front = trace(graph, random_costs(graph, 2), limits=Limits(order=JOINT))
    computes(graph, model, front.points)


def test_sites_are_the_same_and_those_with_pitches_behind_them():
    graph = import_onnx(grown(), name="grown")
    sites = find_sites(graph)
    assert with_slices(sites, graph, {}) == sites
    every = list_candidates(graph).sites
    assert every[: len(sites)] == sites
    names = [site.name for site in every]
    assert len(set(names)) == len(names)


# The check of finished calls, against a count of every float.

ELEMS = 240


def touched(first, dims, pitch):
    c, h, w = dims
    return {first + pixel * (pitch or c) + channel for pixel in range(h * w) for channel in range(c)}


@st.composite
def two_strips(draw):
    """A chain of two nodes in two strips; its input and output are stretches of one buffer, or anywhere."""
    pitch, w, rows = draw(st.integers(2, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    c, m = draw(st.integers(1, pitch)), draw(st.integers(1, pitch))
    x_pitch, y_pitch = (draw(st.sampled_from([pitch, 0])) for _ in range(2))
    x_at, y_at = draw(st.integers(0, 2 * pitch)), draw(st.integers(0, 2 * pitch))
    calls = []
    for strip in range(2):
        x = Operand(Region.ARENA, 0, 4 * (x_at + strip * rows * w * (x_pitch or c)), 4)
        y = Operand(Region.ARENA, 0, 4 * (y_at + strip * rows * w * (y_pitch or m)), 4)
        inner = Operand(Region.ARENA, 0, 4 * ELEMS, 4 * rows * w)
        for name, ends, shape in (
            ("a", (x, inner), Shape("conv", c, rows, w, 1, rows, w, x_pitch=x_pitch)),
            ("b", (inner, y), Shape("conv", 1, rows, w, m, rows, w, y_pitch=y_pitch)),
        ):
            sizes = [
                max(touched(0, dims, p)) + 1
                for dims, p in ((shape.input_dims(0), shape.x_pitch), (shape.output_dims, shape.y_pitch))
            ]
            ends = [dataclasses.replace(end, size_bytes=4 * size) for end, size in zip(ends, sizes, strict=True)]
            part = Strip("chain", strip, name, shape, strip * rows, (strip + 1) * rows)
            calls.append(Call(part.label, "p", shape, Attrs(), (ends[0],), ends[1], None, None, None, 1, part))
    return calls


@given(two_strips())
def test_the_check_of_calls_finds_every_float_read_after_it_was_written_and_lets_slices_be(calls):
    written, clash = set(), False
    for call in calls:
        x, y = call.inputs[0].offset_bytes // 4, call.output.offset_bytes // 4
        if call.strip.node == "b":
            written |= touched(y, call.shape.output_dims, call.shape.y_pitch)
        else:
            clash |= bool(written & touched(x, call.shape.input_dims(0), call.shape.x_pitch))
    if clash:
        assert overwritten(calls)
    read, wrote = calls[0].shape, calls[1].shape
    if read.x_pitch and read.x_pitch == wrote.y_pitch:
        channels = [(calls[i].inputs[0] if i == 0 else calls[i].output).offset_bytes // 4 for i in (0, 1)]
        stretches = [
            {(first + k) % read.x_pitch for k in range(n)} for first, n in zip(channels, (read.c, wrote.m), strict=True)
        ]
        if not stretches[0] & stretches[1]:
            assert not overwritten(calls)


def test_a_slice_written_where_the_input_lies_is_noticed():
    graph = import_onnx(grown(), name="grown")
    point = trace(graph, random_costs(graph, 1), "arena").points[0]
    calls = list(make_schedule(graph, point).calls)
    assert not overwritten(calls)
    for name, group in itertools.groupby(range(len(calls)), key=lambda i: calls[i].strip and calls[i].strip.chain):
        mine = list(group)
        if name and " from pitch" in name and " to pitch" in name:
            writers = [i for i in mine if calls[i].shape.y_pitch]
            read, wrote = calls[mine[0]], calls[writers[0]]
            ahead_bytes = 4 * read.shape.x_pitch * read.shape.w * 4  # rows that are still to be read
            by = read.inputs[0].offset_bytes + ahead_bytes - wrote.output.offset_bytes
            for i in writers:
                moved = dataclasses.replace(calls[i].output, offset_bytes=calls[i].output.offset_bytes + by)
                calls[i] = dataclasses.replace(calls[i], output=moved)
            assert "overwritten" in overwritten(calls)
            return
    raise AssertionError("no chain in slices")
