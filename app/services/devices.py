"""Writing a device into the toolchains file, which only the operator of this machine can do."""

from __future__ import annotations

import json
from collections.abc import Sequence

from app.errors import UserError
from app.profiling.device import load_devices
from app.services.context import Context


def add(
    context: Context,
    name: str,
    *,
    cc: str,
    flags: Sequence[str],
    cpus: Sequence[int] = (),
    threads: int = 1,
    description: str = "",
) -> None:
    """Append a device; the file is left as it was when the result would not be right or the compiler is not there."""
    file = context.settings.toolchains
    if file is None:
        raise UserError(
            "device-invalid",
            "no toolchains file is configured",
            hint="set TRADESPACE_TOOLCHAINS to the path of a file, which need not exist yet",
        )
    before = file.read_bytes() if file.exists() else None
    if name in load_devices(file if before is not None else None):
        raise UserError("device-invalid", f"there is a device {name} already", hint="choose another name", status=409)
    # JSON texts and lists of texts are TOML as well.
    lines = ["", f"[device.{json.dumps(name)}]", f"cc = {json.dumps(cc)}", f"flags = {json.dumps(list(flags))}"]
    if cpus:
        lines.append(f"cpus = {json.dumps(list(cpus))}")
    if threads != 1:
        lines.append(f"threads = {threads}")
    if description:
        lines.append(f"description = {json.dumps(description, ensure_ascii=False)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((before or b"") + "\n".join([*lines, ""]).encode())
    try:
        load_devices(file)[name].fingerprint()
    except BaseException:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        raise
    context.forget_devices()
