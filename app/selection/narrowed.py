"""What limits leave of a problem that is built already: the options of the nodes they change, chains included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.candidates import Candidates
from app.chains import ChainCosts
from app.options import NodeOption
from app.selection.limits import Limits
from app.selection.problem import Built, chain_options
from app.sites import Site
from app.slices import buffer_of

Options = dict[int, tuple[NodeOption, ...]]
"""By problem node, those it has within the limits; nodes that are not there have what they had."""


def narrowed_options(built: Built, offered: Candidates, limits: Limits, costs: ChainCosts) -> Options:
    """The options of each problem node that limits change.

    `offered` are all candidates, with the options `built` was made of. Chains within the limits are those that no other
    chain beats there; they can be others than those of `built`. Raises UserError like Limits.narrow.
    """
    left = _left(offered, limits)
    shut = [site for site in offered.sites if not limits.allows(site)]
    if not left and not shut:
        return {}
    names = {node: frozenset(p.name for option in kept for p in option.primitives) for node, kept in left.items()}
    fewer = {node.name for node in offered.nodes if names.get(node.name, offered.offers(node)) != offered.offers(node)}
    groups: dict[tuple[str, ...], list[Site]] = {}
    for site in offered.sites:
        groups.setdefault(_group(site), []).append(site)
    shut_groups = set(map(_group, shut))
    touched = {group: sites for group, sites in groups.items() if group in shut_groups or not fewer.isdisjoint(group)}
    sites = (site for group, some in touched.items() if group not in shut_groups for site in some)
    best = costs.best(sites, lambda node: names.get(node.name, offered.offers(node)))
    chained = offered.of_chains([chain for chain, _ in best])
    of_chains = chain_options(chained)
    lasts = {group[-1] for group in touched}
    found: Options = {}
    for v, node in enumerate(built.operators):
        if node is None or (node.name not in left and node.name not in lasts):
            continue
        plain = left.get(node.name, offered.options[node.name])
        usable = built.problem.nodes[v].out_bytes
        inner = [o for o in built.options[v] if o.site is not None and o.chain is None]
        kept = [o for o in built.options[v] if o.chain is not None and _group(o.chain.site) not in touched]
        added = [o for o in of_chains.get(node.name, ()) if o.chain is not None]
        plain = tuple(o for o in plain if o.in_place is None or usable.get(o.out_layout, 0) > 0)
        added = [o for o in added if o.in_place is None or usable.get(o.out_layout, 1) > 0]
        options = (*plain, *inner, *kept, *added)
        if options != built.options[v]:
            found[v] = options
    return found


def _group(site: Site) -> tuple[str, ...]:
    return tuple(node.name for node in site.nodes)


def _left(offered: Candidates, limits: Limits) -> dict[str, tuple[NodeOption, ...]]:
    """The options without chains of each node that the limits change."""
    limits.check_names(offered)
    everywhere = limits.forbid or limits.only or limits.max_error is not None
    nodes: Iterable[str] = offered.options if everywhere else dict.fromkeys(n for n, _ in (*limits.pins, *limits.bans))
    left: dict[str, tuple[NodeOption, ...]] = {}
    for node in nodes:
        options = offered.options[node]
        kept = tuple(option for option in options if not limits.objections(node, option))
        if len(kept) < len(options):
            left[node] = kept
    if all(kept and _slices(kept) == _slices(offered.options[node]) for node, kept in left.items()):
        return left
    # A layer without options, or a slice that nobody writes or joins any more: that concerns other nodes as well.
    every = limits.narrow(offered).options
    return {node: kept for node, kept in every.items() if len(kept) < len(offered.options[node])}


def _slices(options: Iterable[NodeOption]) -> set[tuple[bool, str]]:
    """The buffers that options write slices of, and those they join."""
    written = {(False, buffer_of(option.out_layout)) for option in options}
    return written | {(True, buffer_of(option.in_layouts[0])) for option in options if option.joins}


def known_layouts(built: Built, options: Mapping[int, tuple[NodeOption, ...]]) -> bool:
    """Whether the problem's own options have every layout of these."""
    for v, some in options.items():
        own = built.options[v]
        if not {option.out_layout for option in some} <= {option.out_layout for option in own}:
            return False
        for port in range(len(own[0].in_layouts)):
            if not {option.in_layouts[port] for option in some} <= {option.in_layouts[port] for option in own}:
                return False
    return True
