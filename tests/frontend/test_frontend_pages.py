"""First run, import, jobs, keyboard, themes and narrow screens in a real browser."""

from __future__ import annotations

from typing import Any

from browser_visit import Visit

TITLES = """() => {
  window.titles = [];
  const note = () => window.titles.push(document.title);
  new MutationObserver(note).observe(document.querySelector("title"), { childList: true });
}"""
"""Keeps every title the page will have."""


def test_front_appears_by_itself_when_the_first_run_is_done(visit: Visit, server: Any) -> None:
    world = server.reset(seeding=True, tick_s=0.01)
    world.hold.clear()
    visit.open("/", drawn=False)
    visit.page.wait_for_selector(".seeding")
    assert "Preparing your first front" in visit.page.inner_text("h1 >> nth=-1")
    visit.page.evaluate(TITLES)  # a busy machine would miss a title of milliseconds by looking now and then
    world.hold.set()
    visit.page.wait_for_selector(".plot-box.drawn")
    assert any("%" in title for title in visit.page.evaluate("window.titles"))
    assert visit.page.title() == "resnet26 · Tradespace"
    assert visit.page.locator(".front-table tbody tr").count() == 35


def test_progress_arrives_by_polling_when_the_stream_is_down(visit: Visit, server: Any) -> None:
    visit.page.route("**/api/v1/events", lambda route: route.fulfill(status=503))
    server.reset(seeding=True, tick_s=0.01)
    visit.open("/", drawn=False)
    visit.page.wait_for_selector(".plot-box.drawn")
    visit.page.unroute("**/api/v1/events")
    visit.complaints[:] = [x for x in visit.complaints if "503" not in x]


def test_a_refused_upload_lists_every_item(visit: Visit) -> None:
    visit.open("/models", drawn=False)
    file = {"name": "unsupported.onnx", "mimeType": "application/octet-stream", "buffer": b"unsupported"}
    visit.page.set_input_files("#file", file)
    visit.page.wait_for_selector(".refusal")
    words = visit.page.inner_text(".refusal")
    assert "unsupported.onnx was not imported" in words
    assert "NonMaxSuppression" in words
    assert "GridSample" in words
    assert "What to do" in words
    # The browser itself notes every status of 400 and more.
    visit.complaints[:] = [x for x in visit.complaints if "422" not in x]


def test_networks_are_imported_taken_from_the_library_and_deleted(visit: Visit) -> None:
    visit.open("/models", drawn=False)
    file = {"name": "mine.onnx", "mimeType": "application/octet-stream", "buffer": b"x" * 5000}
    visit.page.set_input_files("#file", file)
    visit.page.wait_for_selector(".accepted")
    visit.page.wait_for_selector("tr:has-text('uploaded')")
    visit.page.click("[aria-label='Delete uploaded']")
    assert visit.page.locator("tr:has-text('uploaded')").count() == 1
    visit.page.click("text=Really delete")
    visit.page.wait_for_selector("tr:has-text('uploaded')", state="detached")
    visit.page.click("[aria-label='Add GoogLeNet']")
    visit.page.wait_for_selector("text=No arena front yet")
    assert visit.query()["model"].startswith("mdl_googlenet")


def test_missing_costs_are_measured_and_then_traced(visit: Visit, server: Any) -> None:
    visit.open("/w?model=mdl_c41d88e09b7a3f12", drawn=False)
    visit.page.click("text=Measure 34 and trace")
    visit.page.wait_for_selector(".empty-card progress")
    visit.wait("document.querySelector('#tray').innerText.includes('2 before')")
    assert [job["kind"] for job in server.world.jobs.values()] == ["measure", "frontier"]
    assert server.world.jobs["job_0002"]["params"]["memory"] == "arena"


def test_a_job_is_cancelled_from_the_tray_and_tried_again(visit: Visit, server: Any) -> None:
    visit.open()
    server.world.tick_s = 0.1
    visit.page.click("role=button[name='Measure']")
    visit.page.click(".tray-button")
    visit.page.click("#tray-list >> text=Cancel")
    visit.page.wait_for_selector("#tray-list .job.cancelled")
    server.world.tick_s = 0.01
    visit.page.click("#tray-list >> text=Try again")
    visit.page.wait_for_selector("#tray-list .job.succeeded")


