"""Inverted lists from which rows left and into which others came are those that the same quantisers give for all."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.arrays import Mask, Vectors, unit
from indexing.errors import VectorError
from indexing.index import FlatIndex, IndexConfig, recall
from indexing.index.backends.build_sharded import build_sharded, update_sharded
from indexing.index.backends.faiss_base import Codec, Scalar, add_vectors, flat_codes, list_codes, random_rotation
from indexing.index.backends.ivf import IvfIndex, _assembled
from indexing.index.backends.ivf_changes import codes_without, offset_of_codes
from indexing.index.backends.sharded import ShardedIndex, shard_path
from indexing.index.config import SearchParams
from tests.indexing.index.test_ivf import clustered

COUNT, DIM, ADDED = 4000, 25, 300
BUILDS: dict[str, tuple[Codec, Scalar | None]] = {
    "pq4 + fp16": ("pq4", "fp16"),
    "pq4 + sq8": ("pq4", "sq8"),
    "sq8": ("sq8", None),
    "former": ("pq4", "fp16"),
}


def former(vectors: Vectors) -> IvfIndex:
    """Lists of centred vectors, as versions before built them."""
    rotation = random_rotation(DIM, np.random.default_rng(0))
    rotated = vectors @ rotation.T
    exact = add_vectors(flat_codes(len(rotation), "fp16"), rotated)
    coarse = faiss.IndexFlatIP(len(rotation))
    codes = list_codes(coarse, len(rotation), 40, "pq4")
    codes.referenced_objects = (coarse,)
    codes.train(rotated - rotated.mean(axis=0))
    codes.add(rotated - rotated.mean(axis=0))
    return IvfIndex(_assembled(rotation, codes, exact))


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1)


@pytest.fixture(scope="module")
def added(vectors: Vectors) -> Vectors:
    return unit(vectors[::13][:ADDED] + 0.04 * clustered(ADDED, 5))


@pytest.fixture(scope="module")
def kept() -> Mask:
    kept = np.random.default_rng(2).random(COUNT) > 0.1
    kept[[0, -1]] = False
    return kept


@pytest.fixture(scope="module", params=BUILDS)
def built(vectors: Vectors, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, refine = BUILDS[request.param]
    path = tmp_path_factory.mktemp(request.param.replace(" ", "")) / "index.bin"
    index = former(vectors) if request.param == "former" else IvfIndex.build(vectors, codec=codec, refine=refine)
    index.save(path)
    return path


def updated(built: Path, kept: Mask, added: Vectors, folder: Path) -> IvfIndex:
    """Written and read again, as a generation has it."""
    IvfIndex.load(built).updated(kept, added, folder / "vectors").save(folder / "index.bin")
    (folder / "vectors").unlink(missing_ok=True)
    index = IvfIndex.load(folder / "index.bin")
    return index.with_effort(SearchParams(index.lists, len(index)))


def test_its_rows_are_those_kept_and_those_added(
    built: Path, vectors: Vectors, added: Vectors, kept: Mask, tmp_path: Path
) -> None:
    index, whole = updated(built, kept, added, tmp_path), np.concatenate([vectors[kept], added])
    assert len(index) == len(whole)
    np.testing.assert_allclose(index.vectors, whole, atol=0.02)
    queries = clustered(60, 2)
    scores, rows = index.search(queries, 10)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ whole.T, rows, axis=1), atol=0.03)
    assert recall(index, FlatIndex(whole), queries, 10) >= (
        0.99 if index.refined and index._exact.code_size > DIM + 1 else 0.9
    )
    allow = np.random.default_rng(4).random(len(whole)) < 0.3
    _, rows = index.search(queries, 10, allow)
    assert allow[rows].all()


def centre_of(built: Path, vectors: Vectors) -> Vectors:
    """What was taken away from rotated vectors before they were coded: their mean in former versions."""
    is_former = "former" in built.parent.name
    rotated: Vectors = vectors @ IvfIndex.load(built)._rotation().T
    return rotated.mean(axis=0) if is_former else np.zeros(rotated.shape[1], np.float32)


def test_codes_are_the_same_as_those_of_all_rows_coded_anew(
    built: Path, vectors: Vectors, added: Vectors, kept: Mask, tmp_path: Path
) -> None:
    before, after = IvfIndex.load(built), updated(built, kept, added, tmp_path)
    anew = codes_without(before._codes, np.zeros(COUNT, np.bool_))
    rotated = np.concatenate([vectors[kept], added]) @ before._rotation().T
    anew.add(rotated - centre_of(built, vectors))
    queries = clustered(50, 7) @ before._rotation().T
    params = faiss.SearchParametersIVF(nprobe=before.lists)
    (scores, rows), (expected, expected_rows) = (
        codes.search(queries, 50, params=params) for codes in (after._codes, anew)
    )
    # The mean that the added ones are freed of is estimated, so that a code of some hundred may be another.
    assert (np.abs(scores - expected) < 1e-4).mean() > 0.97
    assert np.mean([len(set(line) & set(other)) / 50 for line, other in zip(rows, expected_rows, strict=True)]) > 0.97


def test_what_is_taken_away_before_coding_is_found_again(built: Path, vectors: Vectors) -> None:
    index = IvfIndex.load(built)
    np.testing.assert_allclose(offset_of_codes(index._codes, index._exact), centre_of(built, vectors), atol=0.01)


def test_no_byte_of_a_row_that_left_stays(built: Path, vectors: Vectors, tmp_path: Path) -> None:
    """The file is the same, whatever the rows were that left."""
    kept = np.ones(COUNT, np.bool_)
    left = np.arange(0, COUNT, 10)
    kept[left] = False
    files = []
    for number, others in enumerate((vectors, -vectors[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        index = IvfIndex.load(built)
        # The same lists, in which those that will leave have other codes and vectors: they are replaced in place.
        changed = index.updated(kept, np.empty((0, DIM), np.float32), folder / "first")
        again = changed.updated(np.ones(len(changed), np.bool_), others[left], folder / "second")
        stays = np.arange(len(again)) < kept.sum()
        again.updated(stays, np.empty((0, DIM), np.float32), folder / "third").save(folder / "index.bin")
        files.append((folder / "index.bin").read_bytes())
    assert files[0] == files[1]


def test_many_rounds_find_as_much_as_one_build(vectors: Vectors, tmp_path: Path) -> None:
    index, whole = IvfIndex.build(vectors), vectors
    for number in range(8):
        kept, more = np.random.default_rng(number).random(len(whole)) > 0.03, clustered(150, 20 + number)
        index, whole = index.updated(kept, more, tmp_path / f"{number}"), np.concatenate([whole[kept], more])
    effort = SearchParams(index.lists // 4, 100)
    queries, exact = clustered(200, 9), FlatIndex(whole)
    again = recall(IvfIndex.build(whole).with_effort(effort), exact, queries, 10)
    assert recall(index.with_effort(effort), exact, queries, 10) >= again - 0.02


def test_eight_bits_do_not_hold_what_is_beyond_their_range(built: Path, vectors: Vectors, added: Vectors) -> None:
    index = IvfIndex.load(built)
    assert index.can_hold(added)
    assert index.can_hold(vectors)
    assert index.can_hold(2 * vectors) == (index._exact.code_size == 2 * (DIM + 1))  # half precision


def test_vectors_that_are_none_are_refused(built: Path, kept: Mask, tmp_path: Path) -> None:
    bad = np.full((1, DIM), np.nan, np.float32)
    with pytest.raises(VectorError, match="added hold NaN"):
        IvfIndex.load(built).updated(kept, bad, tmp_path / "vectors")


@pytest.mark.parametrize("on_disk", [False, True])
def test_of_shards_those_without_changes_stay_the_same_file(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.index.backends.build_sharded.SAMPLE_SHARE", 1)  # several shards of few rows
    vectors, added = clustered(12_000, 1, 16), clustered(4_500, 5, 16)
    config = IndexConfig(kind="sharded", max_memory="660K", on_disk=on_disk)
    before, path = tmp_path / "before", tmp_path / "after"
    index = build_sharded(lambda: [vectors], before, max_memory=config.max_memory or "", on_disk=on_disk)
    kept, starts = np.random.default_rng(2).random(len(vectors)) > 0.05, np.cumsum([0, *map(len, index.shards)])
    kept[: starts[-2]] = True  # only the last loses rows
    changed = update_sharded(index, before, kept, added, path, config)
    whole = np.concatenate([vectors[kept], added])
    assert len(changed) == len(whole)
    assert len(changed.shards) > len(index.shards)
    for number, size in enumerate(map(len, index.shards[:-1])):
        assert shard_path(path, number).samefile(shard_path(before, number))
        assert len(changed.shards[number]) == size
    queries, exact = clustered(60, 2, 16), FlatIndex(whole)
    for found in (changed, ShardedIndex.load(path)):
        assert recall(found.with_effort(SearchParams(changed.lists, 1000)), exact, queries, 10) >= 0.99
