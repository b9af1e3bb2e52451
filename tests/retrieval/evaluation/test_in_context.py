"""`evaluate` with the context of a log: each user asks in that of what is to be found, as `fit` judges."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import InputError
from retrieval import Interactions, fit
from retrieval.batch.in_memory import relevant_in_context
from retrieval.evaluation.splits.splits import by_user
from tests.cli_run import runner
from tests.groups import CLOCK
from tests.retrieval.fitting.test_fit_context import CONFIG, built, visits

LEARNED = {"device": ("phone", "desk")}


def later(**columns: list[str]) -> Interactions:
    rows = {
        "user": ["ann", "ann", "ann", "ann", "bob"],
        "item": ["mug", "cup", "jar", "pot", "cup"],
        "time": [CLOCK + row for row in range(5)],
        "rating": [1.0, 5.0, 5.0, 4.0, 5.0],
    }
    return Interactions.from_arrow(pa.table(rows | columns), context=list(columns))


def test_what_was_taken_in_the_context_of_the_first_relevant_item_is_relevant() -> None:
    log = later(device=["desk", "phone", "desk", "phone", "desk"], mood=["sad", "sad", "sad", "glad", "sad"])
    found = relevant_in_context(log, {"bob": ["jar"]}, LEARNED, 2.5)
    assert found.items == {"ann": ["cup", "pot"], "bob": ["cup"]}  # the mug was disliked
    assert found.context == {"ann": {"device": "phone"}, "bob": {"device": "desk"}}
    both = relevant_in_context(log, {}, LEARNED | {"mood": ("sad", "glad")}, 2.5)
    assert both.items["ann"] == ["cup"]
    assert relevant_in_context(log, {"ann": ["cup"]}, LEARNED, 2.5).items["ann"] == ["jar"]


def test_values_that_were_not_learned_are_one_context() -> None:
    found = relevant_in_context(later(device=["tv", "", "car", "phone", "tv"]), {}, LEARNED, 2.5)
    assert found.items == {"ann": ["cup", "jar"], "bob": ["cup"]}
    assert found.context == {"ann": {}, "bob": {"device": "tv"}}


def test_numbers_of_one_range_are_one_context() -> None:
    log = later(cap=["3", "9", "12", "7.5", "4"])
    found = relevant_in_context(log, {}, {"cap": ("(-inf, 5]", "(5, 10]", "(10, inf)")}, 2.5)
    assert found.items == {"ann": ["cup", "pot"], "bob": ["cup"]}
    assert found.context == {"ann": {"cap": "9"}, "bob": {"cap": "4"}}


def test_a_log_without_a_learned_column_is_refused() -> None:
    with pytest.raises(InputError, match=r"the log has \['mood'\] as context, and the bundle has learned \['device'\]"):
        relevant_in_context(later(mood=["sad"] * 5), {}, LEARNED)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    past = by_user(Interactions.from_arrow(visits(), context=["device"]), 0.2).past
    report = fit(built(folder), past, CONFIG)
    assert "context" not in report.notes, report.notes
    pq.write_table(visits(), folder / "log.parquet")
    return folder


def test_evaluate_asks_in_the_context_of_what_is_to_be_found(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, asked = runner(capsys), ("evaluate", shop / "bundle", shop / "log.parquet", "--no-baselines")
    without = json.loads(run(*asked, "--json")[1])
    with_context = json.loads(run(*asked, "--json", "--context-columns", "device,mood")[1])
    assert with_context["context"] == ["device"]
    assert "context" not in without
    assert with_context["means"]["ndcg@10"] > 1.3 * without["means"]["ndcg@10"]
    code, out, error = run(*asked, "--context-columns", "device,mood")
    assert code == 0
    assert "each user asks in the context (device) of the first relevant" in " ".join(out.split())
    assert "the context has 'mood', which is ignored: what was learned is ['device']" in error
    assert "context: not used: this bundle has learned device" in " ".join(run(*asked)[1].split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--context-columns", "device", "--no-rerank"), "--context-columns are read by the second stage"),
        (("--context-columns", "mood"), "and the bundle has learned ['device']"),
        (("--context-columns", "colour"), "there is no column 'colour' for the context"),
    ],
)
def test_a_context_that_cannot_be_used_is_refused(
    shop: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = runner(capsys)("evaluate", shop / "bundle", shop / "log.parquet", *options)
    assert code
    assert message in " ".join(error.replace("│", "").split())
