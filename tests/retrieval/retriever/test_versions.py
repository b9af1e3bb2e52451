"""Earlier generations answer with the changes since, and any generation without what it learned, as before `fit`."""

import gc
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import Bundle, add, delete, rollback
from indexing.bundle.build import build_bundle
from indexing.bundle.generation import Generation, generations
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import GenerationError, InputError
from indexing.index import IndexConfig
from indexing.media.files import Modality
from indexing.store.collect import fuse
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.candidates import Candidates
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.models.adapter import Adapter
from retrieval.retriever.learned_parts import compact
from tests.agree import assert_lists_agree
from tests.retrieval.batch.shop import shop_log
from tests.toy import DIM, ToyEncoder, toy_file, toy_table

pytestmark = pytest.mark.filterwarnings("ignore::retrieval.retriever.fallback.fill_short_lists.FallbackWarning")
TEXTS = ["red mug", "a white lamp"]
HISTORIES = [["red-mug", "red-shoe"], []]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("versions"))


def fitted(folder: Path, index: IndexConfig | None = None) -> Path:
    """Make a bundle of two generations, the second with an adapter that mixes up the frozen vectors."""
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle", index=index)
    rng = np.random.default_rng(0)
    w2 = rng.normal(size=(4, DIM)).astype(np.float32)
    adapter = replace(Adapter.identity(DIM, 4, rng, (Modality.TEXT, Modality.IMAGE)), w2=w2)
    with pytest.MonkeyPatch.context() as patched:  # it is published whatever it does
        patched.setattr(Trainer, "train_adapter", lambda *_: adapter)
        patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
        config = FitConfig(behaviour=None, reranker=None)
        fit(folder / "bundle", Interactions.from_arrow(shop_log()), config)
    return folder / "bundle"


