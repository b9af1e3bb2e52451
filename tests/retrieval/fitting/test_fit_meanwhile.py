"""A bundle is changed while `fit` learns from a log: changes last, and another generation is not overwritten."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete
from indexing.bundle.maintenance.index_words import index_words
from indexing.bundle.maintenance.verify import verify
from indexing.encoders import load_encoder
from indexing.errors import BundleError, BundleLockedError
from retrieval import Retriever, fit
from retrieval.fitting.steps import Step
from retrieval.retriever.learned_parts import compact
from tests.groups import COUNT, SMALL, catalogue, items, log


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def once(act: Callable[[], object]) -> Callable[[Step], None]:
    """Act as the last training begins."""
    done: list[object] = []

    def tell(step: Step) -> None:
        if step[:2] == ("behaviour", "all interactions") and not done:
            done.append(act())

    return tell


def changes(root: Path) -> None:
    """One item comes, which the shelf puts into the third group, and one goes."""
    add(Bundle.open(root), catalogue(root.parent, items(range(COUNT, COUNT + 1), [2])), load_encoder("vectors:"))
    delete(Bundle.open(root), ["i049"])


def test_what_is_added_and_deleted_while_fit_learns_is_so_afterwards(root: Path) -> None:
    add(Bundle.open(root), catalogue(root.parent, items(range(COUNT + 1, COUNT + 3), [2, 2])), load_encoder("vectors:"))
    report = fit(root, log(), SMALL, progress=once(lambda: changes(root)))
    assert report.published == ("behaviour",)
    bundle = Bundle.open(root)
    assert bundle.manifest.generation == report.generation
    assert len(bundle.generation.items) == COUNT + 2  # what came before was folded in
    assert [(list(batch.item_ids), list(batch.removed)) for batch in bundle.batches] == [(["i120"], []), ([], ["i049"])]
    assert not list(root.glob("*-gen-files")) + list(root.glob("fitting-*"))
    retriever = Retriever.load(root)
    (found,) = retriever.recommend([["i048", "i050"]], COUNT)
    ids = [hit.item_id for hit in found]
    assert "i049" not in ids
    assert {"i120", "i121", "i122"} <= set(ids)
    assert retriever.similar_items(["i120"], 1)[0]
    folded = Retriever.load(compact(root).root)
    (again,) = folded.recommend([["i048", "i050"]], COUNT)
    assert [hit.item_id for hit in again] == ids
    np.testing.assert_allclose([hit.score for hit in again], [hit.score for hit in found], atol=1e-5)  # two routines


def test_changes_meanwhile_make_no_difference_to_what_is_learned(root: Path, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet"
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), quiet)
    changed = fit(root, log(), SMALL, progress=once(lambda: changes(root)))
    assert changed.ndcg == fit(quiet, log(), SMALL).ndcg
    records = [
        {record.name: record.sha256 for record in Bundle.open(each).manifest.files if "behaviour" in record.name}
        for each in (root, quiet)
    ]
    assert records[0] == records[1] != {}


def test_a_second_fit_of_a_bundle_is_refused_at_once(root: Path) -> None:
    def second() -> None:
        with pytest.raises(BundleLockedError, match=r"another process is fitting .*bundle; wait until it ends"):
            fit(root, log(), SMALL)

    assert fit(root, log(), SMALL, progress=once(second)).published == ("behaviour",)


def test_another_generation_that_was_put_in_force_meanwhile_stays(root: Path) -> None:
    def other() -> None:
        changes(root)
        index_words(root, ["shelf"])

    with pytest.raises(BundleError, match=r"bundle has got another generation during fit; run it again if it is due"):
        fit(root, log(), SMALL, progress=once(other))
    bundle = Bundle.open(root)
    assert bundle.manifest.features == ()
    assert "i120" in list(bundle.items)
    assert not list(root.glob("fitting-*"))
    assert fit(root, log(), SMALL).published == ("behaviour",)


def test_a_compaction_meanwhile_does_not_void_a_fit(root: Path, tmp_path: Path) -> None:
    """What it folded in is a change of what is published, as if it had not been."""

    def folds() -> None:
        changes(root)
        compact(root)

    quiet = tmp_path / "quiet"
    shutil.copytree(root, quiet)
    report = fit(root, log(), SMALL, progress=once(folds))
    bundle = Bundle.open(root)
    assert (report.published, bundle.manifest.generation) == (("behaviour",), report.generation)
    assert [(list(batch.item_ids), list(batch.removed)) for batch in bundle.batches] == [(["i120"], []), ([], ["i049"])]
    assert verify(root) == []
    fit(quiet, log(), SMALL, progress=once(lambda: changes(quiet)))
    expected, found = (Retriever.load(folder).recommend([["i048", "i050"]], 20) for folder in (quiet, root))
    assert found[0] == expected[0]


def test_a_report_names_the_generation_that_a_compaction_made_current_meanwhile(root: Path) -> None:
    def folds() -> None:
        changes(root)
        compact(root)

    before = Bundle.open(root).manifest.generation
    report = fit(root, log(), SMALL, publish=False, progress=once(folds))
    assert report.staged
    assert report.generation == Bundle.open(root).manifest.generation != before
