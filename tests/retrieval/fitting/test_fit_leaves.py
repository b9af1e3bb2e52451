"""What `fit` leaves of a bundle with changes: one new generation when it publishes, and otherwise all as it was."""

import hashlib
from pathlib import Path

import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import read_state
from indexing.bundle.edits.edit import add, delete
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.staged import publish_staged, staged
from indexing.bundle.maintenance.verify import verify
from indexing.encoders import load_encoder
from indexing.errors import BundleLockedError, TrainingError
from indexing.filesystem.locks import write_lock
from retrieval import Interactions, Retriever, fit
from retrieval.fitting.steps import Step
from retrieval.retriever.learned_parts import compact
from tests.groups import COUNT, SMALL, catalogue, items, log

LOCKS = {"LOCK", "FITTING", "COMPACTING"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle of two generations, with an item that came since and one that went."""
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    for number in (COUNT, COUNT + 1):
        if number > COUNT:
            compact(tmp_path / "bundle")
        add(tmp_path / "bundle", catalogue(tmp_path, items(range(number, number + 1), [2])), load_encoder("vectors:"))
    delete(tmp_path / "bundle", ["i049"])
    return tmp_path / "bundle"


def files(root: Path) -> dict[str, str]:
    """The content of every file of a bundle but its locks."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.name not in LOCKS)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def living(bundle: Bundle) -> list[str]:
    return sorted(item_id for item_id, is_live in zip(bundle.items, bundle.is_live, strict=True) if is_live)


def test_a_fit_that_fails_leaves_every_file_as_it_was(root: Path) -> None:
    before, few = files(root), Interactions.from_arrow(log().table.slice(0, 3))
    assert len(generations(root)) == 2
    with pytest.raises(TrainingError, match=r"only 0 users have known items both before and after the split"):
        fit(root, few, SMALL)
    assert files(root) == before
    with pytest.raises(TrainingError, match=r"bundle has no trained parts to refresh; fit without refresh"):
        fit(root, log(), refresh=True)
    assert files(root) == before


def test_a_fit_that_is_refused_leaves_every_file_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, current = files(root), Bundle.open(root)
    monkeypatch.setattr("retrieval.fitting.fit.why_keep_published", lambda *_: "the published parts do better")
    report = fit(root, log(), SMALL)
    assert (report.refused, report.generation) == ("the published parts do better", current.manifest.generation)
    assert files(root) == before


def test_a_fit_that_is_interrupted_leaves_its_checkpoints_alone(root: Path) -> None:
    before = files(root)

    def interrupt(step: Step) -> None:
        if step[:2] == ("behaviour", "all interactions"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(root, log(), SMALL, progress=interrupt)
    after = files(root)
    left = {name for name in after if name.startswith("fitting-gen-learning/")}
    assert left
    assert {name: digest for name, digest in after.items() if name not in left} == before


def test_a_fit_makes_one_generation_that_has_the_changes(root: Path) -> None:
    before, ids = generations(root), living(Bundle.open(root))
    (root / "fitting-gen-20260102t030405000000z-0123abcd").mkdir()  # of a process that was killed
    report = fit(root, log(), SMALL)
    assert generations(root) == [*before, report.generation]
    bundle, state = Bundle.open(root), read_state(root)
    assert state is not None
    assert (bundle.batches, state.generation, state.history[-1]) == ((), report.generation, before[-1])
    assert living(bundle) == sorted(bundle.generation.items) == ids
    assert bundle.manifest.counts["changes"] == {"put": 2, "removed": 1}
    assert not list(root.glob("fitting-*"))
    assert verify(root) == []
    assert {"i120", "i121"} < {hit.item_id for hit in Retriever.load(root).recommend([["i048", "i050"]], COUNT + 2)[0]}
    earlier = rollback(root)
    assert earlier.manifest.generation == before[-1]
    assert living(earlier) == ids


def test_a_fit_that_is_published_later_has_the_changes_before_and_after_it(root: Path) -> None:
    before = files(root)
    report = fit(root, log(), SMALL, publish=False)
    after = {name: digest for name, digest in files(root).items() if not name.startswith("staged-")}
    assert after == before
    manifest = staged(root)
    assert manifest is not None
    assert (manifest.generation, manifest.batches, manifest.items) == (report.staged, 3, COUNT + 1)
    delete(root, ["i050"])
    kept = generations(root)
    bundle = publish_staged(root)
    assert generations(root) == [*kept, report.staged]
    assert [batch.removed for batch in bundle.batches] == [("i050",)]
    assert verify(root) == []


def test_a_fit_does_not_begin_beside_a_compaction(root: Path) -> None:
    with (
        write_lock(root, name="COMPACTING"),
        pytest.raises(BundleLockedError, match=r"another process is compacting .*bundle; wait until it ends"),
    ):
        fit(root, log(), SMALL)
