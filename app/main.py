"""The service as an ASGI application, for a server of your own: `uvicorn --factory app.main:build`."""

from __future__ import annotations

from fastapi import FastAPI

from app.api.application import create_app
from app.services import jobs
from app.services.context import Context
from app.settings import Settings


def build() -> FastAPI:
    """The service by the settings of the environment; it refuses to be built for others without a token."""
    context = Context(Settings())
    app = create_app(context, executor=jobs.make_executor(context))
    jobs.submit_seed(context)
    return app
