"""Users who are asked for at a time: jobs, commands and the verb give the same answers, those of users who return."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError
from retrieval import Interactions, Retriever, fit
from retrieval.batch import (
    BatchConfig,
    FlatCandidates,
    ListedUsers,
    LoggedHistories,
    LogUsers,
    ParquetFiles,
    answers,
    recommend_batches,
    rerank_batches,
    run_job,
)
from retrieval.batch.answering import listed_candidates
from retrieval.batch.in_memory import candidates_from_table
from retrieval.batch.input_rows import UserLines
from retrieval.candidates import Candidates
from retrieval.fitting.part_training.returning_users import _with_serving, train_for_returning
from retrieval.fitting.selection.validation import Gain
from retrieval.interactions.impressions import Impressions
from retrieval.models.behaviour import QueryWeights
from retrieval.models.user_model import ALL_ALIKE
from retrieval.postprocess.rules import FrequencyCap, Rules
from retrieval.ranking.published_heads import ReturningUsersWarning
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import UserBatch
from retrieval.retriever.postprocessing import Postprocessing
from retrieval.retriever.query_inputs import LaterInteractionsWarning
from retrieval.retriever.recommend import Stages
from tests.cli_run import runner
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, items
from tests.retrieval.batch.days import DAY, NOW, USERS, as_lines, day_log, names_of
from tests.retrieval.batch.shop import assert_same, joined, quarantined

BACK = QueryWeights(ALL_ALIKE, 0.5, 1.5, 0.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a head for visits and one for users who return, each with query weights of its own."""
    folder = tmp_path_factory.mktemp("asked")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    sure = Gain(200, 0.1, 0.2, 0.1, 0.05, 0.2)
    weights = {f"returning_{name}": value for name, value in BACK._asdict().items()}
    with pytest.MonkeyPatch.context() as patched:  # both heads and their weights, whatever they gain on these users
        patched.setattr(
            "retrieval.fitting.part_training.part_selection.train_for_returning",
            lambda *args: train_for_returning(*args)._replace(gain=sure, gain_of_new=sure),
        )
        patched.setattr(
            "retrieval.fitting.part_training.returning_users.select_returning_weights",
            lambda *models: tuple(_with_serving(model, weights) for model in models[:2]),
        )
        config = replace(SMALL, reranker=STAGE, split="both", prepare=None)
        report = fit(folder / "bundle", Interactions.from_arrow(day_log()), config)
    assert report.published == ("behaviour", "reranker")
    return folder / "bundle"


@pytest.fixture(scope="module")
def retriever(root: Path) -> Retriever:
    found = Retriever.load(root)
    assert isinstance(found.reranker, SecondStage)
    assert found.reranker.returning is not None
    assert found.behaviour is not None
    assert found.behaviour.returning == pytest.approx(BACK)
    return found


@pytest.fixture(scope="module")
def log() -> Interactions:
    """The log of five users, one of them with a later interaction than the time of the request."""
    return Interactions.from_arrow(day_log().filter(pa.array([user in USERS for user in names_of(day_log())])))


@pytest.fixture(scope="module")
def by_verb(retriever: Retriever, log: Interactions) -> Candidates:
    """What the verb gives when all are asked for at a time; see the test of what differs from a visit."""
    return retriever.recommend(log, 6, user_ids=USERS, times=NOW)


def held(log: Interactions, retriever: Retriever) -> LogUsers:
    return LogUsers(LoggedHistories.of(log, retriever.items), {"log": "days"})


def test_users_who_return_get_other_answers_than_in_a_visit(
    retriever: Retriever, log: Interactions, by_verb: Candidates
) -> None:
    visit = retriever.recommend(log, 6, user_ids=USERS)
    assert not np.array_equal(visit.rows, by_verb.rows)  # else the tests below would show nothing
    assert by_verb.idle is not None
    last = CLOCK + 11 * DAY + np.array([int(user[1:]) for user in USERS])
    np.testing.assert_allclose(by_verb.idle, (NOW - last) / DAY, rtol=1e-6)


