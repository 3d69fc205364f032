"""Fixtures every suite may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled kernels of this test run, all its processes together: bundles with the same ones compile them once."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "objects"


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of pretrained networks beside the repository; tests that need it are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "models"
    if not (folder / "ref" / "expected.json").is_file():
        pytest.skip(f"no pretrained networks in {folder}")
    return folder
