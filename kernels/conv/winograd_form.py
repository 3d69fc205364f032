"""What every Winograd form declares: matrices from interpolation points, packed weights, blockings, exact workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.conv.panels import BLOCK, blocks, pack_panels, panel_blocks, panel_cuts
from kernels.spec import Array, Layout, Packer, Packing, Primitive, Shape

CITE = "Lavin & Gray 2016, Fast algorithms for convolutional neural networks; points: Barabasz et al. 2020"
Float64Array = npt.NDArray[np.float64]
_SHARED = ("ts", "ts_blocks", "ts_tile", "ts_tile_store", "ts_vec", "ts_wino_block", "ts_wino_io", "ts_wino_points")

PAIRS = {4: (1.0,), 5: (0.5, 1.25), 6: (0.75, 1.5), 7: (0.25, 1.0, 1.5), 8: (0.5, 1.0, 1.75)}
"""Interpolation points, each with its negative, by products a = m + r - 1; infinity besides, and 0 where a is even.
Exact in float32, as in ts_wino_points.h."""

PLANE_GAP = 16
"""Unused floats between the planes of V and of M, as in ts_wino_io.h."""

BLOCKINGS = {
    "b1t4": (4, 1),
    "b1t6": (6, 1),
    "b1t12": (12, 1),
    "full": (0, 1),
    "b3t8": (8, 3),
    "b3t16": (16, 3),
    "b4t6": (6, 4),
}
"""Most tiles per block (0: the whole image) and widest panel in blocks of 16 output channels."""


@functools.cache
def filter_transform(m: int, r: int) -> Float64Array:
    """G, [a][r]: row i is (1, p_i, p_i^2, ...) over the product of (p_i - p_k), other finite points; last: infinity."""
    a = m + r - 1
    points = ([] if a % 2 else [0.0]) + [sign * p for p in PAIRS[a] for sign in (1, -1)]
    rows = [
        [p**j / np.prod([p - q for k, q in enumerate(points) if k != i]) for j in range(r)]
        for i, p in enumerate(points)
    ]
    return np.array([*rows, [0.0] * (r - 1) + [1.0]])


def transformed(filters: Float64Array, rows: Float64Array, columns: Float64Array) -> Float64Array:
    """rows w columns^T of filters [m][c][kh][kw], as [a][b][c][m]: the tables are [a][kh] and [b][kw].

    Products are added by rising row, then by rising column, none fused: in the order of winograd_pack.c, so that both
    give the same bytes.
    """
    taps = np.ascontiguousarray(filters.transpose(2, 3, 1, 0))
    found = np.empty((len(rows), len(columns), *taps.shape[2:]))
    for row, planes in zip(rows, found, strict=True):
        line = _sum(row, taps)
        planes[...] = columns[:, :1, None] * line[0]
        for j in range(1, len(line)):
            planes += columns[:, j, None, None] * line[j]
    return found


def _sum(factors: Float64Array, terms: Float64Array) -> Float64Array:
    total: Float64Array = factors[0] * terms[0]
    for factor, term in zip(factors[1:], terms[1:], strict=True):
        total += factor * term
    return total


@dataclass(frozen=True)
class Form:
    """One way to cut a convolution into tiles, computed by `winograd_<name>_b<widest panel>.c`.

    A tile has `planes` numbers per output channel (M), each a sum of products with inputs transformed to `products`
    numbers per input channel (V): as many, or more where a plane sums over several phases. `transform` turns filters
    [m/group][c/group][kh][kw] of one group into [plane, then what it sums over][m/group]. `tiles(shape)` cover the
    output. The form computes `kernels` (kh, kw) at `stride` without dilation.
    """

    name: str
    kernels: tuple[tuple[int, int], ...]
    stride: int
    planes: int
    products: int
    tiles: Callable[[Shape], int]
    transform: Callable[[Float64Array], Float64Array]
    row_grain: int
    max_rel_err: float
    blockings: tuple[str, ...]
    own_headers: tuple[str, ...]
    cite: str = CITE

    def primitives(self, layouts: Callable[[str], tuple[Layout, ...]]) -> Iterator[Primitive]:
        """One per blocking and layout; `layouts(blocking)` are those it is offered in."""
        for blocking in self.blockings:
            for layout in layouts(blocking):
                yield self._primitive(blocking, layout)

    def _primitive(self, blocking: str, layout: Layout) -> Primitive:
        widest = BLOCKINGS[blocking][1]
        return Primitive(
            "conv",
            "winograd",
            layout,
            layout,
            f"conv/winograd_{self.name}_b{widest}.c",
            cite=self.cite,
            variant=f"{self.name}_{blocking}",
            refuses=self._refuses(layout),
            redundant=lambda s: self._same_call(self.tiles(s), blocking),
            workspace_elems=self._workspace_elems(blocking),
            packing=self._packing(widest),
            max_rel_err=self.max_rel_err,
            row_grain=self.row_grain,
            residual=True,
            pitched=True,
            headers=tuple(f"include/{name}.h" for name in sorted((*_SHARED, *self.own_headers))),
        )

    def _refuses(self, layout: Layout) -> Callable[[Shape], str | None]:
        sizes = [f"{kh}x{kw}" for kh, kw in self.kernels]

        def refuses(s: Shape) -> str | None:
            if (s.kh, s.kw) not in self.kernels:
                return f"kernel {s.kh}x{s.kw}; needs {' or '.join(sizes)}"
            if (s.stride_h, s.stride_w, s.dilation_h, s.dilation_w) != (self.stride, self.stride, 1, 1):
                has = f"stride {s.stride_h}x{s.stride_w}, dilation {s.dilation_h}x{s.dilation_w}"
                return f"{has}; needs stride {self.stride} and dilation 1"
            if s.group > 1 and (s.c // s.group % layout.block or s.m // s.group % layout.block):
                return f"groups that do not fill blocks of {layout.block} channels"
            return None

        refuses.__doc__ = f"{' and '.join(sizes)} kernels of stride {self.stride}, dilation 1."
        return refuses

    def _same_call(self, tiles: int, blocking: str) -> str | None:
        """Which other blocking offered makes the same call on so few tiles, or None."""
        most, widest = BLOCKINGS[blocking]
        same_panels = {most: name for name, (most, w) in BLOCKINGS.items() if w == widest and name in self.blockings}
        if tiles <= most and 0 in same_panels:
            return f"{tiles} tiles: the same as {same_panels[0]}"
        smaller = max((t for t in same_panels if 0 < t < most), default=0)
        return f"{tiles} tiles: the same as {same_panels[smaller]}" if tiles <= smaller else None

    def _workspace_elems(self, blocking: str) -> Callable[[Shape], int]:
        """Floats of V and M of one block of tiles, as laid out in ts_wino_block.h."""
        most, widest = BLOCKINGS[blocking]

        def workspace_elems(s: Shape) -> int:
            held = self.tiles(s)
            if most:
                held = -(-held // -(-held // most))
            lanes = BLOCK * panel_blocks(blocks(s.m // s.group), widest)[0]
            gaps = (2 * self.planes - 1) * PLANE_GAP
            return held * (self.products * (s.c // s.group) + self.planes * lanes) + gaps

        held = f"ceil(tiles/ceil(tiles/{most}))" if most else "tiles"
        lanes = "16*blocks of the widest panel"
        workspace_elems.__doc__ = (
            f"{self.planes}*({held}*(c/group + {lanes}) + 32) - 16"
            if self.products == self.planes
            else f"{held}*({self.products}*c/group + {self.planes}*{lanes}) + {PLANE_GAP * (2 * self.planes - 1)}"
        )
        return workspace_elems

    def _packing(self, widest: int) -> Packing:
        """[m][c/group][kh][kw] to [group][panel][row][16 * blocks], transformed in float64, rounded once."""

        def elems(s: Shape) -> int:
            return s.group * self.products * (s.c // s.group) * blocks(s.m // s.group) * BLOCK

        def pack(s: Shape, weights: Array) -> Array:
            filters = weights.reshape(s.group, s.m // s.group, s.c // s.group, s.kh, s.kw).astype(np.float64)
            return np.concatenate([pack_panels(self.transform(g).astype(np.float32), widest) for g in filters])

        packer = Packer(f"pack_winograd_{self.name}_b{widest}", "conv/winograd_pack.c")
        return Packing(elems, pack, lambda s: panel_cuts(s.m, widest), packer)


def square_tiles(m: int) -> Callable[[Shape], int]:
    """Tiles of m x m outputs that cover the output."""
    return lambda s: -(-s.oh // m) * -(-s.ow // m)
