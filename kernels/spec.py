"""The vocabulary of primitives: layouts, shapes, attributes and the declaration of one C routine.

Knows nothing of graphs, costs or optimisation. Every other package speaks in these words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

F32_BYTES = 4
Array = npt.NDArray[np.float32]


class Layout(StrEnum):
    """Order of a (c, h, w) tensor in memory, outermost axis first."""

    CHW = "chw"
    HWC = "hwc"
    CHW8C = "chw8c"  # [ceil(c/8)][h][w][8], missing channels are zero
    CHW16C = "chw16c"  # [ceil(c/16)][h][w][16], missing channels are zero

    @property
    def block(self) -> int:
        """Channels per block; 1 for the unblocked layouts."""
        return {Layout.CHW8C: 8, Layout.CHW16C: 16}.get(self, 1)

    def elems(self, c: int, h: int, w: int, pitch: int = 0) -> int:
        """Floats from the first to the last of a (c, h, w) tensor in this layout, padding channels included.

        `pitch` is that of `Shape.x_pitch`; 0 means dense.
        """
        if self is Layout.HWC:
            return (h * w - 1) * (pitch or c) + c
        planes = -(-c // self.block)
        return ((planes - 1) * (pitch or h * w) + h * w) * self.block

    def pitch(self, c: int, h: int, w: int) -> int:
        """Pitch of a dense (c, h, w) tensor: from pixel to pixel in channels (hwc), from plane to plane in pixels."""
        return c if self is Layout.HWC else h * w

    def bytes(self, c: int, h: int, w: int) -> int:
        """Bytes a (c, h, w) float32 tensor occupies in this layout."""
        return F32_BYTES * self.elems(c, h, w)

    def store(self, tensor: Array) -> Array:
        """Flatten a [c][h][w] array into this layout (1-D, padding channels zero)."""
        c, h, w = tensor.shape
        if self is Layout.CHW:
            return np.ascontiguousarray(tensor).reshape(-1)
        if self is Layout.HWC:
            return np.ascontiguousarray(tensor.transpose(1, 2, 0)).reshape(-1)
        blocks = -(-c // self.block)
        padded = np.zeros((blocks * self.block, h, w), np.float32)
        padded[:c] = tensor
        return np.ascontiguousarray(padded.reshape(blocks, self.block, h, w).transpose(0, 2, 3, 1)).reshape(-1)

    def load(self, flat: Array, c: int, h: int, w: int) -> Array:
        """Inverse of `store`: the [c][h][w] array held in `flat`."""
        if self is Layout.CHW:
            return flat.reshape(c, h, w)
        if self is Layout.HWC:
            return flat.reshape(h, w, c).transpose(2, 0, 1)
        blocks = -(-c // self.block)
        return flat.reshape(blocks, h, w, self.block).transpose(0, 3, 1, 2).reshape(-1, h, w)[:c]


def canonical(layout: Layout, c: int, h: int, w: int) -> Layout:
    """The one name for a memory order, so that equal memory never counts as a conversion.

    A single channel block is `hwc`; `hwc` and whole blocks of single pixels are `chw`; so is one channel.
    """
    if layout.block > 1 and c == layout.block:
        layout = Layout.HWC
    if layout is Layout.HWC and (c == 1 or h * w == 1):
        return Layout.CHW
    if layout.block > 1 and h * w == 1 and c % layout.block == 0:
        return Layout.CHW
    return layout


@dataclass(frozen=True)
class Shape:
    """Geometry of one operator instance, in ONNX Conv letters; the part of a cost key that is not the routine.

    Input 0 is (c, h, w), the output is (m, oh, ow). Fields an operator does not use keep their default.
    `axis` counts 0 = c, 1 = h, 2 = w. `parts` are the extents of a concat's inputs along `axis`.
    `start`/`step` are (c, h, w) triples: first index and stride of a slice; `start` is the leading pad of a pad.
    `perm` is a permute: output axis i is input axis perm[i].
    `residual` = 1 gives a conv a second input of the output's dims and layout that is added before the clamp.
    `x_pitch`/`y_pitch` say that input 0 / output (and residual) is part of a larger tensor: in hwc the channels from
    one pixel to the next, in the other layouts the pixels from one plane (a channel, a block) to the next; 0 is dense.
    `quarters` = 3 says that an lrn's beta is 3/4, for which no power function is needed; 0 that it may be any.
    """

    op: str
    c: int
    h: int
    w: int
    m: int
    oh: int
    ow: int
    kh: int = 1
    kw: int = 1
    stride_h: int = 1
    stride_w: int = 1
    pad_t: int = 0
    pad_l: int = 0
    pad_b: int = 0
    pad_r: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    group: int = 1
    axis: int = 0
    count_include_pad: int = 0
    parts: tuple[int, ...] = ()
    start: tuple[int, int, int] = (0, 0, 0)
    step: tuple[int, int, int] = (1, 1, 1)
    perm: tuple[int, int, int] = (0, 1, 2)
    residual: int = 0
    x_pitch: int = 0
    y_pitch: int = 0
    quarters: int = 0

    @property
    def n_in(self) -> int:
        """Number of activation inputs."""
        if self.op == "concat":
            return len(self.parts)
        return 2 if self.op in BINARY_OPS or self.residual else 1

    def input_dims(self, port: int) -> tuple[int, int, int]:
        """(c, h, w) of activation input `port`."""
        if self.residual and port == 1:
            return self.output_dims
        dims = [self.c, self.h, self.w]
        if self.op == "concat":
            dims[self.axis] = self.parts[port]
        return dims[0], dims[1], dims[2]

    @property
    def output_dims(self) -> tuple[int, int, int]:
        """(m, oh, ow)."""
        return self.m, self.oh, self.ow

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the mathematical operator (conv and dense); 0 for the rest."""
        if self.op == "conv":
            return self.m * self.oh * self.ow * (self.c // self.group) * self.kh * self.kw
        if self.op == "dense":
            return self.m * self.c * self.h * self.w
        return 0

    def __hash__(self) -> int:
        """That of the key, which is made once: shapes are looked up far more often than made."""
        return hash(self._key)

    def key(self) -> str:
        """Canonical text: the operator, then every non-default field as name=value in field order."""
        return self._key

    @cached_property
    def _key(self) -> str:
        words = [self.op]
        for name, default in _DEFAULTS:
            value = getattr(self, name)
            if value != default:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words.append(f"{name}={text}")
        return " ".join(words)

    @classmethod
    def parse(cls, key: str) -> Shape:
        """Inverse of `key`."""
        op, *words = key.split()
        values: dict[str, Any] = {"op": op}
        for word in words:
            name, _, text = word.partition("=")
            several = name in ("parts", "start", "step", "perm")
            values[name] = tuple(map(int, text.split(","))) if several else int(text)
        return cls(**values)


_DEFAULTS = tuple((f.name, f.default) for f in dataclasses.fields(Shape)[1:])  # MISSING, which no field is, where none


@dataclass(frozen=True)
class Attrs:
    """Numbers that change an operator's values but, the shape given, not its cost.

    `lo`/`hi` clamp every output of conv, dense, scale and the binary operators (fused ReLU: lo = 0; ReLU6: hi = 6;
    none: infinities). `alpha`, `beta`, `gamma` by operator:
    lrn: y = x / (gamma + alpha / size * sum x^2)^beta, size in `kh`; leaky_relu: slope alpha; elu: alpha;
    hard_sigmoid: clamp(alpha * x + beta, 0, 1); pad: value alpha.
    """

    lo: float = -np.inf
    hi: float = np.inf
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0


BINARY_OPS = frozenset({"add", "sub", "mul", "div"})
UNARY_OPS = frozenset({"clamp", "neg", "exp", "log", "sqrt", "abs", "sigmoid", "tanh"})
UNARY_OPS |= {"leaky_relu", "elu", "hard_sigmoid", "hard_swish"}
"""Element by element, no parameters beyond Attrs; `clamp` is ReLU, ReLU6 and Clip."""

OPS = frozenset(
    {
        "conv",  # weights [m][c/group][kh][kw], bias [m], residual, clamp
        "dense",  # weights [m][c*h*w] in chw order, bias [m], clamp; output (m, 1, 1)
        "max_pool",
        "avg_pool",  # count_include_pad; global pooling is kernel = (h, w)
        "lrn",  # across channels, size in kh
        "scale",  # y = clamp(x * weights[c] + bias[c])
        "prelu",  # y = x < 0 ? weights[c] * x : x
        "const_add",  # y = clamp(x + weights[c][h][w])
        "const_mul",  # y = clamp(x * weights[c][h][w])
        "softmax",  # along `axis`
        "concat",  # along `axis`
        "slice",
        "pad",  # constant value alpha
        "permute",
        "upsample",  # nearest, integer factors oh/h and ow/w
        "convert",  # layout change, same dims
        *BINARY_OPS,
        *UNARY_OPS,
    }
)


def _no_elems(_shape: Shape) -> int:
    """0"""
    return 0


def _accepts_all(_shape: Shape) -> str | None:
    """Any shape."""
    return None


@dataclass(frozen=True)
class Packer:
    """A C routine (include/ts_packer.h) that packs weights where the network runs, into the bytes of `Packing.pack`."""

    name: str  # C symbol before prefixing
    source: str  # C file, relative to the kernels folder
    headers: tuple[str, ...] = ("include/ts.h", "include/ts_packer.h")


@dataclass(frozen=True)
class Packing:
    """How weights are rearranged or transformed: at export, or by `packer` when a network starts.

    `elems(shape)` is the exact number of floats `pack(shape, weights)` returns (1-D float32).
    `weights` comes in the operator's order given in `OPS`. `cuts(shape)` are output channels at which the packed
    weights of an ungrouped shape fall apart: what is packed for the channels between two cuts is what the smaller
    operator of those channels packs. With cuts, a grouped shape falls apart between groups. None: never. Only a
    packing that makes weights larger has a `packer`.
    """

    elems: Callable[[Shape], int]
    pack: Callable[[Shape, Array], Array]
    cuts: Callable[[Shape], Iterable[int]] | None = None
    packer: Packer | None = None


def _as_is(_shape: Shape, weights: Array) -> Array:
    return np.ascontiguousarray(weights, np.float32).reshape(-1)


def weight_elems(s: Shape) -> int:
    """Floats of the operator's own (unpacked) weights."""
    if s.op == "conv":
        return s.m * (s.c // s.group) * s.kh * s.kw
    if s.op == "dense":
        return s.m * s.c * s.h * s.w
    if s.op in ("const_add", "const_mul"):
        return s.c * s.h * s.w
    return s.c if s.op in ("scale", "prelu") else 0


def bias_elems(s: Shape) -> int:
    """Floats of the operator's own (unpacked) bias."""
    if s.op in ("conv", "dense"):
        return s.m
    return s.c if s.op == "scale" else 0


def _row_cuts(s: Shape) -> Iterable[int]:
    """Between any two filters, in steps that leave routines whole register tiles."""
    return range(0, s.m, 8)


AS_IS = Packing(weight_elems, _as_is, _row_cuts)
BIAS_AS_IS = Packing(bias_elems, _as_is)

# Largest allowed error of one call, relative to max|y| of a float64 reference before its clamp (design.md, 9).
EXACT = 0.0  # moves data, never rounds
DIRECT_ERROR = 1e-5
WINOGRAD_F4_ERROR = 5e-5
WINOGRAD_F6_ERROR = 1e-4


@dataclass(frozen=True)
class Primitive:
    """One C routine for one operator in one (in-layout, out-layout).

    The C symbol is `name`; the signature is in include/ts.h and is the same for all. All activation inputs are
    in `in_layout`, but a residual, which is in `out_layout`. `refuses(shape)` returns the reason a shape without
    residual or pitch cannot be computed, or None; nothing else repeats that condition; callers ask `refusal`, or
    `impossible` when they do not mind that another primitive would do the same, as for a part of a call.
    `workspace_elems(shape)` is exact: the routine writes that many floats and no more. The docstrings of the two say
    when the routine applies and the formula; docs/primitives.md is made of them.
    """

    op: str
    family: str
    in_layout: Layout
    out_layout: Layout
    source: str  # C file, relative to the kernels folder
    cite: str  # the paper, book section or decision the C follows
    variant: str = ""
    refuses: Callable[[Shape], str | None] = _accepts_all
    redundant: Callable[[Shape], str | None] = _accepts_all  # which other primitive makes the same call, or None
    workspace_elems: Callable[[Shape], int] = _no_elems
    packing: Packing = AS_IS
    bias_packing: Packing = BIAS_AS_IS
    max_rel_err: float = DIRECT_ERROR
    in_place: bool = False  # y may be the same memory as x[0] (same layout, same dims, same pitch)
    residual: bool = False  # computes shapes with a residual; y may then be the same memory as x[1]
    pitched: bool = False  # computes shapes with a pitch
    row_grain: int = 1  # output rows computed together: threads share rows in multiples of it (kernels/split.py)
    needs_libm: bool = False
    headers: tuple[str, ...] = field(default=("include/ts.h",))  # project headers the source includes, transitively

    def __hash__(self) -> int:
        """That of the name, which no two have but the same one for other numbers of threads."""
        return hash(self.name)

    @cached_property
    def name(self) -> str:
        """`<op>_<family>[_<variant>]_<in>_<out>_f32`; also the C symbol before prefixing."""
        words = [self.op, self.family, self.variant, self.in_layout, self.out_layout, "f32"]
        return "_".join(str(w) for w in words if w)

    def refusal(self, shape: Shape) -> str | None:
        """Why the routine is not offered for `shape`, or None."""
        return self.impossible(shape) or self.redundant(shape)

    def impossible(self, shape: Shape) -> str | None:
        """Why the routine cannot compute `shape`, or None."""
        if shape.residual and not self.residual:
            return "adds no residual"
        if (shape.x_pitch or shape.y_pitch) and not self.pitched:
            return "needs dense tensors"
        return self.refuses(shape)

    def port_layout(self, port: int) -> Layout:
        """Layout of activation input `port`."""
        return self.out_layout if self.op == "conv" and port == 1 else self.in_layout

    def input_elems(self, shape: Shape, port: int) -> int:
        """Floats from the first to the last of activation input `port`."""
        residual = self.op == "conv" and port == 1
        pitch = shape.y_pitch if residual else shape.x_pitch if port == 0 else 0
        return self.port_layout(port).elems(*shape.input_dims(port), pitch)

    def output_elems(self, shape: Shape) -> int:
        """Floats from the first to the last of the output."""
        return self.out_layout.elems(*shape.output_dims, shape.y_pitch)

    def pitches(self, shape: Shape) -> tuple[int, int]:
        """What the C struct's x_pitch and y_pitch are on `shape`: never 0."""
        x_pitch = shape.x_pitch or self.in_layout.pitch(*shape.input_dims(0))
        return x_pitch, shape.y_pitch or self.out_layout.pitch(*shape.output_dims)

    def workspace_bytes(self, shape: Shape) -> int:
        """Scratch bytes one call writes, exactly."""
        return F32_BYTES * self.workspace_elems(shape)

    def weights_bytes(self, shape: Shape, *, resident: bool = False) -> int:
        """Bytes of weights and bias as shipped: packed, or with `resident` packed only when the network starts."""
        elems = weight_elems(shape) if resident else self.packing.elems(shape)
        return F32_BYTES * (elems + self.bias_packing.elems(shape))

    def resident_bytes(self, shape: Shape) -> int:
        """Bytes of memory that weights packed at the start take."""
        return F32_BYTES * self.packing.elems(shape)
