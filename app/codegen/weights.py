"""The weights of a bundle: packed for their primitives, laid end to end without a byte of padding.

Weights that are packed when the network starts are plain here.
Order is chosen for alignment instead: what is a multiple of 64 bytes long comes first and so stays aligned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.schedule import Call
from kernels import registry
from kernels.spec import AS_IS, F32_BYTES, Packing

ALIGN_BYTES = 64
C_TEXT_LIMIT_BYTES = 4 << 20
"""Above this the weights are a binary file: a compiler needs about 100 bytes of memory per byte of C constants."""


@dataclass(frozen=True)
class PackedWeights:
    """`size_bytes` of packed float32 at `offset_bytes` of the blob. `users` say which calls read it and as what."""

    offset_bytes: int
    size_bytes: int
    users: tuple[str, ...]


@dataclass(frozen=True)
class WeightsBlob:
    """All packed constants. `places[i]` are the offsets of call i's (weights, bias); None where it has none."""

    data: memoryview  # little-endian float32
    items: tuple[PackedWeights, ...]  # by offset
    places: tuple[tuple[int | None, int | None], ...]

    @property
    def floats(self) -> npt.NDArray[np.float32]:
        """The blob as numbers."""
        return np.frombuffer(self.data, "<f4")


def pack_weights(calls: tuple[Call, ...], constants: Mapping[str, npt.NDArray[np.float32]]) -> WeightsBlob:
    """Pack every call's weights and bias; identical results are stored once.

    Only one packed constant exists beside the blob at any time, so the peak is the size of the blob.
    """
    areas = (bytearray(), bytearray())  # multiples of ALIGN_BYTES, and the rest
    seen: dict[bytes, tuple[int, int]] = {}  # digest -> (area, offset)
    users: dict[bytes, list[str]] = {}
    sizes: dict[bytes, int] = {}
    found: list[list[bytes | None]] = []
    for number, call in enumerate(calls, 1):
        primitive = registry.get(call.primitive)
        digests: list[bytes | None] = []
        for role, name, packing in (
            ("weights", call.weights, primitive.packing if call.resident is None else AS_IS),
            ("bias", call.bias, primitive.bias_packing),
        ):
            if name is None:
                digests.append(None)
                continue
            if name not in constants:
                raise ValueError(f"call {number} ({call.label}): the graph has no constant {name!r}")
            packed = _packed(call, packing, constants[name], role)
            if packed.nbytes == 0:
                digests.append(None)
                continue
            digest = hashlib.sha256(packed.data).digest()
            if digest not in seen:
                area = 0 if packed.nbytes % ALIGN_BYTES == 0 else 1
                seen[digest] = area, len(areas[area])
                sizes[digest] = packed.nbytes
                areas[area].extend(packed.data.cast("B"))
            users.setdefault(digest, []).append(f"{number} {call.label}: {role}")
            digests.append(digest)
        found.append(digests)
    aligned, rest = areas
    first_of_rest = len(aligned)
    aligned.extend(rest)

    def offset(digest: bytes | None) -> int | None:
        if digest is None:
            return None
        area, start = seen[digest]
        return start + (first_of_rest if area else 0)

    items = [PackedWeights(offset(d) or 0, sizes[d], tuple(users[d])) for d in seen]
    return WeightsBlob(
        data=memoryview(aligned).toreadonly(),
        items=tuple(sorted(items, key=lambda item: item.offset_bytes)),
        places=tuple((offset(weights), offset(bias)) for weights, bias in found),
    )


def _packed(call: Call, packing: Packing, constant: npt.NDArray[np.float32], role: str) -> npt.NDArray[np.float32]:
    packed = np.ascontiguousarray(packing.pack(call.shape, constant), "<f4").reshape(-1)
    expected = packing.elems(call.shape)
    if packed.size != expected:
        raise ValueError(
            f"{call.label}: {call.primitive} packs {role} into {packed.size * F32_BYTES} bytes, "
            f"declared are {expected * F32_BYTES}"
        )
    if np.isnan(packed).any():
        raise ValueError(f"{call.label}: packed {role} contain NaN")
    return packed
