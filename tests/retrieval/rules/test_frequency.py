"""Frequency caps and rotation: rules that read what was shown to each user."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval import Impressions, Retriever
from retrieval.candidates import Candidates
from retrieval.postprocess.rules import Boost, FrequencyCap, Pin, Rotate, Rule, Ruled, Rules, ShownImpressions
from retrieval.postprocess.rules.apply import UnshownUsersWarning
from retrieval.retriever.after_retrieval import shown_until
from retrieval.retriever.postprocessing import Postprocessing
from tests.cli_run import json_lines, runner
from tests.groups import CLOCK
from tests.toy import ToyEncoder

ITEMS = ItemIds([*"abcdefgh"])
SHOP = pa.table({"item_id": list(ITEMS), "kind": [*"xxyyzzzz"]})
DAY, NOW = 86_400, 30 * 86_400


def impressions(**users: str) -> Impressions:
    """To each user the items of a text, one a day, the last one now."""
    rows = [
        (user, item, 1, NOW - (len(items) - 1 - day) * DAY)
        for user, items in users.items()
        for day, item in enumerate(items)
    ]
    names = ("user_id", "item_id", "position", "timestamp")
    return Impressions.from_arrow(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))


def lists(**users: str) -> Candidates:
    """For each user the items of a text, with scores 5, 4, 3, …."""
    rows = np.array([ITEMS.rows([*text]) for text in users.values()])
    scores = np.tile(5 - np.arange(rows.shape[1], dtype=np.float32), (len(rows), 1))
    return Candidates(np.zeros((len(rows), 2), np.float32), rows, scores, ITEMS, "rerank", tuple(users))


def ruled(candidates: Candidates, shown: Impressions, *rules: Rule, at: int | None = None) -> Ruled:
    return Rules(rules).apply(candidates, SHOP, ShownImpressions(shown, at))


def order(candidates: Candidates) -> list[str]:
    return ["".join(hit.item_id for hit in hits) for hits in candidates]


def test_a_cap_removes_what_a_user_was_shown_often_enough_and_from_the_list_of_no_other() -> None:
    after = ruled(lists(ann="abcde", bob="abcde"), impressions(ann="aaabb"), FrequencyCap(times=2, days=7))
    assert order(after) == ["cde", "abcde"]
    assert after.excluded == ({"show at most 2 times in 7 days": 2}, {})


@pytest.mark.parametrize(
    ("days", "at", "expected"),
    [
        (7, None, "bcde"),
        (2, None, "abcde"),  # a was shown 2, 3 and 4 days ago
        (3, None, "abcde"),
        (4, None, "bcde"),
        (4, NOW - DAY, "bcde"),
        (4, NOW + 2 * DAY, "abcde"),
    ],
)
def test_a_cap_looks_back_from_the_request(days: float, at: int | None, expected: str) -> None:
    shown = impressions(ann="aaacb")
    assert order(ruled(lists(ann="abcde"), shown, FrequencyCap(times=2, days=days), at=at)) == [expected]


def test_a_capped_item_is_not_pinned_and_the_list_keeps_its_length() -> None:
    shown = impressions(ann="ggg", bob="hhh")
    after = ruled(lists(ann="abcde", bob="abcde"), shown, FrequencyCap(times=3, days=7), Pin(["g", "h"]))
    assert order(after) == ["habcd", "gabcd"]
    assert after.rules_of(0)[:2] == [("pin g, h at 1",), ()]


def test_rotation_moves_what_was_shown_to_the_end_in_the_order_it_had() -> None:
    shown = impressions(ann="dacbb")
    after = ruled(lists(ann="abcde"), shown, Rotate(times=1, days=3), Boost("kind = z", by=0.1))
    assert order(after) == ["adebc"]
    assert after.rules_of(0) == [
        (),
        (),
        ("boost kind = z by 0.1",),
        *[("rotate what was shown 1 times in 3 days",)] * 2,
    ]
    assert (np.diff(after.scores) <= 0).all()


def test_no_queries_are_no_fault() -> None:
    empty = lists(ann="abc").take([])
    assert order(ruled(empty, impressions(ann="a"), FrequencyCap(1), Rotate(), Pin(["h"]))) == []


def test_a_rule_of_frequency_asks_for_impressions_and_for_named_queries() -> None:
    with pytest.raises(InputError, match=r"'show at most 3 times in 7 days' needs to know what was shown"):
        Rules([FrequencyCap()]).apply(lists(ann="abc"), SHOP)
    unnamed = Candidates(np.zeros((1, 2), np.float32), np.array([[0]]), np.ones((1, 1), np.float32), ITEMS, "rerank")
    with pytest.raises(InputError, match=r"looks for users by name, and these queries have none: give user_ids"):
        ruled(unnamed, impressions(ann="a"), Rotate())
    assert order(ruled(unnamed, impressions(**{"0": "a"}), FrequencyCap(1))) == [""]


def test_users_without_impressions_are_named_where_they_are_all_that_was_asked_for() -> None:
    shown = impressions(ann="aaa")
    text = r"'show at most 1 times in 7 days' changes nothing: the impressions have no user 'user-1' and none of the "
    with pytest.warns(UnshownUsersWarning, match=text + r"other 1; they name users as 'ann'"):
        after = ruled(lists(**{"user-1": "abc", "user-2": "bca"}), shown, FrequencyCap(1))
    assert order(after) == ["abc", "bca"]
    assert order(ruled(lists(eve="abc", ann="abc"), shown, FrequencyCap(1))) == ["abc", "bc"]


def test_a_single_new_user_is_no_sign_of_other_names() -> None:
    shown, cap = impressions(ann="aaa"), FrequencyCap(1)
    assert order(ruled(lists(eve="abc"), shown, cap)) == ["abc"]
    two = replace(lists(eve="abc", bob="bca"), histories=(np.array([], np.int64), np.array([3])))
    assert order(ruled(two.take(np.array([0])), shown, cap)) == ["abc"]
    for of_known in (two, two.take(np.array([1])), lists(eve="abc", bob="bca")):
        with pytest.warns(UnshownUsersWarning, match="changes nothing: the impressions have no user"):
            ruled(of_known, shown, cap)


@pytest.mark.parametrize("at", [datetime(1969, 12, 31, tzinfo=UTC), -1, "yesterday", float("inf")])
def test_a_time_that_is_none_or_before_1970_is_refused(at: datetime | int) -> None:
    with pytest.raises(InputError, match=r"at has .*, which cannot be read as a time"):
        shown_until(impressions(ann="a"), at)


def test_a_time_in_milliseconds_is_that_in_seconds() -> None:
    found = [shown_until(impressions(ann="a"), at) for at in (CLOCK, CLOCK * 1000, datetime.fromtimestamp(CLOCK, UTC))]
    assert [one.at for one in found if one is not None] == [CLOCK] * 3


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rule": "frequency_cap", "times": 2, "days": 0.5}, FrequencyCap(2, 0.5)),
        ({"rule": "frequency_cap"}, FrequencyCap(3, 7)),
        ({"rule": "rotate", "name": "again"}, Rotate(1, 1, "again")),
    ],
)
def test_rules_of_frequency_are_read_from_json(rule: dict[str, object], expected: Rule) -> None:
    assert Rules.from_list([rule]).rules == (expected,)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "frequency_cap", "times": 0}, r"rule 1 \(frequency_cap\): a frequency cap of 0; give a whole number"),
        ({"rule": "frequency_cap", "days": -1}, r"a frequency cap in days of -1; give a number above 0"),
        ({"rule": "rotate", "times": 1.5}, r"a rotation after times of 1.5; give a whole number"),
    ],
)
def test_what_no_rule_of_frequency_can_be_is_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rules.from_list([rule])


@pytest.fixture
def shop(own_toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle of the toy catalogue, what two users took, and what they were shown."""
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    folder = own_toy_bundle.parent
    taken = {"user": ["ann", "bob"], "item": ["red-mug", "red-mug"], "time": [NOW, NOW]}
    pq.write_table(pa.table(taken), folder / "taken.parquet")
    lines = [f"ann,red-shoe,1,{NOW}", f"ann,red-shoe,2,{NOW - DAY}", f"ann,,1,{NOW}", f"bob,red-lamp,1,{NOW}"]
    (folder / "shown.csv").write_text("user,item,position,time\n" + "\n".join(lines) + "\n")
    (folder / "rules.json").write_text('[{"rule": "frequency_cap", "times": 2}]')
    return folder


