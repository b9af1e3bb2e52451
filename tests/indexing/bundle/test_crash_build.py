"""A build that fails, is killed or loses power at any single operation leaves the old bundle or the new one, whole."""

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import CURRENT
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError
from indexing.media.files import Modality
from indexing.store.encode import EncodeConfig
from tests.faults import FaultyDisk
from tests.power import Mode
from tests.toy import ToyEncoder, toy_table

OLD_ITEMS, NEW_ITEMS = 4, 7
MODES: tuple[Mode, ...] = ("error", "stop", "power", "some")


def build(source: Catalogue, root: Path) -> Bundle:
    return build_bundle(source, ToyEncoder(), root, encode=EncodeConfig(4, workers=0))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Catalogue]:
    folder = tmp_path_factory.mktemp("sources")
    for items in (OLD_ITEMS, NEW_ITEMS):
        pq.write_table(toy_table().slice(0, items).drop_columns(["tags"]), folder / f"{items}.parquet")
    return {items: Catalogue.from_parquet(folder / f"{items}.parquet") for items in (OLD_ITEMS, NEW_ITEMS)}


@pytest.fixture(scope="module")
def old(sources: dict[int, Catalogue], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with as many old generations as are kept, so that the next build removes one."""
    root = tmp_path_factory.mktemp("old") / "bundle"
    for _ in range(3):
        build(sources[OLD_ITEMS], root)
    return root


def items_of(root: Path) -> int:
    """How many items the bundle has, once every file and answer of it has been checked."""
    bundle = Bundle.open(root)
    items = bundle.manifest.items
    assert len(bundle.items) == items
    texts = [item_id.replace("-", " ") for item_id in bundle.items]
    _scores, rows = bundle.index.search(ToyEncoder().encode_texts(texts), items)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(items), (items, 1)))
    assert len(bundle.parts[Modality.TEXT].rows) == items
    for generation in root.glob("gen-*"):  # none is seen half made or half removed
        assert (generation / "manifest.json").exists()
        assert (generation / "index.bin").exists()
    return items


@pytest.mark.parametrize("mode", MODES)
def test_a_build_over_a_bundle_leaves_old_or_new(
    mode: Mode, old: Path, sources: dict[int, Catalogue], tmp_path: Path
) -> None:
    fail_at, failed, seen = 0, True, []
    while failed:
        fail_at += 1
        shutil.copytree(old, root := tmp_path / f"{fail_at}" / "bundle")
        built = False
        with FaultyDisk(root.parent, fail_at, mode) as disk, suppress(OSError):
            build(sources[NEW_ITEMS], root)
            built = True
        failed = disk.failed
        seen.append(items_of(root))
        assert seen[-1] == NEW_ITEMS or not built  # what was reported as built is there
        if fail_at % 10 == 0 or not failed:
            again = build(sources[NEW_ITEMS], root)
            assert items_of(root) == again.manifest.items == NEW_ITEMS
            assert not list(root.glob("unfinished-*"))
            assert not list(root.glob("work-*"))
        shutil.rmtree(root.parent)
    if mode != "error":  # an error can be got over, as by a copy where no link can be made
        assert seen == sorted(seen)  # old up to one moment, new from there on
    assert set(seen) == {OLD_ITEMS, NEW_ITEMS}
    assert len(seen) > 70


@pytest.mark.parametrize("mode", ["stop", "power"])
def test_a_first_build_leaves_nothing_or_all(mode: Mode, sources: dict[int, Catalogue], tmp_path: Path) -> None:
    fail_at, failed, found = 0, True, 0
    while failed:
        fail_at += 1
        (tmp_path / f"{fail_at}").mkdir()
        root, built = tmp_path / f"{fail_at}" / "shops" / "bundle", False
        with FaultyDisk(root.parent.parent, fail_at, mode) as disk, suppress(OSError):
            build(sources[OLD_ITEMS], root)
            built = True
        failed = disk.failed
        if built or (root / CURRENT).exists():
            assert items_of(root) == OLD_ITEMS
            found += 1
        else:
            with pytest.raises(BundleError, match="holds no bundle"):
                Bundle.open(root)
        if failed and fail_at % 10 == 0:
            assert build(sources[OLD_ITEMS], root).manifest.items == OLD_ITEMS
    assert 0 < found < fail_at
