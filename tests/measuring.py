"""The measuring program of tests that measure, compiled before any of their time limits runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.graph.onnx_import import import_onnx
from app.profiling.plan import needed_costs
from kernels import registry
from kernels.build import build_harness, host_toolchain


def compiled_for(model: bytes, cache: pytest.Cache) -> Path:
    """The folder of measuring programs, kept between sessions, with what `model` needs and nothing else compiled."""
    folder = Path(cache.mkdir("harness"))
    names = sorted({key.primitive for key in needed_costs(import_onnx(model, name="model"))})
    build_harness(host_toolchain(), folder, sanitize=False, primitives=map(registry.get, names))
    return folder