@pytest.fixture
def own(learned: Path, tmp_path: Path) -> Path:
    shutil.copytree(learned.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bundle"


def put_twin(root: Path) -> None:
    path = root.parent / "twin.parquet"
    pq.write_table(toy_table().slice(0, 1).set_column(0, "item_id", pa.array(["twin"])), path)
    add(root, Catalogue.from_parquet(path), ToyEncoder())


def opened(root: Path, generation: str | None = None, *, learned: bool = True) -> Retriever:
    return Retriever.open(root, ToyEncoder(), generation=generation, learned=learned)


def answers(retriever: Retriever) -> list[Candidates]:
    return [
        retriever.search_texts(TEXTS, 6),
        retriever.similar_items(["red-mug", "blue-book"], 5),
        retriever.recommend(HISTORIES, 6),
        retriever.recommend(HISTORIES, 6, stages="retrieval"),
    ]


def assert_same_answers(found: Retriever, expected: Retriever) -> None:
    for one, other in zip(answers(found), answers(expected), strict=True):
        assert_lists_agree((one.scores, one.rows), (other.scores, other.rows))


def differ(one: Retriever, other: Retriever) -> bool:
    lists = zip(answers(one), answers(other), strict=True)
    return all(found.rows.tolist() != expected.rows.tolist() for found, expected in lists)


def test_an_earlier_generation_answers_as_after_a_rollback_to_it(own: Path) -> None:
    first, second = generations(own)
    put_twin(own)
    delete(own, ["red-mug"])
    retriever = opened(own, first)
    assert retriever.bundle.manifest.generation == first
    assert Bundle.open(own).state.generation == second  # nothing became current by that
    assert "twin" in retriever.items
    assert "red-mug" not in retriever.items
    by_text = retriever.search_texts(TEXTS, 6)
    rolled_back = rollback(own, first)
    assert retriever.bundle.state == rolled_back.state
    expected = Retriever.open(own, ToyEncoder()).search_texts(TEXTS, 6)
    assert_lists_agree((by_text.scores, by_text.rows), (expected.scores, expected.rows))


def test_it_stays_with_its_generation_and_takes_the_changes_since(own: Path) -> None:
    first, second = generations(own)
    retriever, of_second = opened(own, first), opened(own, second)
    assert retriever.latest() is retriever
    put_twin(own)
    later = retriever.latest()
    assert (later.bundle.manifest.generation, later.bundle.state.last) == (first, 1)
    assert later.bundle.generation is retriever.bundle.generation
    assert "twin" in later.items
    assert "twin" not in retriever.items
    rollback(own, first)
    assert later.latest() is later
    assert of_second.latest().bundle.manifest.generation == second
    assert "twin" in of_second.latest().items


def test_without_what_was_learned_answers_are_those_before_fit(learned: Path) -> None:
    first, second = generations(learned)
    whole, unlearned, before = opened(learned), opened(learned, learned=False), opened(learned, first)
    assert whole.adapter is not None
    assert differ(whole, unlearned)
    assert_same_answers(unlearned, before)
    assert (unlearned.bundle.manifest.generation, unlearned.learned.popularity) == (second, None)
    np.testing.assert_array_equal(unlearned.vectors, fuse(whole.bundle.modality_vectors))
    assert "learned nothing" in repr(unlearned)
    # An earlier one that has learned nothing is itself.
    assert before.bundle.without_learned() is before.bundle


def test_any_kind_of_index_gives_way_to_an_exact_search_of_frozen_vectors(tmp_path: Path) -> None:
    root = fitted(tmp_path, IndexConfig(kind="hnsw"))
    whole, unlearned = opened(root), opened(root, learned=False)
    assert [one.kind for one in (whole.index, unlearned.index, unlearned.bundle.index)] == [
        "faiss-hnsw",
        "flat",
        "flat",
    ]
    vectors = fuse(whole.bundle.modality_vectors)
    np.testing.assert_array_equal(unlearned.bundle.index.vectors, vectors)  # type: ignore[attr-defined]
    query = ToyEncoder().encode_texts(["red mug"])[0]
    found = unlearned.search_texts(["red mug"], 20)
    np.testing.assert_allclose(found.scores[0], np.sort(vectors @ query)[::-1], rtol=1e-5)
    assert unlearned.status.degraded is False
    config = asdict(IndexConfig(kind="sharded", on_disk=True, min_recall=0.9))
    generation = whole.bundle.generation
    manifest = replace(generation.manifest, index={"kind": "sharded", "config": config})
    sharded = Generation(generation.folder, manifest).unlearned.manifest.index_config()
    assert sharded == IndexConfig(kind="flat", min_recall=0.9)


def test_frozen_vectors_are_in_memory_once_for_both(learned: Path) -> None:
    bundle = Bundle.open(learned)
    unlearned = bundle.without_learned()
    for modality, vectors in bundle.modality_vectors.vectors.items():
        assert np.shares_memory(vectors, unlearned.modality_vectors.vectors[modality])
    assert unlearned.items is bundle.items or unlearned.generation.items is bundle.generation.items
    retriever = Retriever(unlearned, ToyEncoder())
    assert np.shares_memory(retriever.index.vectors, retriever.vectors)  # type: ignore[attr-defined]


def test_what_was_learned_stays_left_out_when_the_bundle_changes(own: Path) -> None:
    retriever = opened(own, learned=False)
    put_twin(own)
    later = retriever.latest()
    assert later.adapter is None
    assert later.bundle.generation is retriever.bundle.generation
    query = ToyEncoder().encode_texts(["red mug"])[0]
    exact = np.sort(fuse(later.bundle.modality_vectors) @ query)[::-1][:6]
    np.testing.assert_allclose(later.search_texts(["red mug"], 6).scores[0], exact, rtol=1e-5)
    assert "twin" in {hit.item_id for hit in later.search_texts(["red mug"], 2)[0]}
    compact(own)
    newest = later.latest()
    assert newest.bundle.manifest.generation == generations(own)[-1]
    assert (newest.adapter, newest.behaviour, newest.bundle.manifest.features) == (None, None, ())


def test_other_names_are_refused_with_those_that_are_kept(learned: Path) -> None:
    kept = generations(learned)
    for name in ("gen-20200101t000000z-00000000", "../bundle", "", "log"):
        with pytest.raises(GenerationError, match=f"keeps no generation .*it keeps '{kept[0]}', '{kept[1]}'"):
            Bundle.open(learned, generation=name)
    with pytest.raises(InputError, match="generation is 3"):
        Bundle.open(learned, generation=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learned is 'no'"):
        Retriever.open(learned, learned="no")  # type: ignore[arg-type]


def test_a_generation_that_cannot_take_a_later_change_says_so(own: Path) -> None:
    first, other = generations(own)[0], ToyEncoder("other", "salt")
    build_bundle(Catalogue.from_parquet(own.parent / "items.parquet"), other, own, drop_learned=True)
    assert Bundle.open(own, generation=first).manifest.encoder.name == "toy"
    path = own.parent / "twin.parquet"
    pq.write_table(toy_table().slice(0, 1).set_column(0, "item_id", pa.array(["twin"])), path)
    add(own, Catalogue.from_parquet(path), other)
    with pytest.raises(GenerationError, match=f"{first} cannot take the changes since: batch 1 .* by another encoder"):
        Bundle.open(own, generation=first)


def test_a_change_by_an_earlier_generation_is_one_of_the_current_one(own: Path) -> None:
    first, second = generations(own)
    delete(Bundle.open(own, generation=first), ["red-mug"])
    now = Bundle.open(own)
    assert (now.state.generation, now.state.last) == (second, 1)
    assert "red-mug" not in now.items


def test_it_is_kept_for_as_long_as_it_is_open(own: Path) -> None:
    first = generations(own)[0]
    retriever = opened(own, first)
    unlearned = Bundle.open(own).without_learned()
    for number in range(4):
        delete(own, [f"red-{('mug', 'shoe', 'lamp', 'book')[number]}"])
        compact(own)
    assert {first, unlearned.manifest.generation} < set(generations(own))
    assert len(retriever.latest().search_texts(TEXTS, 20)[0]) == 16
    del retriever, unlearned
    gc.collect()
    delete(own, ["blue-mug"])
    compact(own)
    assert first not in generations(own)
    assert len(generations(own)) == 3
