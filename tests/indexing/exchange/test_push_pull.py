"""A bundle that is pushed answers alike where it is pulled; only what changed travels; nobody's state is lost."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import acknowledged
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.errors import BundleError, GenerationError, StateConflictError, StorageError
from indexing.exchange import pull_bundle, push_bundle, pushed_states
from indexing.exchange.object_storage.base import WritableObjects
from indexing.exchange.object_storage.cloud import CloudObjects
from indexing.exchange.object_storage.folder import FolderObjects
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.indexing.exchange.shops import ENCODE, FaultyObjects, answers, change, items, state_of
from tests.toy import ToyEncoder

Storage = Callable[[], WritableObjects]


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> WritableObjects:
    """An empty place in each kind of storage that there is here."""
    if request.param == "folder":
        return FolderObjects(tmp_path / "place")
    stores = pytest.importorskip("obstore.store")
    if request.param == "memory":
        return CloudObjects("memory://place", stores.MemoryStore())
    keys = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}
    options = {"endpoint": request.getfixturevalue("s3_server"), "client_options": {"allow_http": True}}
    return CloudObjects("s3://bucket", stores.S3Store("bucket", prefix=f"shops/{tmp_path.name}", **keys, **options))


def content(root: Path) -> set[str]:
    """The sha256 of each file of the current generation, but for its manifest, and the names of the changes since."""
    bundle = Bundle.open(root)
    changes = acknowledged(root, bundle.state, bundle.state.contains)
    return {record.sha256 for record in bundle.manifest.files}.union(changes)


def test_what_is_pulled_answers_as_what_was_pushed(shop: Path, storage: WritableObjects, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    first = push_bundle(shop, storage)
    assert (first.number, first.changes, first.uploaded, first.unchanged) == (1, 1, first.files, False)
    pulled = pull_bundle(storage, reader)
    assert (pulled.number, pulled.generation, pulled.downloaded) == (1, first.generation, first.files)
    assert answers(reader) == answers(shop)
    assert push_bundle(shop, storage) == replace(first, uploaded=0, uploaded_bytes=0, unchanged=True)
    assert pull_bundle(storage, reader).unchanged

    opened = Bundle.open(reader)
    change(shop, "blue kite", "green kite", gone="red-mug")
    second = push_bundle(shop, storage)
    assert (second.number, second.changes, second.uploaded) == (2, 3, 2)
    assert pull_bundle(storage, reader).downloaded == 2
    assert answers(reader) == answers(shop)
    assert {"blue-kite", "green-kite"} <= set(opened.latest().items)

    before = content(shop)
    compact(shop)
    third = push_bundle(shop, storage)
    new = content(shop) - before
    assert 0 < len(new) < len(content(shop))
    assert third.uploaded == len(new) + 1  # and the manifest
    assert pull_bundle(storage, reader).downloaded == third.uploaded
    assert answers(reader) == answers(shop)
    assert generations(reader) == [opened.manifest.generation, third.generation]  # as it is being read
    del opened
    assert pull_bundle(storage, reader).unchanged
    assert generations(reader) == [third.generation]

    before = content(shop)
    rollback(shop)
    fourth = push_bundle(shop, storage)
    assert (fourth.generation, fourth.uploaded) == (first.generation, len(content(shop) - before) + 1)
    pull_bundle(storage, reader)
    assert answers(reader) == answers(shop)
    assert state_of(reader) == state_of(shop)
    assert [(state.number, state.generation, state.last) for state in pushed_states(storage)] == [
        (1, first.generation, 1),
        (2, first.generation, 3),
        (3, third.generation, 3),
        (4, first.generation, 3),
    ]
    pull_bundle(storage, reader, number=3)
    assert Bundle.open(reader).manifest.generation == third.generation
    assert verify(reader) == []


def test_two_who_change_the_same_bundle_cannot_overwrite_each_other(
    shop: Path, storage: WritableObjects, tmp_path: Path
) -> None:
    push_bundle(shop, storage)
    other = tmp_path / "other"
    pull_bundle(storage, other)
    change(other, "white kite")
    theirs = push_bundle(other, storage)
    change(shop, "green kite")
    with pytest.raises(StateConflictError, match=f"{theirs.generation} .*its last there is state 1"):
        push_bundle(shop, storage)
    with pytest.raises(StateConflictError, match="changes up to number 2, and nothing says that it was pushed to"):
        pull_bundle(storage, shop)
    assert "green-kite" in Bundle.open(shop).items
    assert [state.number for state in pushed_states(storage)] == [1, 2]

    change(other, "blue kite")  # who had the last word goes on
    assert push_bundle(other, storage).number == 3
    assert push_bundle(shop, storage, supersede=True).number == 4
    with pytest.raises(StateConflictError, match="holds state 4"):
        push_bundle(other, storage, reupload=True)
    with pytest.raises(StateConflictError, match="another change 2 than state 4"):
        pull_bundle(storage, other)
    pull_bundle(storage, other, discard_local=True)
    assert answers(other) == answers(shop)
    change(other, "white kite")
    push_bundle(other, storage)
    pull_bundle(storage, shop)
    assert answers(shop) == answers(other)


class Interrupted(FaultyObjects):
    """Storage that lets somebody else push just before a state is written."""

    def __init__(self, objects: WritableObjects, other: Callable[[], object]) -> None:
        super().__init__(objects)
        self._other: Callable[[], object] | None = other

    def create(self, name: str, data: bytes) -> bool:
        if name.startswith("states/") and (other := self._other):
            self._other = None
            other()
        return super().create(name, data)


def test_of_two_pushes_at_the_same_time_one_wins_and_the_other_is_told(
    shop: Path, storage: WritableObjects, tmp_path: Path
) -> None:
    push_bundle(shop, storage)
    other = tmp_path / "other"
    shutil.copytree(shop, other)
    change(shop, "white kite")
    change(other, "green kite")
    with pytest.raises(StateConflictError, match=r"got state 2 .*during this push; nothing was replaced; pull that"):
        push_bundle(shop, Interrupted(storage, lambda: push_bundle(other, storage)))
    pull_bundle(storage, tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(other)

    copy = tmp_path / "copy"
    shutil.copytree(other, copy)
    change(other, "blue shoe")
    shutil.rmtree(copy)
    shutil.copytree(other, copy)  # the same from two machines is no conflict
    report = push_bundle(copy, Interrupted(storage, lambda: push_bundle(other, storage)))
    assert report.number == 3
    assert [state.number for state in pushed_states(storage)] == [1, 2, 3]
    assert push_bundle(copy, storage).unchanged


def test_of_many_pushes_at_once_one_wins(shop: Path, storage: WritableObjects, tmp_path: Path) -> None:
    push_bundle(shop, storage)
    copies = [tmp_path / f"copy-{number}" for number in range(4)]
    for number, copy in enumerate(copies):
        shutil.copytree(shop, copy)
        change(copy, f"kite {number}")

    def push(root: Path) -> bool:
        try:
            return push_bundle(root, storage).number == 2
        except StateConflictError:
            return False

    with ThreadPoolExecutor(len(copies)) as pool:
        won = list(pool.map(push, copies))
    assert won.count(True) == 1
    pull_bundle(storage, tmp_path / "reader")
    assert answers(tmp_path / "reader") == answers(copies[won.index(True)])


def test_readers_follow_while_states_come(shop: Path, tmp_path: Path) -> None:
    place, reader = tmp_path / "place", tmp_path / "reader"
    push_bundle(shop, place)
    pull_bundle(place, reader)
    done = Event()

    def follow() -> int:
        retriever, states = Retriever.load(reader, ToyEncoder()), 0
        while not done.is_set() or states == 0:
            retriever = retriever.latest()
            retriever.search_texts(["kite"], 5)
            states += 1
        return len(retriever.latest().items)

    def open_anew() -> int:
        while not done.is_set():
            Bundle.open(reader)
        return len(Bundle.open(reader).items)

    with ThreadPoolExecutor(2) as pool:
        following = [pool.submit(follow), pool.submit(open_anew)]
        try:
            for number in range(4):
                change(shop, f"kite {number}")
                if number % 2:
                    compact(shop)
                push_bundle(shop, place, keep=1)
                pull_bundle(place, reader)
        finally:
            done.set()
        assert {future.result() for future in following} == {len(Bundle.open(shop).items)}


def test_a_bundle_that_was_built_anew_takes_the_place_of_one_that_is_read(shop: Path, tmp_path: Path) -> None:
    """As when the catalogue is built each night on a machine that has nothing of the night before."""
    place, reader, anew = tmp_path / "place", tmp_path / "reader", tmp_path / "anew"
    push_bundle(shop, place)
    pull_bundle(place, reader)
    opened = Bundle.open(reader)
    build_bundle(items("red kite", "blue mug", "white shoe"), ToyEncoder(), anew, encode=ENCODE)
    with pytest.raises(StateConflictError, match="it has pushed or pulled none there"):
        push_bundle(anew, place)
    push_bundle(anew, place, supersede=True)
    pull_bundle(place, reader)
    assert not list((reader / "log").iterdir())  # the change of before would be wrong for it
    assert list(opened.latest().items) == ["red-kite", "blue-mug", "white-shoe"]
    del opened
    pull_bundle(place, reader)
    assert answers(reader) == answers(anew)
    change(reader, "green lamp")  # the numbers of generations and changes fit
    push_bundle(reader, place)
    pull_bundle(place, anew)
    assert answers(anew) == answers(reader)


def test_what_is_no_bundle_and_what_is_not_there_is_said(shop: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(GenerationError, match="place holds no bundle; `commonspace push` puts one there"):
        pull_bundle(place, tmp_path / "reader")
    assert not (tmp_path / "reader").exists()
    push_bundle(shop, place)
    with pytest.raises(GenerationError, match="place holds no state 7; it holds 1 to 1"):
        pull_bundle(place, tmp_path / "reader", number=7)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").mkdir()
    with pytest.raises(BundleError, match="home holds 'letters' and no bundle; name an empty folder"):
        pull_bundle(place, tmp_path / "home")
    with pytest.raises(BundleError, match="home holds no bundle"):
        push_bundle(tmp_path / "home", place)
    (shop / "TRANSFERS").unlink()
    change(shop, "blue kite")
    with pytest.raises(StateConflictError, match="nothing says that it was pushed to"):
        pull_bundle(place, shop)


class Replacing(FaultyObjects):
    """Storage that does not know of put-if-absent, as older servers of S3."""

    def create(self, name: str, data: bytes) -> bool:
        return True


def test_storage_that_would_replace_is_refused_before_anything_is_uploaded(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"asked not to replace, .*If-None-Match"):
        push_bundle(shop, Replacing(FolderObjects(tmp_path / "place")))
    assert not [path for path in (tmp_path / "place").rglob("*") if path.is_file()]
