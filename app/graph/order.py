"""The same graph with its operators in another order. Pure; knows no primitives or costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from app.graph.check import check
from app.graph.ir import VIEW, Graph, Node


def operators(graph: Graph) -> tuple[str, ...]:
    """The names of the nodes that compute, in execution order; views take no time and are left out."""
    return tuple(node.name for node in graph.nodes if node.op != VIEW)


def ordered(graph: Graph, names: Sequence[str]) -> Graph:
    """`graph` with its operators in the order of `names`, which has each of them once, readers behind what they read.

    A view runs just before the first node that reads it; one that is a graph output or that nobody reads, at once.
    Raises ValueError when `names` is no order of the graph's operators.
    """
    if tuple(names) == operators(graph):
        return graph
    by_name = {node.name: node for node in graph.nodes}
    if sorted(names) != sorted(operators(graph)):
        raise ValueError(f"the order names other nodes than {graph.name} has")
    done = set(graph.inputs)
    nodes: list[Node] = []

    def run(node: Node) -> None:
        for source in node.inputs:
            producer = graph.producer(source)
            if source in done:
                continue
            if producer is None or producer.op != VIEW:
                raise ValueError(f"{node.name} runs before {producer.name if producer else source}, which it reads")
            run(producer)
        nodes.append(node)
        done.add(node.output)

    def run_at_once() -> None:
        for node in graph.nodes:
            alone = node.output in graph.outputs or node.output not in read
            if node.op == VIEW and alone and node.output not in done and graph.resolve(node.output).tensor in done:
                run(node)

    read = {name for node in graph.nodes for name in node.inputs}
    run_at_once()
    for name in names:
        run(by_name[name])
        run_at_once()
    found = dataclasses.replace(graph, nodes=tuple(nodes))
    check(found)
    return found
