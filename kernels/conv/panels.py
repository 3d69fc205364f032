"""Weights in panels of 16-channel blocks: the packing every blocked convolution here shares.

Independent of the target's vector width, so one bundle compiles for any target.
"""

from __future__ import annotations

import itertools

import numpy as np

from kernels.spec import Array, Packing, Shape

BLOCK = 16


def blocks(channels: int) -> int:
    """Blocks of 16 that hold `channels`."""
    return -(-channels // BLOCK)


def panel_blocks(total: int, widest: int) -> list[int]:
    """Blocks of each panel: as few panels of at most `widest` as possible, sharing `total` evenly, wide ones first."""
    panels = -(-total // widest)
    return [total // panels + (i < total % panels) for i in range(panels)]


def panel_cuts(channels: int, widest: int) -> list[int]:
    """Output channels at which panels begin; any run of panels is what its channels alone would be packed into."""
    return [BLOCK * n for n in itertools.accumulate([0, *panel_blocks(blocks(channels), widest)])][:-1]


def pack_panels(rows: Array, widest: int) -> Array:
    """[k][m] to [panel][k][16 * blocks of the panel], missing channels zero; 1-D float32."""
    k, m = rows.shape
    padded = np.zeros((k, blocks(m) * BLOCK), np.float32)
    padded[:, :m] = rows
    edges = np.cumsum([0, *panel_blocks(blocks(m), widest)]) * BLOCK
    panels = [padded[:, a:b].reshape(-1) for a, b in itertools.pairwise(edges)]
    return np.ascontiguousarray(np.concatenate(panels))


def conv_packing(widest: int) -> Packing:
    """[m][c/group][kh][kw] to [group][panel][kh][kw][c/group][16 * blocks]."""

    def elems(s: Shape) -> int:
        return s.group * blocks(s.m // s.group) * BLOCK * (s.c // s.group) * s.kh * s.kw

    def pack(s: Shape, weights: Array) -> Array:
        mg = s.m // s.group
        taps_first = weights.reshape(s.group, mg, s.c // s.group, s.kh * s.kw).transpose(0, 3, 2, 1)
        return np.concatenate([pack_panels(g.reshape(-1, mg), widest) for g in taps_first])

    return Packing(elems, pack, lambda s: panel_cuts(s.m, widest))
