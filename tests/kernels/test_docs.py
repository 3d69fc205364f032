"""docs/primitives.md is what the registry says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kernels import docs, registry


def test_committed_reference_equals_the_registry() -> None:
    committed = (Path(registry.ROOT).parent / "docs" / "primitives.md").read_text()
    assert committed == docs.render(registry.all_primitives().values()), (
        "run: python -m kernels.docs > docs/primitives.md"
    )


def test_every_primitive_is_in_it() -> None:
    text = docs.render(registry.all_primitives().values())
    for primitive in registry.all_primitives().values():
        assert f"| {primitive.family} | {primitive.variant} | " in text


def test_primitive_without_a_stated_condition_is_an_error() -> None:
    silent = dataclasses.replace(registry.get("conv_im2col_chw_chw_f32"), refuses=lambda _shape: None)
    with pytest.raises(ValueError, match="conv_im2col_chw_chw_f32"):
        docs.render([silent])