def test_an_unknown_model_in_a_link_is_explained(visit: Visit) -> None:
    visit.open("/w?model=mdl_gone", drawn=False)
    visit.page.wait_for_selector(".refusal")
    assert "no model mdl_gone" in visit.page.inner_text(".refusal")
    visit.page.click("text=Start over")
    visit.page.wait_for_selector(".plot-box.drawn")


def test_everything_can_be_done_with_the_keyboard_alone(visit: Visit) -> None:
    visit.open("/models", drawn=False)
    visit.page.wait_for_selector("tr[data-model]")
    press, focused = visit.page.keyboard.press, "document.activeElement"
    press("Tab")
    assert visit.page.evaluate(f"{focused}.innerText") == "Skip to the content"
    press("Enter")
    for _ in range(20):
        press("Tab")
        if visit.page.evaluate(f"{focused}.innerText") == "resnet26":
            break
    press("Enter")
    visit.page.wait_for_selector(".plot-box.drawn")
    press("m")
    visit.page.keyboard.type("400k")
    press("Enter")
    assert visit.query()["budget"] == "409600"
    press("Escape")
    for _ in range(40):
        press("Tab")
        if visit.page.evaluate(f"Boolean({focused}.dataset.point)"):
            break
    press("ArrowUp")
    chosen = visit.query()["a"]
    press("ArrowDown")
    press("ArrowDown")
    press("b")
    assert visit.query()["b"] != chosen
    press("ArrowUp")
    press("d")
    visit.page.wait_for_selector("[aria-label='Changed layers'] tbody tr")
    press("e")
    visit.page.wait_for_selector(".proof")
    press("?")
    assert visit.page.locator("dialog[open]").count() == 1
    press("Escape")
    assert visit.page.locator("dialog[open]").count() == 0
    assert visit.query()["a"].startswith("pt_")


CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * (top[3] ?? 1) + under[i] * (1 - (top[3] ?? 1)));
  const ground = element => {
    let colour = [0, 0, 0, 0], chain = [];
    for (let e = element; e; e = e.parentElement) chain.push(parse(getComputedStyle(e).backgroundColor));
    return chain.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  for (const element of document.querySelectorAll("#top *, main *, #tray *")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    if (element.closest("svg, [hidden], .visually-hidden, .plot-canvas, :disabled")) continue;
    const under = ground(element);
    const text = over(parse(getComputedStyle(element).color), under);
    const [a, b] = [light(text), light(under)].sort((p, q) => q - p);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.className || element.tagName} ${element.textContent.trim()} ${ratio}`);
  }
  return poor;
}"""


def test_text_has_contrast_in_both_themes(visit: Visit) -> None:
    for theme in ("light", "dark"):
        for path in ("/w?budget=400000&tab=layers", "/w?tab=why", "/w?tab=memory", "/models", "/jobs"):
            visit.open(f"{path}{'&' if '?' in path else '?'}theme={theme}", drawn=path.startswith("/w"))
            visit.page.wait_for_selector(".layer-table tbody tr, .why section, .buffer, tr[data-model], .jobs .empty")
            assert visit.page.evaluate(CONTRAST) == [], (theme, path)


def test_theme_follows_the_system_until_it_is_chosen(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme="dark")
    visit.open()
    assert visit.page.get_attribute("html", "data-theme") == "dark"
    visit.page.emulate_media(color_scheme="light")
    visit.wait("document.documentElement.dataset.theme === 'light'")
    visit.page.keyboard.press("t")
    visit.page.keyboard.press("t")
    assert visit.page.get_attribute("html", "data-theme") == "dark"
    assert visit.query()["theme"] == "dark"


def test_on_a_narrow_screen_the_front_is_above_the_point_and_nothing_is_cut(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    visit.open()
    front = visit.page.locator(".front-card").bounding_box()
    drawer = visit.page.locator(".drawer").bounding_box()
    assert front["y"] + front["height"] <= drawer["y"]
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_reduced_motion_is_respected(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    visit.open()
    assert visit.page.evaluate("getComputedStyle(document.querySelector('.panel')).transitionProperty") in (
        "none",
        "all",
    )
    assert visit.page.evaluate("getComputedStyle(document.querySelector('.panel')).transitionDuration") == "0s"
