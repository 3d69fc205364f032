"""How the optimiser sees a whole that is read in pieces: two steps without a call that hold it. docs/decisions/027.

The first one stands behind the last reader of the whole and takes its memory over, the second one behind the last
reader of a piece and reads what the first one holds. A tensor in any other layout passes the first one by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.splits import ANY, Hold
from solver import problem as sp

FREE = sp.Conversion(0, 0, copies=False)
Conversions = dict[tuple[str, str], sp.Conversion]


def holding(hold: Hold, out_bytes: Mapping[str, int]) -> sp.Node:
    """The step that takes a whole over, or nothing; `out_bytes` are those of the whole's producer."""
    held = [layout for layout in hold.layouts if out_bytes.get(layout)]
    takes = (sp.Option(f"hold {layout}", 0, (layout,), layout, in_place=0) for layout in held)
    passes = sp.Option("pass by", 0, (ANY,), ANY)
    return sp.Node(hold.name, (passes, *takes), {ANY: 0} | {layout: out_bytes[layout] for layout in held})


def into_hold(hold: Hold, haves: Iterable[str]) -> Conversions:
    """What the step that takes a whole over may read: a whole to hold it, anything else to let it pass."""
    return {(have, have if have in hold.layouts else ANY): FREE for have in haves}


def releasing(hold: Hold) -> sp.Node:
    """The step until which a whole is held."""
    return sp.Node(f"release {hold.producer}", (sp.Option("release", 0, (ANY,), ANY),), {ANY: 0})


def out_of_hold(hold: Hold) -> Conversions:
    """What that step may read: what is held, or nothing."""
    return {(have, ANY): FREE for have in (*hold.layouts, ANY)}


def hidden_choice(problem: sp.Problem, picks: list[int]) -> int:
    """The option of the next problem node, which is no operator, when those before it take `picks`."""
    v = len(picks)
    node = problem.nodes[v]
    if len(node.options) == 1:
        return 0
    (edge,) = (problem.edges[e] for e in problem.in_edges[v])
    have = problem.nodes[edge.src].options[picks[edge.src]].out_layout
    return next((i for i, option in enumerate(node.options) if option.in_layouts == (have,)), 0)