@pytest.mark.parametrize("with_profile", [False, True])
def test_users_without_a_history_have_one_query_in_a_visit_and_at_a_time(
    retriever: Retriever, with_profile: bool
) -> None:
    """So `fit`, which judges them at a time, judges what is served without one."""
    stage, block = retriever.reranker, retriever.behaviour
    assert isinstance(stage, SecondStage)
    assert block is not None
    rng, now = np.random.default_rng(0), np.full(2, stage.features.statistics.now)
    new = rng.normal(size=(2, block.items.shape[1])).astype(np.float32) if with_profile else None
    histories, weights = [np.empty(0, np.int64), np.array([3, 7])], [np.empty(0, np.float32), np.zeros(2, np.float32)]
    visit = UserBatch(histories, weights, now, new).liking(stage.space.users)  # the second liked nothing
    back = replace(visit, idle=np.zeros(2, np.float32))
    for one, other in zip(visit.query_parts(stage.space), back.query_parts(stage.space), strict=True):
        np.testing.assert_array_equal(one, other)
    first, second = (stage.recommend(batch, retriever.items) for batch in (visit, back))
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize("chunk", [2, 4096])
@pytest.mark.parametrize("rerank", [True, False])
def test_a_job_gives_what_the_verb_gives_at_the_same_time(
    retriever: Retriever, log: Interactions, by_verb: Candidates, chunk: int, rerank: bool
) -> None:
    config = BatchConfig(k=6, rerank=rerank, chunk=chunk, at=NOW)
    stages: Stages = "all" if rerank else "retrieval"
    expected = by_verb if rerank else retriever.recommend(log, 6, user_ids=USERS, times=NOW, stages=stages)
    for found in (
        answers(retriever, held(log, retriever), config),
        recommend_batches(retriever, as_lines(log), config),
    ):
        assert_same(joined(found), expected.to_arrow())
    visit = retriever.recommend(log, 6, user_ids=USERS, stages=stages).to_arrow()
    assert_same(joined(answers(retriever, held(log, retriever), replace(config, at=None))), visit)


def test_lists_with_the_times_of_the_last_interactions_return_as_those_of_a_log(
    retriever: Retriever, log: Interactions, by_verb: Candidates
) -> None:
    histories, last = as_lines(log)["history"].to_pylist(), [CLOCK + 11 * DAY + int(user[1:]) for user in USERS]
    found = retriever.recommend(histories, 6, user_ids=USERS, times=NOW, last_times=last)
    assert_same(found.to_arrow(), by_verb.to_arrow())
    pooled = retriever.pool(histories, user_ids=USERS, times=NOW, last_times=last)
    assert_same(retriever.rerank(pooled, 6).to_arrow(), by_verb.to_arrow())
    new = retriever.recommend([[], histories[0]], 6, times=NOW, last_times=[0, last[0]])
    assert new.idle is not None
    np.testing.assert_allclose(new.idle, [0, (NOW - last[0]) / DAY], rtol=1e-6)
    np.testing.assert_array_equal(new.rows[0], retriever.recommend([[]], 6, times=NOW).rows[0])
    for wrong, error, message in (
        (["soon"], InputError, r"last_times has 'soon', which cannot be read as a time; give a date"),
        ([CLOCK, CLOCK], ShapeError, "2 last_times for 1 users; give one for each history"),
    ):
        with pytest.raises(error, match=message):
            retriever.recommend(histories[:1], 6, times=NOW, last_times=wrong)
    with pytest.raises(InputError, match="a log says when each user did the last; leave out last_times"):
        retriever.recommend(log, 6, times=NOW, last_times=last)


def test_given_candidates_are_reranked_as_of_the_time(retriever: Retriever, log: Interactions, tmp_path: Path) -> None:
    found = retriever.recommend(log, 30, user_ids=USERS, times=NOW, stages="retrieval")
    expected = retriever.rerank(found, 6).to_arrow()
    assert not np.array_equal(
        retriever.rerank(retriever.recommend(log, 30, user_ids=USERS, stages="retrieval"), 6).rows,
        retriever.rerank(found, 6).rows,
    )
    config, table = BatchConfig(k=6, chunk=2, at=NOW), found.to_arrow()
    pq.write_table(table, tmp_path / "c.parquet")
    logged = LoggedHistories.of(log, retriever.items)
    flat = FlatCandidates(ParquetFiles(tmp_path / "c.parquet"), logged, retriever.items, {})
    lists = as_lines(log).append_column("candidates", pa.array([[hit.item_id for hit in hits] for hits in found]))
    for one in (answers(retriever, flat, config), rerank_batches(retriever, lists, config)):
        assert_same(joined(one), expected)
    unscored = candidates_from_table(table.drop_columns(["score"]), retriever, logged, NOW)
    assert_same(unscored.to_arrow(), found.to_arrow())  # scored by the query of a user who returns


