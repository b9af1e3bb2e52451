"""A refresh continues from the published parts; a killed fit continues; the same log changes nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add
from indexing.encoders import load_encoder
from indexing.errors import InputError, TrainingError
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.fitting.fitted_model import LEARNED
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.selection.temporal_split import split_since
from retrieval.fitting.selection.validation import Gain
from retrieval.fitting.steps import BEFORE_TEST, EVERYTHING, TRAIN, Step
from retrieval.interactions.histories import histories
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.config import AdapterConfig, BehaviourConfig, NextItemsConfig
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, group_of, items, log, walks

ALL = replace(SMALL, adapter=AdapterConfig(hidden=8, epochs=4), reranker=STAGE)


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def fresh(built: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of a bundle that has learned nothing."""

    def copy() -> Path:
        root = tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(built, root)
        return root

    return copy


@pytest.fixture(scope="module")
def whole(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fit learns that nothing stopped."""
    root = tmp_path_factory.mktemp("whole") / "bundle"
    shutil.copytree(built, root)
    assert fit(root, walks(), ALL).published == ("behaviour", "reranker")
    return learned_of(root)


@pytest.fixture(scope="module")
def learned(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that has learned from the first eight interactions of each user."""
    root = tmp_path_factory.mktemp("learned") / "bundle"
    shutil.copytree(built, root)
    assert fit(root, until(log(start=CLOCK, each=14), CLOCK + 8000), SMALL).refused == ""
    return root


@pytest.fixture
def yesterday(learned: Path, tmp_path: Path) -> tuple[Path, Interactions]:
    """A copy of that bundle, and the log with six interactions more."""
    shutil.copytree(learned, tmp_path / "yesterday")
    return tmp_path / "yesterday", log(start=CLOCK, each=14)


def learned_of(root: Path) -> dict[str, Any]:
    """All that learning decides of a generation: its learned files, and what the manifest says of them."""
    bundle = Bundle.open(root)
    files = {name: bundle.read(name) for name in LEARNED if bundle.has(name)}
    return files | {"manifest": bundle.manifest.learned}


def clocked(interactions: Interactions) -> Interactions:
    """The same, later than 1970."""
    table = interactions.table
    place = table.schema.get_field_index("timestamp")
    late = pa.array(table["timestamp"].to_numpy() + CLOCK)
    return Interactions.from_arrow(table.set_column(place, "timestamp", late))


def until(interactions: Interactions, second: int) -> Interactions:
    table = interactions.table
    return Interactions.from_arrow(table.filter(pa.array(table["timestamp"].to_numpy() < second)))


def stopping(at: tuple[str, str, int], seen: list[Step] | None = None) -> Callable[[Step], None]:
    """Stop when a part has made so many passes."""

    def tell(step: Step) -> None:
        if seen is not None:
            seen.append(step)
        if (step.part, step.trained_on, step.done) == at:
            raise Killed

    return tell


@pytest.mark.parametrize(
    "at",
    [
        ("behaviour", TRAIN, 1),
        ("reranker", TRAIN, 5),
        ("behaviour", BEFORE_TEST, 1),
        ("reranker", BEFORE_TEST, 5),
        ("behaviour", EVERYTHING, 1),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_killed_fit_continues_and_publishes_the_same_bits(
    at: tuple[str, str, int], named: bool, whole: dict[str, Any], fresh: Callable[[], Path], tmp_path: Path
) -> None:
    root = fresh()
    work = tmp_path / "work" if named else None
    with pytest.raises(Killed):
        fit(root, walks(), ALL, work=work, progress=stopping(at))
    assert not Bundle.open(root).manifest.features
    seen: list[Step] = []
    fit(root, walks(), ALL, work=work, progress=seen.append)
    assert learned_of(root) == whole
    steps = [step for step in seen if (step.part, step.trained_on) == at[:2]]
    assert [step.done for step in steps if step.done] == list(range(at[2] + 1, steps[0].total + 1 if steps else 0))
    if at[:2] != ("behaviour", TRAIN):
        assert not [step for step in seen if step[:2] == ("behaviour", TRAIN) and step.done]
    assert not [*root.glob("unfinished-*"), *root.glob("fitting-*")]
    assert work is None or len(list(work.glob("*.safetensors"))) == 5  # three towers, a network twice


def test_a_kill_by_the_system_is_survived_too(whole: dict[str, Any], fresh: Callable[[], Path]) -> None:
    root = fresh()
    script = (
        "import os, signal, sys\n"
        "from retrieval import fit\n"
        "from tests.retrieval.fitting.test_refresh import ALL, walks\n"
        "def tell(step):\n"
        "    if step[:3] == ('behaviour', 'all interactions', 1):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "fit(sys.argv[1], walks(), ALL, progress=tell)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(root)], check=False, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in root.glob("*-gen-learning*")] == ["fitting-gen-learning"]
    fit(root, walks(), ALL)
    assert learned_of(root) == whole


def test_what_cannot_be_learned_leaves_no_work(fresh: Callable[[], Path]) -> None:
    root = fresh()
    with pytest.raises(TrainingError, match="only 4 users"):
        fit(root, log(4), SMALL)
    assert not [*root.glob("unfinished-*"), *root.glob("fitting-*")]


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, prepare=None)], ids=["prepared", "as it is"])
def test_the_same_log_again_or_twice_over_changes_nothing(config: FitConfig, fresh: Callable[[], Path]) -> None:
    once, root, other = log(start=CLOCK), fresh(), fresh()
    doubled = Interactions.from_arrow(pa.concat_tables([once.table, once.table]))
    assert len(doubled) == 2 * len(once)
    fit(root, once, config)
    before = Bundle.open(root).manifest
    for again in (once, doubled):
        report = fit(root, again, config)
        assert report.refused == "the same parts are published already, bit for bit"
        assert (report.generation, report.published, report.current) == (before.generation, (), ("behaviour",))
    assert Bundle.open(root).manifest == before
    fit(other, doubled, config)
    first, second = learned_of(root), learned_of(other)
    assert first.pop("manifest")["training"] == second.pop("manifest")["training"]
    assert first == second


