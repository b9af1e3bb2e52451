"""From a log and profiles to a bundle that answers new users by their profile."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError
from retrieval import Interactions, Retriever, fit
from retrieval.batch import BatchConfig, LoggedHistories, LogUsers, answers, recommend_batches
from retrieval.batch.in_memory import users_of
from retrieval.candidates import Candidates
from retrieval.evaluation.results_file import load
from retrieval.fitting.part_training import returning_users
from retrieval.fitting.part_training.fit_ranker import answer_at
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection import serving_weights as serving
from retrieval.fitting.selection.validation import Validation
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileWarning
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.recommend import new_queries, user_queries
from retrieval.training.cutoffs import Cutoff
from retrieval.training.settings import write_settings
from tests.agree import assert_hits_agree
from tests.cli_run import Run, json_lines, runner
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, group_of, items, log, walks

LOG = log(users=150, start=CLOCK)
CLUBS = {"club": "club 3", "age": 30}


def profiles_of(interactions: Interactions) -> Profiles:
    """Everybody is in the club of their group; one more is new."""
    table = interactions.table
    found = dict(zip(table["user_id"].to_pylist(), group_of(table["item_id"].to_pylist()), strict=True))
    users = [*found, "newcomer"]
    clubs = [f"club {found.get(user, 3)}" for user in users]
    return Profiles.from_arrow(pa.table({"user_id": users, "club": clubs, "age": [30] * len(users)}))


PROFILES = profiles_of(LOG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log, the profiles, and a bundle that has learned from both."""
    folder = tmp_path_factory.mktemp("profiles")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    shutil.copytree(folder / "bundle", folder / "plain")
    with pytest.MonkeyPatch.context() as patch:  # in this shop one click tells all, and would be trusted at once
        patch.setattr(serving, "SHRINKAGES", (2.0,))
        report = fit(folder / "bundle", LOG, SMALL, profiles=PROFILES)
    assert report.published == ("behaviour", "profiles"), report
    assert report.new_users["users"] == 150
    assert report.new_users["profiles"] > 2 * report.new_users["popular"]
    pq.write_table(LOG.table, folder / "log.parquet")
    known = PROFILES.attributes.append_column("user_id", PROFILES.user_ids)
    pq.write_table(known, folder / "users.parquet")
    return folder


@pytest.fixture
def shop(folder: Path) -> Retriever:
    return Retriever.load(folder / "bundle")


def test_a_new_user_gets_what_is_liked_in_the_club(shop: Retriever) -> None:
    by_club = shop.recommend([[]] * 5, 8, profiles=[{"club": f"club {club}"} for club in range(5)])
    for club, line in enumerate(by_club):
        assert group_of([hit.item_id for hit in line]) == [club] * 8
    with pytest.warns(ProfileWarning, match="nothing was learned of 'club 9' of 'club' of profiles"):
        popular, nobody, stranger = shop.recommend([[]] * 3, 8, profiles=[{}, {"club": None}, {"club": "club 9"}])
    (alone,) = shop.recommend([[]], 8)
    for found in (popular, nobody, stranger):
        assert_hits_agree(found, alone)


def test_what_a_user_did_outweighs_a_profile(shop: Retriever) -> None:
    history = [f"i{row:03}" for row in range(24, 32)]
    (found,) = shop.recommend([history], 5, profiles=[CLUBS])
    assert group_of([hit.item_id for hit in found]) == [1] * 5
    with_profile, without = (
        user_queries(shop.state, [np.arange(24, 32)], new=new_queries(shop.state, [CLUBS], 1)),
        user_queries(shop.state, [np.arange(24, 32)]),
    )
    nothing = [np.empty(0, np.int64)]
    only = user_queries(shop.state, nothing, new=new_queries(shop.state, [CLUBS], 1)) - user_queries(
        shop.state, nothing
    )
    np.testing.assert_allclose(with_profile - without, 0.5**4 * only, atol=1e-6)  # eight items, half for every two


def test_an_explanation_says_what_the_profile_did(shop: Retriever) -> None:
    found = shop.recommend([[], ["i024"]], 5, profiles=[CLUBS] * 2)
    for line, hits, explanations in zip(range(2), found, shop.explain(found), strict=True):
        for hit, one in zip(hits, explanations, strict=True):
            assert one.content + one.behaviour + one.popularity + one.profile == pytest.approx(hit.score, abs=1e-5)
            assert len(one.history) == line
    new, clicked = shop.explain(found)
    assert all(one.profile > 0 and one.behaviour == pytest.approx(0, abs=1e-6) for one in new)
    (effect,) = (effect for _, effect in clicked[0].history)
    assert effect == pytest.approx(clicked[0].content + clicked[0].behaviour, abs=1e-5)


