"""Journeys through the workbench in a real browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser_visit import Visit

Points = list[dict[str, Any]]
DRAWN = "([name, x]) => document.querySelector(`.ring.${name.toLowerCase()}`)?.dataset.bytes === String(x)"


def test_page_makes_no_foreign_request_and_obeys_its_policy(visit: Visit) -> None:
    answer = visit.page.goto(visit.base + "/")
    visit.page.wait_for_selector(".plot-box.drawn")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert visit.page.evaluate("typeof Plotly.version") == "string"
    assert visit.page.locator("[data-title*='cloud'], [data-title*='Share'], a[href*='plotly']").count() == 0
    assert visit.page.locator(".plot [role=img], .plot-canvas[role]").count() == 0
    assert visit.foreign == []


def test_first_look_shows_the_knee_and_says_so_in_the_address(visit: Visit) -> None:
    visit.open("/")
    assert visit.query()["a"].startswith("pt_")
    assert "knee" in visit.page.inner_text(".point-header")
    assert visit.page.title() == "resnet26 · Tradespace"


def test_front_is_a_step_line_that_holds_the_smaller_points_latency(visit: Visit, points: Points) -> None:
    visit.open()
    line = visit.page.evaluate("document.querySelector('.plot-canvas').data.find(t => t.name === 'front')")
    assert line["line"]["shape"] == "hv"
    assert line["x"][: len(points)] == [p["arena_bytes"] for p in points]
    assert line["y"][: len(points)] == pytest.approx([p["latency_ns"] / 1e6 for p in points])
    marks = visit.page.evaluate("document.querySelector('.plot-canvas').data.map(t => [t.name, t.x.length])")
    assert dict(marks)["gap"] == sum(not p["proven"] for p in points)


def test_click_is_a_shift_click_is_b_escape_clears(visit: Visit, points: Points) -> None:
    visit.open()
    visit.page.mouse.click(*visit.place(points[-3]["id"]))
    visit.wait("id => new URL(location.href).searchParams.get('a') === id", points[-3]["id"])
    visit.wait(DRAWN, ["A", points[-3]["arena_bytes"]])
    visit.page.keyboard.down("Shift")
    visit.page.mouse.click(*visit.place(points[1]["id"]))
    visit.page.keyboard.up("Shift")
    visit.wait("id => new URL(location.href).searchParams.get('b') === id", points[1]["id"])
    assert visit.query()["a"] == points[-3]["id"]
    assert visit.page.inner_text("tr[aria-selected=true] >> nth=0").startswith("B")
    visit.page.keyboard.press("Escape")
    assert not {"a", "b"} & set(visit.query())
    assert "No point selected" in visit.page.inner_text(".point-header")


def test_arrows_and_letters_walk_along_the_front_and_are_announced(visit: Visit, points: Points) -> None:
    visit.open(f"/w?a={points[4]['id']}")
    visit.page.keyboard.press("j")
    assert visit.query()["a"] == points[5]["id"]
    visit.page.keyboard.press("ArrowRight")
    assert visit.query()["a"] == points[6]["id"]
    visit.page.keyboard.press("k")
    assert visit.query()["a"] == points[5]["id"]
    said = visit.page.inner_text("#announce")
    assert f"Point 6 of {len(points)}" in said
    assert f"{points[5]['arena_bytes']:,} bytes" in said


def test_back_undoes_a_selection(visit: Visit, points: Points) -> None:
    visit.open(f"/w?a={points[4]['id']}")
    visit.page.keyboard.press("j")
    visit.page.go_back()
    visit.wait("id => new URL(location.href).searchParams.get('a') === id", points[4]["id"])
    visit.wait("n => document.querySelector('.point-header').innerText.includes(n)", f"{points[4]['arena_bytes']:,}")


def test_typed_budget_takes_the_best_point_that_fits(visit: Visit, points: Points) -> None:
    visit.open()
    visit.page.fill("#budget", "384k")
    visit.page.keyboard.press("Enter")
    fitting = [p for p in points if p["arena_bytes"] <= 384 * 1024]
    assert visit.query()["budget"] == str(384 * 1024)
    assert visit.query()["a"] == min(fitting, key=lambda p: p["latency_ns"])["id"]
    assert "to spare" in visit.page.inner_text("#budget-verdict")
    assert visit.page.locator(".over-words").is_visible()
    assert visit.page.locator(".over-budget").bounding_box()["width"] > 100
    assert visit.page.locator(".front-table tr.over").count() == len(points) - len(fitting)


def test_budget_too_small_says_how_many_bytes_are_missing_and_for_which_step(visit: Visit, points: Points) -> None:
    visit.open()
    smallest = points[0]["arena_bytes"]
    visit.page.fill("#budget", str(smallest - 4096))
    visit.page.keyboard.press("Enter")
    words = visit.page.inner_text("#budget-verdict")
    assert f"{smallest:,} B" in words
    assert "4,096 B short" in words
    assert "stage1/block3/conv2" in words


def test_a_budget_that_is_no_size_is_refused_in_place(visit: Visit) -> None:
    visit.open()
    visit.page.fill("#budget", "lots")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_attribute("#budget", "aria-invalid") == "true"
    assert "Not a size" in visit.page.inner_text("#budget-verdict")
    assert "budget" not in visit.query()


def test_dragging_the_budget_line_snaps_a_to_the_best_that_fits(visit: Visit, points: Points) -> None:
    visit.open("/w?scale=linear")
    box = visit.page.locator(".budget-handle").bounding_box()
    target = visit.place(points[-5]["id"])[0] + 3
    visit.page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 8)
    visit.page.mouse.down()
    visit.page.mouse.move(target + 60, box["y"] + 8, steps=4)
    visit.page.mouse.move(target + (box["x"] + box["width"] - 8) - visit_edge(visit), box["y"] + 8, steps=4)
    visit.page.mouse.up()
    visit.wait("new URL(location.href).searchParams.has('budget')")
    budget = int(visit.query()["budget"])
    fitting = [p for p in points if p["arena_bytes"] <= budget]
    assert visit.query()["a"] == min(fitting, key=lambda p: p["latency_ns"])["id"]
    assert abs(budget - points[-5]["arena_bytes"]) < 12_000


def visit_edge(visit: Visit) -> float:
    """The right end of the plot area, where the line without a budget rests."""
    script = "() => { const p = document.querySelector('.plot-canvas'); const x = p._fullLayout.xaxis;"
    return visit.page.evaluate(script + " return p.getBoundingClientRect().left + x._offset + x._length; }")


def test_budget_handle_is_a_slider_for_the_keyboard(visit: Visit, points: Points) -> None:
    visit.open()
    visit.page.focus(".budget-handle")
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press("ArrowLeft")
    assert visit.query()["budget"] == str(points[-2]["arena_bytes"])
    assert visit.query()["a"] == points[-2]["id"]
    assert f"{points[-2]['arena_bytes']:,} B" in visit.page.get_attribute(".budget-handle", "aria-valuetext")
    visit.page.keyboard.press("Delete")
    assert "budget" not in visit.query()


def test_a_link_restores_the_view_in_another_browser(visit: Visit, points: Points, browser: Any) -> None:
    a, b = points[20], points[3]
    path = f"/w?memory=arena&a={a['id']}&b={b['id']}&budget=400000&units=b&scale=x&theme=dark&tab=diff"
    other = browser.new_context().new_page()
    other.goto(visit.base + path)
    other.wait_for_selector(".plot-box.drawn")
    other.wait_for_selector("[aria-label='Changed layers'] tbody tr")
    assert f"{a['arena_bytes']:,}" in other.inner_text(".headline")
    assert other.input_value("#budget") == "400,000"
    assert other.get_attribute("html", "data-theme") == "dark"
    assert other.evaluate("document.querySelector('.plot-canvas').layout.xaxis.type") == "log"
    assert other.evaluate("document.querySelector('.plot-canvas').layout.yaxis.type") == "linear"
    assert other.inner_text("tr[aria-selected=true] >> nth=0").startswith("B")
    assert "B" in other.inner_text(".front-table tbody tr:first-child .strong >> nth=0")
    other.context.close()


def test_layers_sort_filter_and_link_to_the_memory_picture(visit: Visit) -> None:
    visit.open()
    rows = visit.page.locator(".layer-table tbody tr")
    assert rows.count() == 30
    visit.page.click("[data-column=cost_ns]")
    assert visit.page.get_attribute("th:has([data-column=cost_ns])", "aria-sort") == "descending"
    texts = visit.page.locator(".layer-table tbody tr td:nth-child(4)").all()
    times = [int(cell.get_attribute("title").split(" ns")[0].replace(",", "")) for cell in texts]
    assert times == sorted(times, reverse=True)
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("block2 conv1")
    assert rows.count() == 3
    rows.first.click()
    node = visit.query()["layer"]
    visit.page.click("#tab-memory")
    assert visit.page.locator(f".buffer.linked[data-node='{node}']").count() >= 1
    assert node in visit.page.inner_text(".step-line output")


def test_memory_picture_adds_up_to_the_peak(visit: Visit, server: Any) -> None:
    visit.open("/w?tab=memory&units=b")
    point = server.world.find("arena", visit.query()["a"])
    visit.page.wait_for_selector(".buffer")
    assert visit.page.locator(".buffer").count() == len(point.buffers)
    assert f"{point.peak_bytes:,} B" in visit.page.inner_text(".compact tfoot")
    visit.page.locator(".buffer.workspace").nth(2).hover()
    assert "workspace of" in visit.page.inner_text(".tip")
    assert "steps" in visit.page.inner_text(".tip")


def test_diff_lists_changed_layers_by_what_they_cost(visit: Visit, server: Any, points: Points) -> None:
    a, b = points[-1], points[2]
    visit.open(f"/w?tab=diff&a={a['id']}&b={b['id']}")
    visit.page.wait_for_selector("[aria-label='Changed layers'] tbody tr")
    full = [server.world.find("arena", one["id"]) for one in (a, b)]
    changed = [x.node for x, y in zip(full[0].layers, full[1].layers, strict=True) if x.primitive != y.primitive]
    assert visit.page.locator("[aria-label='Changed layers'] tbody tr").count() == len(changed)
    assert f"{len(changed)} of 30 layers change" in visit.page.inner_text(".diff-summary")
    assert visit.page.get_attribute(".figure .big >> nth=0", "title") == f"{b['latency_ns'] - a['latency_ns']:,} ns"


def test_why_prices_the_next_bytes_and_names_the_bounding_step(visit: Visit, points: Points) -> None:
    visit.open(f"/w?tab=why&a={points[10]['id']}")
    visit.page.wait_for_selector(".why section")
    words = visit.page.inner_text(".why")
    assert "The next 64 KiB buy" in words
    assert "Proven: no selection" in words
    assert "stage1/block3/conv2" in words
    visit.page.click(".why .prices button >> nth=0")
    visit.wait("id => new URL(location.href).searchParams.get('a') !== id", points[10]["id"])


def test_bundle_is_made_followed_verified_and_offered(visit: Visit) -> None:
    visit.open()
    visit.page.click("text=Make verified bundle")
    visit.page.wait_for_selector(".proof")
    words = visit.page.inner_text(".proof")
    assert "Verified bundle" in words
    assert "= arena" in words
    assert "2.4e−6" in words
    with visit.page.expect_download() as download:
        visit.page.click(".proof >> text=Download")
    assert download.value.suggested_filename.endswith(".zip")
    assert "measured" in visit.page.inner_text(".point-header")


def test_front_and_layers_are_saved_with_exact_integers(visit: Visit, points: Points) -> None:
    visit.open()
    for name, check in (("Front as CSV", lambda text: text.count("\r\n") == len(points) + 1),
                        ("Front as JSON", lambda text: len(json.loads(text)["points"]) == len(points))):  # fmt: skip
        visit.page.click("text=Save")
        with visit.page.expect_download() as download:
            visit.page.click(f"role=menuitem >> text={name}")
        text = download.value.path().read_bytes().decode()
        assert check(text)
        assert str(points[3]["latency_ns"]) in text


def test_memory_axis_and_baseline_comparison(visit: Visit) -> None:
    visit.open()
    visit.page.click(".segmented >> text=workspace")
    visit.wait("document.querySelector('.front-table th:nth-child(3)').innerText === 'workspace memory'")
    visit.page.click("#tab-why")
    visit.page.click(".why >> role=button[name='Compare'] >> nth=0")
    visit.page.click("#tab-diff")
    visit.page.wait_for_selector("[aria-label='Changed layers'] tbody tr")
    assert visit.query()["memory"] == "workspace"


def test_a_newcomer_sees_the_axis_that_has_a_trade_off(visit: Visit, server: Any) -> None:
    server.world.fronts = ["total", "workspace"]
    visit.open("/")
    assert visit.query()["memory"] == "workspace"
    visit.page.click(".segmented >> text=arena")
    visit.page.wait_for_selector("text=No arena front yet")


ANNOTATIONS = "document.querySelector('.plot-canvas').layout.annotations.map(a => a.text)"


def test_marks_of_other_runtimes_and_sizes_of_ones_own_are_drawn_and_kept_in_the_address(
    visit: Visit, points: Points
) -> None:
    visit.open()
    visit.page.click(".marks > button")
    assert "not on this device" in visit.page.inner_text(".marks-panel")
    visit.page.check(".marks-panel input[type=checkbox]")
    visit.wait("() => new URL(location.href).searchParams.get('marks') === 'peers'")
    visit.wait(f"() => {ANNOTATIONS}.some(text => text.includes('IREE'))")
    inside = (points[0]["arena_bytes"] + points[-1]["arena_bytes"]) // 2
    visit.page.fill("#own-marks", f"{inside} board, 64 GiB")
    visit.page.press("#own-marks", "Enter")
    visit.wait(f"() => {ANNOTATIONS}.some(text => text.startsWith('board '))")
    assert "→ 64 GiB" in visit.page.evaluate(ANNOTATIONS)
    lines = visit.page.evaluate("document.querySelector('.plot-canvas').layout.shapes.filter(s => s.type === 'line')")
    assert inside in [line["x0"] for line in lines]
    visit.page.fill("#own-marks", "12 parsecs, x")
    visit.page.press("#own-marks", "Enter")
    assert "Not a size" in visit.page.inner_text(".marks-panel")
    visit.page.keyboard.press("Escape")
    assert visit.page.locator(".marks-panel").is_hidden()
    visit.page.click("[data-axis=total]")
    visit.wait(f"() => !{ANNOTATIONS}.some(text => text.includes('IREE'))")


def test_labels_of_baselines_above_the_plot_do_not_lie_on_each_other(visit: Visit) -> None:
    visit.open()
    heights = visit.page.evaluate(
        "document.querySelector('.plot-canvas').data.filter(t => (t.text?.[0] ?? '').includes('↑')).map(t => t.y[0])"
    )
    assert len(heights) == len(set(heights))


def test_layers_that_run_in_strips_say_so(visit: Visit) -> None:
    visit.open("/w?tab=layers")
    visit.page.wait_for_selector(".layer-table tbody tr")
    assert visit.page.locator("tr.chained").count() == 2
    assert visit.page.inner_text("tr.chained .chain >> nth=0").endswith("· strips of 4")
