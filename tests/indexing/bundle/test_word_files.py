"""The words of a bundle follow whatever is done to it, and what is damaged is found and mended."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.edits.update import update
from indexing.bundle.generation import WORDS
from indexing.bundle.maintenance.index_words import index_words
from indexing.bundle.maintenance.verify import verify
from indexing.bundle.word_files import texts_of, word_settings
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.errors import CatalogueError, DamagedFileError, InputError
from indexing.index.words.word_index import WordIndex
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file

ENCODE = EncodeConfig(32, workers=0)


def build(source: Path, root: Path, words: tuple[str, ...] | None) -> Bundle:
    catalogue = Catalogue.from_parquet(source, columns=NamedColumns(words=words))
    return build_bundle(catalogue, ToyEncoder(), root, encode=ENCODE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    build(toy_file(folder), folder / "bundle", ("title", "tags"))
    return folder


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def found(root: Path, text: str, k: int = 20) -> list[str]:
    return [hit.item_id for hit in Retriever.open(root, ToyEncoder()).search([text], k, mode="words")[0]]


def put(root: Path, item_id: str, title: str) -> None:
    path = root.parent / "more.parquet"
    columns = {"item_id": [item_id], "title": [title], "price": [1], "image": pa.nulls(1), "tags": [["new"]]}
    pq.write_table(pa.table(columns), path)
    upsert(root, Catalogue.from_parquet(path), ToyEncoder(), encode=ENCODE)


def put_new(root: Path) -> None:
    put(root, "teapot-1", "glass teapot")


def put_again(root: Path) -> None:
    put(root, "red-shoe", "wooden sandal")


def delete_one(root: Path) -> None:
    delete(root, ["red-mug"])


def update_tags(root: Path) -> None:
    update(root, [{"item_id": "blue-lamp", "tags": ["clearance"]}])


@pytest.mark.parametrize(
    ("change", "text", "expected", "gone"),
    [
        (put_new, "teapot", ["teapot-1"], None),
        (put_again, "sandal", ["red-shoe"], ("shoe", "red-shoe")),
        (delete_one, "mug", ["green-mug", "blue-mug", "white-mug"], ("red", "red-mug")),
        (update_tags, "clearance", ["blue-lamp"], None),
    ],
    ids=["new", "again", "deleted", "updated"],
)
def test_words_follow_a_change_and_its_compaction(
    root: Path, change: Callable[[Path], None], text: str, expected: list[str], gone: tuple[str, str] | None
) -> None:
    change(root)
    for _ in range(2):
        assert found(root, text) == expected
        assert gone is None or gone[1] not in found(root, gone[0])
        compact(root)
    bundle = Bundle.open(root)
    texts = texts_of(bundle.attributes, ("title", "tags"), np.arange(len(bundle.items)))
    rebuilt = WordIndex.build(texts).search(["red shoe", text], 20)
    retriever = Retriever.open(root, ToyEncoder())
    np.testing.assert_array_equal(retriever.search(["red shoe", text], 20, mode="words").rows, rebuilt[1])


def test_scores_keep_the_statistics_of_the_generation_until_compaction(root: Path) -> None:
    """Also those of items that did not change, whose scores move when documents are counted anew."""

    def score() -> float:
        (hit,) = Retriever.open(root, ToyEncoder()).search(["red mug"], 1, mode="words")[0]
        assert hit.item_id == "red-mug"
        return hit.score

    before = score()
    put_new(root)
    assert score() == before
    compact(root)
    bundle = Bundle.open(root)
    texts = texts_of(bundle.attributes, ("title", "tags"), np.arange(len(bundle.items)))
    assert score() == WordIndex.build(texts).search(["red mug"], 1)[0][0, 0] != before


def test_a_state_shares_the_words_of_its_generation(root: Path) -> None:
    before = Retriever.open(root, ToyEncoder())
    assert before.search(["teapot"], mode="words")[0] == []
    put_new(root)
    after = before.latest()
    assert [hit.item_id for hit in after.search(["teapot"], mode="words")[0]] == ["teapot-1"]
    assert after.state.words.base is before.state.words.base
    assert before.search(["teapot"], mode="words")[0] == []


def test_a_bundle_gets_words_without_encoding(built: Path, tmp_path: Path) -> None:
    build(built / "items.parquet", tmp_path / "bundle", None)
    assert Bundle.open(tmp_path / "bundle").manifest.columns["words"] == []
    with pytest.raises(InputError, match=r"has no index of words; make one with indexing.index_words\(FOLDER\)"):
        found(tmp_path / "bundle", "red")
    put_new(tmp_path / "bundle")
    bundle = index_words(tmp_path / "bundle")  # by default the texts that were encoded
    assert bundle.manifest.columns["words"] == ["title"]
    assert len(bundle.batches) == 1
    assert found(tmp_path / "bundle", "teapot") == ["teapot-1"]
    assert found(tmp_path / "bundle", "red shoe", 1) == ["red-shoe"]
    index_words(tmp_path / "bundle", ["item_id", "tags"], weight=0.7)
    assert word_settings(Bundle.open(tmp_path / "bundle")) == word_settings(compact(tmp_path / "bundle"))
    assert Retriever.open(tmp_path / "bundle", ToyEncoder()).state.words_weight == 0.7
    assert found(tmp_path / "bundle", "redshoe") == ["red-shoe"]
    assert not index_words(tmp_path / "bundle", ()).has("words/settings.json")
    with pytest.raises(InputError, match="there is no attribute 'brand' whose words could be indexed"):
        index_words(tmp_path / "bundle", ["brand"])


def test_a_new_build_keeps_the_words_unless_it_names_others(built: Path, root: Path, tmp_path: Path) -> None:
    assert build(built / "items.parquet", root, None).manifest.columns["words"] == ["title", "tags"]
    assert build(built / "items.parquet", root, ("item_id",)).manifest.columns["words"] == ["item_id"]
    assert found(root, "red-shoe", 1) == ["red-shoe"]
    index_words(root, ("tags",))
    path = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(built / "items.parquet").drop_columns(["tags"]), path)
    with pytest.raises(CatalogueError, match=r"the words of \['tags'\] are indexed"):
        build(path, root, None)
    assert build(path, root, ()).manifest.columns["words"] == []
    with pytest.raises(CatalogueError, match="has no column 'brand'"):
        build(path, root, ("brand",))


@pytest.mark.parametrize("name", ["settings.json", "data.csc.index.npy", "spelling.vocab.index.json"])
def test_damaged_words_are_found_and_built_again(root: Path, name: str) -> None:
    path = Bundle.open(root).folder / WORDS / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError, match=f"words/{name} is damaged"):
        Bundle.open(root)
    (problem,) = verify(root)
    assert (problem.path.split("/", 1)[1], problem.serving) == (f"words/{name}", True)
    assert repair(root, drop_changes=False).left == tuple(verify(root))
    assert found(root, "shoe", 1) == ["red-shoe"]