def test_it_is_kept_by_changes_and_by_a_refresh(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    delete(Bundle.open(tmp_path / "bundle"), ["i000"])
    compact(tmp_path / "bundle")
    (found,) = Retriever.load(tmp_path / "bundle").recommend([[]], 8, profiles=[CLUBS])
    assert group_of([hit.item_id for hit in found]) == [3] * 8
    later = log(users=200, start=CLOCK, seed=0, each=10)
    with pytest.raises(InputError, match="give them to a refresh too"):
        fit(tmp_path / "bundle", later, refresh=True)
    report = fit(tmp_path / "bundle", later, refresh=True, profiles=profiles_of(later))
    assert "profiles" in report.published or report.refused
    (found,) = Retriever.load(tmp_path / "bundle").recommend([[]], 8, profiles=[CLUBS])
    assert group_of([hit.item_id for hit in found]) == [3] * 8


def test_profiles_without_a_behaviour_block_teach_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "plain", tmp_path / "bundle")
    report = fit(tmp_path / "bundle", LOG, replace(SMALL, behaviour=None), profiles=PROFILES)
    assert (report.published, report.new_users) == ((), {})
    assert "there is none" in report.notes["profiles"]
    few = fit(tmp_path / "bundle", LOG, SMALL, profiles=Profiles(PROFILES.user_ids[:9], PROFILES.attributes[:9]))
    assert few.published == ("behaviour",)
    assert "9 users of the log have a profile" in few.notes["profiles"]
    with pytest.raises(InputError, match="not learned from profiles"):
        Retriever.load(tmp_path / "bundle").recommend([[]], profiles=[CLUBS])


def test_the_head_reads_profiles(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "plain", tmp_path / "bundle")
    report = fit(tmp_path / "bundle", walks(), replace(SMALL, reranker=STAGE), profiles=profiles_of(walks()))
    assert report.published == ("behaviour", "profiles", "reranker"), report
    retriever = Retriever.load(tmp_path / "bundle")
    stage = retriever.reranker
    assert isinstance(stage, SecondStage)
    names = [str(one) for one in stage.features.features]
    assert names[2 * [source.name for source in stage.features.sources].index("profile")] == "profile_z"
    asked = ([["i024"], []], 40)
    found = retriever.recommend(*asked, profiles=[CLUBS, CLUBS])
    read = stage.features.of(found)[:, :, names.index("profile_z")]
    taste = retriever.learned.profiles
    assert taste is not None
    said = taste.queries(taste.table([CLUBS]))[0] @ retriever.indexed[:, -len(taste.weights[0]) - 1 :].T
    for line, rows in enumerate(found.rows):
        here = said[rows[rows >= 0]]
        np.testing.assert_allclose(read[line, : len(here)], (here - here.mean()) / here.std(), rtol=1e-3, atol=1e-4)
    ranked = retriever.rerank(found, 5)
    assert group_of([hit.item_id for hit in ranked[1]]) == [3] * 5  # new: in the order of retrieval
    pool = retriever.pool([["i024"], []], profiles=[CLUBS, {}])
    assert pool.new is not None
    # One user or two at once: a product by another routine. Queries are of length 1.
    np.testing.assert_allclose(pool.new[0], taste.queries(taste.table([CLUBS]))[0], atol=1e-5)
    assert pool.take([1]).new is not None
    plain = retriever.rerank(retriever.recommend([["i024"]], 40))
    assert not np.array_equal(plain.scores[0], retriever.rerank(found.take([0])).scores[0])


def test_there_is_one_profile_for_each_history(shop: Retriever) -> None:
    with pytest.raises(ShapeError, match="1 profiles for 2 histories"):
        shop.recommend([[], []], profiles=[CLUBS])


