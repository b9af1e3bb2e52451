"""A generation that was made and not published: kept, published later, and never taken for another."""

from dataclasses import replace
from pathlib import Path

import pytest

from indexing import Bundle, add, delete, index_words, publish_staged, rollback, verify
from indexing.bundle.generation import STAGED, STAGED_ON, generations
from indexing.bundle.maintenance.staged import stage, staged
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import prepare
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError, DamagedFileError, GenerationError, InputError
from indexing.filesystem import fsops
from retrieval import compact
from tests.toy import ToyEncoder, toy_table


def staged_copy(root: Path) -> str:
    bundle = Bundle.open(root)
    manifest = replace(bundle.manifest, learned={STAGED_ON: bundle.manifest.generation})
    files = {file.name: bundle.folder / file.name for file in manifest.files}
    return stage(root, prepare(root, manifest, files)).generation


def test_it_is_no_generation_until_it_is_published(own_toy_bundle: Path) -> None:
    root, before = own_toy_bundle, Bundle.open(own_toy_bundle).manifest.generation
    name = staged_copy(root)
    assert (Bundle.open(root).manifest.generation, generations(root), verify(root)) == (before, [before], [])
    delete(root, ["red-mug"])
    published = publish_staged(root, name)
    assert published.manifest.generation == name
    assert "red-mug" not in published.items.known(["red-mug"])
    assert (generations(root), verify(root), staged(root)) == ([before, name], [], None)
    assert rollback(root).manifest.generation == before


def test_there_is_one_and_the_last_counts_where_two_are_left(own_toy_bundle: Path) -> None:
    first = staged_copy(own_toy_bundle)
    second = staged_copy(own_toy_bundle)
    found = [path.name for path in own_toy_bundle.glob(f"{STAGED}-*")]
    assert found == [f"{STAGED}-{second}"]
    fsops.make_folder(own_toy_bundle / f"{STAGED}-{first}")  # as one that was half removed
    manifest = staged(own_toy_bundle)
    assert manifest is not None
    assert manifest.generation == second


def test_it_is_read_by_its_name_before_and_after_it_is_published(own_toy_bundle: Path) -> None:
    root, name = own_toy_bundle, staged_copy(own_toy_bundle)
    before = Bundle.open(root)
    delete(root, ["red-mug"])
    by_name = Bundle.open(root, generation=name)
    assert (by_name.manifest.generation, by_name.state.last, by_name.is_pinned) == (name, 1, True)
    assert by_name.items.known(["red-mug", "red-lamp"]) == ["red-lamp"]
    delete(root, ["blue-mug"])
    assert by_name.latest().items.known(["blue-mug"]) == []
    assert before.latest().manifest.generation == before.manifest.generation  # which stays current
    publish_staged(root)
    assert by_name.folder == root / name
    assert {part: len(each.labels) for part, each in by_name.parts.items()} == {  # read from disk now
        part: len(each.labels) for part, each in before.parts.items()
    }
    assert Bundle.open(root, generation=name).manifest.generation == name


def test_one_that_is_read_stays_until_nobody_does(own_toy_bundle: Path) -> None:
    root, first = own_toy_bundle, staged_copy(own_toy_bundle)
    read = Bundle.open(root, generation=first)
    second = staged_copy(root)
    assert {path.name for path in root.glob(f"{STAGED}-*")} == {f"{STAGED}-{first}", f"{STAGED}-{second}"}
    assert (manifest := staged(root)) is not None
    assert manifest.generation == second
    assert len(read.parts) == len(Bundle.open(root).parts)
    del read
    third = staged_copy(root)
    assert [path.name for path in root.glob(f"{STAGED}-*")] == [f"{STAGED}-{third}"]
    with pytest.raises(GenerationError, match=f"keeps no generation '{first}'"):
        Bundle.open(root, generation=first)


