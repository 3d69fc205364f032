"""The application: a factory that is given everything, so that a test builds one like the service does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, FastAPI

from app.api import errors, pages
from app.api.middleware import Envelope, Guard, same
from app.api.routes import bundles, devices, frontiers, jobs, marks, models, questions, service
from app.api.schemas import Problem
from app.errors import UserError
from app.services.context import Context
from app.version import VERSION

DESCRIPTION = (
    "Exact latency-memory fronts of convolutional networks, measured on your device, exported as verified C. "
    "Long work answers 202 with a job; follow it by polling its URL or by its event stream. Errors are "
    "`application/problem+json`; their `type` is a page of this service. Cursors and tokens are opaque; fields may be "
    "added within v1, documented ones are not removed."
)


def create_app(context: Context, *, executor: Any = None, needs_token: bool | None = None) -> FastAPI:
    """The service on an opened data folder.

    `executor` (start, stop, alive) runs the jobs while the service runs; None leaves that to others. `needs_token`
    is by default whether the settings bind beyond this machine; raises UserError `unsafe-bind` when that is so and
    there is no token.
    """
    settings = context.settings
    if needs_token is None:
        needs_token = not settings.binds_loopback
    if needs_token and settings.token is None and not context.tokens.exist():
        raise UserError(
            "unsafe-bind",
            f"refusing to listen on {settings.host} without a token",
            hint="make one with `tradespace tokens add NAME`, or set TRADESPACE_TOKEN",
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.streams = jobs.Streams(settings.streams)
        if executor is not None:
            executor.start()
        try:
            yield
        finally:
            app.state.streams.closing.set()
            if executor is not None:
                await asyncio.to_thread(executor.stop)

    app = FastAPI(
        title="Tradespace",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.executor = executor
    errors.install(app, settings.upload_limit_bytes)
    api = APIRouter(
        prefix="/api/v1",
        responses={"default": {"description": "Problem", "content": {errors.MEDIA_TYPE: {}}, "model": Problem}},
    )
    for module in (service, models, marks, devices, frontiers, questions, bundles, jobs):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(service.health)
    pages.install(app, settings.data)

    def accepts(secret: str) -> bool:
        fixed = settings.token
        return (fixed is not None and same(secret, fixed.get_secret_value())) or context.tokens.accepts(secret)

    # The last added is the first to see a request.
    app.add_middleware(Guard, needs_token=needs_token, accepts=accepts)
    app.add_middleware(Envelope, upload_limit_bytes=settings.upload_limit_bytes)
    return app
