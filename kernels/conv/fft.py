"""FFT convolution: products of spectra over overlapping tiles or over the whole plane; weights transformed at export.

P = nw * (nh/2 + 1) is the number of complex points of one spectrum, nh x nw the transform lengths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.spec import F32_BYTES, Array, Layout, Packing, Primitive, Shape

CITE = "Mathieu, Henaff & LeCun 2014; Gentleman & Sande 1966"
HEADERS = ("include/ts.h", "include/ts_row.h", "include/ts_vec.h")
# A spectrum per pair of channels soon outgrows memory and the weights file; beyond this no budget would pick it.
MAX_PACKED_BYTES = 256 * 2**20


def _reach(s: Shape) -> tuple[int, int]:
    """Extent of the dilated kernel."""
    return (s.kh - 1) * s.dilation_h + 1, (s.kw - 1) * s.dilation_w + 1


def _first_factor(n: int) -> int:
    return next(radix for radix in (4, 2, 3, 5) if n % radix == 0)


def smooth_length(n: int) -> int:
    """Smallest length >= n with no prime factor above 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def frequency_order(n: int) -> list[int]:
    """The frequency at each position after the forward transform of length n in conv/fft.c."""
    if n == 1:
        return [0]
    radix = _first_factor(n)
    return [q + radix * f for q in range(radix) for f in frequency_order(n // radix)]


def _plane_lengths(s: Shape) -> tuple[int, int]:
    """nh, nw = the smallest 2-3-5-smooth lengths that hold all inputs an output plane reads."""
    reach_h, reach_w = _reach(s)
    return smooth_length((s.oh - 1) * s.stride_h + reach_h), smooth_length((s.ow - 1) * s.stride_w + reach_w)


def _table(n: int) -> Array:
    angles = 2 * np.pi * np.arange(n) / n
    return np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)


def _declare(variant: str, length: int, batch: int) -> Primitive:
    """Tiles of `length` in both directions, `batch` at a time; the whole plane if length is 0."""

    def lengths(s: Shape) -> tuple[int, int]:
        return (length, length) if length else _plane_lengths(s)

    def points(s: Shape) -> int:
        nh, nw = lengths(s)
        return nw * (nh // 2 + 1)

    def packed_elems(s: Shape) -> int:
        return 2 * sum(lengths(s)) + s.m * (s.c // s.group) * 2 * points(s)

    def pack(s: Shape, weights: Array) -> Array:
        nh, nw = lengths(s)
        reach_h, reach_w = _reach(s)
        kernels = weights.reshape(s.m, s.c // s.group, s.kh, s.kw).transpose(0, 1, 3, 2)
        order = frequency_order(nw)
        packed = np.empty(packed_elems(s), np.float32)
        tables = 2 * (nh + nw)
        packed[:tables] = np.concatenate([_table(nh), _table(nw)])
        spectra = packed[tables:].reshape(s.m, s.c // s.group, 2, nw, nh // 2 + 1)
        for om, kernel in enumerate(kernels):  # one output channel at a time: complex128 would not fit otherwise
            padded = np.zeros((len(kernel), nw, nh))
            padded[:, : reach_w : s.dilation_w, : reach_h : s.dilation_h] = kernel
            spectrum = np.conj(np.fft.rfft2(padded))[:, order] / (nh * nw)
            spectra[om, :, 0], spectra[om, :, 1] = spectrum.real, spectrum.imag
        return packed

    def workspace_elems(s: Shape) -> int:
        nh, nw = lengths(s)
        return batch * 2 * points(s) * (s.c // s.group + 1) + 2 * nh * nw

    def refuses(s: Shape) -> str | None:
        reach_h, reach_w = _reach(s)
        if min(s.kh, s.kw) < 3:
            return f"kernel {s.kh}x{s.kw}: transforms pay from 3x3 on"
        if length:
            if max(reach_h, reach_w) > length // 2 + 1:
                return (
                    f"kernel spans {reach_h}x{reach_w}: over half of each {length}x{length} tile would be thrown away"
                )
            rows, columns = (length - reach_h) // s.stride_h + 1, (length - reach_w) // s.stride_w + 1
            tiles = -(-s.oh // rows) * -(-s.ow // columns)
            if tiles < max(batch, 2):
                return f"{tiles} tiles of {rows}x{columns} outputs: needs at least {max(batch, 2)}"
        packed_bytes = F32_BYTES * packed_elems(s)
        if packed_bytes > MAX_PACKED_BYTES:
            return f"transformed weights of {packed_bytes >> 20} MiB exceed {MAX_PACKED_BYTES >> 20} MiB"
        return None

    limit = f"transformed weights up to {MAX_PACKED_BYTES >> 20} MiB"
    if length:
        refuses.__doc__ = (
            f"Kernels from 3x3 that span at most {length // 2 + 1}, at least {max(batch, 2)} tiles, {limit}."
        )
        size = f"nh = nw = {length}, P = {length * (length // 2 + 1)}"
    else:
        refuses.__doc__ = f"Kernels from 3x3, {limit}."
        size = (
            "P = nw*(nh/2 + 1), nh >= (oh-1)*stride_h + (kh-1)*dilation_h + 1 with prime factors 2, 3, 5; nw likewise"
        )
    workspace_elems.__doc__ = f"{f'{batch} * ' if batch > 1 else ''}2*P*(c/group + 1) + 2*nh*nw; {size}"
    return _primitive(variant, refuses, workspace_elems, Packing(packed_elems, pack))


def _primitive(
    variant: str,
    refuses: Callable[[Shape], str | None],
    workspace_elems: Callable[[Shape], int],
    packing: Packing,
) -> Primitive:
    return Primitive(
        "conv",
        "fft",
        Layout.CHW,
        Layout.CHW,
        "conv/fft.c",
        CITE,
        variant,
        refuses=refuses,
        workspace_elems=workspace_elems,
        packing=packing,
        headers=HEADERS,
    )


PRIMITIVES = (
    _declare("", 0, 1),
    _declare("tile16", 16, 1),
    _declare("tile16x4", 16, 4),
    _declare("tile32", 32, 1),
)
