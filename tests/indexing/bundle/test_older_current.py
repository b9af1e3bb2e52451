"""A CURRENT that is older than what was acknowledged: read, never written over, named by verify, mended by repair."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import COPY, CURRENT, read_state
from indexing.bundle.edits.edit import delete
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.bundle.publish import publish
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import DamagedFileError
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact, repair
from tests.faults import FaultyDisk
from tests.toy import ToyEncoder, toy_file

ENCODE = EncodeConfig(32, workers=0)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle", encode=ENCODE)
    delete(folder / "bundle", ["red-mug"])
    return folder / "bundle"


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def living(root: Path) -> set[str]:
    items = Bundle.open(root).items
    return set(items.known(items))


def one_change(root: Path) -> None:
    delete(root, ["red-shoe"])


def three_changes(root: Path) -> None:
    for colour in ("red", "green", "blue"):
        delete(root, [f"{colour}-shoe"])


def a_compaction_and_a_change(root: Path) -> None:
    compact(root)
    delete(root, ["red-shoe"])


LATER: list[Callable[[Path], None]] = [one_change, three_changes, a_compaction_and_a_change]


@pytest.mark.parametrize("restored", [(CURRENT,), (CURRENT, COPY)])
@pytest.mark.parametrize("later", LATER)
def test_what_was_acknowledged_survives_an_older_current(
    root: Path, later: Callable[[Path], None], restored: tuple[str, ...]
) -> None:
    saved = {name: (root / name).read_bytes() for name in restored}
    later(root)
    acknowledged, kept = living(root), {path.name for path in (root / "log").iterdir()}
    for name, data in saved.items():
        (root / name).write_bytes(data)
    assert [(problem.path, problem.serving) for problem in verify(root) if problem.serving] == [(CURRENT, True)]
    for write in (lambda: delete(root, ["blue-mug"]), lambda: compact(root), lambda: rollback(root)):
        with pytest.raises(DamagedFileError, match=r"CURRENT is older than .* repair"):
            write()
    assert {path.name for path in (root / "log").iterdir()} == kept
    report = repair(root)
    assert (len(report.done), report.left) == (1, ())
    assert living(root) == acknowledged
    delete(root, ["blue-mug"])
    assert living(root) == acknowledged - {"blue-mug"}


def test_an_older_generation_put_back_is_distinguished_from_a_rollback(root: Path) -> None:
    saved = (root / CURRENT).read_bytes()
    compact(root)
    newer = Bundle.open(root).manifest.generation
    (root / CURRENT).write_bytes(saved)
    assert [problem.path for problem in verify(root)] == [CURRENT]
    repair(root)
    assert Bundle.open(root).manifest.generation == newer
    rollback(root)
    assert verify(root) == []
    assert repair(root).done == ()
    assert Bundle.open(root).manifest.generation != newer


def a_build(root: Path) -> None:
    """Two builds: the second leaves no batch that the first lacks."""
    for number in range(2):
        source = root.parent / f"items-{number}"
        source.mkdir()
        build_bundle(Catalogue.from_parquet(toy_file(source)), ToyEncoder(), root, encode=ENCODE)


def what_a_fit_publishes(root: Path) -> None:
    bundle = Bundle.open(root)
    publish(root, bundle.manifest, {record.name: bundle.folder / record.name for record in bundle.manifest.files})


def a_rollback_between(root: Path) -> None:
    what_a_fit_publishes(root)
    rollback(root)
    what_a_fit_publishes(root)


@pytest.mark.parametrize("later", [a_build, what_a_fit_publishes, a_rollback_between])
def test_a_newer_generation_outlives_an_older_current_and_its_copy(root: Path, later: Callable[[Path], None]) -> None:
    compact(root)  # so that the older state counts generations, and the log has nothing to say
    saved = {name: (root / name).read_bytes() for name in (CURRENT, COPY)}
    later(root)
    newer, kept = Bundle.open(root).manifest.generation, generations(root)
    for name, data in saved.items():
        (root / name).write_bytes(data)
    assert [problem.path for problem in verify(root) if problem.serving] == [CURRENT]
    for write in (lambda: delete(root, ["blue-mug"]), lambda: compact(root), lambda: rollback(root)):
        with pytest.raises(DamagedFileError, match=f"CURRENT is older than {newer}, .* repair"):
            write()
    assert generations(root) == kept
    report = repair(root)
    assert (len(report.done), report.left) == (1, ())
    assert Bundle.open(root).manifest.generation == newer
    rollback(root)
    assert Bundle.open(root).manifest.generation != newer
    assert verify(root) == []
    assert delete(root, ["blue-mug"]).batch == 2


def test_a_generation_that_nothing_points_to_gives_way(root: Path) -> None:
    compact(root)
    before = Bundle.open(root).manifest.generation
    with (
        pytest.raises(OSError, match="No space left"),
        FaultyDisk(root.parent, fail_at=_write_of_current(root, what_a_fit_publishes)),
    ):
        what_a_fit_publishes(root)
    assert len(list(root.glob("pending-gen-*"))) == 1
    assert verify(root) == []
    assert repair(root).done == ()
    assert Bundle.open(root).manifest.generation == before
    what_a_fit_publishes(root)
    assert not list(root.glob("pending-gen-*"))
    assert verify(root) == []


def test_a_number_of_a_generation_is_not_given_twice(root: Path) -> None:
    """Or else an older CURRENT would know a number that another generation got later."""
    compact(root)
    rollback(root)
    shutil.rmtree(root / generations(root)[-1])
    what_a_fit_publishes(root)
    assert Bundle.open(root).manifest.sequence == 3


def test_a_change_that_nothing_points_to_gives_way(root: Path) -> None:
    with pytest.raises(OSError, match="No space left"), FaultyDisk(root.parent, fail_at=_write_of_current(root)):
        delete(root, ["red-shoe"])
    assert len(list((root / "log").glob("*.pending"))) == 1
    assert verify(root) == []
    assert repair(root).done == ()
    assert "red-shoe" in living(root)
    assert delete(root, ["blue-shoe"]).batch == 2
    assert not list((root / "log").glob("*.pending"))
    assert {"red-shoe", "red-mug", "blue-shoe"} & living(root) == {"red-shoe"}


def _write_of_current(root: Path, write: Callable[[Path], object] = one_change) -> int:
    """Which operation of a change creates CURRENT's successor."""
    shutil.copytree(root, copy := root.parent / "tried" / "bundle")

    class Noting(FaultyDisk):
        at = 0

        def create(self, path: Path) -> int:
            descriptor = super().create(path)
            self.at = self.at or (self.count if path.name == "CURRENT.tmp" else 0)
            return descriptor

    with Noting(copy.parent) as disk:
        write(copy)
    shutil.rmtree(copy.parent)
    return disk.at


