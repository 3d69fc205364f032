"""The page, its files, plotly.js from its wheel and the API's documentation: everything served from here, offline."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from app import figures
from app.api.middleware import matches

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
PLOTLY_PLACEHOLDER = "{{plotly_url}}"
_FOREVER = "public, max-age=31536000, immutable"
_DOCS_STATIC = Path(fastapi_offline.__file__).parent / "static"
_DOCS = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Tradespace API</title>
<link rel="stylesheet" href="/static/docs/swagger-ui.css"><div id="swagger-ui"></div>
<script src="/static/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></html>
"""
_DOCS_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'


def install(app: FastAPI, data_folder: Path) -> None:
    """Register the routes of the page. The catch-all comes last, so call this after every other route is there."""
    script, sha8 = figures.plotly_script()
    packed = figures.compressed_script(data_folder / "vendor", script, sha8)
    plotly_url = f"/static/vendor/plotly-{sha8}.min.js"

    @app.get("/static/vendor/plotly.json", include_in_schema=False)
    def plotly_location() -> dict[str, str]:
        return {"url": plotly_url}

    @app.get(plotly_url, include_in_schema=False)
    def plotly(request: Request) -> Response:
        headers = {"Cache-Control": _FOREVER, "ETag": f'"{sha8}"', "Vary": "Accept-Encoding"}
        if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
        return Response(script, media_type="text/javascript", headers=headers)

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> str:
        return _DOCS

    @app.get("/docs/start.js", include_in_schema=False)
    def docs_start() -> Response:
        return Response(_DOCS_START, media_type="text/javascript")

    app.mount("/static/docs", StaticFiles(directory=_DOCS_STATIC), name="docs")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        file = (FRONTEND / path).resolve()
        if path and file.is_relative_to(FRONTEND) and file.is_file() and file.name != "index.html":
            if file.suffix == ".py" or "__pycache__" in file.parts:
                raise HTTPException(404)
            kind = "text/javascript" if file.suffix in (".js", ".mjs") else mimetypes.guess_type(file.name)[0]
            return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})
        # A deep link of the page has no file name in it; anything with one is a file that is not there.
        if path.startswith(("api/", "static/", "problems/")) or path == "api" or "." in path.rsplit("/", 1)[-1]:
            raise HTTPException(404)
        index = FRONTEND / "index.html"
        if not index.is_file():
            raise HTTPException(404)
        text = index.read_text(encoding="utf-8").replace(PLOTLY_PLACEHOLDER, plotly_url)
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})
