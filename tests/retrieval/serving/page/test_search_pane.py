"""A story of the search: a query of several parts is built, weighed and cut off, and its hits are explained."""

import base64
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from indexing.media.audio import sound_type
from indexing.media.images import picture_format
from tests.retrieval.serving.page.conftest import HOSTILE, Watched, playwright
from tests.toy import picture

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response, Route

expect = playwright.expect
Check = Callable[["Page"], None]


def ask(page: "Page", words: str) -> None:
    page.get_by_role("searchbox", name="Words to search for").fill(words)
    page.keyboard.press("Enter")


def titles(page: "Page") -> list[str]:
    texts: list[str] = page.locator("#pane-search .card:not(.below) .card-title").all_inner_texts()
    return texts


def test_a_query_of_words_and_weights_orders_the_cards(watched: Watched, has_no_violations: Check) -> None:
    page = watched.page
    ask(page, "red")
    expect(page.locator("#results-heading")).to_contain_text("result")
    expect(page.locator("#pane-search .card-title").first).to_contain_text("red")
    ask(page, "blue")
    slider = page.get_by_role("slider", name="Weight of red")
    slider.focus()
    for _ in range(20):  # from 1 to -1
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#pane-search .card-title").first).to_contain_text("blue")
    assert slider.input_value() == "-1"
    why = page.locator(".why:visible")
    for _ in range(30):  # answers to the weights between may still come, and close it
        if any("\u00d7 \u22121.0" in text for text in why.all_inner_texts()):
            break
        if not why.count():
            page.locator(".card", has_text="blue").first.get_by_role("button", name=re.compile("^Why")).click()
        page.wait_for_timeout(300)
    expect(why.first).to_contain_text("\u00d7 \u22121.0")
    has_no_violations(page)
    page.get_by_role("button", name="Remove red").click()
    expect(page.locator(".chip")).to_have_count(1)


def test_results_follow_a_weight_while_it_is_dragged(watched: Watched) -> None:
    page = watched.page
    ask(page, "red")
    ask(page, "blue")
    box = page.get_by_role("slider", name="Weight of red").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.75, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, middle, steps=5)
    expect(page.locator("#pane-search .card-title").first).to_contain_text("blue")
    page.mouse.move(box["x"] + box["width"] - 4, middle, steps=5)
    expect(page.locator("#pane-search .card-title").first).to_contain_text("red")
    page.mouse.up()


def test_near_duplicates_are_one_card(watched: Watched) -> None:
    page, asked = watched.page, list[str]()

    def folding(route: "Route") -> None:
        asked.append(json.loads(route.request.post_data or "")["duplicates"])
        answer = route.fetch()
        body = answer.json()
        body["results"][0]["hits"][0]["folded"] = ["red-mug", "blue-mug"]
        route.fulfill(response=answer, json=body)

    page.route("**/search", folding)
    ask(page, "green")
    expect(page.locator("#pane-search .card .folded")).to_have_text("+2 alike")
    page.locator("#pane-search .card-picture").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="2 near-duplicates")).to_be_visible()
    page.keyboard.press("Escape")
    with page.expect_response("**/search"):
        page.get_by_role("checkbox", name="Fold alike").uncheck()
    assert (asked[0], asked[-1]) == ("collapse", "show")


def test_titles_with_markup_stay_text(watched: Watched) -> None:
    page = watched.page
    for title in HOSTILE:
        page.get_by_role("searchbox", name="Words to search for").fill("red")
        page.keyboard.press("Enter")
        card = page.locator("#pane-search .card", has=page.get_by_title(title, exact=True)).first
        expect(card.locator(".card-title")).to_have_text(title)
        card.locator(".card-picture").click()
        expect(page.get_by_role("dialog").get_by_role("heading", name=title, exact=True)).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Remove red").click()


def test_a_result_and_a_picture_are_parts_of_the_next_query(watched: Watched) -> None:
    page = watched.page
    ask(page, "green")
    page.get_by_role("button", name="More like green mug").click()
    expect(page.locator(".chip")).to_have_count(2)
    page.get_by_role("button", name="Clear all").click()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "any.png", "mimeType": "image/png", "buffer": picture("blue", 40)}
    )
    expect(page.locator(".chip img")).to_be_visible()
    expect(page.locator("#pane-search .card-title").first).to_contain_text("blue")


