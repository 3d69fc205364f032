"""Which chains are worth offering, and which of them over their input: estimates of what they do to the largest step.

The smallest arena there can be is about the largest step when each node runs in whatever keeps its step smallest, by
itself or in a chain: the *reach*. Steps well below it never need a chain, and an output needs to be written over the
input only where both beside each other would not fit. The figures decide what is offered, never what it costs.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from app.graph.ir import VIEW, Graph, Node
from app.sites import Site, fills
from kernels.spec import BINARY_OPS, F32_BYTES, UNARY_OPS

WORTH_SHARE = 0.8
"""A chain is offered where it saves memory that matters: at a step whose tensors take this share of the reach."""


SAVING_SHARE = 0.01
"""Lower strips, which take more calls, are offered where their buffers are smaller by this share of the reach."""


class Worth:
    """Estimates for one graph and every chain it could run."""

    def __init__(self, graph: Graph, sites: Sequence[Site]):
        self._graph, self._sites = graph, sites
        self._order = {node.output: number for number, node in enumerate(graph.nodes)}
        self._live_bytes = [F32_BYTES * elems for elems in live_elems(graph)]
        self._reach_bytes = self._reach(over_inputs=False)
        self._least_bytes = self._reach(over_inputs=True)

    def sites(self) -> Iterator[Site]:
        """Those worth offering, in execution order of the first node, with the rooms their input may lie in."""
        worth_bytes = WORTH_SHARE * self._least_bytes
        rooms: dict[str, dict[int, None]] = {}
        for site in sorted(self._lean(), key=lambda site: self._order[site.nodes[0].output]):
            # The steps of all nodes but the last hold a tensor the chain does away with.
            if max(self._live_bytes[self._order[node.output]] for node in site.nodes) < worth_bytes:
                continue
            source, result = site.source, site.nodes[-1].output
            found = [site.input_bytes, *(rooms.get(source, ()) if not site.input_stays else ())]
            taken = [room_bytes for room_bytes in found if self._crowded(site, room_bytes)] if site.takes_over else []
            for room_bytes in taken:
                if not fills(site.output_bytes, room_bytes):
                    rooms.setdefault(result, {})[room_bytes] = None
            if taken or not site.staged:
                yield dataclasses.replace(site, rooms=tuple(found), takes_over=tuple(taken))

    def _lean(self) -> Iterator[Site]:
        """Chains that need less memory than their nodes do in any other way that is at least as fast.

        That is by themselves, in higher strips, or one chain behind the other, so a tensor that is small enough to be
        whole is no inner one of a chain. Those that take over their input are compared among each other, for that is
        offered only where it matters.
        """
        beside = self._unbeaten([site for site in self._sites if not site.staged], over_input=False)
        over = [site for site in self._unbeaten(self._sites, over_input=True) if site.takes_over]
        yield from dict.fromkeys([*beside, *over])

    def _unbeaten(self, sites: Sequence[Site], *, over_input: bool) -> Iterator[Site]:
        groups: dict[tuple[str, str], list[Site]] = {}
        for site in sites:
            groups.setdefault((site.source, site.nodes[-1].output), []).append(site)
        alone = self._alone()
        need_bytes = {
            ends: max(alone[self._order[node.output]] for node in found[0].nodes) for ends, found in groups.items()
        }
        saved_bytes = SAVING_SHARE * self._least_bytes
        by_length = sorted(groups, key=lambda ends: len(groups[ends][0].nodes))
        for height in sorted({site.plan.height for site in sites}, reverse=True):
            for source, result in by_length:
                for inner in groups[source, result][0].nodes[:-1]:
                    parts = need_bytes.get((source, inner.output)), need_bytes.get((inner.output, result))
                    if parts[0] is not None and parts[1] is not None:
                        need_bytes[source, result] = min(need_bytes[source, result], max(parts[0], parts[1]))
                for site in groups[source, result]:
                    site_bytes = self._needs(site, over_input=over_input)
                    if site.plan.height == height and site_bytes + saved_bytes < need_bytes[source, result]:
                        need_bytes[source, result] = site_bytes
                        yield site

    def _crowded(self, site: Site, room_bytes: int) -> bool:
        """Whether output and input side by side need more than chains reach, with a room that is no larger."""
        beside_bytes = self._passing(site) + room_bytes + site.output_bytes + site.workspace_bytes(0)
        return room_bytes < self._reach_bytes and beside_bytes > self._least_bytes

    def _passing(self, site: Site) -> int:
        """Bytes that no node of a chain wrote, and that are not its input, while the chain runs."""
        last, inner = site.nodes[-1], {node.output for node in site.nodes[:-1]}
        if not inner or not site.input_stays:
            inner.add(site.source)
        mine_bytes = self._held(last.output) + sum(self._held(name) for name in inner.intersection(last.inputs))
        return self._live_bytes[self._order[last.output]] - mine_bytes

    def _held(self, tensor: str) -> int:
        producer = self._graph.producer(tensor)
        outside = producer is None or producer.op == VIEW or tensor in self._graph.outputs
        return 0 if outside else F32_BYTES * self._graph.tensors[tensor].elems

    def _alone(self) -> list[int]:
        """What each node needs by itself."""
        return [
            live_bytes - (self._held(node.output) if _takes_no_memory(node) else 0)
            for node, live_bytes in zip(self._graph.nodes, self._live_bytes, strict=True)
        ]

    def _needs(self, site: Site, *, over_input: bool) -> int:
        """What a chain needs."""
        in_bytes = 0 if site.input_stays else self._held(site.source)  # what stays passes
        out_bytes = self._held(site.nodes[-1].output)
        if over_input and site.takes_over:
            in_bytes = max(in_bytes, out_bytes)
            out_bytes = 0
        elif site.lies_over:
            out_bytes = 0
        return self._passing(site) + in_bytes + out_bytes + site.workspace_bytes(0)

    def _reach(self, *, over_inputs: bool) -> int:
        least = self._alone()
        for site in self._sites:
            need_bytes = self._needs(site, over_input=over_inputs)
            for node in site.nodes:
                step = self._order[node.output]
                least[step] = min(least[step], need_bytes)
        return max(least, default=0)


def _takes_no_memory(node: Node) -> bool:
    """Whether its output can lie where an input lies, or its inputs where the output does."""
    added = node.shape is not None and node.shape.residual
    return bool(added) or node.op == "concat" or node.op in UNARY_OPS | BINARY_OPS


def live_elems(graph: Graph) -> list[int]:
    """Elements of the tensors that are live while each node runs, graph inputs and outputs left out."""
    last_read = {name: len(graph.nodes) for name in graph.outputs}
    for number, node in enumerate(graph.nodes):
        for name in node.inputs:
            last_read[name] = max(last_read.get(name, 0), number)
    change = [0] * (len(graph.nodes) + 2)
    for number, node in enumerate(graph.nodes):
        if node.op != VIEW and node.output not in graph.outputs:
            change[number] += graph.tensors[node.output].elems
            change[last_read.get(node.output, number) + 1] -= graph.tensors[node.output].elems
    return list(itertools.accumulate(change))[: len(graph.nodes)]