def test_a_line_without_a_time_is_set_aside_and_one_without_a_history_is_answered(
    retriever: Retriever, log: Interactions
) -> None:
    lines = as_lines(log).to_pylist()
    lines[1]["last_time"], lines[2]["last_time"] = None, "last spring"
    lines.append({"user_id": "new", "history": [], "last_time": None})
    table, config = pa.Table.from_pylist(lines), BatchConfig(k=6, at=NOW)
    found = list(recommend_batches(retriever, table, config))
    assert quarantined(found) == dict.fromkeys(USERS[1:3], "a history, but no last_time that can be read")
    rows = [row["item_id"] for row in joined(found).to_pylist() if row["query_id"] == "new"]
    assert rows == [hit.item_id for hit in retriever.recommend([[]], 6, times=NOW)[0]]
    assert not quarantined(recommend_batches(retriever, table, replace(config, at=None)))  # nobody asks for it


def test_what_does_not_say_when_users_were_there_is_refused_before_anything_is_written(
    retriever: Retriever, log: Interactions, tmp_path: Path
) -> None:
    timeless = Interactions.from_arrow(log.table.drop_columns(["timestamp"]))
    config, out = BatchConfig(k=3, at=NOW), tmp_path / "answers"
    with pytest.raises(InputError, match="the log has no times, so that it does not say when each user did the last"):
        run_job(retriever, held(timeless, retriever), out, config)
    with pytest.raises(InputError, match="the log has no times"):
        retriever.recommend(timeless, 3, times=NOW)
    with pytest.raises(InputError, match="the log has no times"):
        retriever.users_for(["i000"], timeless, times=NOW)
    pq.write_table(as_lines(log).drop_columns(["last_time"]), tmp_path / "users.parquet")
    with pytest.raises(InputError, match=r"no column 'last_time', which says when .*, but \['user_id', 'history'\]"):
        run_job(retriever, ListedUsers(ParquetFiles(tmp_path / "users.parquet"), retriever), out, config)
    assert not out.exists()
    for wrong in (-1, 1e30, float("nan"), True, "soon"):
        with pytest.raises(InputError, match=r"at has .*, which cannot be read as a time; give a date or a time"):
            BatchConfig(at=wrong)  # type: ignore[arg-type]
    for at in (NOW * 1000, datetime.fromtimestamp(NOW, UTC), str(NOW)):
        assert BatchConfig(at=at).at == NOW  # type: ignore[arg-type]


def test_a_time_before_last_interactions_warns_once_for_all_chunks(retriever: Retriever, log: Interactions) -> None:
    early = CLOCK + 11 * DAY + 7  # two of the five did the last later
    with pytest.warns(LaterInteractionsWarning) as by_verb:
        expected = retriever.recommend(log, 3, user_ids=USERS, times=early)
    with pytest.warns(LaterInteractionsWarning) as by_job:
        found = joined(answers(retriever, held(log, retriever), BatchConfig(k=3, chunk=1, at=early)))
    messages = [[str(warning.message) for warning in warned] for warned in (by_verb, by_job)]
    assert messages[0] == messages[1]
    assert messages[0][0].startswith("2 of 5 users are asked for at a time before their last interaction, which counts")
    assert_same(found, expected.to_arrow())