def test_jobs_read_profiles_from_columns_and_from_a_file(folder: Path, shop: Retriever) -> None:
    users = ["newcomer", "unknown", "u1700000000"]
    known = PROFILES.of(users)
    table = pa.table({"user_id": users, "history": pa.array([[], [], ["i024", "i025"]], pa.list_(pa.string()))})
    lines = table.append_column("club", known["club"])
    once = shop.recommend(table["history"].to_pylist(), 4, user_ids=users, profiles=known)
    config = BatchConfig(k=4, rerank=False, chunk=2)
    found = pa.concat_tables(one.to_arrow() for one in recommend_batches(shop, lines, config))
    assert found.drop_columns(["score"]) == once.to_arrow().drop_columns(["score"])
    np.testing.assert_allclose(found["score"], once.to_arrow()["score"], atol=1e-6)
    assert group_of(found["item_id"].to_pylist()[:4]) == [3] * 4

    logged = users_of(LOG, shop.items)
    everyone = list(logged.histories)
    once = shop.recommend(
        list(logged.histories.values()),
        4,
        user_ids=everyone,
        weights=logged.weights_of(everyone),
        profiles=PROFILES.of(everyone),
    )
    source = LogUsers(LoggedHistories.of(LOG, shop.items), {}, PROFILES)
    found = pa.concat_tables(one.to_arrow() for one in answers(shop, source, config))
    np.testing.assert_allclose(found["score"], once.to_arrow()["score"], atol=1e-5)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    return runner(capsys)


def test_the_command_line_learns_from_profiles(folder: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(folder / "plain", tmp_path / "bundle")
    write_settings(SMALL, tmp_path / "settings.json")
    given = (tmp_path / "bundle", folder / "log.parquet", "--config", tmp_path / "settings.json")
    code, out, _ = run("fit", *given, "--profiles", folder / "users.parquet")
    assert code == 0
    assert "with profiles" in out
    assert "by popularity alone" in out
    assert "behaviour, profiles" in out


def test_the_command_line_answers_by_profile(folder: Path, tmp_path: Path, run: Run) -> None:
    bundle, known = (
        folder / "bundle",
        ("--interactions", folder / "log.parquet", "--profiles", folder / "users.parquet"),
    )
    for asked in (("--profile", "club=club 3, age=30"), (*known, "--user", "newcomer")):
        code, out, _ = run("recommend", bundle, *asked, "-k", 4, "--json")
        assert code == 0
        assert group_of([hit["item_id"] for hit in json_lines(out)]) == [3] * 4
    code, out, _ = run("recommend", bundle, "--profile", "club=club 3", "-k", 2, "--explain")
    assert code == 0
    assert "profile +" in out
    code, out, _ = run("recommend", bundle, *known, "-k", 3, "--out", tmp_path / "answers", "--json")
    assert code == 0
    assert json.loads(out)["users"] == 150


def test_users_without_a_history_are_measured_too(folder: Path, tmp_path: Path, run: Run) -> None:
    """The newcomer likes what the club of group 3 does; of the stranger nothing is known: what is popular answers."""
    shop = Retriever.load(folder / "bundle")
    wanted = {"newcomer": ["i072", "i095"], "stranger": ["i001"], LOG.table["user_id"][0].as_py(): ["i119"]}
    past = [line | {"part": "past"} for line in LOG.table.to_pylist()]
    later = [past[0] | {"user_id": user, "item_id": one, "part": "later"} for user in wanted for one in wanted[user]]
    pq.write_table(pa.Table.from_pylist([*past, *later]), tmp_path / "both.parquet")
    parted = ("evaluate", folder / "bundle", tmp_path / "both.parquet", "--history-rows", "part=past")
    asked = (*parted, "--relevant-rows", "part=later", "--no-rerank", "--save", tmp_path / "values.json", "--json")
    for profiles in (None, PROFILES):
        code, out, err = run(*asked, *(("--profiles", folder / "users.parquet") if profiles else ()))
        assert code == 0, err
        report = json.loads(out)
        assert (report["queries"], report["new_users"], report["without_history"]) == (3, 2, 0)
        assert {row["value"]: row["queries"] for row in report["slices"] if row["name"] == "users"} == {
            "with a history": 1,
            "without a history": 2,
        }
        assert (report["baselines"]["verdict"], report["baselines"]["new_users"]["users"]) == (
            "too few users",
            2,
        )
        saved = load(tmp_path / "values.json").evaluation
        assert set(saved.query_ids) == wanted.keys()
        known = None if profiles is None else profiles.of(["newcomer", "stranger"])
        for user, hits in zip(("newcomer", "stranger"), shop.recommend([[]] * 2, 200, profiles=known), strict=True):
            found = sum(hit.item_id in wanted[user] for hit in hits[:20]) / len(wanted[user])
            assert saved.per_query["recall@20"][saved.query_ids.index(user)] == found
    assert saved.per_query["recall@20"][saved.query_ids.index("newcomer")] > 0
    code, _, err = run(
        "evaluate", folder / "bundle", "--queries", "none.parquet", "--profiles", folder / "users.parquet"
    )
    assert code != 0
    assert "--profiles goes with a log" in err


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--profile", "club 3"), "cannot read 'club 3' of --profile"),
        (("--profile", "shoe=41"), r"user 0 has ['shoe']"),
        (("--history", "i001", "--history", "i002", "--profile", "club=club 3"), "1 --profile for 2 --history"),
        (("--history", "i001", "--profiles", "users.parquet"), "--profiles goes with --interactions"),
    ],
)
def test_the_command_line_says_what_is_wrong(folder: Path, run: Run, given: tuple[str, ...], why: str) -> None:
    code, _, err = run("recommend", folder / "bundle", *given)
    assert code != 0
    assert why in err


