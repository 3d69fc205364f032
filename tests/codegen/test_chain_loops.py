"""Chains of nodes run strip by strip are printed as loops that make exactly the calls of the schedule."""

import dataclasses
import itertools
import random
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.candidates import list_candidates
from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.loops import operands, roll, strips_of
from app.codegen.plan import make_plan
from app.costs import Cost, CostTable
from app.schedule import Call, Operand, Region, Strip
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from app.verify import verify_bundle
from kernels.spec import Attrs, Shape
from tests.codegen.executed import executed, planned
from tests.tiny_bundles import PROVENANCE, conv, graph, vectors

RELU = Attrs(lo=0.0)


def stacked():
    """Strided, padded and pointwise layers that shrink what goes in: the least memory is a chain."""
    return graph(
        [("image", (3, 64, 20))],
        [
            ("a", conv(3, 64, 20, 16), ("image",), RELU),
            ("b", conv(16, 64, 20, 16, group=16), ("a",), RELU),
            ("c", conv(16, 64, 20, 24, 1), ("b",), Attrs(lo=0.0, hi=6.0)),
            ("d", conv(24, 64, 20, 24, stride=2), ("c",), RELU),
            ("pool", Shape("max_pool", 24, 32, 10, 24, 16, 5, kh=2, kw=2, stride_h=2, stride_w=2), ("d",), Attrs()),
            ("scores", Shape("dense", 24, 16, 5, 10, 1, 1), ("pool",), Attrs()),
        ],
        ["scores"],
    )


def bottleneck():
    """A residual that the chain reading it may overwrite."""
    return graph(
        [("image", (4, 48, 16))],
        [
            ("stem", conv(4, 48, 16, 16), ("image",), RELU),
            ("wide", conv(16, 48, 16, 64, 1), ("stem",), RELU),
            ("deep", conv(64, 48, 16, 64, group=64), ("wide",), RELU),
            ("thin", dataclasses.replace(conv(64, 48, 16, 16, 1), residual=True), ("deep", "stem"), Attrs()),
            ("scores", Shape("dense", 16, 48, 16, 10, 1, 1), ("thin",), Attrs()),
        ],
        ["scores"],
    )


def fire():
    """Two convolutions that write their channels side by side; what they make exists a few rows at a time."""
    return graph(
        [("image", (3, 48, 24))],
        [
            ("squeeze", conv(3, 48, 24, 4, 1), ("image",), RELU),
            ("narrow", conv(4, 48, 24, 12, 1), ("squeeze",), RELU),
            ("wide", conv(4, 48, 24, 20), ("squeeze",), RELU),
            ("both", Shape("concat", 12, 48, 24, 32, 48, 24, axis=0, parts=(12, 20)), ("narrow", "wide"), Attrs()),
            ("pool", Shape("max_pool", 32, 48, 24, 32, 24, 12, kh=2, kw=2, stride_h=2, stride_w=2), ("both",), Attrs()),
            ("scores", Shape("dense", 32, 24, 12, 10, 1, 1), ("pool",), Attrs()),
        ],
        ["scores"],
    )


def grown():
    """Two layers of a dense block: chains read a prefix of its buffer and write the next channels of it."""
    h, w, c, nodes = 40, 12, 8, [("stem", conv(3, 40, 12, 8), ("image",), RELU)]
    for number, before in enumerate(("stem", "join0")):
        scale, wide, deep = (f"{name}{number}" for name in ("scale", "wide", "deep"))
        nodes += [
            (scale, Shape("scale", c, h, w, c, h, w), (before,), RELU),
            (wide, conv(c, h, w, 32, 1), (scale,), RELU),
            (deep, conv(32, h, w, 8), (wide,), Attrs()),
            (f"join{number}", Shape("concat", c, h, w, c + 8, h, w, parts=(c, 8)), (before, deep), Attrs()),
        ]
        c += 8
    nodes.append(("scores", Shape("dense", c, h, w, 10, 1, 1), ("join1",), Attrs()))
    return graph([("image", (3, h, w))], nodes, ["scores"])


NETS = {"stacked": stacked, "bottleneck": bottleneck, "grown": grown}


def points(net, seed, threads=1):
    """The points of a front under random costs that run chains, smallest first."""
    rng = random.Random(seed)
    costs = []
    for key in list_candidates(net, threads=threads).cost_keys():
        ns = rng.randrange(100, 10_000)
        costs.append(Cost(key, (ns,), ns, ns, ns))
    front = trace(net, CostTable(costs, threads=threads), "arena")
    return [point for point in front.points if any(layer.strips for layer in point.layers)]


def plan_of(net, point, threads=1):
    return make_plan(
        net.name,
        net.constants,
        make_schedule(net, point, threads=threads),
        prefix="net",
        vectors=vectors(net, 1),
        provenance=PROVENANCE,
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NETS)
def test_the_c_of_a_chain_makes_the_calls_of_the_schedule(name, seed, threads, tmp_path):
    net = NETS[name]()
    found = points(net, seed, threads)
    assert found
    for number, point in enumerate(found[:3]):
        plan = plan_of(net, point, threads)
        assert plan.workspace_bytes == point.workspace_bytes
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = iter(executed(plan, folder))
        for expected in planned(plan):
            assert sorted(itertools.islice(lines, len(expected))) == sorted(expected)
        assert not list(lines)


