"""What routes are given: the opened data folder, a page of a list, and a request that must happen once only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from app.db.records import JobRecord
from app.db.stores import canonical_json
from app.errors import UserError
from app.services import jobs
from app.services.context import Context

DEFAULT_LIMIT = 500
MAX_LIMIT = 5000
Row = TypeVar("Row")


def get_context(request: Request) -> Context:
    """The data folder the service was started on."""
    context: Context = request.app.state.context
    return context


Opened = Annotated[Context, Depends(get_context)]


class Paging:
    """`limit` and an opaque `cursor`. Rows are never renumbered, so a page stays what it is while others are added."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items to answer with.")] = DEFAULT_LIMIT,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    ):
        self.limit = limit
        self.position = _decode(cursor) if cursor is not None else None

    def rows(self, read: Callable[..., Sequence[Any]], shape: Callable[[Any], Any], **filters: Any) -> dict[str, Any]:
        """A page of a store's rows, newest first; a row's `seq` is its place."""
        found = read(limit=self.limit + 1, before=self.position, **filters)
        more = len(found) > self.limit
        shown = found[: self.limit]
        return {"items": [shape(row) for row in shown], "next_cursor": _encode(shown[-1].seq) if more else None}

    def slice(self, found: Sequence[Any]) -> dict[str, Any]:
        """A page of a list that does not change while the program runs."""
        start = self.position or 0
        shown = list(found[start : start + self.limit])
        end = start + len(shown)
        return {"items": shown, "next_cursor": _encode(end) if end < len(found) else None}


Paged = Annotated[Paging, Depends()]


def _encode(position: int) -> str:
    return base64.urlsafe_b64encode(f"p{position}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        if not text.startswith("p") or not text[1:].isdecimal() or len(text) > 19:
            raise ValueError
        return int(text[1:])
    except (ValueError, binascii.Error):
        raise UserError("query-invalid", "the cursor is not one this service made", hint="start without one") from None


class Once:
    """A POST that carries an Idempotency-Key happens once: the same request again gets the same answer."""

    def __init__(
        self,
        request: Request,
        context: Opened,
        key: Annotated[
            str | None,
            Header(alias="Idempotency-Key", max_length=100, description="Repeating a request with it is harmless."),
        ] = None,
    ):
        self._context = context
        self._key = f"{request.method} {request.url.path} {key}" if key else None

    def __call__(self, content: Any, make: Callable[[], JSONResponse]) -> Response:
        """`make()`, or the answer it gave before. `content` is what makes two requests the same."""
        if self._key is None:
            return make()
        key = hashlib.sha256(self._key.encode()).hexdigest()
        fingerprint = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        known = self._context.replies.begin(key, fingerprint)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise UserError("idempotency-mismatch", "this Idempotency-Key belongs to another request")
            if known.status is None:
                raise UserError("idempotency-running", "the first request is still running", status=409)
            return JSONResponse(known.body, known.status, headers=known.headers | {"Idempotent-Replayed": "true"})
        try:
            response = make()
        except BaseException:
            self._context.replies.forget(key)
            raise
        headers = {name: value for name, value in response.headers.items() if name in ("location", "retry-after")}
        self._context.replies.complete(key, response.status_code, headers, json.loads(bytes(response.body)))
        return response


OnlyOnce = Annotated[Once, Depends()]


def accepted(job: JobRecord) -> JSONResponse:
    """202 with the job and where to follow it."""
    return JSONResponse(job.to_json(), 202, headers={"Location": jobs.url(job), "Retry-After": "1"})
