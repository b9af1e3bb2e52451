"""A bundle that is built again keeps what it has learned: of known items as it was, of new ones as after `add`."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import BundleError
from retrieval import Retriever, carry_over, compact, fit
from tests.cli_run import Run, runner
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, walks
from tests.toy import ToyEncoder, toy_file

ENCODER = load_encoder("vectors:")
HISTORIES = [["i000", "i001", "i005"], ["i030", "i031"]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    build_bundle(catalogue(folder, items(range(COUNT))), ENCODER, folder / "bundle")
    assert fit(folder / "bundle", walks(), replace(SMALL, reranker=STAGE)).published == ("behaviour", "reranker")
    return folder / "bundle"


@pytest.fixture
def bundle(learned: Path, tmp_path: Path) -> Path:
    shutil.copytree(learned, tmp_path / "bundle")
    return tmp_path / "bundle"


def answers(bundle: Path, k: int = 30) -> list[dict[str, float]]:
    retriever = Retriever.load(bundle)
    found = retriever.recommend(HISTORIES, k)
    return [{hit.item_id: hit.score for hit in line} for one in (found, retriever.rerank(found)) for line in one]


def same(first: Iterable[dict[str, float]], second: Iterable[dict[str, float]], tolerance: float) -> None:
    for one, other in zip(first, second, strict=True):
        # A score is summed up over other rows together, and the head's features depend on such scores.
        assert one == pytest.approx(other, abs=tolerance)


def test_the_same_items_are_answered_as_before(bundle: Path) -> None:
    before, old_manifest = answers(bundle), Bundle.open(bundle).manifest
    again = build_bundle(catalogue(bundle.parent, items(range(COUNT))), ENCODER, bundle, carry=carry_over)
    assert again.manifest.generation != old_manifest.generation
    assert again.manifest.features == old_manifest.features == ("behaviour", "reranker")
    assert again.manifest.learned["carried_over"] == {"items": COUNT, "new items": 0}
    assert again.manifest.learned["until"] == old_manifest.learned["until"]
    same(before, answers(bundle), 1e-4)


def test_other_rows_and_new_items_are_as_after_add_delete_and_compact(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    later = items(range(COUNT, COUNT + 4), [0, 0, 1, 1])
    add(changed, catalogue(tmp_path, later), ENCODER)
    delete(changed, ["i001", "i060"])
    compact(changed)
    kept = items(range(COUNT)).filter([row not in (1, 60) for row in range(COUNT)])
    table = kept.take(np.random.default_rng(0).permutation(len(kept)))
    rebuilt = build_bundle(catalogue(tmp_path, pa.concat_tables([later, table])), ENCODER, bundle, carry=carry_over)
    assert rebuilt.manifest.learned["carried_over"] == {"items": COUNT - 2, "new items": 4}
    histories = [["i000", "i002", "i005"], [f"i{COUNT:03}", "i031"]]
    first, second = Retriever.load(changed), Retriever.load(bundle)
    retrieved = (one.recommend(histories, 40, stages="retrieval") for one in (first, second))
    for one, other in zip(*retrieved, strict=True):
        assert {h.item_id: h.score for h in one} == pytest.approx({h.item_id: h.score for h in other}, abs=1e-4)
    block, other_block = first.behaviour, second.behaviour
    assert block is not None
    assert other_block is not None
    rows = other_block.items[[second.items.rows([item_id])[0] for item_id in first.items]]
    np.testing.assert_allclose(rows, block.items, atol=1e-5)  # predicted in batches of other sizes


def test_changes_since_are_carried_over_too(bundle: Path, tmp_path: Path) -> None:
    later = items(range(COUNT, COUNT + 2), [0, 1])
    add(bundle, catalogue(tmp_path, later), ENCODER)
    before = answers(bundle)
    table = pa.concat_tables([items(range(COUNT)), later])
    again = build_bundle(catalogue(tmp_path, table), ENCODER, bundle, carry=carry_over)
    assert (again.batches, again.manifest.learned["carried_over"]["new items"]) == ((), 0)
    same(before, answers(bundle), 1e-4)


def test_what_would_be_lost_is_refused_unless_it_may_be(bundle: Path, tmp_path: Path) -> None:
    before = Bundle.open(bundle).manifest.generation
    again = catalogue(tmp_path, items(range(COUNT)))
    with pytest.raises(
        BundleError, match=r"has learned behaviour, reranker; give carry=.*drop_learned=True"
    ) as refused:
        build_bundle(again, ENCODER, bundle)
    assert "--drop-learned" in refused.value.for_terminal
    with pytest.raises(BundleError, match="which is not that of the encoder given"):
        build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), bundle, carry=carry_over)
    assert Bundle.open(bundle).manifest.generation == before
    built = build_bundle(again, ENCODER, bundle, drop_learned=True)
    assert (built.manifest.features, dict(built.manifest.learned)) == ((), {})
    assert build_bundle(again, ENCODER, bundle).manifest.features == ()  # there is nothing left to lose


def test_a_damaged_part_is_not_dropped_without_a_word(bundle: Path, tmp_path: Path) -> None:
    (Bundle.open(bundle).folder / "behaviour.safetensors").write_bytes(b"x")
    again = catalogue(tmp_path, items(range(COUNT)))
    with pytest.raises(BundleError, match=r"has learned behaviour, reranker, but cannot be opened"):
        build_bundle(again, ENCODER, bundle, carry=carry_over)
    assert build_bundle(again, ENCODER, bundle, drop_learned=True).manifest.features == ()


def test_the_command_line_carries_over_or_drops(bundle: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(items(range(COUNT)), path)
    before = answers(bundle)
    assert run("build", path, "--encoder", "vectors:", "--out", bundle)[0] == 0
    same(before, answers(bundle), 1e-4)
    assert run("build", path, "--encoder", "vectors:", "--out", bundle, "--drop-learned")[0] == 0
    assert Bundle.open(bundle).manifest.features == ()
