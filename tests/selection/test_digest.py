"""A front is stale when a cost it saw changes, and when what was offered changes while every cost stays."""

import dataclasses
from types import SimpleNamespace

import pytest

from app import candidates as offers
from app.costs import Cost, CostTable
from app.graph.onnx_import import import_onnx
from app.selection.digest import HALF, costs_digest, same_costs
from app.selection.frontier import trace
from kernels.spec import Primitive
from tests import nets

GRAPH = import_onnx(nets.dense_blocks(), name="dense")
KEYS = offers.list_candidates(GRAPH).cost_keys()
COSTS = CostTable(Cost(key, (1000 + i,), 1000 + i, 1000 + i, 1000 + i) for i, key in enumerate(KEYS))


def without_reuse(shape, families, threads=1, *, original=offers.offered):
    """What is offered by routines that may not write over their input."""
    options, refused = original(shape, families, threads)
    return tuple(option for option in options if option.in_place is None), refused


def without_slices(nodes, _links, options, **_others):
    """No concat whose inputs are written in place."""
    return SimpleNamespace(options=options, slices={node.name: {} for node in nodes})


def more_scratch(self, shape, *, original=Primitive.workspace_bytes):
    """A declaration that asks for more workspace."""
    return original(self, shape) + 64


@pytest.mark.parametrize(
    ("where", "name", "changed"),
    [
        (offers, "offered", without_reuse),
        (Primitive, "workspace_bytes", more_scratch),
        (offers, "Slicing", without_slices),
        (offers, "find_sites", lambda *_: ()),
    ],
    ids=["reuse", "workspace", "slices", "chains"],
)
def test_another_offer_is_another_digest_though_every_cost_is_the_same(monkeypatch, where, name, changed):
    before = costs_digest(GRAPH, COSTS)
    monkeypatch.setattr(where, name, changed)
    after = costs_digest(GRAPH, COSTS)
    assert len(after) == len(before) == 2 * HALF
    assert after != before
    # Some of these changes leave costs out; none measures one anew.
    fewer = set(offers.list_candidates(GRAPH).cost_keys())
    assert fewer <= set(KEYS)
    assert same_costs(before, after) == (fewer == set(KEYS))


def test_a_front_has_the_digest_of_its_costs_and_another_cost_another_first_half():
    chain = import_onnx(nets.chain(depth=2), name="chain")
    keys = offers.list_candidates(chain).cost_keys()
    table = CostTable(Cost(key, (1000 + i,), 1000 + i, 1000 + i, 1000 + i) for i, key in enumerate(keys))
    digest = trace(chain, table, "arena").costs_digest
    assert digest == costs_digest(chain, table)
    slower = CostTable(
        dataclasses.replace(cost, median_ns=cost.median_ns + (cost.key == keys[-1])) for cost in table.values()
    )
    other = costs_digest(chain, slower)
    assert not same_costs(digest, other)
    assert digest[HALF:] == other[HALF:]
