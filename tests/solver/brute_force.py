"""All selections of a tiny problem, each played step by step on a set of live storages. Written apart from solver/."""

from __future__ import annotations

from itertools import product

from solver.problem import Evaluation, MemoryAxis, Problem, Selection


def play(problem: Problem, choice: tuple[int, ...]) -> Evaluation | None:
    """Figures of a selection, by acting out its steps; None when it is not allowed."""
    nodes, edges = problem.nodes, problem.edges
    taken = [node.options[i] for node, i in zip(nodes, choice, strict=True)]

    def up(size_bytes: int) -> int:
        while size_bytes % problem.align_bytes:
            size_bytes += 1
        return size_bytes

    # What every future event reads: ("convert", edge) reads an original, ("run", v) reads originals or copies.
    events: list[tuple[str, int]] = []
    reads: dict[tuple[str, int], list[tuple[str, int]]] = {}
    time_ns = 0
    for v in range(len(nodes)):
        mine = sorted((e for e in range(len(edges)) if edges[e].dst == v), key=lambda e: edges[e].port)
        inputs = []
        for e in mine:
            pair = (taken[edges[e].src].out_layout, taken[v].in_layouts[edges[e].port])
            if pair not in edges[e].conversions:
                return None
            conversion = edges[e].conversions[pair]
            time_ns += conversion.time_ns
            if conversion.copies:
                events.append(("convert", e))
                reads["convert", e] = [("out", edges[e].src)]
                inputs.append(("copy", e))
            else:
                inputs.append(("out", edges[e].src))
        events.append(("run", v))
        reads["run", v] = inputs
        time_ns += taken[v].time_ns

    live: dict[tuple[str, int], int] = {}
    peak = 0
    for position, event in enumerate(events):
        kind, index = event
        scratch = 0
        if kind == "convert":
            edge = edges[index]
            conversion = edge.conversions[taken[edge.src].out_layout, taken[edge.dst].in_layouts[edge.port]]
            live["copy", index] = up(conversion.copy_bytes)
            scratch = up(conversion.workspace_bytes)
        else:
            option = taken[index]
            scratch = up(option.workspace_bytes)
            out_bytes = up(nodes[index].out_bytes[option.out_layout])
            if option.in_place is None:
                live["out", index] = out_bytes
            else:
                victim = reads[event][option.in_place]
                later = [read for after in events[position + 1 :] for read in reads[after]]
                if live[victim] != out_bytes or out_bytes == 0:
                    return None
                if victim[0] == "out":
                    ports = [e for e in range(len(edges)) if edges[e].dst == index and edges[e].src == victim[1]]
                    if victim in later or nodes[victim[1]].stays_live or len(ports) > 1:
                        return None
        peak = max(peak, sum(live.values()) + scratch)
        if kind == "run" and taken[index].in_place is not None:
            live["out", index] = live.pop(reads[event][taken[index].in_place])
        later = [read for after in events[position + 1 :] for read in reads[after]]
        for tensor in list(live):
            kept = tensor[0] == "out" and nodes[tensor[1]].stays_live
            if tensor not in later and not kept:
                del live[tensor]
    return Evaluation(time_ns, peak, max(o.workspace_bytes for o in taken), sum(o.weights_bytes for o in taken))


def all_plays(problem: Problem) -> list[tuple[Selection, Evaluation]]:
    choices = product(*(range(len(node.options)) for node in problem.nodes))
    played = ((choice, play(problem, choice)) for choice in choices)
    return [(Selection(choice), figures) for choice, figures in played if figures is not None]


def front(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None = None) -> list[tuple[int, int]]:
    """Non-dominated (bytes on axis, time_ns), by rising bytes."""
    found = sorted(
        (figures.on(axis), figures.time_ns)
        for _, figures in all_plays(problem)
        if max_weights_bytes is None or figures.weights_bytes <= max_weights_bytes
    )
    efficient: list[tuple[int, int]] = []
    for point in found:
        if not efficient or point[1] < efficient[-1][1]:
            efficient.append(point)
    return efficient
