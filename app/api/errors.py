"""Every error of the service as application/problem+json, with a request id, and the pages that explain the types."""

from __future__ import annotations

import html
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from app.errors import UserError
from app.problems import PROBLEM_TYPES, problem, problem_of

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("tradespace.api")

_CODES = {404: "not-found", 405: "method-not-allowed"}


def request_id(request: Request) -> str | None:
    """The id the middleware gave this request."""
    found: str | None = request.scope.get("state", {}).get("request_id")
    return found


def answer(document: dict[str, object], headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem document as a response."""
    status = document["status"]
    assert isinstance(status, int)
    return JSONResponse(document, status, headers=headers, media_type=MEDIA_TYPE)


def too_large(limit_bytes: int, identity: str | None) -> dict[str, object]:
    """The problem of a body above the limit."""
    return problem(
        "upload-too-large",
        413,
        f"the request is larger than {limit_bytes:,} bytes",
        hint="TRADESPACE_UPLOAD_LIMIT_BYTES sets the limit",
        facts={"limit_bytes": limit_bytes},
        request_id=identity,
    )


def fault(identity: str | None) -> dict[str, object]:
    """The problem of a fault of the program; what it was is in the log only."""
    return problem(
        "internal",
        500,
        "the service failed to answer this request",
        hint="the server's log has the details under this request id",
        request_id=identity,
    )


def install(app: FastAPI, upload_limit_bytes: int) -> None:
    """Register the handlers and the problem pages."""

    @app.exception_handler(UserError)
    def user_error(request: Request, error: UserError) -> JSONResponse:
        return answer(problem_of(error, request_id(request)))

    @app.exception_handler(RequestValidationError)
    def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"pointer": "/".join(str(part) for part in found["loc"]), "detail": found["msg"]}
            for found in error.errors()
        ]
        first = f"{errors[0]['pointer']}: {errors[0]['detail']}" if errors else "the request is not right"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        document = problem(
            "validation", 422, first + more, hint="see /docs", errors=errors, request_id=request_id(request)
        )
        return answer(document)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "internal" if error.status_code >= 500 else "query-invalid")
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"there is nothing at {request.url.path}"
        elif error.status_code == 405:
            detail = f"{request.method} is not offered at {request.url.path}"
        elif error.status_code == 413:
            return answer(too_large(upload_limit_bytes, request_id(request)))
        document = problem(code, error.status_code, detail, request_id=request_id(request))
        return answer(document, dict(error.headers or {}))

    @app.get("/problems", include_in_schema=False, response_class=HTMLResponse)
    def problem_index() -> str:
        rows = "".join(
            f'<li><a href="/problems/{code}">{code}</a>: {html.escape(kind.title)}</li>'
            for code, kind in sorted(PROBLEM_TYPES.items())
        )
        return _page("Problems", f"<ul>{rows}</ul>")

    @app.get("/problems/{code}", include_in_schema=False, response_class=HTMLResponse)
    def problem_page(code: str) -> str:
        kind = PROBLEM_TYPES.get(code)
        if kind is None:
            raise HTTPException(404)
        return _page(kind.title, f"<p><code>{code}</code></p><p>{html.escape(kind.explanation)}</p>")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)} - Tradespace</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui;max-width:42rem;'
        "margin:3rem auto;padding:0 1rem;color-scheme:light dark}</style>"
        f"<h1>{html.escape(title)}</h1>{body}"
        '<p><a href="/problems">All problems</a> · <a href="/">Tradespace</a></p></html>'
    )
