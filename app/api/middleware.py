"""What every request passes: an id, the checks of who may ask, the headers of a page that trusts only itself, ETags."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import answer, fault, log, too_large
from app.problems import problem

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
COOKIE = "tradespace_token"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/healthz", "/readyz")


class Envelope:
    """Gives each request an id and each response the security headers; the outermost layer of ours.

    Bodies above the limit are refused with 413 before or while they are read, faults of the program become a problem
    document, and a matching If-None-Match is answered 304.
    """

    def __init__(self, app: ASGIApp, *, upload_limit_bytes: int):
        self._app = app
        self._limit_bytes = upload_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = identity

        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._limit_bytes:
            await answer(too_large(self._limit_bytes, identity), {"Connection": "close"})(scope, receive, with_headers)
            return
        tagged = scope["method"] == "GET" and scope["path"].startswith("/api/")
        try:
            await self._app(scope, self._counted(receive), _Tagging(scope, with_headers) if tagged else with_headers)
        except Exception as error:
            log.error("request %s failed", identity, exc_info=error)
            if started:
                raise  # too late for another answer: the server closes the connection
            await answer(fault(identity))(scope, receive, with_headers)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit_bytes:
                raise HTTPException(413)
            return message

        return counted


class _Tagging:
    """Holds back a JSON answer to name it by its content; anything else passes through."""

    def __init__(self, scope: Scope, send: Send):
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            kind = headers.get("content-type", "")
            tagged = message["status"] == 200 and kind.startswith(("application/json", "text/csv"))
            if tagged and "etag" not in headers:
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        start, self._start = self._start, None
        headers = MutableHeaders(scope=start)
        tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        headers["ETag"] = tag
        headers.setdefault("Cache-Control", "private, no-cache")
        if matches(Headers(scope=self._scope).get("if-none-match", ""), tag):
            start["status"] = 304
            del headers["content-length"]
            self._body = b""
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body})


def matches(header: str, tag: str) -> bool:
    """Whether an If-None-Match header names this tag."""
    return header.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in header.split(","))


class Guard:
    """Who may ask.

    On a loopback address anybody on this machine may, but no web page of another site: the Host must be a name of
    this machine, and what changes something must come from our own origin. Elsewhere a token is needed, as a bearer
    token or as the cookie that opening `/?token=...` once sets.
    """

    def __init__(self, app: ASGIApp, *, needs_token: bool, accepts: Callable[[str], bool]):
        self._app = app
        self._needs_token = needs_token
        self._accepts = accepts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await answer(refusal | {"request_id": scope["state"]["request_id"]})(scope, receive, send)
            return
        if self._needs_token and scope["path"] not in _OPEN_PATHS:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            if scope["path"] == "/" and "token" in query and await self._accept(query["token"]):
                rest = urlencode({name: value for name, value in query.items() if name != "token"})
                response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
                response.set_cookie(COOKIE, query["token"], httponly=True, samesite="strict", max_age=30 * 24 * 3600)
                await response(scope, receive, send)
                return
            secret = _secret(headers)
            if not secret or not await self._accept(secret):
                document = problem(
                    "token-needed",
                    401,
                    "this service needs a token",
                    hint="send Authorization: Bearer ts_..., or open /?token=ts_... once in the browser",
                    request_id=scope["state"]["request_id"],
                )
                await answer(document, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _accept(self, secret: str) -> bool:
        return await run_in_threadpool(self._accepts, secret)

    def _refusal(self, scope: Scope, headers: Headers) -> dict[str, object] | None:
        host = headers.get("host", "")
        if not self._needs_token and not is_local_name(host):
            return problem("host-refused", 403, f"this service is not called {host!r}", hint="use 127.0.0.1")
        origin = headers.get("origin")
        if scope["method"] not in _SAFE_METHODS and origin is not None and urlsplit(origin).netloc != host:
            return problem("cross-origin", 403, f"a page of {origin} may not change anything here")
        return None


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine itself."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _secret(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret:
        return secret.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def same(secret: str, other: str) -> bool:
    """Comparison that takes the same time wherever the texts differ."""
    return hmac.compare_digest(secret.encode(), other.encode())
