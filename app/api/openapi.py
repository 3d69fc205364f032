"""`python -m app.api.openapi` prints the API's description, which is committed as docs/openapi.json."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from app.api.application import create_app
from app.services.context import Context
from app.settings import Settings


def description() -> str:
    """The OpenAPI document as text; it depends on nothing but the code."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Context(Settings(data=Path(folder), database_url="", host="127.0.0.1", token=None)) as context,
    ):
        return json.dumps(create_app(context).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(description(), end="")
