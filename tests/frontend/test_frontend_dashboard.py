"""What makes the page readable at a glance: names, labels, links between its parts."""

from __future__ import annotations

from typing import Any

import pytest
from browser_visit import Visit

Points = list[dict[str, Any]]


def test_words_at_the_right_edge_make_room_for_the_front(visit: Visit) -> None:
    visit.open()
    script = """async () => {
      const { withRoom } = await import('/components/plot_marks.js');
      const point = (x, y) => ({ id: `${x}`, arena_bytes: x, latency_ns: y * 1e6 });
      const view = {
        axis: 'arena', scale: '', units: 'kib', budget: null, marks: [], points: [point(100, 10.3), point(200, 5)],
        baselines: [{ name: 'greedy-planner', explanation: '', point: point(900, 99) }],
      };
      const ranges = { x: [90, 207], y: [4, 10.5] }, inner = { width: 600, height: 300 };
      const bare = withRoom({ ...view, baselines: [] }, ranges, inner);
      const roomy = withRoom(view, ranges, inner);
      const narrow = withRoom(view, ranges, { width: 240, height: 300 });
      return [bare.x[1], (200 - 90) / (roomy.x[1] - 90) * 600, narrow.x[1]];
    }"""
    bare, last_px, narrow = visit.page.evaluate(script)
    assert bare == 207
    assert last_px < 600 - 6.2 * len("↑ greedy-planner 99 ms")
    assert narrow == 207  # the front keeps most of a narrow plot


def test_a_layer_that_changes_in_strips_alone_is_a_difference(visit: Visit) -> None:
    visit.open()
    script = """async () => {
      const { compare, told } = await import('/components/diff.js');
      const layer = {
        node: 'a', op: 'conv', primitive: 'p', family: 'direct', variant: 'b4', in_layout: 'hwc', out_layout: 'hwc',
        in_place: null, conversions: [], time_ns: 5, conversion_ns: 0, workspace_bytes: 0, weights_bytes: 0, strips: '',
      };
      const of = (extra) => ({ layers: [{ ...layer, ...extra }] });
      const differ = (p, q) => {
        const [row] = compare(of(p), of(q));
        return [row.changed, told(row.a, row.b), told(row.b, row.a)];
      };
      return [
        differ({}, {}), differ({ strips: 'a..b/4' }, {}), differ({}, { in_place: 0 }),
        differ({ conversions: ['x'] }, {}), differ({}, { primitive: 'q', in_layout: 'chw' }),
        differ({}, { primitive: 'q', family: 'winograd', in_layout: 'chw' }),
        differ({ strips: 'a..b/6 branched from pitch 256 to pitch 256' }, {}),
      ];
    }"""
    same, strips, place, conversions, layouts, family, more = visit.page.evaluate(script)
    assert same == [False, "direct b4", "direct b4"]
    assert strips == [True, "direct b4 · strips of 4 rows", "direct b4 · as a whole"]
    assert place == [True, "direct b4 · not in place", "direct b4 · in place"]
    assert conversions == [True, "direct b4 · after 1 layout change", "direct b4 · no layout change"]
    assert layouts == [True, "direct b4 · hwc → hwc", "direct b4 · chw → hwc"]
    assert family == [True, "direct b4", "winograd b4"]
    assert more == [True, "direct b4 · strips of 6 rows", "direct b4 · as a whole"]


def test_the_price_of_memory_is_told_once_per_point(visit: Visit, points: Points) -> None:
    visit.open(f"/w?tab=why&a={points[4]['id']}")
    visit.page.wait_for_selector(".prices li")
    sentences = visit.page.locator(".prices >> nth=0").locator("li").all_inner_texts()
    bought = [text.split(" buy ")[1].split(" (")[0] for text in sentences if " buy " in text]
    assert len(bought) == len(set(bought)) > 0


def test_a_binding_step_leads_to_its_place_in_the_memory_picture(visit: Visit) -> None:
    visit.open("/w?tab=why")
    step = visit.page.locator(".facts button.link").first
    name = step.inner_text()
    step.click()
    visit.page.wait_for_selector(".buffer.linked")
    assert visit.query()["tab"] == "memory"
    assert name in visit.page.inner_text(".step-line output")


def test_chains_begin_and_end_where_their_bars_do(visit: Visit) -> None:
    visit.open("/w?tab=layers")
    visit.page.wait_for_selector(".layer-table tbody tr")
    assert visit.page.locator("tr.chained.first").count() == 1
    assert visit.page.locator("tr.chained.last").count() == 1


