"""Chains that read a slice of a concat's buffer and write one. Pure.

In a dense block every layer reads a prefix of one buffer and writes the next channels of it. A chain there reads its
input with a pitch where it lies, and writes its output with one: docs/decisions/032.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from app.chains import layer_primitives
from app.graph.ir import Graph
from app.sites import Site
from app.slices import Slice
from app.strips import INPUT

Slices = Mapping[str, Slice]
"""By buffer, what a node's output may be a slice of, with a pitch."""


def with_slices(
    sites: Sequence[Site], graph: Graph, slices: Mapping[str, Mapping[str, Slice]], *, everywhere: bool = False
) -> tuple[Site, ...]:
    """The sites, each once more for every pair of pitches that its input and output may have.

    Chains write slices only of buffers that some chain reads: where a concat alone reads its parts, chains run the
    whole block with the concat inside (docs/decisions/029). With `everywhere` that is not asked.
    """
    found = [(site, *_ends(site, graph, slices)) for site in sites if not site.staged]
    read = {buffer for _, inputs, _ in found for buffer in inputs}
    variants: list[Site] = []
    for site, inputs, outputs in found:
        written = {buffer: place for buffer, place in outputs.items() if everywhere or buffer in read}
        for x_pitch, y_pitch in dict.fromkeys(_pitches(inputs, written)):
            takes_over = () if y_pitch else site.takes_over
            variant = dataclasses.replace(site, x_pitch=x_pitch, y_pitch=y_pitch, takes_over=takes_over)
            if all(layer_primitives(variant, layer) for layer in range(len(site.nodes))):
                variants.append(variant)
    return (*sites, *variants)


def _ends(site: Site, graph: Graph, slices: Mapping[str, Mapping[str, Slice]]) -> tuple[Slices, Slices]:
    """What the input of a chain may be a slice of, and the output."""
    producer, last = graph.producer(site.source), site.nodes[-1]
    inside = {node.name for node in site.nodes}
    inputs = slices.get(producer.name, {}) if producer is not None else {}
    outputs = slices.get(last.name, {})
    # Only input 0 is read with a pitch, a residual would have to lie like the output, and a concat inside another one's
    # buffer is there when its parts are.
    if any(INPUT in site.feeds(number)[1:] for number in range(len(site.nodes))):
        inputs = {}
    if last.shape is None or last.shape.residual or last.op == "concat":
        outputs = {}
    return (
        {place.buffer: place for place in inputs.values() if place.pitch and place.join not in inside},
        {place.buffer: place for place in outputs.values() if place.pitch and place.copied},
    )


def _pitches(inputs: Slices, outputs: Slices) -> Iterator[tuple[int, int]]:
    """Pitches of input and output, not both 0, that are possible together.

    A concat joins all its inputs or none, so when it reads both they are slices of the same buffer or of none.
    """

    def follows(here: str, mine: Slices, there: str, others: Slices) -> bool:
        """Whether one end may lie in the buffer `there` when the other lies in `here`; "" is memory of its own."""
        joined = here and here in others and others[here].join == mine[here].join
        return not joined or there == here

    for source in ("", *inputs):
        for result in ("", *outputs):
            if (
                (source or result)
                and follows(source, inputs, result, outputs)
                and follows(result, outputs, source, inputs)
            ):
                x_pitch = inputs[source].pitch if source else 0
                yield x_pitch, outputs[result].pitch if result else 0