def test_a_card_that_is_dropped_on_the_query_is_a_part_of_it(watched: Watched) -> None:
    page = watched.page
    with page.expect_response("**/search"):
        ask(page, "blue")
    card = page.locator("#pane-search .card").first
    expect(card.locator(".card-title")).to_contain_text("blue")
    key, title = card.get_attribute("data-key"), card.locator(".card-title").inner_text()
    card.drag_to(page.get_by_role("searchbox", name="Words to search for"))
    expect(page.get_by_role("list", name="Parts of the query").locator(".chip .clip")).to_have_text(["blue", title])

    def of_the_item_alone(answer: "Response") -> bool:
        asked = answer.request.post_data or ""
        return '"item"' in asked and '"text"' not in asked

    assert "dropping" not in str(page.locator("#query").get_attribute("class"))
    with page.expect_response(of_the_item_alone) as answered:
        page.get_by_role("button", name="Remove blue", exact=True).click()
    (asked,) = json.loads(answered.value.request.post_data or "")["queries"]
    assert [part.get("item") for part in asked["parts"]] == [key]


def test_why_takes_the_width_below_the_row_and_leaves_no_gap(watched: Watched) -> None:
    page = watched.page
    with page.expect_response("**/search"):
        ask(page, "red")
    cards = page.locator("#pane-search .card")
    expect(cards.first.locator(".card-title")).to_contain_text("red")
    cards.nth(1).get_by_role("button", name=re.compile("^Why")).click()
    script = "(node) => { const { x, y, right, bottom } = node.getBoundingClientRect(); return [x, y, right, bottom]; }"
    why, whole = page.locator(".why").evaluate(script), page.locator("#pane-search .cards").evaluate(script)
    assert (why[0], why[2]) == pytest.approx((whole[0], whole[2]), abs=0.5)  # pixels
    boxes = [card.evaluate(script) for card in cards.all()]
    above, below = ([box for box in boxes if (box[1] < why[1]) is side] for side in (True, False))
    assert len(above) == len({box[0] for box in boxes}) > 1  # the row of the card is whole
    assert {box[1] for box in above} == {boxes[1][1]}
    gap = why[1] - max(box[3] for box in above)
    assert gap == pytest.approx(min(box[1] for box in below) - why[3], abs=0.5)
    assert 0 < gap < 20
    page.get_by_role("button", name=re.compile("^Why"), expanded=True).click()
    expect(page.locator(".why")).to_have_count(0)