def test_jobs_say_whose_bundle_it_was_and_lead_to_the_point(visit: Visit) -> None:
    visit.open()
    point = visit.query()["a"]
    visit.page.click("text=Make verified bundle")
    visit.page.wait_for_selector(".proof")
    visit.page.goto(visit.base + "/jobs")
    visit.page.wait_for_selector(".job-title:has-text('Bundle · resnet26')")
    visit.page.click(".job a")
    visit.page.wait_for_selector(".plot-box.drawn")
    assert visit.query()["a"] == point


def test_models_show_their_fronts_one_click_away(visit: Visit) -> None:
    visit.page.goto(visit.base + "/models")
    link = visit.page.locator("tr:has-text('resnet26') .front-link:has-text('total')")
    link.wait_for()
    assert "points" in link.inner_text()
    link.click()
    visit.page.wait_for_selector(".plot-box.drawn")
    assert visit.query()["memory"] == "total"


@pytest.mark.parametrize("width", [1024, 1440])
def test_rows_of_the_front_stay_one_line_high(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.open()
    assert visit.page.locator(".front-table tbody tr").first.bounding_box()["height"] < 32


def test_a_bound_that_is_too_tight_can_be_lifted_to_what_works(visit: Visit) -> None:
    visit.page.route(
        "**/what-if",
        lambda route, request: (
            route.fulfill(status=404, content_type="application/problem+json", body=REFUSED)
            if request.post_data_json["limits"].get("max_weights_bytes") == 1024
            else route.continue_()
        ),
    )
    visit.open('/w?ask={"max_weights_bytes":1024}')
    visit.page.click("text=Allow 64 KiB of weights")
    visit.page.wait_for_selector(".ask-figures")
    assert '"max_weights_bytes":65536' in visit.query()["ask"]
    visit.complaints.clear()  # the browser reports every status that is no success


REFUSED = """{"type": "/problems/budget-infeasible", "title": "Nothing fits", "status": 404, "detail": "no selection",
 "hint": "--max-weights 65536", "facts": {"smallest_bytes": 65536, "available_bytes": 1024, "excess_bytes": 64512}}"""


def test_the_order_of_layers_is_part_of_the_question(visit: Visit, server: Any) -> None:
    visit.open("/w?ask={}")
    visit.page.wait_for_selector(".ask-figures")
    visit.page.select_option("#ask-order", "joint")
    visit.page.wait_for_selector(".ask-chip:has-text('every order')")
    assert server.world.questions[-1]["limits"] == {"order": "joint"}
    visit.page.select_option("#ask-order", "profiles")
    assert visit.query()["ask"] == "{}"


def test_the_question_and_the_explanation_can_be_asked_elsewhere(visit: Visit) -> None:
    visit.open('/w?ask={"forbid":["mec"]}')
    visit.page.wait_for_selector(".ask-figures")
    visit.page.click(".menu button:has-text('Copy')")
    words = visit.page.inner_text(".menu-list:not([hidden])")
    assert "tradespace what-if resnet26 --device host --memory arena --budget " in words
    assert "--forbid mec" in words
    assert "/what-if" in words
    assert f"--point {visit.query()['a']} --robustness" in words


@pytest.mark.parametrize("width", [400, 1024, 1440])
def test_an_open_menu_stays_on_the_screen(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 768})
    visit.open("/w")
    for name in ("Copy", "Save"):
        visit.page.click(f".menu button:has-text('{name}')")
        box = visit.page.locator(".menu-list:not([hidden])").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        visit.page.keyboard.press("Escape")


def test_chains_are_marked_under_the_memory_picture(visit: Visit) -> None:
    visit.open("/w?tab=memory")
    visit.page.wait_for_selector(".chain-band")
    assert visit.page.locator(".chain-band").count() == 1
    assert "in strips" in visit.page.inner_text(".legend")
    script = """async () => {
      const { chainBands } = await import('/components/memory_picture.js');
      const layers = ['a', 'b'].map((node) => ({ node, strips: 'a..b/2 branched to pitch 64' }));
      return chainBands({ layers, steps: ['a', 'b', 'c'] });
    }"""
    (band,) = visit.page.evaluate(script)
    assert (band["chain"], band["rows"], band["first"], band["last"]) == ("a..b", "2", 0, 2)


