"""Harness builds shared by the kernel tests: one child process per way of compiling, kept for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernels.build import BuildError, build_harness
from kernels.harness import Harness
from tests.kernels.variants import toolchain_of


@pytest.fixture(scope="session")
def harness_dir(request: pytest.FixtureRequest) -> Path:
    """Where test builds are cached between sessions; the names in it are content hashes."""
    return Path(request.config.cache.mkdir("harness"))


@pytest.fixture(scope="session")
def harness_of(harness_dir: Path) -> Iterator[Callable[[str], Harness]]:
    """The running harness of a variant (variants.py)."""
    running: dict[str, Harness] = {}
    broken: dict[str, BuildError] = {}

    def start(variant: str) -> Harness:
        if variant in broken:
            raise broken[variant]  # once is enough: a thousand tests would each compile again
        if variant not in running:
            toolchain, sanitize = toolchain_of(variant)
            try:
                binary = build_harness(toolchain, harness_dir, sanitize=sanitize)
                running[variant] = Harness(binary, runner=toolchain.runner)
            except BuildError as error:
                broken[variant] = error
                raise
        return running[variant]

    yield start
    for harness in running.values():
        harness.close()