PASTED = """(files) => {
    const clipboardData = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        clipboardData.items.add(new File([bytes], name, { type }));
    }
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def test_a_pasted_picture_is_searched_for(watched: Watched) -> None:
    page = watched.page
    page.evaluate(PASTED, [["a.png", "image/png", base64.b64encode(picture("green", 40)).decode()]])
    expect(page.locator("#pane-search .card-title").first).to_contain_text("green")


@pytest.mark.parametrize(("name", "kind"), [("a.svg", "image/svg+xml"), ("b.pdf", "application/pdf")])
def test_other_files_are_refused(watched: Watched, name: str, kind: str) -> None:
    page = watched.page
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.__pwned=1'/>"
    page.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": kind, "buffer": svg})
    expect(page.locator("#query .notice.error")).to_be_visible()
    expect(page.locator(".chip")).to_have_count(0)


def test_filters_come_from_the_attributes(watched: Watched, has_no_violations: Check) -> None:
    page = watched.page
    if watched.size == "phone":
        page.get_by_role("button", name="Filters", exact=True).click()
    page.get_by_role("checkbox", name=re.compile("^mug")).check()
    expect(page.locator(".active-filters")).to_contain_text("tags: mug")
    expect(page.locator("#pane-search .card")).to_have_count(4)
    if watched.size == "phone":  # they stand above the results, and are closed where they begin
        page.get_by_role("button", name="Show results").click()
        expect(page.get_by_role("button", name="Filters", exact=True)).to_be_focused()
        expect(page.get_by_role("checkbox", name=re.compile("^mug"))).to_be_hidden()
        page.keyboard.press("Enter")
    ask(page, "red")
    expect(page.locator("#pane-search .card-title").first).to_have_text("red mug")
    page.get_by_role("spinbutton", name="price: at least").fill("1000")
    expect(page.locator("#pane-search .state")).to_contain_text("Nothing fits")
    has_no_violations(page)
    page.get_by_role("button", name=re.compile("^Remove the filter price")).click()
    expect(page.locator("#pane-search .card-title").first).to_have_text("red mug")


def test_a_cut_off_hides_low_scores(watched: Watched) -> None:
    page = watched.page
    ask(page, "red shoe")
    slider = page.get_by_role("slider", name=re.compile("^Cut-off"))
    expect(slider).to_be_visible()
    before = len(titles(page))
    beside = page.locator("#pane-search").get_by_role("button", name="Filters")
    place = beside.bounding_box() if watched.size == "phone" else None
    slider.focus()
    page.keyboard.press("End")
    assert titles(page) == ["red shoe"]
    assert place is None or beside.bounding_box() == place  # what is said of the cut-off moves nothing
    expect(page.locator(".cutoff output")).to_contain_text(f", {before - 1} hidden")
    page.keyboard.press("Home")
    assert len(titles(page)) == before


def test_what_the_catalogue_lacks_is_said(watched: Watched) -> None:
    page = watched.page

    def without_a_match(route: "Route") -> None:
        answer = route.fetch()
        body = answer.json()
        body["results"][0]["verdict"] = {"probability": 0.04, "good": False}
        route.fulfill(response=answer, json=body)

    page.route("**/search", without_a_match)
    ask(page, "zeppelin over antarctica")
    expect(page.locator("#pane-search .notice")).to_contain_text(
        "No good match. The catalogue probably has nothing for this (4 %"
    )
    page.evaluate("location.hash = '#search?q=zeppelin&is.tags=mug'")
    expect(page.locator("#pane-search .notice")).to_contain_text(
        "Nothing under this filter matches well. Among the items with tags: mug is probably nothing for this (4 %"
    )
    page.get_by_role("button", name="Remove the filter", exact=True).click()
    expect(page.locator("#pane-search .notice")).to_contain_text("The catalogue probably has nothing")
    expect(page.locator(".active-filters .pill")).to_have_count(0)


def test_a_file_is_told_by_its_first_bytes_and_a_refusal_goes_with_the_next_step(watched: Watched) -> None:
    page, notice = watched.page, watched.page.locator("#query .notice.error")
    field = page.locator("input[type=file]").first
    files = [
        {"name": "mug.png", "mimeType": "image/png", "buffer": b"no picture"},
        {"name": "mug.img", "mimeType": "application/octet-stream", "buffer": picture("blue", 40)},
    ]
    field.set_input_files(files[0])  # type: ignore[arg-type]
    expect(notice).to_contain_text("mug.png is neither a picture nor a sound")
    field.set_input_files(files[1])  # type: ignore[arg-type]
    expect(page.locator("#pane-search .card-title").first).to_contain_text("blue")
    expect(notice).to_have_count(0)
    field.set_input_files(files[0])  # type: ignore[arg-type]
    expect(notice).to_be_visible()
    ask(page, "mug")
    expect(notice).to_have_count(0)


@pytest.mark.parametrize("refused_first", [True, False])
def test_what_is_refused_of_several_files_is_said_beside_the_others(watched: Watched, refused_first: bool) -> None:
    page, notice = watched.page, watched.page.locator("#query .notice.error")
    files = [
        ["mug.png", "image/png", base64.b64encode(b"no picture").decode()],
        ["mug.img", "application/octet-stream", base64.b64encode(picture("blue", 40)).decode()],
    ]
    page.evaluate(PASTED, files if refused_first else files[::-1])
    expect(page.locator("#pane-search .card-title").first).to_contain_text("blue")
    expect(notice).to_contain_text("mug.png is neither a picture nor a sound")


STARTS = {
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF....WEBP",
    "audio/wav": b"RIFF....WAVE",
    "image/bmp": b"BM" + bytes(12) + b"\x28\0\0\0",
    "image/avif": b"\0\0\0\x1cftypmif1\0\0\0\0avif",
    "audio/flac": b"fLaC",
    "audio/ogg": b"OggS",
    "audio/mpeg": b"\xff\xfb\x90",
}


def test_kinds_of_files_are_those_of_the_service(watched: Watched) -> None:
    script = """async (starts) => {
        const { kindOf } = await import("./page/js/parts/file_kinds.js");
        return Promise.all(starts.map((bytes) => kindOf(new Blob([Uint8Array.from(bytes)]))));
    }"""
    others = [b"", b"BMW, red and old enough", b"RIFF....AVI ", b"%PDF-1.7", b"....ftypheic"]
    found = watched.page.evaluate(script, [list(one) for one in (*STARTS.values(), *others)])
    assert found == [*STARTS, *[None] * len(others)]
    for kind, start in STARTS.items():
        assert (picture_format(start) is not None, sound_type(start)) == (
            kind.startswith("image/"),
            kind if kind.startswith("audio/") else None,
        )


def test_an_error_is_said_and_can_be_tried_again(watched: Watched, address: str) -> None:
    page = watched.page
    page.route("**/search", lambda route: route.abort())
    ask(page, "red")
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#pane-search .card-title").first).to_contain_text("red")
    assert all("net::ERR_FAILED" in problem for problem in watched.problems)
    watched.problems.clear()


def test_the_field_promises_what_the_encoder_takes(watched: Watched) -> None:
    field = watched.page.get_by_role("searchbox", name="Words to search for")
    promise = "Words or a picture" if watched.size == "phone" else "Search by meaning: words or a picture…"
    expect(field).to_have_attribute("placeholder", promise)


def test_keys_alone_do_it(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("/")
    page.keyboard.type("blue lamp")
    page.keyboard.press("Enter")
    expect(page.locator("#pane-search .card-title").first).to_have_text("blue lamp")
    page.locator("#pane-search .card-picture").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("price")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#pane-search .card-picture").first).to_be_focused()
