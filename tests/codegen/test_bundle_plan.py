"""A plan refuses what contradicts itself, and lays weights out without waste."""

from dataclasses import replace

import numpy as np
import pytest

from app.codegen.plan import make_plan
from app.errors import UserError
from app.schedule import Region, Schedule
from kernels import registry
from kernels.spec import Attrs
from tests.tiny_bundles import PROVENANCE, conv, graph, plain, plan, schedule, two_convolutions, vectors


def planned(net, altered: Schedule, **changes):
    arguments = {"prefix": "net", "vectors": vectors(net), "provenance": PROVENANCE} | changes
    return make_plan(net.name, net.constants, altered, **arguments)


def with_call(original: Schedule, number: int, **changes) -> Schedule:
    calls = list(original.calls)
    calls[number] = replace(calls[number], **changes)
    return replace(original, calls=tuple(calls))


@pytest.fixture
def net():
    return two_convolutions()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"offset_bytes": 64}, "do not fit"),
        ({"offset_bytes": 2}, "no multiple of a float"),
        ({"offset_bytes": -64}, "no multiple of a float"),
        ({"size_bytes": 64}, "do not fit"),
        ({"region": Region.OUTPUT}, "do not fit"),
    ],
)
def test_an_operand_outside_its_region_is_refused(net, changes, reason):
    original = schedule(net, plain)
    hidden = replace(original.calls[0].output, **changes)
    with pytest.raises(ValueError, match=reason):
        planned(net, with_call(original, 0, output=hidden))


def test_a_call_that_writes_to_a_graph_input_is_refused(net):
    original = schedule(net, plain)
    target = replace(original.calls[1].output, region=Region.INPUT)
    with pytest.raises(ValueError, match="writes to a graph input"):
        planned(net, with_call(original, 1, output=target))


def test_a_primitive_of_another_operator_is_refused(net):
    with pytest.raises(ValueError, match="cannot compute"):
        planned(net, with_call(schedule(net, plain), 0, primitive="convert_copy_chw_hwc_f32"))


def needing_workspace(shape):
    accepted, _ = registry.candidates(shape)
    return next(p for p in accepted if p.in_layout == p.out_layout == "chw" and p.workspace_bytes(shape))


def test_a_workspace_that_nobody_planned_is_refused(net):
    original = schedule(net, needing_workspace)
    assert original.calls[0].workspace is not None
    with pytest.raises(ValueError, match="bytes of workspace"):
        planned(net, with_call(original, 0, workspace=None))


def test_an_arena_that_is_no_multiple_of_its_alignment_is_refused(net):
    original = schedule(net, plain)
    with pytest.raises(ValueError, match="not a multiple"):
        planned(net, replace(original, arena_bytes=original.arena_bytes + 4))


def test_a_bundle_without_vectors_is_refused(net):
    with pytest.raises(ValueError, match="at least one test vector"):
        planned(net, schedule(net, plain), vectors=[])


def test_a_reference_that_is_not_finite_is_the_users_problem(net):
    inputs, outputs = vectors(net)[0]
    outputs[0][0, 0, 0] = np.nan
    with pytest.raises(UserError) as caught:
        planned(net, schedule(net, plain), vectors=[(inputs, outputs)])
    assert caught.value.code == "reference-not-finite"
    assert "scores" in caught.value.message


def test_weights_have_no_padding_and_long_ones_stay_aligned(net):
    blob = plan(net, plain).weights
    assert (
        blob.data.nbytes == sum(item.size_bytes for item in blob.items) == sum(c.nbytes for c in net.constants.values())
    )
    ends = 0
    for item in blob.items:
        assert item.offset_bytes == ends
        ends += item.size_bytes
        if item.size_bytes % 64 == 0:
            assert item.offset_bytes % 64 == 0


def test_equal_constants_are_stored_once():
    shape = conv(4, 5, 5, 4)
    net = graph([("x", (4, 5, 5))], [("y", shape, ("x",), Attrs()), ("z", shape, ("y",), Attrs())], ["z"])
    constants = dict(net.constants)
    constants["z.weights"] = constants["y.weights"].copy()
    made = plan(replace(net, constants=constants), plain)
    assert made.weights.places[0][0] == made.weights.places[1][0]
    assert made.weights.places[0][1] != made.weights.places[1][1]
    assert made.weights.data.nbytes == 4 * (shape.m * shape.c * 9 + 2 * shape.m)


def test_packed_weights_lie_where_the_calls_look(net):
    made = plan(net, plain)
    for call, (weights, bias) in zip(made.schedule.calls, made.weights.places, strict=True):
        for place, name in ((weights, call.weights), (bias, call.bias)):
            found = made.weights.floats[place // 4 :][: net.constants[name].size]
            np.testing.assert_array_equal(found, net.constants[name])
