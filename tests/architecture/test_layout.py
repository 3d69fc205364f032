"""The shape of the code base itself: contracts that a linter of lines cannot see."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("app", "solver", "kernels", "frontend", "migrations")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".c", ".h", ".js"}
]


def test_import_contracts_hold():
    """`make lint` runs the same contracts; here they also guard a bare `pytest`."""
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_planted_upward_import_breaks_its_contract(tmp_path):
    """The contracts can fail: solver importing kernels is reported."""
    for name in ("app", "solver", "kernels"):
        target = tmp_path / name
        target.mkdir()
        (target / "__init__.py").write_text("")
    (tmp_path / "solver" / "bad.py").write_text("import kernels\n")
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_packages =\n    app\n    solver\n    kernels\n"
        "[importlinter:contract:1]\nname = layers\ntype = layers\nlayers =\n    app\n    solver | kernels\n"
    )
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", ".importlinter"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "solver.bad" in result.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_a_tower_and_no_module_is_a_drawer(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "util", "common", "helpers", "misc"}


def test_every_kernel_source_carries_the_permissive_licence_line():
    """Kernels leave with the user, so each says under which terms."""
    missing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "kernels").rglob("*.[ch]")
        if "SPDX-License-Identifier: MIT-0" not in path.read_text()[:300]
    ]
    assert not missing