def test_the_command_line_caps_by_a_file_of_impressions(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, found = runner(capsys), {}
    for user in ("ann", "bob"):
        given = ("--interactions", shop / "taken.parquet", "--user", user, "--rules", shop / "rules.json", "-k", 19)
        code, out, error = run("recommend", shop / "bundle", *given, "--impressions", shop / "shown.csv", "--json")
        assert code == 0, error
        assert "shown.csv: 1 rows left out: blank item_id" in error
        found[user] = {hit["item_id"] for hit in json_lines(out)}
    assert found["bob"] - found["ann"] == {"red-shoe"}
    assert len(found["ann"]) == 18


BOTH = ("--rules", "rules.json", "--impressions", "shown.csv")
USER = ("--interactions", "taken.parquet", "--user", "ann")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("recommend", *USER, *BOTH[:2]), "reads what was shown to each user; give --impressions FILE"),
        (("recommend", *USER, *BOTH[2:]), "--impressions is read by the rules frequency_cap and rotate"),
        (("recommend", "--history", "red-mug", *BOTH), "is for users with names: use it in recommend with"),
        (("search", "a red mug", *BOTH), "is for users with names: use it in recommend with"),
        (("similar", "red-mug", *BOTH), "is for users with names: use it in recommend with"),
    ],
)
def test_the_command_line_says_what_a_rule_of_frequency_lacks(
    shop: Path,
    command: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(shop)
    name, *options = command
    code, _, error = runner(capsys)(name, "bundle", *options)
    assert code != 0
    assert message in " ".join(error.replace("│", " ").split())


def test_a_refresh_on_the_command_line_takes_no_impressions(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (shop / "taken.parquet", "--impressions", shop / "shown.csv", "--refresh")
    code, _, error = runner(capsys)("fit", shop / "bundle", *given)
    assert code != 0
    assert "leave out --impressions, or --refresh" in " ".join(error.split())


def test_a_job_knows_which_impressions_it_read(shop: Path) -> None:
    rules = Rules([FrequencyCap()])
    infos = [
        Postprocessing(rules=rules, impressions=shown).to_json()
        for shown in (None, impressions(ann="a"), impressions(ann="b"))
    ]
    assert "impressions" not in infos[0]
    assert infos[1]["impressions"] != infos[2]["impressions"]


def test_a_retriever_caps_up_to_a_time(shop: Path) -> None:
    retriever, shown = Retriever.open(shop / "bundle"), Impressions.open(shop / "shown.csv")
    found = retriever.similar_items(["red-mug"], 19).named(["ann"])
    for at, capped in ((None, True), (datetime.fromtimestamp(NOW, UTC), True), (NOW - 1, False)):
        after = retriever.apply_rules(found, [FrequencyCap(2)], impressions=shown, at=at)
        assert ("red-shoe" not in {hit.item_id for hit in after[0]}) is capped
    with pytest.raises(InputError, match=r"at is the time up to which impressions count, and there are none"):
        retriever.apply_rules(found, [], at=NOW)
