"""All selections of a tiny problem, each played step by step on a set of live storages. Written apart from solver/."""

from __future__ import annotations

from itertools import pairwise, product

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

    live: dict[tuple[str, int | str], int] = {}  # storage -> bytes
    home: dict[tuple[str, int], tuple[str, int | str]] = {}  # tensor -> the storage it lies in
    span: dict[tuple[str, int], tuple[int, int]] = {}  # tensor -> first and end byte in a shared storage
    peak = 0
    for position, event in enumerate(events):
        kind, index = event
        scratch = 0
        later = [read for after in events[position + 1 :] for read in reads[after]]
        if kind == "convert":
            edge = edges[index]
            conversion = edge.conversions[taken[edge.src].out_layout, taken[edge.dst].in_layouts[edge.port]]
            live["copy", index] = up(conversion.copy_bytes)
            home["copy", index] = ("copy", index)
            scratch = up(conversion.workspace_bytes)
        else:
            option, mine = taken[index], ("out", index)
            scratch = up(option.workspace_bytes)
            out_bytes = up(nodes[index].out_bytes[option.out_layout])
            part = nodes[index].parts.get(option.out_layout)
            if option.joins and any(read in span for read in reads[event]):
                # Whatever its inputs are side by side is the output; nothing new is made.
                places = [(home[read], *span.get(read, (-1, -1))) for read in reads[event]]
                if any(one[0] != two[0] or one[2] != two[1] for one, two in pairwise(places)):
                    return None
                home[mine], begin, end = places[0][0], places[0][1], places[-1][2]
                wanted = (0, nodes[index].out_bytes[option.out_layout])
                if part is not None:
                    wanted = (part.offset_bytes, part.offset_bytes + part.size_bytes)
                    span[mine] = wanted
                if (begin, end) != wanted:
                    return None
            elif part is not None:
                ends = [
                    p.offset_bytes + p.size_bytes for n in nodes for p in n.parts.values() if p.buffer == part.buffer
                ]
                home[mine] = ("buffer", part.buffer)
                span[mine] = (part.offset_bytes, part.offset_bytes + part.size_bytes)
                live.setdefault(home[mine], up(max(ends)))
            elif option.in_place is None:
                live[mine] = out_bytes
                home[mine] = mine
            else:
                victim = reads[event][option.in_place]
                if live[home[victim]] != out_bytes or out_bytes == 0:
                    return None
                if victim[0] == "out":
                    ports = [e for e in range(len(edges)) if edges[e].dst == index and edges[e].src == victim[1]]
                    if victim in later or nodes[victim[1]].stays_live or len(ports) > 1:
                        return None
                home[mine] = home[victim]
        peak = max(peak, sum(live.values()) + scratch)
        kept = {home[tensor] for tensor in later if tensor in home}
        kept |= {home["out", v] for v, node in enumerate(nodes) if node.stays_live and ("out", v) in home}
        live = {storage: size_bytes for storage, size_bytes in live.items() if storage in kept}
    peak += sum(up(option.resident_bytes) for option in taken)
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
