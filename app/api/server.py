"""Running the service: opens the data folder, prepares the example, runs jobs and serves page and API."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn

from app.api.application import create_app
from app.errors import UserError
from app.services import jobs
from app.services.context import Context
from app.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until interrupted; prints the URL once the address is bound. Raises UserError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    with Context(settings) as context:
        app = create_app(context, executor=jobs.make_executor(context))
        listener = _bind(settings)
        jobs.submit_seed(context)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"Tradespace is at http://{shown}:{port}  (data in {settings.data}; Ctrl-C stops)", flush=True)
        if context.backup_made:
            print(f"The database was upgraded; a copy of the old one is {context.backup_made}", flush=True)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def _bind(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # from here on nobody is refused, so the URL may be told
    except OSError as error:
        raise UserError(
            "port-in-use",
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another with --port",
        ) from None
    return listener
