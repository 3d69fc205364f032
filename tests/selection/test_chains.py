"""Chains: the sites of a graph, and their options against enumeration."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from app import chains
from app.chain_sites import find_sites, sites_named
from app.graph import zoo
from app.graph.onnx_import import import_onnx
from app.sites import LAST_LEVEL_BYTES, MOST_PACKING, NEAR_BYTES
from app.strips import StripMove
from kernels import registry
from kernels.spec import F32_BYTES, Layout, weight_elems
from tests import nets


@pytest.fixture(scope="module")
def alexnet():
    return import_onnx(zoo.materialise("alexnet"), name="alexnet")


@pytest.fixture(scope="module")
def sites(alexnet):
    return find_sites(alexnet)


def everything(_node):
    """Names of all primitives: no limits."""
    return {primitive.name for primitive in registry.all_primitives().values()}


def costs_of(site_list):
    """A reproducible random cost per key."""
    random = np.random.default_rng(3)
    return {key: int(random.integers(1_000, 1_000_000)) for key in chains.cost_keys(site_list, everything)}


def test_chains_are_paths_of_nodes_read_by_the_next_one_alone(alexnet, sites):
    assert sites
    for site in sites:
        for before, after in itertools.pairwise(site.nodes):
            assert after.inputs == (before.output,)
            assert sum(before.output in node.inputs for node in alexnet.nodes) == 1
            assert before.output not in alexnet.outputs


def test_every_call_is_computable_and_moves_do_not_overlap(sites):
    for site in sites:
        for layer in range(len(site.nodes)):
            assert chains.layer_primitives(site, layer), site.name
        for step in site.plan.steps:
            if isinstance(step, StripMove):
                assert step.row >= step.to + step.rows


def test_a_site_asked_for_by_its_name_is_the_one_that_was_offered(alexnet, sites):
    for site in sites[::6]:
        (found,) = sites_named(alexnet, [site.name])
        assert dataclasses.replace(found, rooms=site.rooms, takes_over=site.takes_over) == site
        assert set(found.takes_over) <= set(found.rooms) == {site.input_bytes}
    assert sites_named(alexnet, [sites[0].name + "0"]) == ()


def test_sites_asked_for_together_make_each_other_the_rooms_that_were_offered(alexnet, sites):
    found = {site.name: site for site in sites_named(alexnet, [site.name for site in sites])}
    assert any(len(site.rooms) > 1 for site in sites)
    for site in sites:
        assert set(site.rooms) <= set(found[site.name].rooms)
        assert set(site.takes_over) <= set(found[site.name].takes_over)


def test_chains_are_the_undominated_ones_of_all_combinations(sites):
    small = [site for site in sites if len(site.nodes) == 2 and len(chains.layer_primitives(site, 0)) < 12][:6]
    assert small
    costs = costs_of(small)
    for site in small:
        figures = set()
        for combination in itertools.product(*(chains.layer_primitives(site, layer) for layer in range(2))):
            chain = chains.Chain(site, combination)
            keys = [key for layer in range(2) for key in chain.step_keys(layer)]
            time_ns = sum(costs[key] for key in keys)
            assert time_ns == sum(count * costs[key] for layer in range(2) for key, count in chain.keys(layer))
            figures.add((time_ns, chain.workspace_bytes))
        front = {f for f in figures if not any(g != f and g[0] <= f[0] and g[1] <= f[1] for g in figures)}
        found = chains.best_chains([site], everything, costs.__getitem__)
        offered = {
            (sum(costs[key] for layer in range(2) for key in chain.step_keys(layer)), chain.workspace_bytes)
            for chain in found
        }
        assert front <= offered


def test_a_missing_cost_is_an_error(sites):
    with pytest.raises(KeyError):
        chains.best_chains(sites[:1], everything, {}.__getitem__)


def test_primitives_a_node_may_not_run_are_in_no_chain(sites):
    costs = costs_of(sites[:3])
    for site in sites[:3]:
        banned = chains.layer_primitives(site, 0)[0].name
        left = chains.best_chains([site], lambda node, banned=banned: everything(node) - {banned}, costs.__getitem__)
        assert all(chain.primitives[0].name != banned for chain in left)


def test_costs_looked_up_again_make_the_same_chains(sites):
    some = sites[:6]
    costs = costs_of(some)
    known = chains.ChainCosts(costs.__getitem__)
    primitives = {
        p.name for site in some for i in range(len(site.nodes)) for p in chains.layer_primitives(site, i) if p
    }
    for banned in ["", *sorted(primitives)[::7], ""]:
        left = primitives - {banned}
        found = known.best(some, lambda _node, left=left: left)
        assert [chain for chain, _ in found] == chains.best_chains(some, lambda _, left=left: left, costs.__getitem__)
        for chain, (time_ns, workspace_bytes, weights_bytes) in found:
            assert (workspace_bytes, weights_bytes) == (chain.workspace_bytes, chain.weights_bytes)
            keys = (key for layer in range(len(chain.site.nodes)) for key in chain.step_keys(layer))
            assert time_ns == known.chain_ns(chain) == sum(costs[key] for key in keys)


def test_rows_of_a_chw_input_are_read_with_the_pitch_of_whole_planes(sites):
    first = next(site for site in sites if site.in_layout is Layout.CHW)
    for shape in first.call_shapes[0]:
        assert shape.x_pitch == first.plan.shapes[0].h * first.plan.shapes[0].w


def touched_bytes(site):
    """What all calls of a chain work with: its tensors, its rows between them, and weights as packed at most."""
    plain_bytes = F32_BYTES * sum(weight_elems(shape) for shape in site.plan.shapes)
    rows_bytes = sum(site.plan.buffer_bytes(layer) for layer in range(len(site.plan.shapes) - 1))
    return MOST_PACKING * plain_bytes + site.input_bytes + rows_bytes + site.output_bytes


@pytest.mark.parametrize(("size", "again_from"), [(16, "l2"), (96, "l3")])
def test_strips_look_weights_up_in_the_cache_that_holds_all_their_chain_touches(size, again_from):
    graph = import_onnx(nets.chain(depth=3, size=size), name="chain")
    found = find_sites(graph, weights_from="dram")
    assert found
    for site in found:
        assert (touched_bytes(site) <= NEAR_BYTES) == (again_from == "l2")
        assert site.again_from == again_from
        chain = chains.Chain(site, tuple(chains.layer_primitives(site, i)[0] for i in range(len(site.nodes))))
        for layer, node in enumerate(site.nodes):
            steps = list(chain.step_keys(layer))
            calls = [key.weights_from for key in steps if key.primitive == chain.primitives[layer].name]
            assert calls[:1] == ["dram"], node.name
            assert set(calls[1:]) == {again_from}
            copies = {key.weights_from for key in steps if key.primitive == chains.mover().name}
            assert copies <= {again_from}
            counted = Counter()
            for key, count in chain.keys(layer):
                counted[key] += count
            assert counted == Counter(steps)


def test_weights_count_as_packed_where_all_must_stay_near():
    """64 x 64 filters and small tensors: the plain weights would fit, those of Winograd would not."""
    graph = import_onnx(nets.chain(depth=2, size=8, m=64), name="chain")
    site = next(site for site in find_sites(graph) if len(site.nodes) == 2)
    packed = MOST_PACKING * F32_BYTES * sum(weight_elems(shape) for shape in site.plan.shapes)
    assert touched_bytes(site) - packed + packed // MOST_PACKING <= NEAR_BYTES < touched_bytes(site)
    assert site.again_from == "l3"


def test_weights_too_large_for_the_last_level_come_from_memory_in_every_strip():
    graph = import_onnx(nets.chain(depth=3, size=24, m=720), name="chain")
    large = [
        site
        for site in find_sites(graph, weights_from="dram")
        if F32_BYTES * sum(weight_elems(shape) for shape in site.plan.shapes) > LAST_LEVEL_BYTES
    ]
    assert large
    assert {site.again_from for site in large} == {"dram"}
