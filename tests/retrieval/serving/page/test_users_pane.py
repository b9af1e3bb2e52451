"""A story of a user: items are taken and skipped, the list follows, and each step is undone."""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.retrieval.serving.conftest import WRITE
from tests.retrieval.serving.page.conftest import Watched, playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

expect = playwright.expect


def shown(page: "Page") -> list[str]:
    texts: list[str] = page.locator("#pane-users .card-title").all_inner_texts()
    return texts


def events_of(page: "Page", user: str) -> list[dict[str, Any]]:
    address = f"{page.url.partition('#')[0]}users/{user}/events?limit=1000"
    answer = page.request.get(address, headers={"authorization": f"Bearer {WRITE}"})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


def test_the_list_follows_what_is_taken_and_skipped(
    watched: Watched, has_no_violations: Callable[["Page"], None]
) -> None:
    page = watched.page
    page.get_by_role("tab", name="Users").click()
    expect(page.locator("#user-heading")).to_have_text("For somebody who is new")
    page.locator("#pane-users .card").first.wait_for()
    finder = page.get_by_role("searchbox", name="Find an item to take")
    finder.fill("red mug")
    page.get_by_role("group", name="Items found").get_by_role("button", name="red mug").first.click()
    history = page.get_by_role("list", name="History, the latest first")
    expect(history).to_contain_text("red mug")
    expect(page.locator("#user-heading")).to_have_text("Recommendations")
    expect(page.locator("#pane-users .taste").first).to_contain_text("red")
    expect(
        page.locator("#pane-users").get_by_title("red mug", exact=True).and_(page.locator(".card-title"))
    ).to_have_count(0)
    first = shown(page)[0]
    page.get_by_role("button", name=f"Skip {first}", exact=True).click()
    expect(history.locator("li").first).to_contain_text("skipped")
    expect(page.locator("#pane-users .card-title").first).not_to_have_text(first)
    has_no_violations(page)
    assert page.locator(".user-side").evaluate("(side) => side.scrollWidth <= side.clientWidth")  # nothing is cut
    page.get_by_role("button", name="Undo").click()
    expect(history.locator("li")).to_have_count(1)
    expect(page.locator("#pane-users .card-title").first).to_have_text(first)
    page.get_by_role("button", name="Redo").click()
    expect(history.locator("li")).to_have_count(2)


