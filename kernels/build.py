"""Compiles the primitives and their driver into one harness binary, cached by content.

Knows compilers and files, nothing of shapes, costs or what the binary is used for.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kernels import registry
from kernels.spec import Primitive

INCLUDE = registry.ROOT / "include"
DRIVER = registry.ROOT / "harness.c"
STRICT_FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
# -O1 and -g1 keep sanitised routines quick to compile; frame pointers make the reports readable. Checks for null and
# for object sizes are left out: a null access faults by itself, and the address sanitizer sees past the end of objects.
SANITIZE_FLAGS = (
    "-O1",
    "-g1",
    "-fsanitize=address,undefined",
    "-fno-sanitize=null,object-size",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
PARALLEL_COMPILES = len(os.sched_getaffinity(0))
_CANDIDATE_COMPILERS = ("gcc", "clang", "cc")
_THIS_PROCESSOR = ("-march=native", "-mcpu=native")
"""How compilers are told to optimise for the machine they run on, best first: older clang on ARM knows the second."""
_INCLUDE_LINE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
_CONFIG_HEADER = "#define TS_SYMBOL(name) ts_##name\n"


class BuildError(Exception):
    """The harness could not be built: `message` says what failed, `hint` what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Toolchain:
    """A C compiler, the flags that fix its optimisation and target, and what starts its programs.

    `runner` goes before the path of a program: an emulator, or ssh to a board that sees the same files. Empty where
    this machine runs them itself.
    """

    cc: str
    flags: tuple[str, ...] = ("-O3", "-march=native")
    runner: tuple[str, ...] = ()


def host_toolchain(cc: str | None = None) -> Toolchain:
    """`cc`, else $CC, else the first of gcc, clang and cc that exists, optimising for this machine.

    A compiler that takes none of the flags for that optimises for its default target; the flags say so.
    """
    wanted = cc or os.environ.get("CC")
    for name in (wanted,) if wanted else _CANDIDATE_COMPILERS:
        if shutil.which(name):
            return Toolchain(name, ("-O3", *_native_flags(name)))
    if wanted:
        raise BuildError(f"The C compiler {wanted} was not found.", f"Install {wanted} or set CC to another compiler.")
    raise BuildError("No C compiler was found (tried gcc, clang and cc).", "Install gcc or clang, or set CC.")


@functools.cache
def _native_flags(cc: str) -> tuple[str, ...]:
    """The first flag of _THIS_PROCESSOR that the compiler compiles an empty file with; none when it takes none."""
    for flag in _THIS_PROCESSOR:
        command = [cc, flag, "-fsyntax-only", "-x", "c", os.devnull]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return (flag,)
    return ()


def compiler_identity(toolchain: Toolchain) -> str:
    """The first line the compiler prints about its version."""
    return _identity(toolchain.cc)


@functools.cache
def _identity(cc: str) -> str:
    return _run([cc, "--version"], f"The C compiler {cc} does not answer --version.").splitlines()[0].strip()


def included_headers(source: Path) -> tuple[str, ...]:
    """Project headers `source` includes, directly or through others, relative to the kernels folder, sorted.

    The generated ts_config.h and primitives.inc are not among them: no file of that name exists in the project.
    """
    found: dict[Path, None] = {}
    pending = [source]
    while pending:
        file = pending.pop()
        for name in _INCLUDE_LINE.findall(file.read_text()):
            header = next((p for p in (file.parent / name, INCLUDE / name) if p.is_file()), None)
            if header is not None and header.resolve() not in found:
                found[header.resolve()] = None
                pending.append(header)
    return tuple(sorted(os.path.relpath(header, registry.ROOT) for header in found))


