"""Import of files from strangers: in a child process with limits on memory, processor time and wall time.

What comes back is plain bytes (app.graph.archive or JSON), never a pickle.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from app.errors import Item, UserError
from app.graph import archive
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.graph.onnx_model import ImportLimits


@dataclass(frozen=True)
class SandboxLimits:
    """What the child may use. Memory is `base_bytes` plus `bytes_per_byte` for every byte of the file.

    An import holds the file, its decoded form, the checker's copy, the graph before and after the passes in float64,
    and the answer; 12 covers networks that are nearly all weights, such as VGG.
    """

    base_bytes: int = 2 << 30  # address space of Python, numpy and onnx before the file is read
    bytes_per_byte: int = 12
    cpu_s: int = 120
    wall_s: float = 180.0
    model: ImportLimits = field(default_factory=ImportLimits)


def import_onnx_limited(
    data: bytes, *, name: str, dims: Mapping[str, int] | None = None, limits: SandboxLimits | None = None
) -> Graph:
    """`app.graph.onnx_import.import_onnx` in a child process; raises the same UserErrors.

    Also raises UserError `model-too-large` when the child runs out of memory, `import-timeout` when it runs out of
    time, `model-invalid` when the file crashes the parser. Must not be called from a daemonic process.
    """
    limits = limits or SandboxLimits()
    if len(data) > limits.model.max_file_bytes:  # refused before a child is given all of it
        return import_onnx(data, name=name, dims=dims, limits=limits.model)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, data, name, dict(dims or {}), limits), daemon=False)
    child.start()
    sender.close()
    answer: bytes | None = None
    try:
        answer = receiver.recv_bytes() if receiver.poll(limits.wall_s) else None
    except (EOFError, OSError):
        answer = b""
    finally:
        receiver.close()
        if answer is None or not _ends_soon(child):
            child.kill()
        child.join()
    if answer is None or child.exitcode == -24:  # SIGXCPU
        raise UserError(
            "import-timeout",
            f"reading the model took longer than {limits.wall_s:g} s",
            hint="import a smaller network, or raise the limit in the server's settings",
            facts={"wall_s": limits.wall_s, "cpu_s": limits.cpu_s},
        )
    if not answer:
        raise UserError(
            "model-invalid",
            f"the file makes the ONNX parser crash or run out of memory (exit status {child.exitcode})",
            hint="export the model again, then retry",
        )
    if answer[:1] == b"E":
        raise _error(answer[1:])
    return archive.load(answer[1:])


def _ends_soon(child: multiprocessing.process.BaseProcess) -> bool:
    """Whether a child that has answered (or closed its end) ends by itself."""
    child.join(5.0)
    return not child.is_alive()


def _child(sender: Connection, data: bytes, name: str, dims: dict[str, int], limits: SandboxLimits) -> None:
    memory_bytes = limits.base_bytes + limits.bytes_per_byte * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = b"G" + archive.save(import_onnx(data, name=name, dims=dims, limits=limits.model))
    except UserError as error:
        answer = b"E" + _error_text(error)
    except MemoryError:
        answer = b"E" + _error_text(
            UserError(
                "model-too-large",
                f"reading the model needs more than {memory_bytes} bytes",
                hint="import a smaller network, or raise the limit in the server's settings",
                facts={"limit": memory_bytes, "unit": "bytes"},
                status=413,
            )
        )
    sender.send_bytes(answer)
    sender.close()


def _error_text(error: UserError) -> bytes:
    return json.dumps(
        {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "items": [[item.pointer, item.detail] for item in error.items],
            "facts": error.facts,
            "status": error.status,
        }
    ).encode()


def _error(text: bytes) -> UserError:
    plain = json.loads(text)
    plain["items"] = [Item(*item) for item in plain["items"]]
    return UserError(plain.pop("code"), plain.pop("message"), **plain)
