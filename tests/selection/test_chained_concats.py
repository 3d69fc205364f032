"""A concat inside a chain has a name, so that a pin or a ban can speak of it."""

import dataclasses

import pytest

from app.candidates import list_candidates
from app.errors import UserError
from app.graph.onnx_import import import_onnx
from app.options import IN_CHAINS
from app.selection.frontier import trace
from app.selection.limits import Limits
from app.selection.schedule import make_schedule
from app.selection.what_if import WarmModel
from tests.selection.test_branches import fires
from tests.selection.test_schedule import random_costs

GRAPH = import_onnx(fires(), name="fires")
COSTS = random_costs(GRAPH, 0)
FRONT = trace(GRAPH, COSTS, "arena")
CONCATS = [node.name for node in GRAPH.nodes if node.op == "concat"]


def limited(limits):
    return trace(GRAPH, COSTS, "arena", limits=dataclasses.replace(limits, order="given"))


def chained(front):
    """The concats that some point of a front runs in a chain."""
    return {layer.node for point in front.points for layer in point.layers if layer.strips and layer.op == "concat"}


def joined_in_sites(limits):
    """The concats that some chain within the limits could run."""
    sites = limits.narrow(list_candidates(GRAPH)).sites
    return {node.name for site in sites for node in site.nodes if node.op == "concat"}


def primitives_of(front, node):
    return {layer.primitive for point in front.points for layer in point.layers if layer.node == node}


def test_every_layer_of_a_point_has_a_primitive():
    assert chained(FRONT) == set(CONCATS)
    layers = [layer for point in FRONT.points for layer in point.layers]
    assert all(layer.primitive and layer.family for layer in layers)
    inside = [layer for layer in layers if layer.strips and layer.op == "concat"]
    assert {(layer.primitive, layer.family) for layer in inside} == {(IN_CHAINS, "slices")}


def test_points_of_fronts_stored_without_the_name_still_become_calls():
    point = FRONT.points[0]
    layers = tuple(
        dataclasses.replace(layer, primitive="") if layer.op == "concat" and layer.strips else layer
        for layer in point.layers
    )
    assert make_schedule(GRAPH, dataclasses.replace(point, layers=layers)) == make_schedule(GRAPH, point)


@pytest.mark.parametrize("name", CONCATS)
def test_a_ban_of_the_join_closes_the_chains_around_it(name):
    banned = limited(Limits(bans=((name, IN_CHAINS),)))
    assert name not in chained(banned)
    assert IN_CHAINS not in primitives_of(banned, name)
    assert banned.points[0].arena_bytes > FRONT.points[0].arena_bytes
    assert joined_in_sites(Limits(bans=((name, IN_CHAINS),))) == set(CONCATS) - {name}


def test_a_pin_to_another_primitive_closes_them_too():
    name = CONCATS[0]
    other = next(option.name for option in list_candidates(GRAPH).options[name] if not option.joins)
    pinned = limited(Limits(pins=((name, other),)))
    assert joined_in_sites(Limits(pins=((name, other),))) == set(CONCATS[1:])
    assert primitives_of(pinned, name) == {other}


def test_a_pin_to_the_join_leaves_them_open():
    name = CONCATS[0]
    pinned = limited(Limits(pins=((name, IN_CHAINS),)))
    assert primitives_of(pinned, name) == {IN_CHAINS}
    assert pinned.points[0].arena_bytes == FRONT.points[0].arena_bytes


def test_a_join_that_there_is_only_in_chains_can_be_banned_and_not_pinned():
    name = CONCATS[0]
    offered = list_candidates(GRAPH)
    apart = tuple(option for option in offered.options[name] if not option.joins)
    offered = dataclasses.replace(offered, options=offered.options | {name: apart})
    left = Limits(bans=((name, IN_CHAINS),)).narrow(offered)
    assert not any(name in {node.name for node in site.nodes} for site in left.sites)
    with pytest.raises(UserError) as caught:
        Limits(pins=((name, IN_CHAINS),)).narrow(offered)
    assert caught.value.code == "limits-impossible"
    assert "inside chains" in caught.value.items[0].detail


@pytest.mark.parametrize("name", CONCATS)
def test_questions_agree_with_fronts_of_the_same_limits(name):
    model = WarmModel(GRAPH, COSTS)
    other = next(option.name for option in list_candidates(GRAPH).options[name] if not option.joins)
    for limits in (Limits(bans=((name, IN_CHAINS),)), Limits(pins=((name, other),)), Limits()):
        for point in limited(limits).points:
            assert model.ask(limits, "arena", point.peak_bytes).point.latency_ns == point.latency_ns
