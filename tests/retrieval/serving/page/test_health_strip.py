"""A story of the strip of health: recall and times are said, and events once there are some."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.retrieval.serving.conftest import WRITE
from tests.retrieval.serving.page.conftest import Watched, playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = playwright.expect
Check = Callable[["Page"], None]
BROKEN_WORDS = """() => [...document.querySelectorAll("dialog .table :is(th, td:not(.long))")].flatMap((cell) => {
    const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
    return [...(text?.data || "").matchAll(/\\S+/g)].filter((word) => {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1;
    }).map((word) => word[0]);
})"""


def test_the_strip_says_what_is_promised_and_found(watched: Watched, has_no_violations: Check) -> None:
    page = watched.page
    strip = page.get_by_role("contentinfo")
    expect(strip).to_contain_text("100 % found, 95 % promised")
    expect(strip).to_contain_text("not yet asked")
    has_no_violations(page)
    strip.get_by_role("button", name="Details", exact=True).click()
    dialog = page.get_by_role("dialog")
    row = dialog.get_by_role("row", name=re.compile("^text queries"))
    expect(row).to_contain_text("95 %")
    expect(row).to_contain_text("kept")
    expect(dialog.get_by_role("row", name=re.compile("^Last event"))).to_contain_text("takes no events")
    assert page.evaluate(BROKEN_WORDS) == []
    has_no_violations(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_changes_are_counted_since_the_generation(watched: Watched) -> None:
    page = watched.page
    for since, strip, row in (
        (0, r"Generation\w{8}Recall", "0 batches"),
        (1, r"Generation\w{8} \+ 1Recall", "1 batch"),
    ):
        page.evaluate(
            """async (since) => {
                const { state } = await import("./page/js/store.js");
                Object.assign(state.status, { change: 4, batches_since: since });
                (await import("./page/js/parts/health.js")).draw();
            }""",
            since,
        )
        expect(page.get_by_role("contentinfo")).to_contain_text(re.compile(strip))
        page.get_by_role("button", name="Details", exact=True).click()
        expect(page.get_by_role("row", name=re.compile("^Changes since"))).to_have_text(f"Changes since{row}")
        page.keyboard.press("Escape")


def test_a_p99_needs_twenty_requests(watched: Watched) -> None:
    page, box = watched.page, watched.page.get_by_role("searchbox", name="Words to search for")
    strip = page.get_by_role("contentinfo")
    box.fill("red")
    page.keyboard.press("Enter")
    expect(strip).to_contain_text(re.compile(r"Search[\d.]+ ms for one request from here"))
    box.fill("mug")
    page.keyboard.press("Enter")
    expect(strip).to_contain_text(re.compile(r"p50 [\d.]+ ms of 2 requests from here"))
    expect(strip).not_to_contain_text("p99")
    page.evaluate("""async () => {
        const { timings } = await import("./page/js/api.js");
        timings.set("search", Array.from({ length: 20 }, (_, at) => 100 + at));
        (await import("./page/js/parts/health.js")).draw();
    }""")
    expect(strip).to_contain_text("p50 110 ms, p99 119 ms from here")


def test_an_empty_log_has_no_last_event(live: Watched, live_address: str) -> None:
    page, strip = live.page, live.page.get_by_role("contentinfo")
    expect(strip).to_contain_text("no events yet")
    strip.get_by_role("button", name="Details", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("^Last event"))).to_contain_text("no events yet")
    page.keyboard.press("Escape")
    event = {"user_id": "ann", "item_id": "red-mug", "type": "like"}
    answer = page.request.post(f"{live_address}events", data=event, headers={"authorization": f"Bearer {WRITE}"})
    assert answer.status == 200
    page.evaluate("import('./page/js/parts/health.js').then((health) => health.refresh())")
    expect(strip).to_contain_text("Eventsjust now")
    strip.get_by_role("button", name="Details", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("^Last event"))).to_contain_text("just now")
