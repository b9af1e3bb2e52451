"""A story of the comparison: one query, or one user, under two settings, with what moved."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import STAGED_ON, generations
from indexing.bundle.maintenance.staged import stage
from indexing.bundle.publish import prepare
from retrieval.serving import ServiceConfig
from tests.retrieval.serving.listening import listening
from tests.retrieval.serving.page.conftest import SIZES, Watched, playwright, watching

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

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
    expect(page.locator("#pane-compare .summary")).to_contain_text(
        "10 of the first 10 the same, 20 of 20 in both; rank correlation 1.00. 20 in place"
    )
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
    # Each mark says from where a hit came, and each hit of the first list where it went.
    left = page.get_by_role("list", name="Results under A")
    places = {row.get_attribute("data-key"): place for place, row in enumerate(left.locator("li").all(), start=1)}
    for place, row in enumerate(right.locator("li").all(), start=1):
        before = places.get(row.get_attribute("data-key"))
        if before is None:
            expect(row.locator(".moved")).to_have_text("new")
        elif before != place:
            expect(row.locator(".came")).to_have_text(re.compile(rf"\D{abs(before - place)}from {before}$"))
            expect(left.locator("li").nth(before - 1).locator(".moved")).to_have_text(f"in B at place → {place}")
    expect(page.locator("#pane-compare .lines path")).not_to_have_count(0)


def keys(page: "Page", side: str) -> list[str]:
    rows = page.get_by_role("list", name=f"Results under {side}").locator("li[data-key]")
    return [str(row.get_attribute("data-key")) for row in rows.all()]


def test_a_user_under_two_generations_and_without_what_was_learned(
    watched: Watched, page_bundle: Path, has_no_violations: Callable[["Page"], None]
) -> None:
    page, first = watched.page, generations(page_bundle)[0]
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    page.get_by_role("button", name=re.compile("^Take ")).first.click()
    expect(page.locator("#user-heading")).to_have_text("Recommendations")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("radio", name="The user").check()
    summary, generation = page.locator("#pane-compare .summary"), page.get_by_role("combobox", name="Generation, B")
    expect(generation.locator("option")).to_have_count(3)
    expect(generation.locator("option:checked")).to_contain_text(re.compile(r"^Served · .* · behaviour, reranker$"))
    # B: the generation before fit; A: the one that is served, as fit left it.
    page.get_by_role("combobox", name="Stages, A").select_option("all")
    with page.expect_response(lambda one: first in (one.request.post_data or "")) as answered:
        generation.select_option(first)
    before_fit = [hit["item_id"] for hit in answered.value.json()["results"][0]["hits"]]
    said = page.locator("#pane-compare .said")
    expect(said.nth(1)).to_have_text(re.compile(rf"^Generation {first[-8:]}, learned nothing\."))
    expect(said.nth(0)).to_have_text(re.compile(r"^Generation \w{8}, learned behaviour, reranker\.$"))
    assert keys(page, "B") == before_fit != keys(page, "A")
    expect(page.get_by_role("checkbox", name="Learned, B")).to_have_count(0)  # there is nothing to leave out
    has_no_violations(page)
    # A without what was learned is as before fit; the box keeps the focus, so that Space goes on.
    learned = page.get_by_role("checkbox", name="Learned, A")
    learned.focus()
    page.keyboard.press("Space")
    expect(said.nth(0)).to_contain_text("without what it learned")
    expect(summary).to_contain_text("20 of 20 in both; rank correlation 1.00. 20 in place")
    assert keys(page, "A") == before_fit
    expect(learned).to_be_focused()
    page.keyboard.press("Space")
    expect(said.nth(0)).to_contain_text("learned behaviour, reranker")
    expect(summary).not_to_contain_text("20 in place")


@pytest.fixture(scope="module")
def staged(page_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a service of a bundle with a staged generation that has learned nothing, and its name."""
    root = tmp_path_factory.mktemp("staged") / "bundle"
    shutil.copytree(page_bundle, root)
    first, *_, current = generations(root)
    bundle = Bundle.open(root, generation=first)
    manifest = replace(bundle.manifest, learned={**bundle.manifest.learned, STAGED_ON: current})
    files = {file.name: bundle.folder / file.name for file in manifest.files}
    name = stage(root, prepare(root, manifest, files)).generation
    with listening(ServiceConfig(root)) as (address, _):
        yield address, name


