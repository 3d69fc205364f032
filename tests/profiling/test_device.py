"""Devices with threads: their names, their cores, their costs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import UserError
from app.profiling.device import Device, base_and_threads, cores, host_device, load_devices, with_threads
from kernels.build import Toolchain
from kernels.split import MOST_THREADS


def test_cores_are_those_this_process_may_use_each_once() -> None:
    assert sorted(cores()) == sorted(os.sched_getaffinity(0))
    assert host_device().cpus == cores()[:1]


def test_names_ask_for_threads() -> None:
    assert base_and_threads("host") == ("host", None)
    assert base_and_threads("board@4") == ("board", 4)
    for name in ("host@", "host@0", "host@02", "host@two", f"host@{MOST_THREADS + 1}"):
        with pytest.raises(UserError, match="NAME@THREADS") as caught:
            base_and_threads(name)
        assert caught.value.code == "device-invalid"


def test_more_threads_are_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.profiling.device.cores", lambda: (7, 5, 3, 1))
    host = Device("host", Toolchain("gcc"), (7,), description="here")
    shared = with_threads(host, 3)
    assert (shared.name, shared.threads, shared.cpus) == ("host@3", 3, (7, 5, 3))
    assert shared.description == "here, 3 threads"
    assert shared.fingerprint() != host.fingerprint()
    assert shared.cost_id.startswith("host@3:")
    assert with_threads(host, 1) is host
    with pytest.raises(UserError, match=r"4 processor\(s\)"):
        with_threads(host, 5)


def test_unpinned_devices_stay_unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.profiling.device.cores", lambda: (1, 0))
    assert with_threads(Device("free", Toolchain("gcc")), 2).cpus == ()


def test_a_device_of_the_file_may_have_threads_and_fewer_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.profiling.device.cores", lambda: (1, 0))
    file = tmp_path / "devices.toml"
    file.write_text('[device.both]\ncc = "gcc"\ncpus = [0, 1]\nthreads = 2\n[device.one]\ncc = "gcc"\ncpu = 1\n')
    devices = load_devices(file)
    assert (devices["both"].threads, devices["both"].cpus) == (2, (0, 1))
    assert (devices["one"].threads, devices["one"].cpus) == (1, (1,))
    alone = with_threads(devices["both"], 1)
    assert (alone.name, alone.threads, alone.cpus) == ("both@1", 1, (0,))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("threads = 0", "threads is 1"),
        ('threads = "2"', "threads is 1"),
        ("cpus = [0, 0]\nthreads = 2", "need as many cpus"),
        ("cpus = [0, 1]", "need as many cpus"),
        ('cpus = ["a"]', "cpus are numbers"),
        ("cores = 2", "may have"),
    ],
)
def test_wrong_entries_are_named(lines: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(f'[device.odd]\ncc = "gcc"\n{lines}\n')
    with pytest.raises(UserError, match=said) as caught:
        load_devices(file)
    assert "[device.odd]" in caught.value.message
