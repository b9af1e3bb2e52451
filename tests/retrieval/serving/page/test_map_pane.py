"""A story of the map: results are lit, and a region becomes a filter."""

import re
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

from tests.retrieval.serving.page.conftest import Watched, playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

expect = playwright.expect


def test_results_are_lit_and_a_region_becomes_a_filter(
    watched: Watched, has_no_violations: Callable[["Page"], None]
) -> None:
    page = watched.page
    page.get_by_role("tab", name="Map").click()
    expect(page.locator(".map-note")).to_contain_text("24 items; two dimensions hold")
    page.get_by_role("searchbox", name="Words to search for").fill("blue")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Results on the map").get_by_role("button").first).to_contain_text("blue")
    page.get_by_role("combobox", name="Colour by").select_option("popularity")
    expect(page.locator(".ramp")).to_be_visible()
    page.get_by_role("combobox", name="Colour by").select_option("modality")
    expect(page.locator(".legend")).to_contain_text("image")
    page.get_by_role("combobox", name="Colour by").select_option("tags")
    expect(page.locator(".legend")).to_contain_text("red")
    has_no_violations(page)
    page.get_by_role("button", name="Mark a region").click()
    page.locator(".map").scroll_into_view_if_needed()
    box = page.locator(".map canvas").bounding_box()
    assert box is not None
    left, right, top, bottom = box["x"] + 4, box["x"] + box["width"] - 60, box["y"] + 4, box["y"] + box["height"] * 0.6
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    expect(page.locator(".map-tools")).to_contain_text("Searches are within")
    page.get_by_role("button", name="Show them").click()
    expect(page.locator(".active-filters")).to_contain_text(re.compile(r"Region of the map: \d+ items"))


def test_a_map_that_is_still_drawn_is_asked_for_again(watched: Watched) -> None:
    page, asked = watched.page, list[str]()

    def still_drawing(route: "Route") -> None:
        asked.append(route.request.url)
        if len(asked) > 2:
            route.continue_()
        else:
            route.fulfill(status=202, headers={"retry-after": "1"}, json={})

    page.route("**/map?*", still_drawing)
    page.get_by_role("tab", name="Map").click()
    expect(page.locator(".map-note")).to_have_text("Drawing the map…")
    expect(page.locator(".map-note")).to_contain_text("24 items; two dimensions hold")
    assert len(asked) == 3


def test_nothing_lies_over_the_map_and_labels_keep_apart(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("tab", name="Map").click()
    expect(page.locator(".map-note")).to_contain_text("24 items")
    assert page.locator(".map > :not(canvas):visible").count() == 0
    script = """async () => {
        const { apart } = await import("./page/js/panes/map_view.js");
        const labels = [["query", 100, 100, 14], ["1", 104, 101, 9], ["2", 120, 100, 9], ["3", 96, 104, 9]];
        return apart(labels, (text) => 8 * text.length).map((one) => [one.x, one.y, 8 * one.text.length]);
    }"""
    boxes = [(x, y - 11, x + width, y + 3) for x, y, width in page.evaluate(script)]
    for one, other in combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


PICKED = """async () => {
    const { MapView } = await import("./page/js/panes/map_view.js");
    let seed = 1;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const canvas = document.createElement("canvas");
    Object.assign(canvas.style, { position: "fixed", inset: "0 auto auto 0", width: "300px", height: "200px" });
    document.body.append(canvas);
    const view = new MapView(canvas, {}), count = 2000;
    const place = () => Math.floor(65536 * random() * (random() < 0.3 ? 0.02 : 1));
    const places = Uint16Array.from({ length: 2 * count }, place);
    view.points(Array.from({ length: count }, (_, at) => String(at)), places);
    const found = { same: 0, none: 0, other: 0 };
    for (const [scale, x, y] of [[0.8, 0.5, 0.5], [1, 0.5, 0.5], [7, 0.1, 0.95], [60, 0.01, 0.99], [30, 1.1, -0.1]]) {
        Object.assign(view, { scale, x, y });
        const shown = [...view.ids].map((_, at) => view.toScreen(view.xs[at], view.ys[at]));
        for (let go = 0; go < 200; go += 1) {
            const px = 340 * random() - 20, py = 240 * random() - 20, within = 4 + 60 * random();
            const far = (at) => (shown[at][0] - px) ** 2 + (shown[at][1] - py) ** 2;
            let nearest = within * within;
            for (let at = 0; at < count; at += 1) nearest = Math.min(nearest, far(at));
            const picked = view.pick(px, py, within);
            if (picked < 0 ? nearest < within * within : far(picked) > nearest) found.other += 1;
            else found[picked < 0 ? "none" : "same"] += 1;
        }
    }
    canvas.remove();
    return found;
}"""


def test_the_point_that_is_picked_is_the_nearest_of_all(watched: Watched) -> None:
    """Beside a comparison with every point, near and far, where points lie close, and beyond the edges."""
    found = watched.page.evaluate(PICKED)
    assert found["other"] == 0
    assert min(found["same"], found["none"]) > 100


def test_keys_move_the_map_and_open_an_item(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("searchbox", name="Words to search for").fill("green book")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Map").click()
    page.get_by_role("group", name="Results on the map").get_by_role("button", name="green book").click()
    page.locator(".map canvas").focus()
    for key in ("+", "+", "+"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading", name="green book").first).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Mark a region").press("Enter")
    expect(page.locator(".map-tools")).to_contain_text("press Enter on the map for those in view")
    page.locator(".map canvas").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".map-tools")).to_contain_text(re.compile(r"Searches are within \d+ items?"))
    expect(page.get_by_role("dialog")).to_have_count(0)