@pytest.mark.parametrize("name", NETS)
def test_every_strip_shape_is_written_once_and_steady_strips_are_a_loop(name):
    net = NETS[name]()
    plan = plan_of(net, points(net, 0)[0])
    text = bytes(emit(plan)["net.c"]).decode()
    calls = [call for call in plan.schedule.calls if call.strip]
    assert len(calls) > 20
    assert text.count(", first in strip ") == len({(call.strip.chain, call.shape, call.attrs) for call in calls})
    assert "for (ptrdiff_t k = 0; k < " in text
    assert text.count("net_conv") < len(calls)
    assert max(map(len, text.splitlines())) <= 140
    assert emit(plan) == emit(plan)


def test_rows_of_channels_side_by_side_are_counted_as_rows_of_them_all():
    net = fire()
    plan = plan_of(net, points(net, 0)[0])
    text = bytes(emit(plan)["net.c"]).decode()
    rows = {
        (node, word): int(count)
        for node, block in re.findall(r"\*   (\w+): \w+ \d+x(.*?)\*\n", text, re.DOTALL)
        for word, count in re.findall(r"\* +(in|out) .*: (\d+) of \d+ rows hwc", block)
    }
    assert rows["narrow", "out"] == rows["wide", "out"] == rows["pool", "in"] < 48


@pytest.mark.parametrize("threads", [1, 2])
def test_the_stack_of_a_run_does_not_grow_with_its_calls(threads, tmp_path):
    net = stacked()
    plan = plan_of(net, points(net, 0, threads)[0], threads)
    executed(plan, tmp_path)
    command = ["gcc", "-std=c11", "-O1", "-fstack-usage", "-c", "net.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    frame = re.search(r"net_run\t(\d+)\tstatic", (tmp_path / "net.su").read_text())
    assert frame
    assert int(frame[1]) < 400


def test_rows_of_slices_are_counted_by_the_pixels_of_their_buffer():
    net = grown()
    point = next(p for p in points(net, 0) if any(" from pitch" in layer.strips for layer in p.layers))
    text = bytes(emit(plan_of(net, point))["net.c"]).decode()
    lines = text[text.index("*   scale1: scale 16x40x12") :].splitlines()
    assert re.search(r"in  arena bytes \d+..\d+: 40 of 40 rows hwc", lines[2])
    lines = text[text.index("*   deep1: conv 32x40x12") :].splitlines()
    assert re.search(r"out arena bytes \d+..\d+: 40 of 40 rows hwc", lines[3])


@pytest.mark.parametrize(("name", "threads"), [("stacked", 2), ("bottleneck", 1), ("grown", 1), ("grown", 2)])
def test_a_bundle_of_chains_computes_the_network(name, threads, objects):
    net = NETS[name]()
    plan = plan_of(net, points(net, 0, threads)[0], threads)
    proof = verify_bundle(pack(emit(plan), "net"), sanitize=True, runs=1, cache=objects)
    assert proof.max_rel_err < 1e-5


def call(kind, places, number):
    shape = Shape("clamp", 1 + kind, 1, 1, 1 + kind, 1, 1)
    x, y = (Operand(Region.ARENA, 0, 4 * place, 4) for place in places)
    strip = Strip("chain", number, f"node {kind}", shape, number, number + 1)
    return Call(strip.label, f"p{kind}", shape, Attrs(), (x,), y, None, None, None, 1, strip)


@st.composite
def strip_lists(draw):
    """Stretches of strips that advance steadily, of any period, and others that do not."""
    strips = []
    for _ in range(draw(st.integers(1, 4))):
        body = draw(
            st.lists(st.lists(st.tuples(*[st.integers(0, 2)] * 5), min_size=1, max_size=3), min_size=1, max_size=3)
        )
        for turn in range(draw(st.integers(1, 6))):
            for strip in body:
                number = len(strips)
                strips.append(tuple(call(kind, (x + dx * turn, y + dy * turn), number) for kind, x, y, dx, dy in strip))
    return tuple(strips)


def unrolled(loops):
    """Every call again, by plain execution of the loops."""
    for loop in loops:
        for turn in range(loop.times):
            for made, advance in zip(loop.calls, loop.advances, strict=True):
                moved = [
                    dataclasses.replace(operand, offset_bytes=operand.offset_bytes + turn * step)
                    for operand, step in zip(operands(made), advance, strict=False)
                ]
                rows = (made.strip.first + turn * advance[-2], made.strip.end + turn * advance[-1])
                yield made.primitive, made.shape, moved, rows


@given(strip_lists())
def test_loops_unrolled_are_the_strips(strips):
    loops = roll(strips)
    calls = list(itertools.chain.from_iterable(strips))
    assert list(unrolled(loops)) == [
        (made.primitive, made.shape, list(operands(made)), (made.strip.first, made.strip.end)) for made in calls
    ]
    assert strips_of(calls) == strips
    firsts = [loop.first for loop in loops]
    assert firsts == list(itertools.accumulate((len(o.advances) * o.times for o in loops), initial=0))[:-1]


def test_a_steady_middle_is_one_loop():
    body = [(0, 1, 2), (1, 5, 9)]
    strips = [tuple(call(kind, (x, y + 3 * turn), turn) for kind, x, y in body) for turn in range(40)]
    irregular = tuple(call(2, (0, 0), 0) for _ in range(3))
    loops = roll([irregular, *strips, irregular])
    assert [(loop.first, loop.times) for loop in loops] == [(0, 1), (3, 40), (83, 1)]
    assert loops[1].advances == ((0, 12, 1, 1), (0, 12, 1, 1))