def test_a_stopped_job_continues_at_the_same_time_alone(
    retriever: Retriever, log: Interactions, tmp_path: Path
) -> None:
    config, out = BatchConfig(k=3, chunk=2, at=NOW), tmp_path / "answers"
    run_job(retriever, held(log, retriever), out, config)
    with pytest.raises(InputError, match=rf"settings\.at was {NOW} and now is {NOW + 1}"):
        run_job(retriever, held(log, retriever), out, replace(config, at=NOW + 1))
    with pytest.raises(InputError, match=rf"settings\.at was {NOW} and now is null"):
        run_job(retriever, held(log, retriever), out, replace(config, at=None))
    assert run_job(retriever, held(log, retriever), out, config).resumed == 3
    assert "at" not in replace(config, at=None).to_json()  # jobs of earlier versions go on


def test_impressions_count_up_to_the_time(retriever: Retriever, log: Interactions) -> None:
    best = retriever.recommend(log, 1, user_ids=USERS[:1], times=NOW)[0][0].item_id
    shown = Impressions.from_arrow(
        pa.table(
            {"user_id": USERS[:1], "item_id": [best], "position": [1], "timestamp": [NOW + DAY]},
        )
    )
    shape = Postprocessing(rules=Rules((FrequencyCap(times=1, days=7),)), impressions=shown)
    for at, kept in ((NOW, True), (NOW + 2 * DAY, False), (None, False)):
        lists = joined(answers(retriever, held(log, retriever), BatchConfig(k=6, shape=shape, at=at))).to_pylist()
        assert (best in [row["item_id"] for row in lists if row["query_id"] == USERS[0]]) == kept


def test_users_for_an_item_return_as_they_do_for_recommend(retriever: Retriever, log: Interactions) -> None:
    lists = retriever.recommend(log, COUNT, user_ids=USERS, times=NOW, stages="retrieval")
    scores = {user: {hit.item_id: hit.score for hit in hits} for user, hits in zip(USERS, lists, strict=True)}
    found = retriever.users_for(["i050"], log, 5, times=NOW)
    expected = {user: score["i050"] for user, score in scores.items() if "i050" in score}
    assert {hit.user_id for hit in found[0]} == set(expected)
    for hit in found[0]:
        assert hit.score == pytest.approx(expected[hit.user_id], rel=1e-4, abs=1e-5)
    assert [hit.score for hit in found[0]] != [hit.score for hit in retriever.users_for(["i050"], log, 5)[0]]


def test_who_has_no_history_was_away_for_no_time_whatever_lists_are_given(retriever: Retriever) -> None:
    lines = UserLines(("new", "old"), (np.empty(0, np.int64), np.array([3])), None, (np.array([5]), np.array([5])))
    listed = listed_candidates(retriever, replace(lines, last=np.array([-1, NOW - 2 * DAY])), NOW)
    assert listed.idle is not None
    assert listed.idle.tolist() == [0.0, 2.0]