def test_the_head_of_new_users_is_judged_against_retrieval_by_their_profiles(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = walks(users=220).table
    steps, users = np.repeat(np.arange(12), 220), np.tile(np.arange(220), 12)
    place = table.schema.get_field_index("timestamp")
    times = CLOCK + 86_400 * (steps + 6 * (users % 12)) + users  # new users every six days
    log = Interactions.from_arrow(table.set_column(place, "timestamp", pa.array(times)))
    profiles, retrieve, order = profiles_of(log), Validation.recommend, answer_at
    ordered, pairs = list[Candidates](), list[tuple[ItemSpace, Candidates, Candidates]]()

    def answered(trainer: Trainer, stage: SecondStage, cutoff: Cutoff) -> Candidates:
        ordered[:] = [order(trainer, stage, cutoff)] * (not cutoff.visiting)
        return ordered[0] if ordered else order(trainer, stage, cutoff)

    def retrieved(self: Validation, space: ItemSpace, *args: Any, **more: Any) -> Candidates:  # noqa: ANN401
        found = retrieve(self, space, *args, **more)
        if ordered:  # what the head of a window is compared with
            pairs.append((space, found, ordered.pop()))
        return found

    monkeypatch.setattr(returning_users, "answer_at", answered)
    monkeypatch.setattr(Validation, "recommend", retrieved)
    shutil.copytree(folder / "plain", tmp_path / "bundle")
    config = replace(SMALL, reranker=STAGE, split="both", prepare=None)
    report = fit(tmp_path / "bundle", log, config, profiles=profiles)
    assert {"behaviour", "profiles"} <= set(report.published)
    assert len(pairs) == 1  # the last of three windows
    for space, before, after in pairs:
        assert after.new is not None
        expected = space.user_queries(before.histories, before.weights, None, after.new)
        np.testing.assert_allclose(before.queries, expected, rtol=1e-6, atol=1e-6)
        new = [line for line, rows in enumerate(before.histories) if not len(rows)]
        assert len(new) >= 10
        popular = space.user_queries(before.histories, before.weights)
        assert np.abs(before.queries[new] - popular[new]).max(axis=1).min() > 0.1


@pytest.mark.parametrize("kind", ["arrow", "pandas", "profiles", "file"])
def test_profiles_with_users_are_read_by_their_names(shop: Retriever, tmp_path: Path, kind: str) -> None:
    table = pa.table({"user_id": ["b", "a"], "club": ["club 3", "club 1"]})
    pq.write_table(table, tmp_path / "users.parquet")
    given = {"arrow": table, "pandas": table.to_pandas(), "profiles": Profiles.from_arrow(table)}
    found = shop.recommend([[]] * 3, 5, user_ids=["a", "b", "c"], profiles=given.get(kind, tmp_path / "users.parquet"))
    (alone,) = shop.recommend([[]], 5)  # of "c" nothing is known
    ann, bob, cid = found
    assert [group_of([hit.item_id for hit in line]) for line in (ann, bob)] == [[1] * 5, [3] * 5]
    assert_hits_agree(cid, alone)


@pytest.mark.parametrize(
    ("user_ids", "profiles", "text"),
    [
        ((), pa.table({"user_id": ["b", "a"], "club": ["club 3"] * 2}), "but the users have no names"),
        (["1", "2"], pa.table({"user_id": ["u1", "u2"], "club": ["club 3"] * 2}), "has none of the 2 users.*'u1'"),
        (["a", "b"], pa.table({"user_id": ["a", "a"], "club": ["club 3"] * 2}), "has several rows of a user"),
        (["a", "b"], [None, {}], r"profiles\[0\] is None"),
        (["a", "b"], {"club": "club 1"}, "profiles is .* expected a list"),
    ],
)
def test_profiles_that_do_not_fit_the_users_are_refused(
    shop: Retriever, user_ids: list[str], profiles: object, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        shop.recommend([[], []], 5, user_ids=user_ids, profiles=profiles)