def build_harness(
    toolchain: Toolchain,
    out_dir: Path,
    *,
    sanitize: bool,
    primitives: Iterable[Primitive] | None = None,
) -> Path:
    """The harness binary for these primitives (default: all registered), built only if its content is not there yet.

    Objects and binary are named by the SHA-256 of everything that determines them: sources, headers, flags, compiler
    and, for -march=native and its like, the processor. `sanitize` adds address and undefined-behaviour checks.
    Processes that build in the same folder take turns, so that none compiles what another is at. Raises BuildError.
    """
    chosen = tuple(registry.all_primitives().values() if primitives is None else primitives)
    if not shutil.which(toolchain.cc):
        raise BuildError(
            f"The C compiler {toolchain.cc} was not found.", f"Install {toolchain.cc} or choose another toolchain."
        )
    if toolchain.runner and not shutil.which(toolchain.runner[0]):
        raise BuildError(
            f"The runner {toolchain.runner[0]} was not found.", f"Install it to start programs built by {toolchain.cc}."
        )
    flags = toolchain.flags + (SANITIZE_FLAGS if sanitize else ()) + STRICT_FLAGS
    table = "".join(f"TS_PRIMITIVE({p.name})\n" for p in sorted(chosen, key=lambda p: p.name))
    base = _digest(compiler_identity(toolchain), *flags, _processor(flags), _CONFIG_HEADER)
    sources = [*sorted({registry.ROOT / p.source for p in chosen}), DRIVER]
    digests = [_digest(base, table if s == DRIVER else "", *_texts(s)) for s in sources]
    binary = out_dir / f"harness-{_digest(*digests)}"
    if not binary.is_file():
        out_dir.mkdir(parents=True, exist_ok=True)
        with _alone(out_dir):
            if not binary.is_file():
                _build(toolchain.cc, flags, dict(zip(sources, digests, strict=True)), table, binary)
    return binary


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "building.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield


def _build(cc: str, flags: tuple[str, ...], sources: dict[Path, str], table: str, binary: Path) -> None:
    """`binary` of `sources` (source -> digest), compiling those whose objects are not there yet."""
    out_dir = binary.parent
    generated = out_dir / f"generated-{_digest(table, _CONFIG_HEADER)}"
    objects = out_dir / "objects"
    generated.mkdir(parents=True, exist_ok=True)
    objects.mkdir(parents=True, exist_ok=True)
    _replace(generated / "ts_config.h", _CONFIG_HEADER)
    _replace(generated / "primitives.inc", table)

    def compile_one(source: Path) -> Path:
        target = objects / f"{source.stem}-{sources[source]}.o"
        if not target.is_file():
            partial = target.with_suffix(f".{os.getpid()}.part")
            include = ("-I", str(INCLUDE), "-I", str(generated))
            command = [cc, *flags, *include, "-c", str(source), "-o", str(partial)]
            _run(command, f"{cc} rejected {source.name}.")
            partial.replace(target)
        return target

    with ThreadPoolExecutor(PARALLEL_COMPILES) as pool:
        compiled = list(pool.map(compile_one, sources))
    partial = binary.with_suffix(f".{os.getpid()}.part")
    _run(
        [cc, *flags, *map(str, compiled), "-o", str(partial), "-lm", "-pthread"],
        f"{cc} could not link the harness.",
    )
    partial.replace(binary)


def harness_files(primitives: Iterable[Primitive]) -> dict[str, bytes]:
    """Every file the harness of these primitives is made of, to build it elsewhere: path below a new folder -> content.

    Compile the `.c` files with `-I kernels/include -I generated` and link with `-lm -pthread`.
    """
    chosen = sorted(primitives, key=lambda p: p.name)
    sources = {registry.ROOT / p.source for p in chosen} | {DRIVER}
    headers = {registry.ROOT / header for source in sources for header in included_headers(source)}
    files = {f"kernels/{file.relative_to(registry.ROOT)}": file.read_bytes() for file in sorted(sources | headers)}
    table = "".join(f"TS_PRIMITIVE({p.name})\n" for p in chosen)
    return files | {
        "generated/ts_config.h": _CONFIG_HEADER.encode(),
        "generated/primitives.inc": table.encode(),
    }


def _texts(source: Path) -> list[str]:
    return [source.read_text(), *((registry.ROOT / header).read_text() for header in included_headers(source))]


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:20]


def _processor(flags: tuple[str, ...]) -> str:
    """What a flag for this machine resolves to, as far as the cache must know: the processor's feature list."""
    if not any("native" in flag for flag in flags):
        return ""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine() + features


def _replace(file: Path, text: str) -> None:
    """Write `text` so that a concurrent build never reads half a file."""
    partial = file.with_suffix(f"{file.suffix}.{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(file)


def _run(command: list[str], failure: str) -> str:
    """Standard output of `command`; BuildError with its first diagnostics when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(failure, f"Install {command[0]} or choose another toolchain ({error}).") from error
    if done.returncode != 0:
        raise BuildError(failure, "\n".join(done.stderr.strip().splitlines()[:20]))
    return done.stdout