def test_commands_ask_at_the_time(
    root: Path,
    retriever: Retriever,
    log: Interactions,
    by_verb: Candidates,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, expected = runner(capsys), by_verb.to_arrow()
    pq.write_table(log.table, tmp_path / "log.parquet")
    pq.write_table(as_lines(log), tmp_path / "users.parquet")
    pq.write_table(expected, tmp_path / "c.parquet")
    of_log, asked = ("--interactions", tmp_path / "log.parquet"), ("--at", "2023-12-04T22:13:20", "-k", 6)
    listed = candidates_from_table(expected, retriever, LoggedHistories.of(log, retriever.items), NOW)
    for out, table, arguments in (
        ("one.parquet", expected, ("recommend", root, *of_log)),
        ("job", expected, ("recommend", root, *of_log)),
        ("lists", expected, ("recommend", root, "--users", tmp_path / "users.parquet")),
        ("reranked.parquet", retriever.rerank(listed, 6).to_arrow(), ("rerank", root, tmp_path / "c.parquet", *of_log)),
        ("reranked", retriever.rerank(listed, 6).to_arrow(), ("rerank", root, tmp_path / "c.parquet", *of_log)),
    ):
        code, _, error = run(*arguments, *asked, "--out", tmp_path / out)
        assert code == 0, error
        assert_same(pq.read_table(tmp_path / out).select(table.column_names), table)
    code, out, error = run("users-for", root, "i050", *of_log, *asked, "--json")
    assert code == 0, error
    users = [json.loads(line)["user_id"] for line in out.splitlines()]
    assert users == [hit.user_id for hit in retriever.users_for(["i050"], log, 6, times=NOW)[0]]
    code, _, error = run("recommend", root, *of_log, "--at", NOW + 1, "--out", tmp_path / "job", "-k", 6)
    assert code == 1
    assert f"settings.at was {NOW} and now is {NOW + 1}" in error


def test_commands_say_what_a_time_needs(
    root: Path, log: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, asked = runner(capsys), ("recommend", root, "--at", "2023-11-20")
    pq.write_table(log.table, tmp_path / "log.parquet")
    pq.write_table(log.table.drop_columns(["timestamp"]), tmp_path / "timeless.parquet")
    code, _, error = run(*asked, "--interactions", tmp_path / "timeless.parquet", "--user", "w000")
    assert code == 1
    assert "the log has no times, so that it does not say when each user did the last interaction; name its" in error
    assert "or leave out --at" in error
    code, _, error = run(*asked, "--history", "i000")
    assert code == 2
    assert "--at needs the time of each user's last interaction, which --history does not say" in error
    code, _, error = run(*asked, "--interactions", tmp_path / "log.parquet", "--user", "w000", "--json")
    assert code == 0
    assert "note: 1 of 1 users are asked for at a time before their last interaction" in error
    code, _, error = run("recommend", root, "--interactions", tmp_path / "log.parquet", "--at", "yesterday")
    assert code == 2
    assert "--at has 'yesterday', which cannot be read as a time; give a date or a time like 2024-06-01" in error


def test_info_and_repr_say_which_heads_are_published(
    root: Path, retriever: Retriever, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = runner(capsys)
    assert "visits: own head; returning users: own head; new users: own head" in run("info", root)[1]
    assert "returning users by own head" in repr(retriever)
    info = json.loads(run("info", root, "--json")[1])
    assert info["second_stage"]["heads"] == {"visits": "own head", "returning": "own head", "new": "own head"}
    assert info["second_stage"]["context"] == {}


def test_each_face_says_that_no_head_is_for_users_who_return(retriever: Retriever, log: Interactions) -> None:
    other = Retriever(retriever.bundle)
    assert isinstance(other.state.reranker, SecondStage)
    other.state.reranker = replace(other.state.reranker, returning=None, leaves_returning=True)
    message = "users who return at the times given keep the order of retrieval: this bundle has no head for them"
    table = pa.table({"query_id": USERS[:2], "item_id": ["i000", "i001"]})
    lines = as_lines(log).append_column("candidates", pa.array([["i000"]] * len(USERS)))
    faces: list[Callable[[], object]] = [
        lambda: other.recommend(log, 3, times=NOW),
        lambda: other.pool(log, times=NOW),
        lambda: joined(answers(other, held(log, other), BatchConfig(at=NOW))),
        lambda: joined(rerank_batches(other, lines, BatchConfig(at=NOW))),
        lambda: candidates_from_table(table, other, LoggedHistories.of(log, other.items), NOW),
    ]
    for ask in faces:
        with pytest.warns(ReturningUsersWarning, match=message):
            ask()
    other.recommend(log, 3)  # in a visit
    other.recommend(log, 3, times=NOW, stages="retrieval")  # which has weights for them
    other.users_for(["i000"], log, times=NOW)


def test_a_bundle_that_has_learned_nothing_says_that_times_change_nothing(tmp_path: Path, log: Interactions) -> None:
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    frozen = Retriever.open(tmp_path / "bundle")
    message = "the times of the requests change nothing: this bundle has learned nothing of users who return"
    faces: list[Callable[[], object]] = [
        lambda: frozen.recommend(log, 3, times=NOW),
        lambda: frozen.recommend([["i000"]], 3, times=NOW, last_times=[CLOCK]),
        lambda: joined(answers(frozen, held(log, frozen), BatchConfig(at=NOW))),
        lambda: frozen.users_for(["i000"], log, times=NOW),
    ]
    for ask in faces:
        with pytest.warns(ReturningUsersWarning, match=message):
            ask()
    frozen.recommend(log, 3)  # in a visit
