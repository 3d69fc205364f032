"""Renews the pictures of docs/workbench.md: `python docs/img/make_screenshots.py [URL [MODEL]]`.

Without a URL the page is served with the invented data of the browser tests; with the URL of a running service, whose
first front must be there, the pictures show real data: of MODEL (a name), else of the network the page opens with.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "frontend"))

from fake_server import FakeServer  # noqa: E402

SIZE = {"width": 1440, "height": 900}
VIEWS = {"light": "tab=layers&marks=peers", "dark": "tab=memory"}


def main() -> None:
    """Writes workbench-light.png and workbench-dark.png beside this file."""
    url = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else FakeServer().url
    model = f"&model={quote(sys.argv[2])}" if len(sys.argv) > 2 else ""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, query in VIEWS.items():
            page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            page.set_default_timeout(600_000)
            page.goto(f"{url}/w?{query}{model}")
            page.wait_for_selector(".plot-box.drawn")
            page.wait_for_selector(".layer-table tbody tr, .buffer")
            if scheme == "dark":
                page.focus(".budget-handle")
                for _ in range(5):
                    page.keyboard.press("ArrowLeft")
                page.locator(".front-table tbody tr").nth(1).click(modifiers=["Shift"])
                page.mouse.move(0, 0)
            elif page.locator("text=Make verified bundle").count():
                page.click("text=Make verified bundle")
                page.wait_for_selector(".proof")
                for toast in page.locator(".toast button").all():
                    toast.click()
            page.wait_for_timeout(800)
            page.screenshot(path=HERE / f"workbench-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
