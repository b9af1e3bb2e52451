"""CURRENT and manifests whose checksums are right and whose values are not: typed errors, nothing taken for granted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import CURRENT, read_state
from indexing.bundle.edits.edit import delete
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem.checked_files import seal, unseal
from indexing.store.encode import EncodeConfig
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resealed")
    encode = EncodeConfig(32, workers=0)
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle", encode=encode)
    delete(folder / "bundle", ["red-mug"])
    return folder / "bundle"


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def sealed_again(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = unseal(path)
    change(content)
    path.write_bytes(seal(content))


STATES: dict[str, Any] = {
    "last": [2**31, "1", None, 1.0, True, -1],
    "contains": ["0", 2, -1, []],
    "generation": [3, None, ["gen"], "../elsewhere"],
    "history": ["gen", [3], {"a": 1}, ["../elsewhere"]],
    "digest": [3, None],
    "sequence": ["1", 0.5],
    "newest": ["1", 0.5, -1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, each in STATES.items() for value in each])
def test_a_current_of_other_values_is_refused(root: Path, name: str, value: object) -> None:
    sealed_again(root / CURRENT, lambda content: content.update({name: value}))
    with pytest.raises(DamagedFileError, match=r"CURRENT|log"):
        Bundle.open(root)
    assert any(problem.serving for problem in verify(root))


@pytest.mark.parametrize(("contains", "last"), [(2, 1), (7, 6), (-1, 1), (-3, -2), (0, -1)])
def test_no_generation_contains_more_changes_than_there_are(root: Path, contains: int, last: int) -> None:
    sealed_again(root / CURRENT, lambda content: content.update(contains=contains, last=last))
    with pytest.raises(DamagedFileError, match=f"contains change {contains} of {last}, which cannot be"):
        read_state(root)


MANIFESTS: list[Callable[[dict[str, Any]], object]] = [
    lambda content: content.update(items="20"),
    lambda content: content.update(batches=-1),
    lambda content: content.update(features=["adapter"]),
    lambda content: content.update(features=[["adapter"]]),
    lambda content: content.update(features="adapter"),
    lambda content: content.update(index=[]),
    lambda content: content["index"].update(kind=3),
    lambda content: content["index"].update(config=7),
    lambda content: content["index"].update(recall={"text": "high"}),
    lambda content: content["index"].update(efforts={"text": {"lists": "3"}}),
    lambda content: content.update(learned=[]),
    lambda content: content.update(learned={"user_model": 3}),
    lambda content: content.update(counts=None),
    lambda content: content.update(format_version="2"),
    lambda content: content["files"].append({"name": 3, "size": 1, "sha256": ""}),
    lambda content: content["files"][0].update(size="9"),
    lambda content: content["files"].pop(0),
    lambda content: content["files"].__setitem__(0, "attributes.arrow"),
    lambda content: content["encoder"].update(dim=0),
    lambda content: content["encoder"].update(dim="16"),
    lambda content: content["encoder"].update(modalities=["smell"]),
    lambda content: content["encoder"].update(modalities="text"),
    lambda content: content.pop("encoder"),
    lambda content: content.update(created=20),
]


@pytest.mark.parametrize("change", range(len(MANIFESTS)))
def test_a_manifest_of_other_values_is_refused(root: Path, change: int) -> None:
    sealed_again(Bundle.open(root).folder / "manifest.json", MANIFESTS[change])
    with pytest.raises(BundleError, match=r"manifest.json"):
        Bundle.open(root)
    assert any(problem.serving for problem in verify(root))


MISFITS: list[Callable[[dict[str, Any]], object]] = [
    lambda content: content["index"]["config"].update(min_recall="high"),
    lambda content: content["index"].pop("config"),
    lambda content: content["index"]["config"].update(strange=1),
    lambda content: content["learned"].update(user_model={"strange": 1}),
    lambda content: content["encoder"].update(dim=8),
]


@pytest.mark.parametrize("change", range(len(MISFITS)))
def test_settings_in_a_manifest_that_cannot_be_used_are_typed_errors(root: Path, change: int) -> None:
    sealed_again(Bundle.open(root).folder / "manifest.json", MISFITS[change])
    with pytest.raises(BundleError, match=r"cannot be used|cannot be read|expected 8"):
        Retriever.load(root, ToyEncoder())
