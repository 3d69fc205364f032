"""What running a node can mean: one routine call, a convolution and a separate addition, or no call at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from app.chains import Chain
from app.sites import Site
from kernels import registry
from kernels.spec import Attrs, Layout, Primitive, Shape, canonical
from kernels.split import on_threads

RESULT = -1
"""Stands among the ports an OptionCall reads for what the option's earlier call left in the output."""

_PITCHED = "@pitch "

COMMUTATIVE = frozenset({"add", "mul"})


@dataclass(frozen=True)
class OptionCall:
    """One routine call of an option. `reads` has, for each input of the routine, a port of the node or RESULT."""

    primitive: Primitive
    shape: Shape
    reads: tuple[int, ...]


@dataclass(frozen=True)
class NodeOption:
    """A way to run a node: `calls` in order, each writing the whole output; or to run it in a chain.

    Inside a chain, `site` says where; only the last node's option has the `chain` that is run, all its layers at once.

    The first call takes the node's weights and bias, the last one its attributes; others do not clamp. Layouts are
    canonical for the dims they belong to, or names of slices (app.slices), or `pitched` for port 0. `in_place` is the
    port whose memory the output takes over. Without calls the option joins slices that lie side by side already, or
    with `cuts` its output is a piece of the input (app.splits). `resident`: the first call's weights are shipped plain
    and packed when the network starts.
    """

    calls: tuple[OptionCall, ...]
    in_layouts: tuple[str, ...]
    out_layout: str
    in_place: int | None
    site: Site | None = None
    chain: Chain | None = None
    resident: bool = False
    cuts: bool = False

    @property
    def joins(self) -> bool:
        """Whether the output is what the inputs are side by side."""
        return not self.calls and self.site is None and not self.cuts

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The routines called, in order; for the last node of a chain those of its layers."""
        if self.chain is not None:
            return tuple(primitive for primitive in self.chain.primitives if primitive is not None)
        return tuple(call.primitive for call in self.calls)

    @property
    def name(self) -> str:
        """The routines called, joined by "+"."""
        if self.site is not None and self.chain is None:
            return f"in {self.out_layout}"
        if self.cuts:
            return f"slice_where_it_lies_{plain(self.in_layouts[0])}"
        return "+".join(primitive.name for primitive in self.primitives) or by_slices(plain(self.out_layout))

    @property
    def key(self) -> str:
        """The name this option has among those of its node, the same in every sweep."""
        layouts = " ".join(name for name in (*self.in_layouts, self.out_layout) if "@" in name)
        place = "" if self.in_place is None else f" over {self.in_place}"
        site = "" if self.chain is None else f" in {self.chain.site.name}"
        kept = self.chain.residents if self.chain is not None else " resident" if self.resident else ""
        return self.name + site + place + kept + (layouts and f" {layouts}")

    @property
    def family(self) -> str:
        """Family of the routine that does the node's work."""
        if self.primitives:
            return self.primitives[0].family
        return "pieces" if self.cuts else "slices"

    @property
    def variant(self) -> str:
        """Variant of that routine, and what is called after it."""
        if not self.calls:
            return ""
        first, *rest = self.calls
        return " ".join([*filter(None, [first.primitive.variant]), *(f"then {call.shape.op}" for call in rest)])

    @property
    def workspace_bytes(self) -> int:
        """Scratch bytes: the calls run one after the other. A chain runs when its last node does."""
        if self.chain is not None:
            return self.chain.workspace_bytes
        return max((call.primitive.workspace_bytes(call.shape) for call in self.calls), default=0)

    @property
    def weights_bytes(self) -> int:
        """Bytes of weights and biases as shipped."""
        if self.chain is not None:
            return self.chain.weights_bytes
        return sum(call.primitive.weights_bytes(call.shape, resident=self.resident) for call in self.calls)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the arena that weights packed at the start take for ever."""
        if self.chain is not None:
            return self.chain.resident_bytes
        return self.calls[0].primitive.resident_bytes(self.calls[0].shape) if self.resident else 0

    def packed_at_start(self) -> NodeOption | None:
        """The same with its weights packed when the network starts; None where packing does not make them larger."""
        if not self.calls or self.calls[0].primitive.packing.packer is None:
            return None
        return dataclasses.replace(self, resident=True)

    def attrs_of(self, number: int, attrs: Attrs) -> Attrs:
        """Attributes of call `number` when those of the node are `attrs`."""
        return attrs if number == len(self.calls) - 1 else Attrs()


def apart(option: NodeOption, pitch: int) -> NodeOption | None:
    """The option writing its hwc output with `pitch` channels from pixel to pixel; None if its routines cannot."""
    calls = []
    for call in option.calls:
        shape = dataclasses.replace(call.shape, y_pitch=pitch)
        # A residual would have to have the same pitch.
        if call.primitive.out_layout is not Layout.HWC or shape.residual or call.primitive.refusal(shape) is not None:
            return None
        calls.append(OptionCall(call.primitive, shape, call.reads))
    return dataclasses.replace(option, calls=tuple(calls))


def reading_apart(option: NodeOption, pitch: int) -> NodeOption | None:
    """The option reading input 0, in hwc, with `pitch` channels from pixel to pixel; None if its routines cannot."""
    if not option.calls or option.in_layouts[0] != Layout.HWC or option.in_place == 0:
        return None
    calls = []
    for call in option.calls:
        shape = call.shape
        if 0 in call.reads:
            shape = dataclasses.replace(shape, x_pitch=pitch)
            is_first = call.reads.index(0) == 0 and call.reads.count(0) == 1
            if not is_first or call.primitive.in_layout is not Layout.HWC or call.primitive.refusal(shape) is not None:
                return None
        calls.append(OptionCall(call.primitive, shape, call.reads))
    return dataclasses.replace(option, calls=tuple(calls), in_layouts=(pitched(pitch), *option.in_layouts[1:]))


def pitched(pitch: int) -> str:
    """What an option calls an input in hwc of which each pixel is a run of `pitch` channels that begins anywhere."""
    return f"{Layout.HWC}{_PITCHED}{pitch}"


def pitch_of(layout: str) -> int:
    """The inverse of `pitched`; 0 for any other layout."""
    return int(layout.partition(_PITCHED)[2] or 0)


def by_slices(layout: Layout) -> str:
    """The name of a concat that calls nothing: its parts are written side by side, in a chain row by row."""
    return f"concat_by_slices_{layout}"


IN_CHAINS = by_slices(Layout.HWC)
"""What a concat inside a chain is called, where everything is hwc; there it is the one way to run it."""


def plain(layout: str) -> Layout:
    """The order in memory behind a layout's name, which may be that of a slice: "<layout>@<buffer>"."""
    return Layout(layout.partition("@")[0])


