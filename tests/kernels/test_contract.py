"""One contract for every primitive at every vector width: exact result, exact workspace, nothing else touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels import registry
from kernels.build import build_harness, host_toolchain
from kernels.harness import Harness
from kernels.spec import Layout, Primitive, Shape
from tests.kernels.contract import breaches
from tests.strategies import edge_shapes, shapes

PRIMITIVES = registry.all_primitives()
VARIANTS = ("sanitized", "native", "avx2", "sse", "scalar", "clang")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_keeps_the_contract(name: str, variant: str, harness_of: Callable[[str], Harness]) -> None:
    primitive = PRIMITIVES[name]
    harness = harness_of(variant)
    found = []
    accepted = 0
    for seed, shape in enumerate(edge_shapes(primitive.op)):
        if primitive.refusal(shape) is None:
            accepted += 1
            found += breaches(harness, primitive, shape, seed)
    assert not found, "\n".join(found)
    assert accepted > 0, "no shape of tests/strategies.py is accepted, so nothing was checked"


@pytest.mark.parametrize("name", PRIMITIVES)
def test_refusal_says_why(name: str) -> None:
    for shape in edge_shapes(PRIMITIVES[name].op):
        reason = PRIMITIVES[name].refusal(shape)
        assert reason is None or reason.strip(), shape.key()


@pytest.mark.parametrize("op", sorted({primitive.op for primitive in PRIMITIVES.values()}))
def test_any_shape_keeps_the_contract(op: str, harness_of: Callable[[str], Harness]) -> None:
    harness = harness_of("sanitized")

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )
    @given(shape=shapes(op), seed=st.integers(0, 29))
    def check(shape: Shape, seed: int) -> None:
        accepted, _ = registry.candidates(shape)
        found = [breach for primitive in accepted for breach in breaches(harness, primitive, shape, seed)]
        assert not found, "\n".join(found)

    check()


# What the contract must catch: one sound routine with a row of workspace, and its mutants.

SOUND = """
#include "ts.h"
TS_ROUTINE(clamp_{family}_chw_chw_f32)
{{
    (void)weights, (void)bias;
    for (int32_t row = 0; row < s->c * s->h; row++) {{
        for (int32_t i = 0; i < s->w; i++)
            workspace[i] = x[0][row * s->w + i];
        for (int32_t i = 0; i < s->w; i++)
            y[row * s->w + i] = ts_clamp(workspace[i], s->lo, s->hi);
    }}
    {mutation}
}}
"""
MUTATIONS = {
    "sound": "",
    "past_y": "y[s->m * s->oh * s->ow] = 0.0f;",
    "before_y": "y[-1] = 0.0f;",
    "wrong_value": "y[s->m * s->oh * s->ow - 1] += 0.001f;",
    "short_write": "y[0] = s->w > 1000 ? 1.0f : workspace[s->w];",
    "changes_input": "((float *)x[0])[0] = 9.0f;",
}
SHAPE = Shape("clamp", 3, 4, 6, 3, 4, 6)


def _mutant(family: str, source: Path, row_elems: Callable[[Shape], int] = lambda s: s.w) -> Primitive:
    return Primitive(
        "clamp", family, Layout.CHW, Layout.CHW, str(source), cite="test", workspace_elems=row_elems, max_rel_err=0.0
    )


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def mutants(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    folder = tmp_path_factory.mktemp("mutants")
    found = {}
    for family, mutation in MUTATIONS.items():
        source = folder / f"{family}.c"
        source.write_text(SOUND.format(family=family, mutation=mutation))
        found[family] = _mutant(family, source)
    toolchain = host_toolchain()
    binary = build_harness(toolchain, folder, sanitize=request.param == "sanitized", primitives=found.values())
    with Harness(binary) as harness:
        yield harness, found, request.param == "sanitized"


def test_sound_routine_passes(mutants: tuple) -> None:
    harness, found, _ = mutants
    assert breaches(harness, found["sound"], SHAPE, 0) == []


def test_workspace_formula_one_float_short_is_caught(mutants: tuple) -> None:
    harness, found, sanitized = mutants
    short = dataclasses.replace(found["sound"], workspace_elems=lambda s: s.w - 1)
    (breach,) = breaches(harness, short, SHAPE, 0)
    assert ("heap-buffer-overflow" if sanitized else "wrote outside") in breach
    assert short.name in breach
    assert SHAPE.key() in breach


def test_workspace_formula_one_row_too_large_is_caught(mutants: tuple) -> None:
    harness, found, _ = mutants
    large = dataclasses.replace(found["sound"], workspace_elems=lambda s: 2 * s.w)
    (breach,) = breaches(harness, large, SHAPE, 0)
    assert f"touched {4 * SHAPE.w} workspace bytes of {8 * SHAPE.w}" in breach


def test_writing_past_y_is_caught(mutants: tuple) -> None:
    harness, found, sanitized = mutants
    (breach,) = breaches(harness, found["past_y"], SHAPE, 0)
    assert ("heap-buffer-overflow" if sanitized else "wrote outside") in breach


def test_writing_before_y_is_caught(mutants: tuple) -> None:
    harness, found, _ = mutants
    (breach,) = breaches(harness, found["before_y"], SHAPE, 0)
    assert "wrote outside" in breach


def test_wrong_result_is_caught(mutants: tuple) -> None:
    harness, found, _ = mutants
    (breach,) = breaches(harness, found["wrong_value"], SHAPE, 0)
    assert "relative error" in breach


def test_reading_memory_never_written_is_caught(mutants: tuple) -> None:
    harness, found, _ = mutants
    reader = dataclasses.replace(found["short_write"], workspace_elems=lambda s: s.w + 1)
    caught = " ".join(breaches(harness, reader, SHAPE, 0))
    assert "depends on what y or workspace held" in caught
    assert "relative error inf" in caught


def test_changing_an_input_is_caught(mutants: tuple) -> None:
    harness, found, _ = mutants
    assert any("changed an input" in breach for breach in breaches(harness, found["changes_input"], SHAPE, 0))


def test_a_crash_is_that_routines_breach_and_the_next_call_works(mutants: tuple) -> None:
    harness, found, sanitized = mutants
    if not sanitized:
        pytest.skip("without the sanitizer the guard bytes report it instead")
    (breach,) = breaches(harness, found["past_y"], SHAPE, 0)
    assert "ended" in breach
    assert breaches(harness, found["sound"], SHAPE, 0) == []