def test_a_lost_change_before_acknowledged_ones_is_given_up_only_when_asked(root: Path) -> None:
    saved = (root / CURRENT).read_bytes()
    three_changes(root)
    for name in (CURRENT, COPY):
        (root / name).write_bytes(saved)
    next((root / "log").glob("000000000003-*")).unlink()
    report = repair(root)
    assert report.done == ()
    assert any(problem.serving for problem in report.left)
    report = repair(root, drop_changes=True)
    assert report.done == ("the changes from number 3 to 4 are given up",)
    assert not [problem for problem in report.left if problem.serving]
    assert {"red-shoe", "green-shoe", "blue-shoe"} & living(root) == {"green-shoe", "blue-shoe"}
    assert delete(root, ["blue-shoe"]).batch == 5


def test_a_build_over_an_older_current_uses_no_number_again(root: Path) -> None:
    saved = (root / CURRENT).read_bytes()
    three_changes(root)
    for name in (CURRENT, COPY):
        (root / name).write_bytes(saved)
    source = root.parent / "items"
    source.mkdir()
    build_bundle(Catalogue.from_parquet(toy_file(source)), ToyEncoder(), root, encode=ENCODE)
    assert verify(root) == []
    assert delete(root, ["red-mug"]).batch == 5


def test_a_reader_that_follows_goes_back_with_an_older_current(root: Path) -> None:
    saved = (root / CURRENT).read_bytes()
    three_changes(root)
    bundle = Bundle.open(root)
    (root / CURRENT).write_bytes(saved)
    assert [batch.number for batch in bundle.latest().batches] == [1]
    assert "red-shoe" in bundle.latest().items


def test_the_newest_generation_is_the_one_made_last_whatever_the_clock_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    from indexing.bundle import publish

    class Back(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2018, 1, 2, 3, 4, 5, tzinfo=UTC)

    monkeypatch.setattr(publish, "datetime", Back)
    compact(root)
    newest = Bundle.open(root).manifest.generation
    assert newest.startswith("gen-2018")
    assert generations(root)[-1] == newest
    for name in (CURRENT, COPY):
        (root / name).unlink()
    assert len(repair(root).done) == 1
    state = read_state(root)
    assert state is not None
    assert state.generation == newest
