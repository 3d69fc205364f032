"""What an audit keeps in its folder: costs and rows as lines of JSON, and the tables at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import audit_report

from app.costs import Cost, CostKey
from app.errors import UserError

Row = dict[str, Any]


def load_costs(file: Path) -> list[Cost]:
    """Costs of earlier runs."""
    rows = read_lines(file)
    return [Cost(**(row | {"key": CostKey(**row["key"]), "samples_ns": tuple(row["samples_ns"])})) for row in rows]


def read_lines(file: Path) -> list[Row]:
    """The JSON documents of a file with one in each line; a last line that a kill cut short is left out."""
    if not file.exists():
        return []
    lines = file.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def append_line(file: Path, document: Any) -> None:
    """One more line; first the rest of a line that a kill cut short goes."""
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")
        if whole[2]:
            file.write_bytes(whole[0] + whole[1])
    with file.open("a") as out:
        out.write(json.dumps(document) + "\n")


def write(data: Path, document: dict[str, Any], tables: list[str], docs: Path | None) -> None:
    """audit.json and audit.md; in `docs`, what stands between the two marks."""
    text = "\n".join([*audit_report.markdown(document), *tables]).rstrip() + "\n"
    for name, content in (("audit.json", json.dumps(document, indent=1) + "\n"), ("audit.md", text)):
        fresh = data / f".{name}.new"
        fresh.write_text(content)
        fresh.replace(data / name)
    if docs is not None:
        before, after = around_tables(docs)
        docs.write_text(f"{before}\n{text}\n{after}")


def around_tables(docs: Path) -> tuple[str, str]:
    """The page up to its first mark and from its second one on; raises UserError when it has none."""
    before, begin, rest = docs.read_text().partition("<!-- tables -->\n")
    _, end, after = rest.partition("<!-- end of tables -->\n")
    if not begin or not end:
        raise UserError("file-unreadable", f"{docs} has no <!-- tables --> and <!-- end of tables -->")
    return before + begin, end + after
