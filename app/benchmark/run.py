"""One network: its bundle and the peers made ready, raced, and turned into rows."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.benchmark.contender import Contender, ContenderError, FloatArray, Turn
from app.benchmark.conversion import converted, python_module
from app.benchmark.driver import build_driver
from app.benchmark.peers import EXTRA, PEERS, PeerKind
from app.benchmark.race import race
from app.benchmark.results import OURS, Row, make_row
from app.benchmark.task import Task, Tensor
from app.errors import UserError
from app.verify.opened import opened
from kernels.build import BuildError, Toolchain, build_harness
from kernels.harness import Harness, HostSpeed


@dataclass(frozen=True)
class Network:
    """What is compared: the ONNX file every peer reads (itself or converted), and our bundle of the same network.

    `case` is one test input with the outputs onnxruntime gives for it on the original file, in port order.
    """

    name: str
    model: Path
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    case: tuple[Sequence[FloatArray], Sequence[FloatArray]]
    macs: int
    bundle: Path
    planned_bytes: int  # arena + weights + inputs + outputs of the bundle


@dataclass(frozen=True)
class Setup:
    """How to compare. `version` is ours; `converted` is the folder that keeps converted files."""

    peers: tuple[str, ...]
    threads: int
    cpus: tuple[int, ...]
    rounds: int
    turn: Turn
    toolchain: Toolchain
    version: str
    converted: Path
    harness: Path  # the program of `build_speedometer`


@dataclass(frozen=True)
class Compared:
    """Rows of one network, and the FMA peak of a core that their shares refer to: the better of before and after."""

    rows: list[Row]
    fma_gflops: float
    vector_floats: int


def check_peers(names: Collection[str]) -> tuple[str, ...]:
    """The names in the order of the tables; raises UserError for one that does not exist."""
    unknown = sorted(set(names) - PEERS.keys())
    if unknown:
        raise UserError(
            "query-invalid", f"no such runtime: {', '.join(unknown)}", hint=f"--against {','.join(PEERS)} or some of it"
        )
    return tuple(name for name in PEERS if name in names)


def build_speedometer(toolchain: Toolchain, data_dir: Path) -> Path:
    """The program that measures costs, without routines: what a core can do at best. Raises UserError."""
    try:
        return build_harness(toolchain, data_dir / "harness", sanitize=False, primitives=())
    except BuildError as error:
        raise UserError("harness-does-not-build", error.message, hint=error.hint) from None


def _speed(setup: Setup) -> HostSpeed:
    with Harness(setup.harness, cpus=setup.cpus[:1]) as harness:
        return harness.measure_host()


def bench(
    network: Network,
    setup: Setup,
    *,
    on_stage: Callable[[str, int], None] = lambda _name, _total: None,
    on_progress: Callable[[int, int], None] = lambda _completed, _total: None,
) -> Compared:
    """Rows of our bundle and of every peer asked for, those that could not run with the reason.


    Raises UserError when our own bundle does not compile, fails or computes something else.
    """
    expected = tuple(network.case[1])
    with opened(network.bundle) as bundle, tempfile.TemporaryDirectory(prefix="tradespace-bench-") as scratch:
        folder = Path(scratch)
        on_stage(f"{network.name}: compiling the bundle", 0)
        program = build_driver(bundle, setup.toolchain.cc, setup.toolchain.flags)
        inputs_file = folder / "inputs.bin"
        with inputs_file.open("wb") as file:
            for array in network.case[0]:
                file.write(array.astype("<f4").tobytes())

        def ours() -> Contender:
            outputs_file = folder / f"{OURS}.bin"
            return Contender(OURS, [str(program), str(inputs_file), str(outputs_file)], setup.cpus, outputs_file)

        contenders: dict[str, Callable[[], Contender]] = {OURS: ours}
        for name in setup.peers:
            contenders[name] = functools.partial(_start_peer, PEERS[name], network, setup, inputs_file, folder)
        on_stage(f"{network.name}: {len(contenders)} runtimes in turn", len(contenders) * (setup.rounds + 1))
        before = _speed(setup)
        records = race(contenders, expected, setup.rounds, setup.turn, on_progress=on_progress)
        speed = max(before, _speed(setup), key=lambda speed: speed.fma_gflops)  # disturbance only ever lowers it
    own = records[OURS]
    if own.error:
        raise UserError(
            "bundle-mismatch",
            f"{network.name}: our own bundle fails in the benchmark: {own.error}",
            hint="this is a defect of the export; please report it with the model",
        )
    versions = {OURS: setup.version} | {name: PEERS[name].versions().get(name, "") for name in setup.peers}
    rows = [
        make_row(
            network.name,
            name,
            versions[name],
            record,
            own,
            threads=setup.threads,
            macs=network.macs,
            fma_gflops=speed.fma_gflops,
            planned_bytes=network.planned_bytes if name == OURS else None,
        )
        for name, record in records.items()
    ]
    return Compared(rows, speed.fma_gflops, speed.vector_floats)


def _start_peer(kind: PeerKind, network: Network, setup: Setup, inputs_file: Path, folder: Path) -> Contender:
    missing = kind.missing()
    if missing:
        raise ContenderError(f"not installed: {', '.join(missing)} ({EXTRA})")
    model = network.model
    if kind.converter:
        model = converted(kind, model, network.sha256, network.inputs, setup.converted)
    outputs_file, task_file = folder / f"{kind.name}.bin", folder / f"{kind.name}.json"
    task = Task(kind.name, model.resolve(), network.inputs, network.outputs, inputs_file, outputs_file, setup.threads)
    task.write(task_file)
    command, environment = python_module("app.benchmark.peers.worker", str(task_file))
    return Contender(kind.name, command, setup.cpus, outputs_file, environment=environment)