def test_other_settings_or_a_longer_log_are_no_repetition(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    before = until(both, CLOCK + 8000)
    assert fit(root, before, SMALL).refused.startswith("the same parts are published already")
    assert fit(root, before, replace(SMALL, exposure_floor=0.6)).refused == ""
    assert fit(root, both, replace(SMALL, exposure_floor=0.6)).refused == ""


def test_a_refresh_continues_from_what_is_in_force(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    old = PublishedModel.of(Bundle.open(root))
    seen: list[Step] = []
    report = fit(root, both, refresh=True, progress=seen.append)
    assert (report.refused, report.published) == ("", ("behaviour",))
    assert set(report.ndcg) == {"published", "refreshed"}
    assert report.ndcg["refreshed"] >= report.ndcg["published"]
    new = PublishedModel.of(Bundle.open(root))
    assert old.block is not None
    assert new.block is not None
    assert new.block.serving == old.block.serving == report.serving
    for one in (old.block, new.block):  # it is served so, too
        assert one.behaviour.popular == one.serving["popular"]
        assert one.behaviour.content == one.serving["content"]
        assert one.behaviour.towers[0].half_lives.tolist() == [one.serving["half_life"]]
        assert one.behaviour.towers[1].share == one.serving["share"]
    assert (new.config, new.until) == (SMALL, max(both.table["timestamp"].to_pylist()))
    assert Bundle.open(root).manifest.learned["refreshed"] == old.generation
    assert {step[:2] for step in seen} == {("behaviour", BEFORE_TEST), ("behaviour", EVERYTHING), ("index", EVERYTHING)}
    assert max(step.total for step in seen) == 1  # a quarter of three passes
    found = Retriever.load(root).recommend([["i024", "i025"]], 5)[0]
    assert group_of([hit.item_id for hit in found]) == [1] * 5


def test_a_refresh_keeps_the_head_and_learns_its_sources_anew(fresh: Callable[[], Path]) -> None:
    both, root = clocked(walks(steps=20)), fresh()
    config = replace(SMALL, reranker=STAGE, exposure_floor=0.8)
    assert fit(root, until(both, CLOCK + 12_000), config).published == ("behaviour", "reranker")
    old = PublishedModel.of(Bundle.open(root)).reranker
    assert fit(root, both, refresh=True).refused == ""
    new = PublishedModel.of(Bundle.open(root)).reranker
    assert isinstance(old, SecondStage)
    assert isinstance(new, SecondStage)
    for name, tensor in old.head.tensors().items():
        np.testing.assert_array_equal(new.head.tensors()[name], tensor)
    assert new.features.statistics.counts.sum() > old.features.statistics.counts.sum()


def test_an_adapter_continues_too(yesterday: tuple[Path, Interactions]) -> None:
    """Content tells the group here, and taste is to like what is near: the adapter helps a little, and is forced in."""
    root, both = yesterday
    bundle = Bundle.open(root)
    before = PublishedModel.of(bundle)
    from retrieval.fitting.part_training.trainer import Trainer  # what is learned alone needs no gate

    config = replace(ALL, adapter=AdapterConfig(hidden=8, epochs=4, validation_fraction=0.0))
    user_histories = histories(both, bundle.items)
    seen: list[Step] = []
    assert before.description is not None
    trainer = Trainer(bundle, config, before.description, 0.5)
    first = trainer.train_adapter(user_histories, TRAIN)
    again = replace(trainer, published=before._replace(adapter=first), on_step=seen.append).train_adapter(
        user_histories, BEFORE_TEST
    )
    assert seen[-1] == Step("adapter", BEFORE_TEST, 1, 1, 1, 1)
    moved = np.abs(again.w1 - first.w1).max()
    assert 0 < moved < 0.05  # one step of Adam is no longer than its rate, from another start it would be far


def test_a_killed_refresh_continues_too(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    whole = root.with_name("whole")
    shutil.copytree(root, whole)
    fit(whole, both, refresh=True)
    with pytest.raises(Killed):
        fit(root, both, refresh=True, progress=stopping(("behaviour", EVERYTHING, 1)))
    seen: list[Step] = []
    fit(root, both, refresh=True, progress=seen.append)
    assert not [step for step in seen if step.part == "behaviour" and step.done]
    assert learned_of(root) == learned_of(whole)


def test_items_that_came_later_start_from_their_prediction(
    yesterday: tuple[Path, Interactions], tmp_path: Path
) -> None:
    root, both = yesterday
    add(Bundle.open(root), catalogue(tmp_path, items(range(COUNT, COUNT + 2), [3, 1])), load_encoder("vectors:"))
    assert fit(root, both, refresh=True).refused == ""
    retriever = Retriever.load(root)
    assert not retriever.bundle.batches
    ranks = {hit.item_id: hit.rank for hit in retriever.recommend([["i072", "i073"]], COUNT)[0]}
    others = [rank for item_id, rank in ranks.items() if group_of([item_id])[0] not in (3, 5)]
    assert ranks["i120"] < min(others)


def test_a_refresh_that_does_worse_is_refused(
    yesterday: tuple[Path, Interactions], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, both = yesterday
    generation = Bundle.open(root).manifest.generation
    values = iter([0.5, 0.4])
    monkeypatch.setattr("retrieval.fitting.selection.validation.Validation.ndcg", lambda *_: next(values))
    monkeypatch.setattr(
        "retrieval.fitting.selection.validation.Validation.gain", lambda *_: Gain(90, 0.5, 0.4, -0.1, -0.15, -0.05)
    )
    report = fit(root, both, refresh=True)
    assert report.refused.endswith("users: ndcg@10 0.5000 against 0.4000")
    assert report.generation == generation == Bundle.open(root).manifest.generation


def test_when_nothing_came_since_a_refresh_changes_nothing(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    report = fit(root, until(both, CLOCK + 8000), refresh=True)
    assert report.refused.startswith("only 0 users with a history liked something after")
    assert (report.published, report.current) == ((), ("behaviour",))


def test_what_came_in_one_second_cannot_teach_and_judge(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    table = both.table
    times = table["timestamp"].to_numpy()
    times = np.where(times < CLOCK + 8000, times, CLOCK + 9000)
    at_once = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", pa.array(times))
    report = fit(root, Interactions.from_arrow(at_once), refresh=True)
    assert report.refused.startswith("the new interactions are too few to train on: no user has two")


def test_what_a_refresh_cannot_go_on_from(yesterday: tuple[Path, Interactions], fresh: Callable[[], Path]) -> None:
    root = fresh()
    with pytest.raises(TrainingError, match="has no trained parts to refresh"):
        fit(root, log(), SMALL, refresh=True)
    fit(root, log(), SMALL)
    with pytest.raises(TrainingError, match="on a log without times"):
        fit(root, log(), refresh=True)
    root, both = yesterday
    wide = replace(SMALL, behaviour=BehaviourConfig(ease_dims=6, next_items=NextItemsConfig(dims=7, epochs=3)))
    with pytest.raises(InputError, match="leave the settings as they are"):
        fit(root, both, wide, refresh=True)


def test_what_came_since_is_cut_at_one_moment(fresh: Callable[[], Path]) -> None:
    user_histories = histories(log(9, start=CLOCK, each=6), Bundle.open(fresh()).items)
    cuts = split_since(user_histories, CLOCK + 2999)
    assert {(len(one.train), len(one.valid), len(one.test)) for one in cuts} <= {(3, 1, 2), (3, 2, 1)}
    moment = np.median(np.concatenate([past.timestamps[3:] for past in user_histories]))
    for one in cuts:
        assert (one.valid.timestamps < moment).all()
        assert (one.test.timestamps >= moment).all()
    assert [len(one.test) for one in split_since(user_histories, CLOCK + 10**6)] == [0] * 9


def test_whom_a_refresh_continues_with(yesterday: tuple[Path, Interactions]) -> None:
    root, both = yesterday
    before = PublishedModel.of(Bundle.open(root))
    user_histories = histories(both, Bundle.open(root).items)
    some = [past if n < 5 else past[:8] for n, past in enumerate(user_histories)]
    new = {past.user_id for past in some[:5]}
    chosen = before.replay_sample(some, 3, 2.0)
    assert len(chosen) == 15
    assert new < {past.user_id for past in chosen}
    assert [past.user_id for past in chosen] == sorted(past.user_id for past in chosen)
    assert chosen == before.replay_sample(some, 3, 2.0) != before.replay_sample(some, 4, 2.0)
    assert len(before.replay_sample(some, 3, 100.0)) == len(some)
    assert {past.user_id for past in before.replay_sample(some, 3, 0.0)} == new