def test_a_deep_network_shows_its_first_layers_and_the_others_as_one_scrolls(visit: Visit) -> None:
    def deep(route: Any) -> None:
        point = route.fetch().json()
        many = [dict(point["layers"][i % 30], node=f"layer{i}", strips="") for i in range(400)]
        route.fulfill(json=point | {"layers": many, "conversions": []})

    visit.page.route("**/points/pt_*", lambda route: route.fallback() if "/ex" in route.request.url else deep(route))
    visit.open("/w?tab=layers")
    rows = visit.page.locator(".layer-table tbody tr")
    rows.first.wait_for()
    few = rows.count()
    assert 30 < few < 120
    visit.page.locator(".layer-table").hover()
    visit.page.mouse.wheel(0, 20_000)
    visit.wait("few => document.querySelectorAll('.layer-table tbody tr').length > few", few)
    visit.page.fill("#layer-search", "layer39")
    assert rows.count() == 11
    visit.page.fill("#layer-search", "")
    visit.page.click("[data-column=index]")
    assert rows.first.get_attribute("data-node") == "layer399"


def test_a_row_is_built_again_only_when_it_says_something_else(visit: Visit, points: Points) -> None:
    visit.open(f"/w?tab=layers&a={points[4]['id']}")
    visit.page.wait_for_selector(".layer-table tbody tr")
    visit.page.evaluate("document.querySelectorAll('.layer-table tbody tr').forEach(row => (row.kept = true))")
    visit.page.keyboard.press("j")
    visit.page.wait_for_selector(".drawer:not(.waiting)")
    visit.page.wait_for_timeout(100)
    kept = visit.page.evaluate("[...document.querySelectorAll('.layer-table tbody tr')].filter(r => r.kept).length")
    assert 15 < kept < 30


def test_the_address_follows_a_drag_when_it_ends(visit: Visit) -> None:
    visit.open("/w?scale=linear")
    before = visit.query()
    box = visit.page.locator(".budget-handle").bounding_box()
    x, y = box["x"] + box["width"] - 8, box["y"] + 8
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x - 120, y, steps=6)
    visit.page.wait_for_selector("#budget-verdict.fits")
    assert visit.query() == before
    visit.page.mouse.up()
    visit.wait("new URL(location.href).searchParams.has('budget')")
    visit.page.go_back()
    visit.wait("!new URL(location.href).searchParams.has('budget')")


def test_baselines_on_one_spot_share_their_words(visit: Visit) -> None:
    visit.open()
    script = """async () => {
      const { placedBaselines } = await import('/components/plot_marks.js');
      const point = (x, y) => ({ id: `${x}`, arena_bytes: x, latency_ns: y * 1e6 });
      const baseline = (name, x, y) => ({ name, explanation: '', point: point(x, y) });
      const view = {
        axis: 'arena', scale: '', units: 'kib', budget: null, points: [point(100, 10), point(200, 5)],
        baselines: [baseline('one', 150, 8), baseline('two', 150.2, 8), baseline('apart', 120, 9)],
      };
      const placed = placedBaselines(view, { x: [90, 210], y: [4, 10.5] }, { width: 600, height: 300 });
      return placed.map(({ label }) => label.trim());
    }"""
    assert visit.page.evaluate(script) == ["one, two", "", "apart"]


def test_fronts_that_arrive_late_leave_a_button_that_asks_once_more(visit: Visit) -> None:
    def late(route: Any) -> None:
        visit.page.wait_for_timeout(400)
        route.continue_()

    visit.page.route("**/api/v1/frontiers", late)
    visit.page.goto(visit.base + "/models")
    visit.page.click("[aria-label='Delete keyword-spotting']")
    visit.page.wait_for_selector(".front-link")
    assert visit.page.locator("text=Really delete").count() == 1


@pytest.mark.parametrize(
    ("smallest", "budget", "said"),
    [
        (100, 150, "What fits is not known: the front ends at 200 B because it was cancelled"),
        (100, 60, "you are 40 B short"),
        (None, 60, "What fits is not known"),
        (None, None, "How little arena would do is not known"),
    ],
)
def test_a_cut_front_does_not_claim_that_nothing_fits(
    visit: Visit, smallest: int | None, budget: int | None, said: str
) -> None:
    visit.page.goto(visit.base + "/jobs")
    script = """async ([smallestBytes, budget]) => {
      const { verdict } = await import('/components/budget_bar.js');
      const points = [{ id: 'p', arena_bytes: 200, latency_ns: 9 }, { id: 'q', arena_bytes: 300, latency_ns: 5 }];
      const frontier = { incomplete_because: 'it was cancelled' };
      const short = (text) => text;
      const view = { axis: 'arena', points, frontier, smallestBytes, smallestStep: 's', budget, a: null, short };
      return verdict(view).text;
    }"""
    assert said in visit.page.evaluate(script, [smallest, budget])
