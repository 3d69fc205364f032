"""What a front stands on, as one short text: another text, a stale front.

Two halves of 32 hex digits. The first is over every cost the optimisation saw, with the hash of the C behind it. The
second is over what was offered: the options of every layer with their layouts and bytes, where chains may run, which
outputs may be slices. A kernel's declaration can change these without changing any cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from app.candidates import Candidates, list_candidates
from app.costs import CostTable
from app.graph.ir import Graph
from app.order import GIVEN
from app.selection.limits import NO_LIMITS, Limits

HALF = 32


def costs_digest(graph: Graph, costs: CostTable, limits: Limits = NO_LIMITS, offered: Candidates | None = None) -> str:
    """The digest that a front of `graph` traced now within `limits` would have; "" when costs are missing.

    `offered`: the candidates of the graph, when they have been listed.
    """
    candidates = limits.narrow(offered or list_candidates(graph, threads=costs.threads))
    return "" if costs.missing(candidates.cost_keys()) else digest_of(candidates, limits.times(costs), limits.order)


def digest_of(candidates: Candidates, costs: CostTable, order: str = GIVEN) -> str:
    """The digest of a front over these candidates and times, in orders by a rule of app.order."""
    rule = () if order == GIVEN else (f"orders: {order}",)
    return _half(_cost_lines(candidates, costs)) + _half((*_offer_lines(candidates), *rule))


def same_costs(one: str, other: str) -> bool:
    """Whether two digests were made from the same times of the same C."""
    return one[:HALF] == other[:HALF]


def _half(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:HALF]


def _cost_lines(candidates: Candidates, costs: CostTable) -> Iterator[str]:
    for key in candidates.cost_keys():
        yield f"{key.primitive} {key.shape} {key.source_hash} {key.weights_from} {costs.ns(key)}"


def _offer_lines(candidates: Candidates) -> Iterator[str]:
    for node in candidates.nodes:
        for option in candidates.options[node.name]:
            layouts = " ".join((*option.in_layouts, option.out_layout))
            kept = f" {option.resident_bytes}" if option.resident else ""
            yield f"{node.name}: {option.key}, {layouts}, {option.workspace_bytes} {option.weights_bytes}{kept}"
        for layout, place in candidates.slices.get(node.name, {}).items():
            yield f"{node.name}: {layout} is {place}"
    for site in candidates.sites:
        calls = [sorted((shape.key(), count) for shape, count in shapes.items()) for shapes in site.call_shapes]
        kept = f"{site.input_stays} {site.held} {site.overwrites} {site.buffer_offsets}"
        yield f"chain {site.name}: {site.in_layout}, {site.plan.sources}, {kept}, {calls}"