def test_a_user_is_kept_in_the_browser_and_chosen_again(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("tab", name="Users").click()
    choose = page.get_by_role("combobox", name="Choose a user")
    choose.select_option("Somebody at random")
    history = page.get_by_role("list", name="History, the latest first")
    expect(history.locator("li .clip")).to_have_count(4)
    page.get_by_role("button", name="Keep").click()
    choose.select_option("Nobody: a new user")
    expect(history).to_contain_text("Nothing taken yet")
    choose.select_option(index=3)
    expect(history.locator("li .clip")).to_have_count(4)


def test_the_parts_of_why_add_up_to_the_score_of_the_first_stage(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    page.evaluate("Math.random = () => 0.3")
    page.get_by_role("combobox", name="Choose a user").select_option("Somebody at random")  # four items in one step
    expect(page.locator("#user-heading")).to_have_text("Recommendations")  # the list is of them
    page.locator("#pane-users .card").first.get_by_role("button", name=re.compile("^Why")).click()
    why = page.locator("#pane-users .why:visible")
    expect(why).to_contain_text("these do not add up to the score")
    rows = [text.replace("\u2212", "-").split("\n") for text in why.locator(".why-row").all_inner_texts()]
    together = next(at for at, row in enumerate(rows) if row[0].startswith("together"))
    parts = [float(row[-1]) for row in rows[:together]]
    assert len(parts) >= 2
    assert sum(parts) == pytest.approx(float(rows[together][-1]), abs=0.0005 * (len(parts) + 2))


def test_the_live_log_is_of_one_person(live: Watched, has_no_violations: Callable[["Page"], None]) -> None:
    page = live.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    page.get_by_role("searchbox", name="Find an item to take").fill("red mug")
    page.get_by_role("group", name="Items found").get_by_role("button", name="red mug").first.click()
    history, box = (
        page.get_by_role("list", name="History, the latest first"),
        page.get_by_label("Write to the live log"),
    )
    expect(history).to_contain_text("red mug")
    box.click()
    expect(page.locator("#pane-users")).to_contain_text("writing needs the write token")
    expect(box).not_to_be_checked()
    expect(history).to_contain_text("red mug")
    page.evaluate("(token) => sessionStorage.setItem('commonspace-token', token)", WRITE)
    box.click()
    expect(page.locator("#user-heading")).to_have_text("Recommendations for page-visitor")
    expect(page.locator("#pane-users")).to_contain_text("with page-visitor, of whom the log has nothing yet")
    expect(history).to_contain_text("Nothing taken yet")
    expect(page.locator("#pane-users .taste")).to_have_count(0)
    expect(page.locator("#pane-users")).to_contain_text("Scenario “varied”, which the service gives to page-visitor")
    first = shown(page)[0]
    page.get_by_role("button", name=f"Take {first}", exact=True).click()
    expect(history).to_contain_text(first)
    expect(page.get_by_role("contentinfo")).to_contain_text("Eventsjust now")
    events = events_of(page, "page-visitor")
    (taken,) = [one for one in events if one["type"] == "like"]
    of_list = [one for one in events if one["type"] == "impression" and one["request_id"] == taken["request_id"]]
    places = {one["item_id"]: one["position"] for one in of_list}
    assert len(places) == len(of_list)
    assert places[taken["item_id"]] == taken["position"] == 1  # also where it was taken within a second
    assert {one["variant"] for one in events} == {"varied"}
    expect(page.locator("#pane-users .card-title").filter(has_text=re.compile(f"^{re.escape(first)}$"))).to_have_count(
        0
    )
    has_no_violations(page)
    box.click()
    expect(history).to_contain_text("red mug")
    expect(history.locator("li .clip")).to_have_count(1)
    expect(page.locator("#user-heading")).to_have_text("Recommendations")
    box.click()
    expect(history).to_contain_text(first)
    expect(history.locator("li .clip")).to_have_count(1)


IN_VIEW = """(least) => {
    const top = document.querySelector(".top").offsetHeight, health = document.getElementById("health");
    const bottom = innerHeight - (getComputedStyle(health).position === "sticky" ? health.offsetHeight : 0);
    return [...document.querySelectorAll("#pane-users .card")].flatMap((card, at) => {
        const box = card.getBoundingClientRect();
        const pixels = Math.min(box.bottom, bottom) - Math.max(box.top, top);
        return pixels >= box.height / 2 + least ? [[card.dataset.key, at + 1]] : [];
    });
}"""


def was_sent(text: str, answer: "Response") -> bool:
    return text in (answer.request.post_data or "")


def test_cards_that_were_seen_count_as_shown_and_no_others(live: Watched) -> None:
    page = live.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    page.evaluate("(token) => sessionStorage.setItem('commonspace-token', token)", WRITE)
    box = page.get_by_label("Write to the live log")
    box.click()
    expect(page.locator("#user-heading")).to_have_text("Recommendations for page-visitor")
    cards = page.locator("#pane-users .card")
    seen: set[tuple[str, int]] = set()
    perhaps = {(item, place) for item, place in page.evaluate(IN_VIEW, -2)}  # for less than a second, or more
    for at, block in ((0, "center"), (-1, "end")):
        written = f'"item_id":"{cards.nth(at).get_attribute("data-key")}","type":"impression"'
        with page.expect_response(partial(was_sent, written)):
            cards.nth(at).evaluate("(node, block) => node.scrollIntoView({ block })", block)
        seen |= {(item, place) for item, place in page.evaluate(IN_VIEW, 2)}
        perhaps |= {(item, place) for item, place in page.evaluate(IN_VIEW, -2)}
    shows = [one for one in events_of(page, "page-visitor") if one["type"] == "impression"]
    assert seen <= {(one["item_id"], one["position"]) for one in shows} <= perhaps
    assert len(shows) == len({one["item_id"] for one in shows}) < cards.count()
    assert len({one["request_id"] for one in shows}) == 1


def test_cards_behind_a_dialog_are_not_seen(live: Watched) -> None:
    page = live.page
    page.clock.install()
    page.get_by_role("tab", name="Users").click()
    page.evaluate(
        """async () => {
            const { watchSeen } = await import("./page/js/parts/seen.js");
            const card = document.createElement("div");
            card.style.cssText = "position: fixed; inset: 200px 50px auto; height: 100px";
            document.body.append(card);
            window.seen = [];
            window.unwatch = watchSeen([card], (at) => window.seen.push(at));
            window.dialog = document.createElement("dialog");
            document.body.append(window.dialog);
            window.dialog.showModal();
        }"""
    )
    page.clock.run_for(5_000)
    assert page.evaluate("window.seen") == []
    page.evaluate("window.dialog.close()")
    page.clock.run_for(1_000)
    assert page.evaluate("window.seen") == [0]


def test_another_user_has_no_places_to_compare_with(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    page.get_by_role("combobox", name="Choose a user").select_option("Somebody at random")
    expect(page.locator("#user-heading")).to_have_text("Recommendations")
    expect(page.locator("#pane-users .moved-badge")).to_have_count(0)
    page.locator("#pane-users .card").first.get_by_role("button", name=re.compile("^Take")).click()
    expect(page.locator("#pane-users .moved-badge").first).to_be_visible()


def test_the_history_of_a_user_of_the_log_has_titles(live: Watched) -> None:
    """Also of items that no answer has brought; those that the catalogue lost stay ids."""
    page = live.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    events = [{"user_id": "page-visitor", "item_id": item, "type": "like"} for item in ("white-book", "gone-1")]
    answer = page.request.post(
        f"{page.url.partition('#')[0]}events", data={"events": events}, headers={"authorization": f"Bearer {WRITE}"}
    )
    assert answer.ok, answer.text()
    page.evaluate("import('./page/js/parts/card.js').then(({ titles }) => titles.clear())")
    page.evaluate("(token) => sessionStorage.setItem('commonspace-token', token)", WRITE)
    page.get_by_label("Write to the live log").click()
    expect(page.locator("#user-heading")).to_have_text("Recommendations for page-visitor")
    history = page.get_by_role("list", name="History, the latest first")
    expect(history.locator("li .clip")).to_have_text(["gone-1", "white book"])


def test_a_user_of_the_log_is_shown_by_id_and_nothing_is_written(live: Watched) -> None:
    page = live.page
    page.get_by_role("tab", name="Users").click()
    page.locator("#pane-users .card").first.wait_for()
    shows = [{"user_id": "ann", "request_id": f"r-{at}", "item_ids": ["red-shoe", "red-mug"]} for at in range(60)]
    events = [
        {"user_id": "ann", "item_id": item, "type": kind} for item, kind in (("red-mug", "buy"), ("red-lamp", "hide"))
    ]
    for body in ({"events": events}, {"impressions": shows}):
        answer = page.request.post(
            f"{page.url.partition('#')[0]}events", data=body, headers={"authorization": f"Bearer {WRITE}"}
        )
        assert answer.ok, answer.text()
    field = page.get_by_role("textbox", name="User id of the live log")
    field.fill("ann")
    field.press("Enter")
    expect(page.locator("#pane-users")).to_contain_text("Not shown: what the log has of a user is told to those with")
    assert ["401" in problem for problem in live.problems] == [True]
    live.problems.clear()
    page.keyboard.press("Escape")
    page.evaluate("(token) => sessionStorage.setItem('commonspace-token', token)", WRITE)
    field.press("Enter")
    expect(page.locator("#user-heading")).to_have_text("Recommendations for ann")
    history = page.get_by_role("list", name="History, the latest first")
    expect(history.locator("li")).to_have_text([re.compile("red lamp.*skipped"), re.compile("red mug.*taken")])
    expect(page.locator("#pane-users .placed").first).to_contain_text("placed by variety")
    assert {"red mug", "red lamp"}.isdisjoint(shown(page))
    written = len(events_of(page, "ann"))
    first = shown(page)[0]
    page.get_by_role("button", name=f"Take {first}", exact=True).click()  # a trial
    expect(page.locator("#user-heading")).to_have_text("Recommendations")
    expect(history.locator("li")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#user-heading")).to_have_text("Recommendations for ann")
    assert len(events_of(page, "ann")) == written == 122


def test_pictures_are_promised_where_the_encoder_takes_them(watched: Watched) -> None:
    hint = watched.page.locator(".hint", has_text="Press")
    expect(hint).to_have_text("Press / to type, drop or paste a picture")
    watched.page.evaluate(
        """async () => {
            const { state, changed } = await import("./page/js/store.js");
            state.info.encoder.modalities = ["text"];
            changed("catalogue");
        }"""
    )
    expect(hint).to_have_text("Press / to type")
