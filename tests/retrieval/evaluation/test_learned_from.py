"""What a bundle has learned from is not evaluated on: by the names of users, or by how their histories begin."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, LeakError
from indexing.filesystem.id_table import hash_of
from retrieval import Evaluation, Interactions, Retriever, compact, evaluate, fit
from retrieval.batch.in_memory import relevant_items, users_of
from retrieval.interactions.histories import History, hold_out_last
from retrieval.interactions.known_items import UnknownItemsWarning
from retrieval.interactions.learned_from import FIRST, MAX_HASHES, LearnedFrom
from tests.cli_run import Run, runner
from tests.groups import COUNT, SMALL, catalogue, items, log


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


EARLIER, LATER = hold_out_last(log(), 0.25)


def test_each_pair_of_a_user_and_an_item_is_hashed_by_both_names() -> None:
    def hashed(first: str, second: str) -> int:  # splitmix64, in whole numbers of Python
        mixed = (hash_of(first) * 0x9E3779B97F4A7C15 + hash_of(second)) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> shift) * factor % 2**64
        return mixed ^ mixed >> 31

    rows = {"ann": [4, 0, 2, 1, 3], "bob": [2, 3, 1], "cyd": [], "dan": [1, 0, 3, 2]}
    names, times = ItemIds(list("abcde")), np.arange(5)
    histories = [History(user, np.array(of, np.int64), times, np.ones(5, np.float32)) for user, of in rows.items()]
    learned = LearnedFrom.of(histories, names)
    by_user = [hashed(user, names[row]) for user, of in rows.items() for row in of]
    starts = {user: "\x1f".join(names[row] for row in of[:3]) for user, of in rows.items()}
    by_history = [hashed(starts[user], names[row]) for user, of in rows.items() for row in of[3:]]
    assert learned.by_user.hashes.tolist() == sorted(by_user)
    assert learned.by_history.hashes.tolist() == sorted(by_history)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return folder / "bundle"


def fitted(plain: Path, tmp_path: Path, learned: Interactions) -> Path:
    shutil.copytree(plain, tmp_path / "bundle")
    assert fit(tmp_path / "bundle", learned, SMALL).published == ("behaviour",)
    return tmp_path / "bundle"


def measured(bundle: Path, past: Interactions, future: Interactions, *, named: bool = True) -> Evaluation:
    retriever = Retriever.load(bundle)
    known = users_of(past, retriever.items)
    wanted = relevant_items(future, known.histories)
    users = [user for user in known.histories if wanted.get(user)]
    found = retriever.recommend([known.histories[user] for user in users], 10, user_ids=users if named else ())
    return evaluate(found, [wanted[user] for user in users], measures=["recall@10"])


@pytest.mark.parametrize("named", [True, False])
def test_what_was_learned_from_is_refused_and_what_was_kept_away_is_measured(
    plain: Path, tmp_path: Path, named: bool
) -> None:
    everything = fitted(plain, tmp_path / "all", log())
    with pytest.raises(LeakError, match=r"trained on 180 of 180 .* measure memory.*hold_out_last"):
        measured(everything, EARLIER, LATER, named=named)
    kept_away = fitted(plain, tmp_path / "earlier", EARLIER)
    assert len(measured(kept_away, EARLIER, LATER, named=named).query_ids) == 90


def test_a_part_that_was_learned_from_is_refused(plain: Path, tmp_path: Path) -> None:
    bundle = fitted(plain, tmp_path, EARLIER)
    with pytest.raises(LeakError, match=r"trained on \d+ of 360 relevant interactions"):
        measured(bundle, *hold_out_last(log(), 0.5))  # more is held out now than then


def test_baskets_without_times_are_refused(plain: Path, tmp_path: Path) -> None:
    baskets = Interactions.from_arrow(log().table.select(["user_id", "item_id"]))
    bundle = fitted(plain, tmp_path, baskets)
    assert Bundle.open(bundle).manifest.learned["until"] is None
    with pytest.raises(LeakError, match="this would measure memory"):
        measured(bundle, *hold_out_last(baskets, 0.2))


def test_what_came_later_is_measured_after_changes_and_a_compaction(plain: Path, tmp_path: Path) -> None:
    bundle = fitted(plain, tmp_path, EARLIER)
    delete(Bundle.open(bundle), ["i119"])
    compact(bundle)
    with pytest.warns(UnknownItemsWarning, match="'i119'"):
        assert len(measured(bundle, EARLIER, LATER).query_ids) == 90
    with pytest.warns(UnknownItemsWarning, match="'i119'"), pytest.raises(LeakError, match="memory"):
        measured(bundle, *hold_out_last(EARLIER, 0.25))


def test_nothing_is_refused_of_a_bundle_that_has_not_learned(plain: Path) -> None:
    assert Retriever.load(plain).recommend([["i000"]], 3).learned is None
    assert len(measured(plain, EARLIER, LATER).query_ids) == 90


def test_the_command_line_refuses_what_was_learned_and_says_how_to_go_on(plain: Path, tmp_path: Path, run: Run) -> None:
    bundle, path = tmp_path / "bundle", tmp_path / "log.parquet"
    shutil.copytree(plain, bundle)
    pq.write_table(log().table, path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"adapter": None, "head": None, "exposure_floor": 0.5}))
    assert run("fit", bundle, path, "--config", config)[0] == 0
    code, _, err = run("evaluate", bundle, path)
    assert code == 1
    assert "trained on 180 of 180 relevant interactions" in " ".join(err.split())
    assert "--hold-out 0.2" in err
    assert run("fit", bundle, path, "--config", config, "--hold-out", 0.2)[0] == 0
    code, out, _ = run("evaluate", bundle, path, "--json")
    assert (code, json.loads(out)["queries"]) == (0, 90)


def test_a_bundle_of_an_earlier_version_cannot_be_checked_and_says_so(
    plain: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.retriever.learned_parts.LearnedFrom.from_bytes", lambda _: None)
    bundle = fitted(plain, tmp_path, log())
    pq.write_table(log().table, tmp_path / "log.parquet")
    code, out, _ = run("evaluate", bundle, tmp_path / "log.parquet")
    assert code == 0
    assert "caution: this bundle learned by an earlier version" in " ".join(out.split())


def drawn(users: int, each: int) -> tuple[list[History], ItemIds]:
    rng = np.random.default_rng(0)
    ids = ItemIds([f"i{n}" for n in range(500)])
    zeros, ones = np.zeros(each, np.int64), np.ones(each, np.float32)
    return [History(f"u{n}", rng.choice(500, each, replace=False), zeros, ones) for n in range(users)], ids


def test_a_sample_of_many_pairs_is_kept_and_finds_some_of_any() -> None:
    users, each = 8000, 12
    user_histories, ids = drawn(users, each)
    kept = LearnedFrom.of(user_histories, ids)
    assert len(kept.by_user.hashes) == MAX_HASHES
    judged, met = kept.by_user.matches(
        [(past.user_id, ids[row]) for past in user_histories for row in past.rows.tolist()]
    )
    assert judged == len(met) == MAX_HASHES
    judged, met = kept.by_user.matches([(f"other {n}", f"i{n % 500}") for n in range(20_000)])
    assert met == []
    # The share that can be judged is that of the sample: 20,000 draws, three deviations are 0.01.
    assert judged / 20_000 == pytest.approx(MAX_HASHES / (users * each), abs=0.01)
    again = LearnedFrom.from_bytes(kept.to_bytes())
    np.testing.assert_array_equal(again.by_user.hashes, kept.by_user.hashes)
    assert (again.by_history.below, again.by_user.below) == (kept.by_history.below, kept.by_user.below)


def test_who_began_alike_and_continued_otherwise_is_measured() -> None:
    user_histories, ids = drawn(50, 10)
    kept = LearnedFrom.of(user_histories, ids)
    histories = [past.rows[:FIRST] for past in user_histories]
    others = [[ids[(row + 1) % 500] for row in past.rows[FIRST:]] for past in user_histories]
    kept.refuse([str(n) for n in range(50)], histories, others, ids)
    with pytest.raises(LeakError, match="the user of"):
        kept.refuse([str(n) for n in range(50)], histories, [[ids[past.rows[5]]] for past in user_histories], ids)


def test_numbers_of_queries_are_no_names_of_users() -> None:
    user_histories, ids = drawn(50, 10)
    kept = LearnedFrom.of([replace(past, user_id=str(line)) for line, past in enumerate(user_histories)], ids)
    others = [np.array([(row + 1) % 500 for row in past.rows[:FIRST]]) for past in user_histories]
    wanted = [[ids[row] for row in past.rows] for past in user_histories]
    kept.refuse([str(line) for line in range(50)], others, wanted, ids)
    with pytest.raises(LeakError, match="this would measure memory"):
        kept.refuse([str(line) for line in range(49, -1, -1)], others, wanted[::-1], ids)


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", LearnedFrom.of([], ItemIds([])).to_bytes()[:-3]])
def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedFileError, match="the hashes of training interactions cannot be read"):
        LearnedFrom.from_bytes(data)
