"""The reference of commands and settings says what the program does, and the compose file sets what exists."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from app.cli.program import COMMANDS, program
from app.quantities import format_bytes, format_ns, format_ns_alike, parse_bytes, parse_ns
from app.settings import Settings, settings_table

ROOT = Path(__file__).parents[2]
CLI_PAGE = (ROOT / "docs" / "cli.md").read_text()


def commands(command, path=()):
    """Every command as a tuple of words."""
    for name, found in getattr(command, "commands", {}).items():
        if getattr(found, "commands", None):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name)


def test_every_command_is_in_the_reference_and_has_help():
    found = list(commands(typer.main.get_command(program)))
    assert len(found) > 20
    for words in found:
        # Sub-commands are listed as `group first | second`.
        line = rf"{words[0]} [^\n]*\b{words[-1]}\b" if len(words) > 1 else rf"tradespace {words[0]}\b"
        assert re.search(line, CLI_PAGE), " ".join(words)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_module_registers_the_commands_it_is_imported_for(module):
    part = typer.Typer()
    importlib.import_module(f"app.cli.{module}").register(part)
    assert sorted(typer.main.get_group(part).commands) == sorted(COMMANDS[module])


def test_every_module_with_commands_is_known():
    modules = {path.stem for path in (ROOT / "app" / "cli").glob("*.py") if "def register(" in path.read_text()}
    assert modules == set(COMMANDS)


def test_a_command_that_needs_neither_optimiser_nor_database_loads_neither():
    script = "import sys; from app.cli.program import run; run(['--version']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.startswith("tradespace ")
    assert not {"numpy", "sqlalchemy", "pyomo", "onnx"} & set(loaded.stdout.split())


def test_every_setting_is_in_the_reference_with_its_default_unit_and_help():
    for row in settings_table():
        default = f"`{row.default}`" if row.default and " " not in row.default else row.default
        assert f"| `{row.variable}` | {default} | {row.unit} | {row.help_text} |" in CLI_PAGE


def test_settings_come_from_the_environment_and_go_to_a_child_as_they_are(monkeypatch, tmp_path):
    for row in settings_table():
        monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setenv("TRADESPACE_DATA", str(tmp_path))
    monkeypatch.setenv("TRADESPACE_PORT", "8123")
    monkeypatch.setenv("TRADESPACE_TOKEN", "ts_secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://u:p@h/d")
    settings = Settings()
    assert (settings.data, settings.port, settings.url) == (tmp_path, 8123, "postgresql+psycopg://u:p@h/d")
    assert "ts_secret" not in repr(settings)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    monkeypatch.setenv("TRADESPACE_PORT", "70000")
    with pytest.raises(ValueError, match="port"):
        Settings()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("board.local", False),
    ],
)
def test_which_addresses_are_loopback(host, loopback):
    assert Settings(host=host).binds_loopback is loopback


def test_the_compose_file_and_the_image_set_only_settings_that_exist():
    known = {row.variable for row in settings_table()} | {"POSTGRES_PASSWORD"}
    for name in ("docker-compose.yml", "Dockerfile"):
        used = set(re.findall(r"\b(TRADESPACE_[A-Z_]+|DATABASE_URL)\b", (ROOT / name).read_text()))
        assert used
        assert used <= known
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "TRADESPACE_TOKEN" in compose, "it listens beyond its machine"
    assert "postgresql+psycopg://" in compose
    for command in re.findall(r'command: \["tradespace", "(\w+)"', compose):
        assert (command,) in set(commands(typer.main.get_command(program)))


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("384KiB", 393216), ("6 MiB", 6291456), ("0.5MiB", 524288), ("96kb", 96000), ("2MB", 2_000_000)],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "ns"), [("20ms", 20_000_000), ("350us", 350_000), ("1.5s", 1_500_000_000), ("7ns", 7)]
)
def test_times(text, ns):
    assert parse_ns(text) == ns


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1e3", "1.2.3KiB", "5 bananas", "١KiB", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(Exception, match="is not a size"):
        parse_bytes(text)


def test_figures_read_well():
    assert format_bytes(983040) == "983,040 B (960.0 KiB)"
    assert format_bytes(5) == "5 B"
    assert [format_ns(n) for n in (5, 4_830_000, 12_345, 1_000_000_000)] == ["5 ns", "4.83 ms", "12.3 us", "1 s"]
    assert format_ns_alike([4_960_318, 304_000]) == ["4.9603 ms", "0.3040 ms"]
    assert format_ns_alike([130_123, 7]) == ["130.12 us", "0.01 us"]
    assert format_ns_alike([999]) == ["999 ns"]
    assert format_ns_alike([]) == []
    assert os.linesep not in format_ns(10**12)
