"""What if, the options of a layer, robustness and limits, in a real browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser_visit import Visit

Points = list[dict[str, Any]]
LAYER = "stage1/block2/conv2"


@pytest.fixture(scope="module")
def limits(server: Any, cache: Any) -> Any:
    """Calls an exported function of limits.js."""
    server.reset()
    page = cache.new_page()
    page.goto(f"{server.url}/jobs")
    script = "async ([name, args]) => (await import('/limits.js'))[name](...args)"
    yield lambda name, *arguments: page.evaluate(script, [name, list(arguments)])
    page.close()


def open_choices(visit: Visit, layer: str = LAYER) -> None:
    visit.page.click(f".layer-table tr[data-node='{layer}'] .act button")
    visit.page.wait_for_selector(".choices tbody tr")


def pin_another(visit: Visit, number: int = 3) -> str:
    """Pins one of the options that the layer does not run now; returns its name."""
    open_choices(visit)
    row = visit.page.locator(".choices tbody tr:not([aria-current])").nth(number)
    name = row.locator("td").first.get_attribute("title")
    row.get_by_text("Pin", exact=True).click()
    visit.page.wait_for_selector(".ask-figures")
    return name


def test_limits_are_compact_sorted_and_read_back(limits: Any) -> None:
    full = {"forbid": ["mec", "fft"], "only": [], "pins": {"b": "q", "a": "p"}, "bans": {}, "max_error": None,
            "max_weights_bytes": 0, "objective": "p50"}  # fmt: skip
    text = limits("textOf", full)
    assert text == '{"forbid":["fft","mec"],"pins":{"a":"p","b":"q"},"max_weights_bytes":0}'
    assert limits("textOf", limits("parse", text)) == text
    assert limits("unlimited", {"only": [], "objective": "p50"})
    for nonsense in ("", "[1]", "{", "3"):
        assert limits("parse", nonsense) is None


def test_pins_bans_and_families_come_and_go(limits: Any) -> None:
    one = limits("pinned", {}, "a", "p")
    assert one == {"pins": {"a": "p"}}
    assert limits("pinned", one, "a", None) == {}
    two = limits("banned", one, "b", "x", True)
    assert limits("banned", two, "b", "x", False) == one
    assert limits("forbidden", limits("forbidden", {}, "fft", True), "fft", False) == {}


def test_options_of_a_layer_are_listed_with_cost_and_workspace(visit: Visit) -> None:
    visit.open()
    open_choices(visit)
    rows = visit.page.locator(".choices tbody tr")
    times = [
        int(x.get_attribute("title").split(" ns")[0].replace(",", "")) for x in rows.locator("td:nth-child(2)").all()
    ]
    assert times == sorted(times)
    assert visit.page.locator(".choices tr[aria-current]").count() == 1
    assert LAYER in visit.page.inner_text(".choices-dialog h2")
    visit.page.keyboard.press("Escape")
    assert not visit.page.is_visible(".choices-dialog")


def test_a_pin_is_asked_priced_and_shown_beside_the_current_point(visit: Visit, server: Any) -> None:
    visit.open()
    now = visit.query()["a"]
    name = pin_another(visit)
    question = server.world.questions[-1]
    point = server.world.find("arena", now)
    assert question == {
        "limits": {"pins": {LAYER: name}}, "budget_bytes": point.arena_bytes, "point": now,
    }  # fmt: skip
    assert json.loads(visit.query()["ask"]) == {"pins": {LAYER: name}}
    assert visit.query()["a"] == now
    visit.page.wait_for_selector(".ask-chip small")
    assert f"{LAYER} = {name}" in visit.page.inner_text(".ask-chip")
    assert "costs" in visit.page.inner_text(".ask-chip small")
    words = visit.page.inner_text(".ask-answer")
    assert "1 layer differs from A" in words
    assert "Proven optimal" in words
    assert "ms" in words


def test_the_answer_is_b_in_the_plot_and_in_the_diff(visit: Visit) -> None:
    visit.open()
    pin_another(visit)
    visit.page.wait_for_selector(".ring.b")
    visit.page.click("text=Layer by layer")
    visit.page.wait_for_selector("[aria-label='Changed layers'] tbody tr")
    assert visit.page.locator("[aria-label='Changed layers'] tbody tr").count() == 1
    assert LAYER in visit.page.inner_text("[aria-label='Changed layers'] tbody tr").replace("\u200b", "")


def test_lifting_the_limit_and_closing_the_question(visit: Visit) -> None:
    visit.open()
    pin_another(visit)
    visit.page.click("[aria-label^='Lift:']")
    visit.wait("new URL(location.href).searchParams.get('ask') === '{}'")
    visit.page.wait_for_selector("text=the same choices as A")
    visit.page.keyboard.press("w")
    assert not visit.page.is_visible(".question")
    assert not {"ask", "b"} & set(visit.query())


def test_a_link_with_a_question_asks_it_again(visit: Visit) -> None:
    visit.open()
    name = pin_another(visit)
    address = visit.page.url
    visit.page.goto(visit.base + "/jobs")
    visit.page.goto(address)
    visit.page.wait_for_selector(".ask-figures")
    assert name in visit.page.inner_text(".ask-chip")


def test_a_family_is_forbidden_and_an_impossible_limit_names_the_layer(visit: Visit) -> None:
    visit.open()
    visit.page.keyboard.press("w")
    visit.page.click(".question >> text=Families")
    visit.page.click("role=menuitem >> text=Forbid winograd")
    visit.wait("new URL(location.href).searchParams.get('ask') === '{\"forbid\":[\"winograd\"]}'")
    visit.page.wait_for_selector("text=no winograd")
    visit.page.click(".question >> text=Families")
    visit.page.click("role=menuitem >> text=Forbid direct")
    visit.page.wait_for_selector(".ask-refused")
    words = visit.page.inner_text(".ask-refused")
    assert "without a primitive: stem" in words
    assert "allow the family direct" in words
    visit.complaints[:] = [text for text in visit.complaints if "422" not in text]  # the browser notes the status


def test_error_weights_and_objective_are_limits_too(visit: Visit) -> None:
    visit.open("/w?ask={}")
    visit.page.wait_for_selector(".ask-row")
    visit.page.select_option("#ask-error", "1e-5")
    visit.page.fill("#ask-weights", "3M")
    visit.page.keyboard.press("Tab")
    visit.page.select_option("#ask-objective", "p90")
    expected = {"max_weights_bytes": 3 * 2**20, "max_error": 1e-5, "objective": "p90"}
    visit.wait(
        "text => new URL(location.href).searchParams.get('ask') === text",
        json.dumps(expected, separators=(",", ":")).replace("1e-05", "0.00001"),
    )
    assert visit.page.locator(".ask-chip").count() == 3
    visit.page.fill("#ask-weights", "lots")
    visit.page.keyboard.press("Tab")
    assert visit.page.get_attribute("#ask-weights", "aria-invalid") == "true"


def test_weights_may_be_packed_at_the_start_where_they_are_bounded(visit: Visit, limits: Any) -> None:
    visit.open("/w?ask={}")
    visit.page.wait_for_selector(".ask-row")
    assert not visit.page.is_visible("#ask-residency")
    visit.page.fill("#ask-weights", "3M")
    visit.page.keyboard.press("Tab")
    visit.page.wait_for_selector("#ask-residency")
    visit.page.select_option("#ask-residency", "start-up")
    expected = {"max_weights_bytes": 3 * 2**20, "residency": "start-up"}
    visit.wait(
        "text => new URL(location.href).searchParams.get('ask') === text", json.dumps(expected, separators=(",", ":"))
    )
    assert "weights may be packed at the start" in visit.page.inner_text(".ask-chips")
    assert limits("compact", {"residency": "shipped"}) == {}


def test_a_limited_front_is_traced_with_the_limits_of_the_question(visit: Visit, server: Any) -> None:
    visit.open()
    name = pin_another(visit)
    visit.page.click("text=Trace this front")
    visit.wait("new URL(location.href).searchParams.get('frontier') === 'frt_arena'")
    job = next(iter(server.world.jobs.values()))
    assert job["params"]["limits"] == {"pins": {LAYER: name}}
    assert "ask" not in visit.query()


def test_p_opens_the_options_of_the_marked_layer(visit: Visit) -> None:
    visit.open(f"/w?layer={LAYER}")
    visit.page.wait_for_selector(".layer-table tr.linked")
    visit.page.keyboard.press("p")
    visit.page.wait_for_selector(".choices tbody tr")
    assert LAYER in visit.page.inner_text(".choices-dialog h2")


def test_robustness_is_a_column_and_a_paragraph(visit: Visit) -> None:
    visit.open()
    visit.page.wait_for_selector(".layer-table tbody tr")
    visit.page.click("text=Robustness")
    visit.page.wait_for_selector(".layer-table td.worse[title*='draws']")
    cells = visit.page.locator(".layer-table tbody td[title*='draws']")
    assert cells.count() == 30
    assert visit.page.evaluate(
        "document.querySelector('.layer-table').scrollWidth <= document.querySelector('.drawer').clientWidth"
    )
    visit.page.click("#tab-why")
    words = visit.page.inner_text(".why")
    assert "0.16 % slower than the best choice on average" in words
    assert "2 costs with a single sample" in words
    visit.page.click("#tab-layers")
    visit.page.click("text=Robustness")
    assert cells.count() == 0


def test_the_card_of_a_point_has_the_price_of_memory_on_both_sides(visit: Visit, points: Points) -> None:
    visit.open()
    texts = visit.page.evaluate("document.querySelector('.plot-canvas').data.find(t => t.name === 'proven').text")
    ids = visit.page.evaluate("document.querySelector('.plot-canvas').data.find(t => t.name === 'proven').customdata")
    at = ids.index(points[5]["id"])
    assert "the next " in texts[at]
    assert "less cost" in texts[at]
    assert "per KiB" in texts[at]
    assert "less cost" not in texts[ids.index(points[0]["id"])]


def test_why_names_every_binding_step(visit: Visit, server: Any) -> None:
    visit.open("/w?tab=why")
    visit.page.wait_for_selector("text=Binding step")
    point = server.world.find("arena", visit.query()["a"])
    live = [sum(b.size_bytes for b in point.buffers if b.first <= t < b.last) for t in range(len(point.steps))]
    fullest = point.steps[live.index(max(live))]
    assert fullest in visit.page.inner_text(".why")


def test_a_stale_front_says_why(visit: Visit, server: Any) -> None:
    server.world.stale_because = "costs have been measured since, with other results"
    visit.open()
    assert "costs have been measured since" in visit.page.inner_text(".banner")
    server.world.missing = 0
    visit.page.click(".banner button")
    visit.page.wait_for_selector(".tray-button:has-text('Trace front')")
    assert next(iter(server.world.jobs.values()))["params"]["limits"] == {}


def test_a_stale_front_with_missing_costs_is_measured_before_it_is_traced(visit: Visit, server: Any) -> None:
    server.world.stale_because = "kernels have changed and some of their costs have not been measured since"
    visit.open()
    visit.page.click(".banner button")
    visit.page.click(".tray-button")
    visit.page.wait_for_selector("#tray-list .job:has-text('Trace front').succeeded")
    assert [job["kind"] for job in server.world.jobs.values()] == ["measure", "frontier"]