def offered(
    shape: Shape, families: Collection[str] | None, threads: int = 1
) -> tuple[tuple[NodeOption, ...], Mapping[str, str]]:
    """Every option of a node of `shape`, and why each other primitive of its operator is none.

    `families` limits the convolution families (None: all). Calls are shared by up to `threads` threads.
    """
    accepted, refused = registry.candidates(shape)
    adding: list[Primitive] = []
    if shape.op == "conv" and shape.residual:
        # A family that adds no residual itself is followed by an addition over its own result.
        found, refused = registry.candidates(dataclasses.replace(shape, residual=0))
        adding = [p for p in found if p not in accepted]
    if families is not None and shape.op == "conv":
        refused |= {
            p.name: f"family {p.family} is not allowed" for p in (*accepted, *adding) if p.family not in families
        }
        accepted, adding = ([p for p in some if p.family in families] for some in (accepted, adding))
    options = [option for p in accepted for option in _single(shape, on_threads(p, threads))]
    options += [option for p in adding for option in _then_add(shape, on_threads(p, threads))]
    return tuple(options), refused


def _single(shape: Shape, primitive: Primitive) -> Iterator[NodeOption]:
    ports = tuple(range(shape.n_in))
    in_layouts = tuple(canonical(primitive.port_layout(port), *shape.input_dims(port)) for port in ports)
    out_layout = canonical(primitive.out_layout, *shape.output_dims)
    yield NodeOption((OptionCall(primitive, shape, ports),), in_layouts, out_layout, None)
    if shape.residual and primitive.residual:
        yield NodeOption((OptionCall(primitive, shape, ports),), in_layouts, out_layout, 1)
    elif primitive.in_place and shape.input_dims(0) == shape.output_dims:
        yield NodeOption((OptionCall(primitive, shape, ports),), in_layouts, out_layout, 0)
        if shape.op in COMMUTATIVE:  # the routine overwrites its first operand, which may as well be the other one
            yield NodeOption((OptionCall(primitive, shape, ports[::-1]),), in_layouts, out_layout, 1)


def _then_add(shape: Shape, conv: Primitive) -> Iterator[NodeOption]:
    """The conv into the output, then the residual added in place over it."""
    plain_shape, add_shape = (
        dataclasses.replace(shape, residual=0),
        Shape("add", *shape.output_dims, *shape.output_dims),
    )
    for add in registry.candidates(add_shape)[0]:
        if add.in_layout is add.out_layout is conv.out_layout and add.in_place:
            yield NodeOption(
                (OptionCall(conv, plain_shape, (0,)), OptionCall(add, add_shape, (RESULT, 1))),
                (
                    canonical(conv.in_layout, *shape.input_dims(0)),
                    canonical(add.in_layout, *shape.output_dims),
                ),
                canonical(conv.out_layout, *shape.output_dims),
                None,
            )
