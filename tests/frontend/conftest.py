"""A browser, the fake server and a page that remembers everything it asked for and complained about."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from browser_visit import TIMEOUT_S, Visit
from fake_server import FakeServer

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--process-per-site", "--renderer-process-limit=1",
)  # fmt: skip
"""The last two let the tabs of a context share a process, where a script that one of them compiled is known."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("no chromium on this machine: install Debian's package `chromium`, as `make check` does")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def server() -> Iterator[FakeServer]:
    running = FakeServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def cache(browser: Browser, server: FakeServer) -> Iterator[BrowserContext]:
    """One context for all ordinary pages, so that plotly.js is fetched and compiled once.

    A tab with nothing but a style sheet keeps their process alive between tests.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(1000 * TIMEOUT_S)
    context.new_page().goto(server.url + "/static/styles.css")
    yield context
    context.close()


@pytest.fixture
def visit(server: FakeServer, cache: BrowserContext) -> Iterator[Visit]:
    """A tab on a fresh world; every test ends with a clean console and not one request elsewhere."""
    server.reset()
    tab = Visit(cache.new_page(), server.url)
    yield tab
    tab.page.close()
    assert tab.foreign == []
    assert tab.complaints == []


@pytest.fixture
def points(server: FakeServer) -> list[dict[str, Any]]:
    """The arena front of the fake server, by rising memory."""
    return server.world.frontier("arena")["points"]