@pytest.mark.parametrize("size", SIZES)
def test_a_staged_generation_is_named_so_and_compared(browser: "Browser", staged: tuple[str, str], size: str) -> None:
    address, name = staged
    with watching(browser, address, size) as watched:
        page = watched.page
        page.get_by_role("searchbox", name="Words to search for").fill("red mug")
        page.keyboard.press("Enter")
        page.get_by_role("tab", name="Compare").click()
        search_by = page.get_by_role("combobox", name="Search by, B")
        expect(search_by).to_have_value("hybrid")
        expect(search_by.locator("option:checked")).to_have_text("By meaning and words (hybrid)")
        generation = page.get_by_role("combobox", name="Generation, B")
        expect(generation.locator("option")).to_have_count(4)
        label = re.compile(r"^Staged · .* · nothing learned$")
        expect(generation.locator("option", has_text="Staged")).to_have_text(label)
        with page.expect_response(lambda one: name in (one.request.post_data or "")) as answered:
            generation.select_option(name)
        expect(generation.locator("option:checked")).to_have_text(label)
        expect(page.locator("#pane-compare .said").nth(1)).to_have_text(
            re.compile(rf"^Generation {name[-8:]}, learned nothing\. Searched by meaning alone: .* no index of words")
        )
        expect(search_by).to_have_value("vector")
        expect(search_by.locator("option[value=hybrid]")).to_be_disabled()
        assert answered.value.json()["generation"] == name
        assert keys(page, "B") == [hit["item_id"] for hit in answered.value.json()["results"][0]["hits"]]
        generation.select_option("")
        expect(search_by).to_have_value("hybrid")


def test_pictures_of_any_shape_are_whole(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("searchbox", name="Words to search for").fill("red mug")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Compare").click()
    page.locator("#pane-compare .thumb img").first.wait_for()
    boxes = page.locator("#pane-compare .thumb img").first.evaluate(
        """async (image) => {
            const canvas = new OffscreenCanvas(40, 120);
            canvas.getContext("2d").fillRect(0, 0, 40, 120);
            image.src = URL.createObjectURL(await canvas.convertToBlob());
            await image.decode();
            return [image, image.parentElement].map((node) => [node.getBoundingClientRect().height, node.clientHeight]);
        }"""
    )
    assert boxes[0][0] == boxes[1][1] > 30


def test_a_generation_that_was_collected_is_left(watched: Watched, page_bundle: Path) -> None:
    page, first = watched.page, generations(page_bundle)[0]
    page.get_by_role("searchbox", name="Words to search for").fill("red mug")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Compare").click()
    right = page.get_by_role("list", name="Results under B")
    generation = page.get_by_role("combobox", name="Generation, B")
    right.locator("li[data-key]").first.wait_for()
    error = {"error": {"type": "GenerationError", "message": "it is not kept", "hint": "others are", "request_id": "r"}}

    def collected(route: "Route") -> None:
        route.fulfill(status=410, json=error) if first in (route.request.post_data or "") else route.continue_()

    def listed(route: "Route") -> None:
        answer = route.fetch()
        kept = [one for one in answer.json()["generations"] if one["generation"] != first]
        route.fulfill(response=answer, json=answer.json() | {"generations": kept})

    page.route("**/search", collected)
    page.route("**/generations", listed)
    generation.select_option(first)
    notice = page.locator("#pane-compare .notice.error")
    expect(notice).to_contain_text("It is not kept")
    expect(generation.locator("option")).to_have_count(2)
    notice.get_by_role("button").click()
    expect(right.locator("li[data-key]").first).to_be_visible()
    expect(generation.locator("option:checked")).to_contain_text("Served")
    assert ["410" in problem for problem in watched.problems] == [True]
    watched.problems.clear()
