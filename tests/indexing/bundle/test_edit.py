"""Items are added, replaced and deleted without a rebuild, and what is acknowledged is found at once."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import LOG
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import (
    BundleError,
    CatalogueError,
    DamagedFileError,
    EncoderMismatchError,
    InputError,
    UnknownItemError,
)
from indexing.index import build_index
from indexing.media.files import Modality
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, picture

BARE = {"price": None, "tags": None}


@pytest.fixture
def root(own_toy_bundle: Path) -> Path:
    return own_toy_bundle


def items(folder: Path, *rows: Mapping[str, object]) -> Catalogue:
    path = folder / f"more-{len(list(folder.iterdir()))}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return Catalogue.from_jsonl(path)


def pictured(folder: Path, *rows: Mapping[str, object]) -> Catalogue:
    path = folder / f"more-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return Catalogue.from_parquet(path)


def found(retriever: Retriever, text: str, k: int = 3) -> list[str]:
    return [hit.item_id for hit in retriever.search_texts([text], k)[0]]


def test_what_is_added_is_found_and_what_is_deleted_is_not(root: Path, tmp_path: Path) -> None:
    before = Retriever.load(root, ToyEncoder())
    report = add(root, items(tmp_path, {"item_id": "red-kite", "title": "red kite", "price": 7}), ToyEncoder())
    assert (report.added, report.replaced, report.batch, report.pending) == (1, 0, 1, 1)
    after = before.latest()
    assert found(after, "red kite", 1) == ["red-kite"]
    assert "red-kite" not in found(before, "red kite", 20)
    assert [hit.item_id for hit in after.search_texts(["red kite"], 3, where=[("price", "<", 8)])[0]][:1] == [
        "red-kite"
    ]
    assert after.similar_items(["red-kite"], 1)[0][0].item_id.startswith("red-")

    assert delete(root, ["red-kite", "red-mug"]).removed == 2
    last = after.latest()
    assert len(last.search_texts(["red kite"], 30)[0]) == 19
    assert not {"red-kite", "red-mug"} & set(found(last, "red mug", 30))
    with pytest.raises(UnknownItemError, match="'red-mug'"):
        last.similar_items(["red-mug"])
    assert found(after, "red mug", 1) == ["red-mug"]
    assert found(Retriever.load(root, ToyEncoder()), "red shoe", 19) == found(last, "red shoe", 19)


def test_an_upsert_replaces_vectors_and_attributes(root: Path, tmp_path: Path) -> None:
    upsert(
        root,
        pictured(tmp_path, {"item_id": "red-mug", "title": "blue lamp", "image": picture("blue"), **BARE}),
        ToyEncoder(),
    )
    retriever = Retriever.load(root, ToyEncoder())
    assert set(found(retriever, "blue lamp", 2)) == {"red-mug", "blue-lamp"}
    row = retriever.items.rows(["red-mug"])[0]
    assert row == 20
    assert retriever.bundle.attributes.column("title")[row].as_py() == "blue lamp"
    assert retriever.bundle.attributes.column("price")[row].as_py() is None
    frozen = retriever.bundle.modality_vectors
    np.testing.assert_allclose(
        frozen.vectors[Modality.TEXT][row], ToyEncoder().encode_texts(["blue lamp"])[0], atol=1e-3
    )
    upsert(root, items(tmp_path, {"item_id": "red-mug", "title": "green book", "image": None, **BARE}), ToyEncoder())
    last = retriever.latest()
    assert not last.bundle.modality_vectors.exists[Modality.IMAGE][21]
    ((part,),) = last.nearest_parts(last.search_texts(["green book"], 1))
    assert part is not None
    assert part.modality is Modality.TEXT
    assert len(last.search_texts(["green book"], 50)[0]) == 20


def test_what_cannot_be_added_changes_nothing(root: Path, tmp_path: Path) -> None:
    state = Bundle.open(root).state
    with pytest.raises(InputError, match=r"1 items are in .* already: 'red-mug'; use upsert"):
        add(root, items(tmp_path, {"item_id": "red-mug", "title": "x"}, {"item_id": "n", "title": "x"}), ToyEncoder())
    with pytest.raises(EncoderMismatchError):
        add(root, items(tmp_path, {"item_id": "n", "title": "x"}), ToyEncoder(salt="other"))
    with pytest.raises(CatalogueError, match=r"column 'price' of .* is text, in the bundle whole number: .*cheap"):
        add(root, items(tmp_path, {"item_id": "n", "title": "x", "price": "cheap"}), ToyEncoder())
    with pytest.raises(UnknownItemError, match="1 of 2 item ids are not in"):
        delete(root, ["red-mug", "nothing"])
    with pytest.raises(InputError, match="without any item"):
        delete(root, list(Bundle.open(root).items))
    with pytest.raises(InputError, match=r"give a list"):
        delete(root, "red-mug")
    assert Bundle.open(root).state == state
    assert delete(root, ["nothing"], missing_ok=True).batch == 0
    assert Bundle.open(root).state == state


def test_items_that_cannot_be_encoded_are_named_and_what_there_was_stays(root: Path, tmp_path: Path) -> None:
    broken = pictured(
        tmp_path,
        {"item_id": "red-mug", "image": b"no picture", "title": None, **BARE},
        {"item_id": "new", "image": picture("red")},
    )
    report = upsert(root, broken, ToyEncoder())
    assert (report.added, report.replaced) == (1, 0)
    assert list(report.failed) == ["red-mug"]
    assert report.partly == {}
    assert "picture" in report.failed["red-mug"] or "image" in report.failed["red-mug"]
    assert found(Retriever.load(root, ToyEncoder()), "red mug", 1) == ["red-mug"]


def changed(root: Path, tmp_path: Path) -> None:
    add(
        root,
        items(tmp_path, {"item_id": "a", "title": "red kite"}, {"item_id": "b", "title": "green kite"}),
        ToyEncoder(),
    )
    upsert(root, items(tmp_path, {"item_id": "a", "title": "blue kite", "maker": "new column"}), ToyEncoder())
    delete(root, ["green-mug", "b"])


def test_compaction_changes_no_answer(root: Path, tmp_path: Path) -> None:
    changed(root, tmp_path)
    before = Retriever.load(root, ToyEncoder())
    compact(root)
    after = before.latest()
    assert not after.bundle.batches
    assert after.bundle.manifest.items == 20 == len(after.items)
    assert after.bundle.manifest.counts["changes"] == {"put": 3, "removed": 2}
    assert after.bundle.state.last == 3
    texts = ["blue kite", "green mug", "red", "white book"]
    one, two = before.search_texts(texts, 20), after.search_texts(texts, 20)
    for line in range(len(texts)):
        assert [hit.item_id for hit in one[line]] == [hit.item_id for hit in two[line]]
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-6)
    table = pq.read_table(after.bundle.folder / "store")
    assert set(table["item_id"].to_pylist()) == set(after.items)
    assert after.bundle.attributes.column("maker").to_pylist()[-1] == "new column"
    assert compact(root).state == after.bundle.state


def test_compaction_leaves_changes_made_meanwhile(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(root, tmp_path)
    real = build_index

    def slow(*arguments: object) -> object:
        add(root, items(tmp_path, {"item_id": "late", "title": "white kite"}), ToyEncoder())
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("indexing.bundle.index_files.build_index", slow)
    compact(root)
    retriever = Retriever.load(root, ToyEncoder())
    assert [batch.number for batch in retriever.bundle.batches] == [4]
    assert found(retriever, "white kite", 1) == ["late"]
    assert len(retriever.search_texts(["white kite"], 50)[0]) == 21

    def rebuilt(*arguments: object) -> object:
        monkeypatch.setattr("indexing.bundle.index_files.build_index", real)
        build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), root)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("indexing.bundle.index_files.build_index", rebuilt)
    with pytest.raises(BundleError, match="another generation during compaction"):
        compact(root)
    assert len(Bundle.open(root).items) == 20
    assert not list(root.glob("compacting-*"))


def test_rollback_undoes_builds_and_compactions_but_no_change(root: Path, tmp_path: Path) -> None:
    first = Bundle.open(root).manifest.generation
    with pytest.raises(BundleError, match="keeps no generation that was current before"):
        rollback(root)
    changed(root, tmp_path)
    before = Retriever.load(root, ToyEncoder())
    compact(root)
    delete(root, ["red-mug"])
    bundle = rollback(root)
    assert bundle.manifest.generation == first
    after = Retriever(bundle, ToyEncoder())
    expected = [item for item in found(before, "blue kite", 30) if item != "red-mug"]
    assert found(after, "blue kite", 30) == expected
    forward = rollback(root, generations(root)[-1])
    assert found(Retriever(forward, ToyEncoder()), "blue kite", 30) == expected
    with pytest.raises(BundleError, match="keeps no generation 'gen-1'; it keeps gen-"):
        rollback(root, "gen-1")


def test_a_new_build_supersedes_changes(root: Path, tmp_path: Path) -> None:
    changed(root, tmp_path)
    bundle = build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), root)
    assert not bundle.batches
    assert "a" not in bundle.items
    assert "green-mug" in bundle.items
    assert bundle.manifest.counts["encoding"]["resumed"] == 35


def test_batches_that_every_kept_generation_contains_are_forgotten(root: Path, tmp_path: Path) -> None:
    for number in range(4):
        add(root, items(tmp_path, {"item_id": f"n{number}", "title": f"kite {number}"}), ToyEncoder())
        compact(root)
    kept = sorted(int(path.name[:12]) for path in (root / LOG).iterdir())
    assert len(generations(root)) == 3
    assert kept == [3, 4]
    assert len(rollback(root).items) == 24


def test_damaged_lost_and_swapped_batches_are_refused(root: Path, tmp_path: Path) -> None:
    changed(root, tmp_path)
    for path in sorted((root / LOG).iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 7)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(DamagedFileError, match="is damaged"):
                Bundle.open(root)
        path.unlink()
        with pytest.raises(DamagedFileError, match="lacks batch"):
            Bundle.open(root)
        path.write_bytes(whole)
    first, second, _ = sorted((root / LOG).iterdir())
    a, b = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.unlink()
    (root / LOG / f"000000000001{second.name[12:]}").write_bytes(b)
    (root / LOG / f"000000000002{first.name[12:]}").write_bytes(a)
    with pytest.raises(DamagedFileError, match="other changes than CURRENT names"):
        Bundle.open(root)


def test_an_item_of_which_a_part_cannot_be_encoded_is_named(root: Path, tmp_path: Path) -> None:
    half: dict[str, object] = {"item_id": "red-mug", "title": "red mug", "image": b"no picture", **BARE}
    report = upsert(root, pictured(tmp_path, half), ToyEncoder())
    assert (report.replaced, report.failed, list(report.partly)) == (1, {}, ["red-mug"])


def text_only(folder: Path, *names: str) -> Path:
    (folder / "texts.jsonl").write_text("\n".join(f'{{"item_id": "{name}", "title": "{name}"}}' for name in names))
    build_bundle(Catalogue.from_jsonl(folder / "texts.jsonl"), ToyEncoder(), folder / "texts")
    return folder / "texts"


def test_a_modality_that_no_item_had_before_counts_at_once(tmp_path: Path) -> None:
    root = text_only(tmp_path, "red mug", "blue shoe")
    add(root, pictured(tmp_path, {"item_id": "picture", "image": picture("green")}), ToyEncoder())
    retriever = Retriever.load(root, ToyEncoder())
    images = [Image.open(io.BytesIO(picture("green")))]
    assert retriever.search_images(images, 1)[0][0].item_id == "picture"
    scores = retriever.search_images(images, 3).scores
    compact(root)
    np.testing.assert_allclose(retriever.latest().search_images(images, 3).scores, scores, atol=1e-5)
    assert retriever.latest().bundle.manifest.counts["embeddings"] == {"text": 2, "image": 1}


def vectors_of(folder: Path, *rows: tuple[str, list[float] | None, list[float] | None]) -> Catalogue:
    path = folder / f"vectors-{len(list(folder.iterdir()))}.parquet"
    kind = pa.list_(pa.float32())
    ids, texts, images = zip(*rows, strict=True)
    columns = {"item_id": ids, "text_vector": pa.array(texts, kind), "image_vector": pa.array(images, kind)}
    pq.write_table(pa.table(columns), path)
    return Catalogue.from_parquet(path)


def test_an_item_without_a_direction_is_not_put_in(tmp_path: Path) -> None:
    encoder, root = load_encoder("vectors:2:own"), tmp_path / "b"
    start = vectors_of(tmp_path, ("a", [1, 0], [1, 0]), ("b", [0, 1], None), ("c", [1, 0], [-1, 0]))
    assert list(build_bundle(start, encoder, root).items) == ["a", "b"]
    report = add(root, vectors_of(tmp_path, ("d", [0, 1], [0, -1]), ("e", [-1, 0], None)), encoder)
    assert (report.added, list(report.failed)) == (1, ["d"])
    found = Retriever.load(root).search_vectors(np.array([[-1, 0]], np.float32), 5)[0]
    assert [hit.item_id for hit in found] == ["e", "b", "a"]


def test_types_that_only_memory_has_survive_compaction_and_rollback(root: Path, tmp_path: Path) -> None:
    def dated(name: str, year: int) -> Catalogue:
        path = tmp_path / f"{name}.csv"
        path.write_text(f"item_id,title,since\n{name},red {name},{year}-01-01T00:00:00\n")
        return Catalogue.from_csv(path)

    add(root, dated("k1", 2001), ToyEncoder())
    compact(root)
    add(root, dated("k2", 2002), ToyEncoder())
    rollback(root)
    retriever = Retriever.load(root, ToyEncoder())
    assert {"k1", "k2"} <= set(found(retriever, "red", 30))
    compact(root)
    assert {"k1", "k2"} <= set(found(retriever.latest(), "red", 30))


def test_a_rollback_to_other_types_is_refused_before_it_counts(root: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"item_id": "x", "title": "red x", "price": "dear"},
        {"item_id": "y", "title": "y", "price": "cheap"},
    ]
    build_bundle(items(tmp_path, *rows), ToyEncoder(), root)
    add(root, items(tmp_path, {"item_id": "z", "title": "blue z", "price": "free"}), ToyEncoder())
    state = Bundle.open(root).state
    with pytest.raises(BundleError, match="have other types"):
        rollback(root)
    assert Bundle.open(root).state == state
    assert found(Retriever.load(root, ToyEncoder()), "blue z", 1) == ["z"]


def test_rollback_goes_back_in_time_not_in_names(root: Path, tmp_path: Path) -> None:
    first = Bundle.open(root).state.generation
    for _ in range(2):
        build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), root)
    second = Bundle.open(root).state.history[-1]
    assert rollback(root).state.generation == second
    assert rollback(root).state.generation == first
    add(root, items(tmp_path, {"item_id": "k", "title": "red kite"}), ToyEncoder())
    compact(root)
    add(root, items(tmp_path, {"item_id": "l", "title": "red lamp"}), ToyEncoder())
    compact(root)
    assert rollback(root).state.history == (first,)
    assert rollback(root).state.generation == first
    assert "k" in Bundle.open(root).items


def test_a_build_that_never_came_into_force_is_never_gone_back_to(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("indexing.bundle.publish.write_state", failing)
        with pytest.raises(OSError, match="No space"):
            build_bundle(items(tmp_path, {"item_id": "other", "title": "other"}), ToyEncoder(), root)
    assert len(generations(root)) == 2
    add(root, items(tmp_path, {"item_id": "k", "title": "red kite"}), ToyEncoder())
    compact(root)
    assert len(generations(root)) == 2
    assert "other" not in rollback(root).items


def test_numbers_are_never_used_again(root: Path, tmp_path: Path) -> None:
    changed(root, tmp_path)
    source = Catalogue.from_parquet(tmp_path / "items.parquet")
    for _ in range(3):
        build_bundle(source, ToyEncoder(), root)
    assert not list((root / LOG).iterdir())
    for name in ("CURRENT", "CURRENT.copy"):
        (root / name).write_bytes(b"damage")
    build_bundle(source, ToyEncoder(), root)
    assert add(root, items(tmp_path, {"item_id": "k", "title": "red kite"}), ToyEncoder()).batch == 4
    assert "k" in Bundle.open(root).items


def test_other_changes_than_acknowledged_are_never_taken(root: Path, tmp_path: Path) -> None:
    compact(root)
    build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), tmp_path / "other")
    delete(tmp_path / "other", ["blue-mug"])
    changed(root, tmp_path)
    (foreign,) = (tmp_path / "other" / LOG).iterdir()
    first = min((root / LOG).iterdir())
    (root / LOG / foreign.name).write_bytes(foreign.read_bytes())
    first.unlink()
    for attempt in (Bundle.open, lambda root: rollback(root, generations(root)[0]), compact):
        with pytest.raises(DamagedFileError, match="other changes than CURRENT names"):
            attempt(root)
