"""What still has to be measured for a graph. Pure."""

from __future__ import annotations

from collections.abc import Collection

from app.candidates import Candidates, list_candidates
from app.costs import CostKey
from app.graph.ir import Graph


def needed_costs(
    graph: Graph, *, families: Collection[str] | None = None, offered: Candidates | None = None
) -> list[CostKey]:
    """Every cost the optimiser may ask for, without repeats, grouped by shape and by where weights come from.

    `offered`: the candidates of the graph and the families, when they have been listed.
    """
    keys = (offered or list_candidates(graph, families)).cost_keys()
    shapes = dict.fromkeys(key.shape for key in keys)
    order = {shape: index for index, shape in enumerate(shapes)}
    return sorted(keys, key=lambda key: (order[key.shape], key.weights_from))
