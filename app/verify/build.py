"""Compiles a bundle as strictly as its users may, with the self-test of the bundle and with our own probe."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.errors import Item, UserError
from app.verify.opened import OpenedBundle
from app.verify.probe import probe_source
from kernels.build import SANITIZE_FLAGS

STRICT_FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
OPTIMISED_FLAGS = ("-O3",)
RACE_FLAGS = ("-O1", "-g1", "-fsanitize=thread", "-fno-omit-frame-pointer")
SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections")
PARALLEL_COMPILES = 2
_MOST_ERROR_LINES = 12


@dataclass(frozen=True)
class Built:
    """The programs made from a bundle. `code_bytes`: machine code of the routines the network calls."""

    selftest: Path
    probe: Path
    compiler: str  # as it names itself
    flags: tuple[str, ...]
    code_bytes: int


def build(
    bundle: OpenedBundle,
    compiler: str,
    extra_flags: Sequence[str],
    *,
    mode: Sequence[str],
    timeout_s: float,
    cache: Path | None = None,
) -> Built:
    """Compile and link; raises UserError `compiler-missing` or `bundle-does-not-compile`.

    `mode` is OPTIMISED_FLAGS, SANITIZE_FLAGS or, for races between threads, RACE_FLAGS. `cache` is a folder of kernel
    objects that earlier builds left there; one is taken only where compiler, flags and preprocessed text are the same.
    """
    if shutil.which(compiler) is None:
        raise UserError(
            "compiler-missing",
            f"the C compiler {compiler} was not found",
            hint="install it, or choose another compiler for this device",
            facts={"compiler": compiler},
        )
    flags = (*STRICT_FLAGS, *mode, *extra_flags)
    output = bundle.folder.parent / f"verify-build{len(list(bundle.folder.parent.glob('verify-build*')))}"
    output.mkdir()
    probe = output / "probe.c"
    probe.write_text(probe_source(bundle))
    library = bundle.library_sources()
    tests = [bundle.folder / "test" / "test_main.c", bundle.folder / "test" / "vectors.S"]
    sources = [*library, *tests, probe]
    objects = {source: output / f"{number}.o" for number, source in enumerate(sources)}
    outlined = _outlined(compiler, timeout_s) if mode == SANITIZE_FLAGS else ()
    identity = _run([compiler, "--version"], timeout_s)

    def compile_one(source: Path) -> None:
        command = [compiler, *flags, *outlined, *SECTION_FLAGS, "-I", str(bundle.folder), "-I", str(source.parent)]
        if cache is None or source.parent != bundle.folder / "kernels":
            _run([*command, "-c", "-o", str(objects[source]), str(source)], timeout_s)
            return
        text = _run([*command, "-E", "-P", str(source)], timeout_s)
        key = "\0".join([identity, *flags, *SECTION_FLAGS, text])
        known = cache / f"{hashlib.sha256(key.encode()).hexdigest()}.o"
        if not known.exists():
            _run([*command, "-c", "-o", str(objects[source]), str(source)], timeout_s)
            cache.mkdir(parents=True, exist_ok=True)
            fresh = known.with_suffix(f".{os.getpid()}")
            shutil.copyfile(objects[source], fresh)
            fresh.replace(known)  # whole or not at all
        objects[source] = known

    with ThreadPoolExecutor(PARALLEL_COMPILES) as pool:
        list(pool.map(compile_one, sources))

    linked = [str(objects[source]) for source in library]
    libraries = [*(["-lm"] if bundle.needs_libm else []), *(["-pthread"] if bundle.threads > 1 else [])]

    def link(name: str, mains: list[Path]) -> Path:
        program = output / name
        parts = [str(objects[main]) for main in mains]
        _run([compiler, *flags, "-Wl,--gc-sections", "-o", str(program), *parts, *linked, *libraries], timeout_s)
        return program

    return Built(
        selftest=link("selftest", tests),
        probe=link("probe", [probe]),
        compiler=identity.splitlines()[0].strip(),
        flags=flags,
        code_bytes=_code_bytes(bundle, compiler, linked, output, timeout_s),
    )


def _outlined(compiler: str, timeout_s: float) -> tuple[str, ...]:
    """Flags that make each check of the address sanitizer a call: inlined, they triple a compilation's time."""
    option = "asan-instrumentation-with-call-threshold=0"
    if "clang" in _run([compiler, "--version"], timeout_s):
        return "-mllvm", f"-{option}"
    return (f"--param={option}",)


def _code_bytes(bundle: OpenedBundle, compiler: str, objects: list[str], output: Path, timeout_s: float) -> int:
    """Sum of the .text sections of what is left of the library when only its interface is kept."""
    kept = output / "kept.o"
    interface = ("init", "run", "strerror", *(["close"] if bundle.threads > 1 else []))
    roots = [f"-Wl,-u,{bundle.prefix}_{name}" for name in interface]
    _run([compiler, "-r", "-nostdlib", "-Wl,--gc-sections", *roots, "-o", str(kept), *objects], timeout_s)
    table = _run(["size", "-A", str(kept)], timeout_s)
    rows = [line.split() for line in table.splitlines()]
    return sum(int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".text"))


def _run(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise UserError(
            "compiler-missing", f"the tool {command[0]} was not found", hint="install the compiler's binary utilities"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            "bundle-does-not-compile", f"{command[0]} took longer than {timeout_s:.0f} s: {command[-1]}"
        ) from error
    if done.returncode != 0:
        # The scratch folder's name says nothing to a reader.
        stderr = re.sub(r"\S*/tradespace-verify-[^/\s]*/", "", done.stderr)
        lines = [line for line in stderr.splitlines() if line.strip()]
        raise UserError(
            "bundle-does-not-compile",
            f"{Path(command[0]).name} refuses {Path(command[-1]).name}",
            hint="this is a defect of the export; please report it with the lines below",
            items=[Item(Path(command[-1]).name, line) for line in lines[:_MOST_ERROR_LINES]],
        )
    return done.stdout
