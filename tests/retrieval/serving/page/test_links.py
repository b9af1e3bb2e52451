"""A story of addresses: views and queries are steps of the history, and a link gives the same answer again."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from retrieval.retriever.queries.query import Query
from retrieval.retriever.queries.syntax import parse_query
from tests.retrieval.serving.page.conftest import SIZES, Watched, playwright, watching
from tests.toy import picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = playwright.expect
SHARED = "#search?q=2:red - item:'blue-mug'&is.tags=mug&min.price=2&by=hybrid&fold=off"
NOTE = "#query [role=status]"
PARTS: list[dict[str, Any]] = [
    {"kind": "text", "value": "red mug", "weight": 1},
    {"kind": "text", "value": 'it\'s a "quote" \\ + more - 2:less item:x', "weight": 1.5},
    {"kind": "text", "value": "./not a path", "weight": -1},
    {"kind": "item", "value": "hostile-0/é 'a'", "weight": -0.5},
    {"kind": "text", "value": "größe 42", "weight": 0},
]


def ask(page: "Page", words: str) -> None:
    page.get_by_role("searchbox", name="Words to search for").fill(words)
    page.keyboard.press("Enter")


def test_views_are_steps_of_the_history(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("tab", name="Users").click()
    expect(page).to_have_url(re.compile("#users$"))
    page.get_by_role("tab", name="Compare").click()
    page.go_back()
    expect(page.get_by_role("tab", name="Users")).to_have_attribute("aria-selected", "true")
    page.go_back()
    expect(page.locator("#pane-search")).to_be_visible()
    page.go_forward()
    expect(page.locator("#pane-users")).to_be_visible()
    page.evaluate("location.hash = '#map'")
    expect(page.locator("#pane-map")).to_be_visible()
    page.evaluate("location.hash = '#main'")  # a place on the page is no view
    expect(page).to_have_url(re.compile("#map$"))
    expect(page.locator("#pane-map")).to_be_visible()


def test_a_query_is_in_the_address_and_back_takes_a_step(watched: Watched) -> None:
    page = watched.page
    ask(page, "red")
    expect(page).to_have_url(re.compile(r"#search\?q=red$"))
    ask(page, "shoe")
    expect(page).to_have_url(re.compile(r"#search\?q=red\+%2B\+shoe$"))
    expect(page.locator("#pane-search .card-title").first).to_have_text("red shoe")
    page.reload()
    expect(page.locator("#pane-search .card-title").first).to_have_text("red shoe")
    expect(page.locator(".chip")).to_have_count(2)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(1)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)
    expect(page.locator("#pane-search .card").first).to_be_visible()


@pytest.mark.parametrize("size", SIZES)
def test_a_link_gives_words_items_filters_and_settings(
    browser: "Browser", address: str, size: str, has_no_violations: Callable[["Page"], None]
) -> None:
    with watching(browser, address, size, hash=SHARED) as found:
        page = found.page
        expect(page.get_by_role("slider", name="Weight of red")).to_have_value("2")
        expect(page.get_by_role("slider", name="Weight of blue mug")).to_have_value("-1")
        filters = page.get_by_role("group", name="Filters that are set")
        expect(filters).to_contain_text("tags: mug")
        expect(filters).to_contain_text("price 2 to …")
        expect(page.get_by_role("radio", name="Both (hybrid)")).to_be_checked()
        expect(page.get_by_role("checkbox", name="Fold alike")).not_to_be_checked()
        expect(page.locator("#pane-search .card-title").first).to_have_text("red mug")
        expect(page.locator(NOTE)).to_be_empty()
        has_no_violations(page)


def test_what_a_link_cannot_carry_is_said(browser: "Browser", address: str) -> None:
    with watching(browser, address, "desktop", hash="#search?q=red&is.tags=velvet&without=files&by=smell") as found:
        note = found.page.locator(NOTE)
        expect(note).to_contain_text("a filter that this service has not, tags: velvet")
        expect(note).to_contain_text("a picture or a sound, which links do not carry")
        expect(note).to_contain_text("searches by “smell”")
        expect(found.page.locator("#pane-search .card-title").first).to_contain_text("red")
        found.page.evaluate("location.hash = '#search?q=image:/etc/passwd'")
        expect(note).to_contain_text("names a file")
        expect(found.page.locator(".chip")).to_have_count(0)


def test_a_picture_stays_while_views_change(watched: Watched) -> None:
    page = watched.page
    page.locator("input[type=file]").first.set_input_files(
        {"name": "any.png", "mimeType": "image/png", "buffer": picture("blue", 40)}
    )
    expect(page).to_have_url(re.compile("without=files"))
    page.get_by_role("tab", name="Compare").click()
    page.go_back()
    expect(page.locator("#pane-search")).to_be_visible()
    expect(page.locator(".chip img")).to_be_visible()


def test_the_query_of_an_address_is_that_of_python(watched: Watched) -> None:
    script = (
        "async (parts) => { const link = await import('./page/js/parts/link.js'); const text = link.composed(parts);"
    )
    text, read = watched.page.evaluate(f"{script} return [text, link.parsed(text)]; }}", PARTS)
    assert read == PARTS
    wanted = [part["weight"] * getattr(Query, part["kind"])(part["value"]) for part in PARTS]
    assert repr(parse_query(text)) == repr(sum(wanted[1:], wanted[0]))
