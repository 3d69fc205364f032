"""Packers: what C packs where a network starts is, byte for byte, what Python packs for a bundle."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import registry
from kernels.build import INCLUDE, STRICT_FLAGS
from kernels.spec import F32_BYTES, Array, Packing, Primitive, Shape, weight_elems

# One primitive for each packer.
PACKED = {p.packing.packer.name: p for p in registry.all_primitives().values() if p.op == "conv" and p.packing.packer}
BUILDS = [
    (cc, flags)
    for cc in ("gcc", "clang")
    if shutil.which(cc)
    # In GNU mode gcc fuses additions into multiplications unless it is told not to; clang does by itself.
    for flags in (("-std=gnu11", "-O3", "-march=native"), ("-std=c11", "-O3", "-march=native"), ("-std=c11", "-O0"))
]

GEOMETRY = ("c", "h", "w", "m", "oh", "ow", "kh", "kw", "stride_h", "stride_w", "pad_t", "pad_l", "pad_b", "pad_r")
FIELDS = (*GEOMETRY, "dilation_h", "dilation_w", "group")


class CShape(ctypes.Structure):
    """The beginning of struct ts_shape, and room for the rest."""

    _fields_ = (*((name, ctypes.c_int32) for name in FIELDS), ("rest", ctypes.c_char * 256))


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: " ".join((build[0], *build[1])))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    cc, flags = request.param
    folder = tmp_path_factory.mktemp("packers")
    (folder / "ts_config.h").write_text("#define TS_SYMBOL(name) name\n")
    sources = sorted({str(registry.ROOT / p.packing.packer.source) for p in PACKED.values() if p.packing.packer})
    out = folder / "packers.so"
    command = [cc, *STRICT_FLAGS, *flags, "-I", str(INCLUDE), "-I", str(folder), "-shared", "-fPIC", *sources]
    subprocess.run([*command, "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


def layer(primitive: Primitive, c: int, m: int, group: int, tall: bool) -> Shape:
    """A convolution the primitive computes."""
    variant = primitive.variant
    k = int(variant[variant.index("k") + 1]) if "k" in variant else 3
    kh, kw = (k, k) if not variant.startswith("l") else (k, 1) if tall else (1, k)
    stride = 2 if "s2" in variant else 1
    s = Shape("conv", c * group, 12, 12, m * group, 12, 12, kh, kw, stride, stride, group=group)
    assert primitive.refuses(s) is None or group > 1
    return s


def packed_by_c(library: ctypes.CDLL, packing: Packing, s: Shape, weights: Array) -> Array:
    """What the packer writes, between guards that it must not touch."""
    assert packing.packer is not None
    guard, elems = 16, packing.elems(s)
    memory = np.full(elems + 2 * guard, 7.5, np.float32)
    shape = CShape(**{name: getattr(s, name) for name in FIELDS})
    to = ctypes.c_void_p(memory.ctypes.data + F32_BYTES * guard)
    getattr(library, packing.packer.name)(ctypes.byref(shape), ctypes.c_void_p(weights.ctypes.data), to)
    assert (memory[:guard] == 7.5).all()
    assert (memory[-guard:] == 7.5).all()
    return memory[guard:-guard]


def test_every_packing_that_grows_has_a_packer() -> None:
    for primitive in registry.all_primitives().values():
        if primitive.op == "conv" and primitive.family == "winograd":
            assert primitive.packing.packer is not None


@pytest.mark.parametrize("name", sorted(PACKED))
@settings(max_examples=12, deadline=None)
@given(
    c=st.integers(1, 21),
    m=st.integers(1, 150),
    group=st.integers(1, 3),
    tall=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_c_and_python_pack_the_same_bytes(
    library: ctypes.CDLL, name: str, c: int, m: int, group: int, tall: bool, seed: int
) -> None:
    primitive = PACKED[name]
    s = layer(primitive, c, m, group, tall)
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal(weight_elems(s)).astype(np.float32)
    weights *= np.exp2(generator.integers(-60, 60, weights.size)).astype(np.float32)
    weights[generator.random(weights.size) < 0.1] = -0.0
    expected = primitive.packing.pack(s, weights)
    actual = packed_by_c(library, primitive.packing, s, weights)
    assert actual.tobytes() == expected.tobytes()
