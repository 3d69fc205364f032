"""The registry finds every declaration, and every declaration is complete and true to its C file."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from kernels import registry
from kernels.build import included_headers
from kernels.spec import BINARY_OPS, OPS, UNARY_OPS, Layout, Primitive, bias_elems, weight_elems
from tests.strategies import edge_shapes, operands

PRIMITIVES = registry.all_primitives()
_LIBM = re.compile(
    r"\b(?:exp|exp2|expm1|log|log2|log1p|pow|sqrt|tanh|sin|cos|fabs|floor|ceil|round|lround|rint|fmax|fmin|fma)f?\("
)


def _c_text(primitive: Primitive) -> str:
    files = (primitive.source, *primitive.headers)
    return "\n".join((registry.ROOT / file).read_text() for file in files)


def test_every_operator_has_a_primitive() -> None:
    assert {primitive.op for primitive in PRIMITIVES.values()} == OPS


def test_every_operator_but_convolution_and_dense_exists_in_every_layout() -> None:
    for op in OPS - {"conv", "dense", "convert"}:
        layouts = {p.in_layout for p in PRIMITIVES.values() if p.op == op and p.in_layout is p.out_layout}
        assert layouts == set(Layout), op


def test_every_ordered_pair_of_layouts_has_a_conversion() -> None:
    """And hwc to hwc, which makes part of a larger tensor a dense one."""
    pairs = {(p.in_layout, p.out_layout) for p in PRIMITIVES.values() if p.op == "convert"}
    assert pairs == {*itertools.permutations(Layout, 2), (Layout.HWC, Layout.HWC)}


def test_plain_operators_work_in_place_in_every_layout() -> None:
    for op in UNARY_OPS | BINARY_OPS | {"scale", "prelu", "const_add", "const_mul", "softmax"}:
        assert all(p.in_place for p in PRIMITIVES.values() if p.op == op), op


def test_no_chw_routine_of_a_plain_operator_refuses_a_plain_shape() -> None:
    for op in UNARY_OPS | BINARY_OPS | {"scale", "prelu", "const_add", "const_mul", "softmax", "concat", "slice"}:
        for shape in edge_shapes(op):
            accepted, _ = registry.candidates(shape)
            assert any(p.in_layout is Layout.CHW for p in accepted), shape.key()


@pytest.mark.parametrize("name", PRIMITIVES)
def test_declaration_names_every_header_the_source_includes(name: str) -> None:
    primitive = PRIMITIVES[name]
    assert tuple(sorted(primitive.headers)) == included_headers(registry.ROOT / primitive.source)


@pytest.mark.parametrize("source", sorted({p.source for p in PRIMITIVES.values()}))
def test_libm_is_declared_exactly_where_it_is_called(source: str) -> None:
    here = [p for p in PRIMITIVES.values() if p.source == source]
    calls = bool(_LIBM.search(re.sub(r"/\*.*?\*/", "", _c_text(here[0]), flags=re.DOTALL)))
    assert {p.needs_libm for p in here} == {calls}


@pytest.mark.parametrize("source", sorted({p.source for p in PRIMITIVES.values()}))
def test_sources_leave_with_the_user_so_they_carry_the_licence_and_need_no_system(source: str) -> None:
    primitive = next(p for p in PRIMITIVES.values() if p.source == source)
    text = _c_text(primitive)
    for file in (primitive.source, *primitive.headers):
        assert "SPDX-License-Identifier: MIT-0" in (registry.ROOT / file).read_text().splitlines()[0], file
    assert set(re.findall(r"#include <([^>]+)>", text)) <= {"stddef.h", "stdint.h", "string.h", "math.h", "float.h"}
    assert not re.search(r"\b(malloc|calloc|alloca|printf|getenv)\s*\(", text)


def test_every_source_below_kernels_belongs_to_a_declaration() -> None:
    declared = {p.source for p in PRIMITIVES.values()}
    declared |= {p.packing.packer.source for p in PRIMITIVES.values() if p.packing.packer}
    present = {
        str(path.relative_to(registry.ROOT))
        for folder in ("conv", "ops", "convert")
        for path in (registry.ROOT / folder).glob("*.c")
    }
    assert present == declared


@pytest.mark.parametrize("name", PRIMITIVES)
def test_declaration_is_complete(name: str) -> None:
    primitive = PRIMITIVES[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", primitive.name)
    assert primitive.cite.strip()
    assert primitive.max_rel_err <= 1e-4
    assert not primitive.in_place or primitive.in_layout is primitive.out_layout


@pytest.mark.parametrize("name", PRIMITIVES)
def test_packing_returns_the_declared_number_of_floats(name: str) -> None:
    primitive = PRIMITIVES[name]
    for seed, shape in enumerate(edge_shapes(primitive.op)):
        if primitive.refuses(shape) is not None:
            continue
        given = operands(shape, seed)
        if weight_elems(shape):
            packed = primitive.packing.pack(shape, given.weights)
            assert packed.shape == (primitive.packing.elems(shape),), shape.key()
            assert packed.dtype == np.float32
        if bias_elems(shape):
            packed = primitive.bias_packing.pack(shape, given.bias)
            assert packed.shape == (primitive.bias_packing.elems(shape),), shape.key()


def test_candidates_and_refusals_cover_the_operator() -> None:
    for op in ("conv", "concat", "slice"):
        everyone = {p.name for p in PRIMITIVES.values() if p.op == op}
        for shape in edge_shapes(op):
            accepted, refused = registry.candidates(shape)
            assert {p.name for p in accepted} | set(refused) == everyone
            assert not {p.name for p in accepted} & set(refused)
            assert all(reason.strip() for reason in refused.values())


def test_source_hash_is_of_the_c_text_and_its_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "clamp_elementwise_chw_chw_f32"
    primitive = PRIMITIVES[name]
    before = registry.source_hash(name)
    for file in (primitive.source, *primitive.headers):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((registry.ROOT / file).read_bytes())
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    fresh = registry.source_hash.__wrapped__
    assert fresh(name) == before
    for file in (primitive.source, *primitive.headers):
        original = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(original + b"\n")
        assert fresh(name) != before, file
        (tmp_path / file).write_bytes(original)
