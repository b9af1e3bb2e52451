"""`fit` with columns of the context: what it learns of them, when it goes without, and what requests may give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError
from retrieval import FitReport, Interactions, Retriever, fit
from retrieval.batch import BatchConfig, recommend_batches, rerank_batches
from retrieval.candidates import Candidates
from retrieval.interactions.context import ContextWarning
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.learned_parts import compact
from tests.cli_run import json_lines, runner
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, items

CONFIG = replace(SMALL, behaviour=None, reranker=STAGE, effort="fast", split="user")
DAY = 86_400
HISTORIES = [["i000", "i003"], ["i007"]]


def visits(users: int = 150, length: int = 10) -> pa.Table:
    """Users who take even rows on the phone, and odd ones at the desk, popular ones more; the mood says nothing."""
    rng, lines = np.random.default_rng(0), []
    likely = 1 / np.arange(3, COUNT // 2 + 3)
    for user in range(users):
        halves = rng.choice(COUNT // 2, length, replace=False, p=likely / likely.sum())
        on_phone, glad = rng.integers(2, size=(2, length))
        rows, times = 2 * halves + 1 - on_phone, CLOCK // DAY * DAY + DAY * np.arange(length) + user
        columns = rows.tolist(), times.tolist(), on_phone.tolist(), glad.tolist()
        lines += [
            (f"u{user:03}", f"i{row:03}", time, ("desk", "phone")[phone], ("sad", "glad")[mood])
            for row, time, phone, mood in zip(*columns, strict=True)
        ]
    names = ("user", "item", "time", "device", "mood")
    return pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))


def built(folder: Path) -> Path:
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FitReport]:
    bundle = built(tmp_path_factory.mktemp("context"))
    return bundle, fit(bundle, Interactions.from_arrow(visits(), context=["device"]), CONFIG)


@pytest.fixture(scope="module")
def retriever(learned: tuple[Path, FitReport]) -> Retriever:
    return Retriever.open(learned[0])


def even_shares(found: Candidates) -> list[float]:
    shares: list[float] = (found.rows % 2 == 0).mean(axis=1).tolist()
    return shares


def stage_of(bundle: Path) -> SecondStage:
    stage = Retriever.open(bundle).reranker
    assert isinstance(stage, SecondStage)
    return stage


def test_a_context_that_helps_orders_what_is_recommended(learned: tuple[Path, FitReport], retriever: Retriever) -> None:
    bundle, report = learned
    assert report.published == ("reranker",)
    assert report.in_context is not None
    assert report.in_context.low > 0
    assert "context" not in report.notes
    assert report.to_json()["in_context"] == report.in_context._asdict()
    assert [str(one) for one in stage_of(bundle).features.features][-2:] == [
        "context device_item",
        "context device_content",
    ]
    on_phone, at_desk = (
        even_shares(retriever.recommend(HISTORIES, context={"device": device})) for device in ("phone", "desk")
    )
    assert min(on_phone) >= 0.8
    assert max(at_desk) <= 0.2
    assert all(0.2 < share < 0.8 for share in even_shares(retriever.recommend(HISTORIES)))


def test_each_request_has_its_context(retriever: Retriever) -> None:
    alone = [retriever.recommend(HISTORIES, context={"device": device}) for device in ("phone", "desk")]
    for given in (
        [{"device": "phone"}, {"device": "desk"}],
        pa.table({"device": ["phone", "desk"]}),
        pa.table({"device": pa.array(["phone", "desk"]).dictionary_encode()}),
    ):
        found = retriever.recommend(HISTORIES, context=given)
        np.testing.assert_array_equal(found.rows, [alone[0].rows[0], alone[1].rows[1]])
    unknown = retriever.recommend(HISTORIES, context=[{}, {"device": None}])
    np.testing.assert_array_equal(unknown.rows, retriever.recommend(HISTORIES).rows)
    collapsed = retriever.recommend(HISTORIES, context={"device": "phone"}, group_by="item_id")
    np.testing.assert_array_equal(collapsed.rows, alone[0].rows)


def test_a_pool_is_reranked_and_explained_in_its_context(retriever: Retriever) -> None:
    pool = retriever.pool(HISTORIES, context={"device": "phone"})
    found = retriever.rerank(pool)
    np.testing.assert_array_equal(found.top(10).rows, retriever.recommend(HISTORIES, context={"device": "phone"}).rows)
    (reasons, *_), *_ = retriever.explain(found)
    assert reasons.features["context device"] > 0
    (reasons, *_), *_ = retriever.explain(retriever.rerank(retriever.pool(HISTORIES)))
    assert "context device" not in reasons.features  # which is the same for all candidates


@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
def test_what_was_not_learned_is_neutral_and_said(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = retriever.recommend(HISTORIES)
    for given, text in (
        ({"device": "tv"}, r"nothing was learned of 'tv' of 'device', only of '(desk|phone)', '(desk|phone)'"),
        ({"season": "spring"}, r"the context has 'season', which is ignored: what was learned is \['device'\]"),
    ):
        with pytest.warns(ContextWarning, match=text):
            found = retriever.recommend(HISTORIES, context=given)
        np.testing.assert_array_equal(found.rows, plain.rows)
    with pytest.raises(ShapeError, match="1 rows of context for 2 users; give one for all, or one for each"):
        retriever.recommend(HISTORIES, context=[{"device": "phone"}])
    with pytest.raises(InputError, match=r"context is the single value 'phone'"):
        retriever.recommend(HISTORIES, context="phone")
    log, stage = Interactions.from_arrow(visits(3)), retriever.reranker
    assert isinstance(stage, SecondStage)
    monkeypatch.setattr(retriever.state, "reranker", replace(stage, leaves_returning=True))
    with pytest.warns(ContextWarning, match="the context is ignored for users who return at the times given: it did"):
        retriever.recommend(log, times=CLOCK + 40 * DAY, context={"device": "phone"})


def test_users_of_a_table_have_columns_of_the_context(retriever: Retriever) -> None:
    table = pa.table({"user_id": ["ann", "bob"], "history": HISTORIES, "device": ["phone", "desk"]})
    both = retriever.recommend(HISTORIES, context=[{"device": "phone"}, {"device": "desk"}])
    (answers,) = recommend_batches(retriever, table)
    np.testing.assert_array_equal(answers.found[0].rows, both.rows)
    at_desk = retriever.recommend(HISTORIES, context={"device": "desk"})
    everywhere = BatchConfig(context={"device": "desk"})
    (answers,) = recommend_batches(retriever, table.drop_columns(["device"]), everywhere)
    np.testing.assert_array_equal(answers.found[0].rows, at_desk.rows)
    (answers,) = recommend_batches(retriever, table, everywhere)
    np.testing.assert_array_equal(answers.found[0].rows, both.rows)
    assert ("context" in BatchConfig().to_json(), everywhere.to_json()["context"]) == (False, {"device": "desk"})


def test_a_context_that_nothing_reads_is_said(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = {"device": "phone"}
    with pytest.warns(ContextWarning, match="the context is ignored, as retrieval alone answers"):
        retriever.recommend(HISTORIES, stages="retrieval", context=phone)
    table = pa.table({"user_id": ["ann", "bob"], "history": HISTORIES})
    with pytest.warns(ContextWarning, match="the context is ignored, as retrieval alone answers"):
        list(recommend_batches(retriever, table, BatchConfig(rerank=False, context=phone)))
    stage = retriever.reranker
    assert isinstance(stage, SecondStage)
    monkeypatch.setattr(retriever.state, "reranker", replace(stage, min_history=1))
    with pytest.warns(ContextWarning, match="the context is ignored for 1 users without a history"):
        retriever.recommend([[], HISTORIES[0]], context=phone)


def test_given_candidates_are_reranked_in_the_context_of_all(retriever: Retriever) -> None:
    table = pa.table(
        {"user_id": ["ann", "bob"], "history": HISTORIES, "candidates": [[f"i{row:03}" for row in range(40, 60)]] * 2}
    )
    lists = []
    for device in ("phone", "desk"):
        rows = table.append_column("device", pa.array([device] * 2))
        (by_rows,) = rerank_batches(retriever, rows)
        (by_config,) = rerank_batches(retriever, table, BatchConfig(context={"device": device}))
        np.testing.assert_array_equal(by_config.found[0].rows, by_rows.found[0].rows)
        lists.append(by_config.found[0].rows)
    assert (lists[0] != lists[1]).any()


def test_the_command_line_gives_the_context(
    learned: tuple[Path, FitReport], retriever: Retriever, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = runner(capsys), learned[0]
    (at_desk,) = retriever.recommend(HISTORIES[:1], context={"device": "desk"})
    asked = ("recommend", bundle, "--history", "i000,i003", "--json", "--context")
    code, out, _ = run(*asked, "device=desk")
    assert (code, [hit["item_id"] for hit in json_lines(out)]) == (0, [hit.item_id for hit in at_desk])
    code, _, error = run(*asked, "desk")
    assert (code, "cannot read 'desk' of --context 'desk'; write it like" in " ".join(error.split())) == (2, True)
    pq.write_table(visits(3), log := tmp_path / "log.parquet")
    code, _, error = run("fit", bundle, log, "--context-columns", "device, phase")
    assert (code, "there is no column 'phase' for the context" in " ".join(error.split())) == (1, True)


def test_users_who_return_are_answered_in_their_context_where_that_helps(tmp_path: Path) -> None:
    log = Interactions.from_arrow(visits(length=16), context=["device"])
    report = fit(bundle := built(tmp_path), log, replace(SMALL, reranker=STAGE))
    assert report.in_time is not None
    assert report.in_time.low > 0, report.notes
    stage, retriever = stage_of(bundle), Retriever.open(bundle)
    assert stage.reads_context("returning")
    assert stage.reads_context("visits")
    for device, low, high in (("phone", 0.7, 1.0), ("desk", 0.0, 0.3)):
        asked = {"user_ids": ["u000", "u001", "u002"], "times": CLOCK + 20 * DAY, "context": {"device": device}}
        shares = even_shares(retriever.recommend(log, **asked))  # type: ignore[arg-type]
        assert low <= min(shares) <= max(shares) <= high
    narrow = replace(stage, returning=None, leaves_returning=True)
    assert (narrow.reads_context("returning"), narrow.reads_context("visits")) == (False, True)


def test_a_context_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    bundles = []
    for names in ([], ["mood"]):
        (folder := tmp_path / "-".join(["log", *names])).mkdir()
        report = fit(bundle := built(folder), Interactions.from_arrow(visits(), context=names), CONFIG)
        assert report.published == ("reranker",)
        assert ("context" in report.notes, report.in_context is None) == (bool(names), not names)
        bundles.append(bundle)
    assert stage_of(bundles[1]).features.context is None
    plain, with_noise = (Bundle.open(bundle).read(RERANKER) for bundle in bundles)
    assert plain == with_noise
    retriever = Retriever.open(bundles[1])
    with pytest.warns(ContextWarning, match="the context has 'mood', which is ignored: no context was learned"):
        retriever.recommend(HISTORIES, context={"mood": "glad"})


def test_added_items_are_taken_for_what_they_are_like(learned: tuple[Path, FitReport], tmp_path: Path) -> None:
    bundle, _ = learned
    before = stage_of(bundle).features.context
    assert before is not None
    add(bundle, catalogue(tmp_path, items(range(COUNT, COUNT + 2), [0, 0])), load_encoder("vectors:"))
    for _ in range(2):
        context = stage_of(bundle).features.context
        assert context is not None
        np.testing.assert_array_equal(context.items[:COUNT], before.items)
        assert not context.items[COUNT:].any()
        assert context.content[COUNT:].any()
        compact(bundle)


def test_a_refresh_reads_the_same_columns(learned: tuple[Path, FitReport]) -> None:
    bundle, _ = learned
    with pytest.raises(InputError, match=r"the published parts were trained on the context 'device': give it"):
        fit(bundle, Interactions.from_arrow(visits()), refresh=True)
    report = fit(bundle, Interactions.from_arrow(visits(length=20), context=["mood", "device"]), refresh=True)
    assert report.published == ("reranker",), report
    assert report.notes["context"].startswith("'mood' was not read: a refresh reads what")
    assert stage_of(bundle).features.context_columns == ("device",)


def test_a_number_is_learned_in_ranges(tmp_path: Path) -> None:
    """Each interaction has a price cap, and items cost their row."""
    rng, lines = np.random.default_rng(0), []
    likely = 1 / np.arange(3, COUNT + 3)[::-1]  # dear ones are taken more
    for user in range(250):
        seen: set[int] = set()
        for step in range(10):
            cap = float(rng.uniform(20, COUNT))
            chances = np.where((np.arange(COUNT) <= cap) & ~np.isin(np.arange(COUNT), [*seen]), likely, 0)
            row = int(rng.choice(COUNT, p=chances / chances.sum()))
            seen.add(row)
            lines.append((f"u{user:03}", f"i{row:03}", CLOCK + DAY * step + user, cap))
    table = pa.table(dict(zip(("user", "item", "time", "cap"), map(list, zip(*lines, strict=True)), strict=True)))
    bundle = built(tmp_path)
    report = fit(bundle, Interactions.from_arrow(table, context=["cap"]), CONFIG)
    assert report.notes["numbers of the context"].startswith("'cap' in 10 ranges")
    assert "context" not in report.notes, report.notes
    retriever = Retriever.open(bundle)
    low, high = (retriever.recommend([["i000"], ["i001"]], context={"cap": cap}).rows for cap in (31.25, 118))
    assert (low <= 31).mean() >= 0.9
    assert high.mean() > 2 * low.mean()