def test_one_whose_changes_may_be_gone_is_not_read(own_toy_bundle: Path) -> None:
    root, name, base = own_toy_bundle, staged_copy(own_toy_bundle), generations(own_toy_bundle)[0]
    for item in ("red-mug", "blue-mug", "red-lamp"):
        delete(root, [item])
        compact(root)
        if base in generations(root):
            assert item not in Bundle.open(root, generation=name).items.known([item])
    assert base not in generations(root)
    with pytest.raises(GenerationError, match=f"{name} is staged, and {base}, which it was made on, is not kept any"):
        Bundle.open(root, generation=name)


def test_it_is_published_where_it_was_made_alone(own_toy_bundle: Path) -> None:
    """Later generations are newer than it, also when one went back before them: numbers are not given twice."""
    root = own_toy_bundle
    with pytest.raises(BundleError, match="has no staged generation; fit without publishing stages one"):
        publish_staged(root)
    name = staged_copy(root)
    with pytest.raises(BundleError, match=f"no staged generation gen-x; {name} is staged"):
        publish_staged(root, "gen-x")
    with pytest.raises(InputError, match="give the name of the staged generation"):
        publish_staged(root, 3)  # type: ignore[arg-type]
    with_words = index_words(root, ["title"]).manifest
    delete(root, ["red-mug"])
    for make_another in (Bundle.open, compact):  # a compaction, but of another generation
        current = make_another(root).manifest
        with pytest.raises(BundleError, match=rf"{name} was made on gen-.*, and {current.generation} is current since"):
            publish_staged(root)
    rollback(root, generations(root)[0])
    published = publish_staged(root)
    assert published.manifest.sequence > with_words.sequence
    assert published.items.known(["red-mug", "blue-mug"]) == ["blue-mug"]
    assert generations(root)[-1] == name


def test_a_compaction_leaves_it_to_be_published(own_toy_bundle: Path) -> None:
    """What was folded in meanwhile is a change of it."""
    root, name = own_toy_bundle, staged_copy(own_toy_bundle)
    twin = toy_table().slice(0, 1).drop(["item_id"]).append_column("item_id", [["twin"]])
    add(root, Catalogue.from_arrow(twin), ToyEncoder())
    compact(root)
    delete(root, ["red-mug"])
    compacted = compact(root).manifest
    assert len(compacted.compacts) == 2
    assert Manifest.read(root / compacted.generation / MANIFEST).compacts == compacted.compacts
    delete(root, ["blue-mug"])
    before = Bundle.open(root)
    published = publish_staged(root)
    assert (published.manifest.generation, published.manifest.compacts) == (name, ())
    assert published.manifest.sequence > compacted.sequence
    assert [batch.number for batch in published.batches] == [1, 2, 3]
    for bundle in (published, compact(root)):
        assert sorted(bundle.items.known(list(bundle.items))) == sorted(before.items.known(list(before.items)))
        assert bundle.items.known(["twin", "red-mug", "blue-mug"]) == ["twin"]
    assert verify(root) == []
    assert rollback(root, compacted.generation).items.known(["twin", "blue-mug"]) == ["twin"]


def test_one_whose_changes_may_be_gone_is_not_published(own_toy_bundle: Path) -> None:
    root, name = own_toy_bundle, staged_copy(own_toy_bundle)
    base = generations(root)[0]
    for item in ("red-mug", "blue-mug", "red-lamp"):
        delete(root, [item])
        compact(root)
    assert base not in generations(root)
    with pytest.raises(BundleError, match=rf"{name} was made on {base}, which is not kept any more, .*; fit again"):
        publish_staged(root)


def test_damage_is_found_before_it_is_current(own_toy_bundle: Path) -> None:
    before, name = Bundle.open(own_toy_bundle).manifest.generation, staged_copy(own_toy_bundle)
    path = own_toy_bundle / f"{STAGED}-{name}" / "golden.safetensors"
    content = path.read_bytes()
    fsops.remove(path)  # it is a link
    fsops.write_bytes(path, content[:-1] + b"?")
    with pytest.raises(DamagedFileError, match=r"golden\.safetensors is damaged"):
        publish_staged(own_toy_bundle)
    assert Bundle.open(own_toy_bundle).manifest.generation == before
