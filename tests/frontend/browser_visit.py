"""A tab of the browser that remembers everything it asked for and complained about."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page

TIMEOUT_S = 60.0
"""Generous, because other work may be running on the machine; a passing test does not wait."""


@dataclass
class Visit:
    """A tab on the fake server with what it requested and what its console said."""

    page: Page
    base: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    @property
    def foreign(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((self.base, "data:", "blob:"))]

    def open(self, path: str = "/w", *, drawn: bool = True) -> Visit:
        self.page.goto(self.base + path)
        if drawn:
            self.page.wait_for_selector(".plot-box.drawn")
        return self

    def query(self) -> dict[str, str]:
        """The query of the address."""
        return self.page.evaluate("Object.fromEntries(new URL(location.href).searchParams)")

    def wait(self, expression: str, argument: Any = None) -> None:
        """Until a JavaScript expression or function holds. Asked from outside: the page's policy forbids eval."""
        end_s = time.monotonic() + TIMEOUT_S
        while not self.page.evaluate(expression, argument):
            if time.monotonic() > end_s:
                raise AssertionError(f"never became true: {expression} with {argument!r}")
            self.page.wait_for_timeout(25)

    def place(self, point: str) -> tuple[float, float]:
        """Where a point of the front is on the screen, asked of the plot itself."""
        return tuple(self.page.evaluate(PLACE, point))


PLACE = """id => {
  const plot = document.querySelector(".plot-canvas");
  const box = plot.getBoundingClientRect();
  for (const trace of plot.data) {
    const i = (trace.customdata ?? []).indexOf(id);
    if (i < 0) continue;
    const at = (axis, value) => axis._offset + axis.d2p(value);
    return [box.left + at(plot._fullLayout.xaxis, trace.x[i]), box.top + at(plot._fullLayout.yaxis, trace.y[i])];
  }
  throw new Error(`no point ${id} on the plot`);
}"""
