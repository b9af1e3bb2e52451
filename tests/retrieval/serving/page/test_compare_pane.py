"""A story of the comparison: one query, or one user, under two settings, with what moved."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.retrieval.serving.page.conftest import Watched, playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = playwright.expect


def test_a_query_under_two_settings_says_what_moved(
    watched: Watched, has_no_violations: Callable[["Page"], None]
) -> None:
    page = watched.page
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#pane-compare .state")).to_contain_text("Ask something first")
    page.get_by_role("searchbox", name="Words to search for").fill("red mug")
    page.keyboard.press("Enter")
    left, right = (page.get_by_role("list", name=f"Results under {side}") for side in "AB")
    expect(left.locator("li[data-key]")).to_have_count(20)
    page.get_by_role("combobox", name="Search by, B").select_option("words")
    expect(right.locator("li[data-key]").first).to_contain_text("red mug")
    expect(left.locator(".moved", has_text="out").first).to_be_visible()
    expect(page.locator("#pane-compare .summary")).to_contain_text(re.compile(r"\d+ of 20 in both"))
    page.get_by_role("combobox", name="Search by, B").select_option("vector")
    expect(page.locator("#pane-compare .summary")).to_contain_text("20 of 20 in both, 10 of the first 10; 20 places")
    has_no_violations(page)


def test_places_that_changed_are_marked_up_and_down(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("searchbox", name="Words to search for").fill("green shoe")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("combobox", name="Search by, B").select_option("vector")
    page.get_by_role("slider", name="Variety of B").fill("0.9")
    right = page.get_by_role("list", name="Results under B")
    expect(right.locator(".moved.up").first).to_contain_text(re.compile(r"up\s*.*\d"))
    expect(right.locator(".moved.down").first).to_be_visible()
    expect(page.locator("#pane-compare .lines path")).not_to_have_count(0)
