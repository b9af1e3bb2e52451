"""A push or pull that fails, is killed or loses power anywhere leaves the state before or the new one.

Some operations are tried here; all of them with COMMONSPACE_EVERY_OPERATION=1, which takes minutes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from indexing.bundle.maintenance.verify import verify
from indexing.errors import CommonspaceError, StorageError
from indexing.exchange import pull_bundle, push_bundle, pushed_states
from indexing.exchange.object_storage import push, transfers
from indexing.exchange.object_storage.base import read_object
from indexing.exchange.object_storage.folder import FolderObjects
from retrieval.retriever.learned_parts import compact
from tests.faults import FaultyDisk
from tests.indexing.exchange.shops import FaultyObjects, change, state_of
from tests.power import Mode

STEPS: dict[Mode, int] = {"error": 19, "stop": 23, "power": 17, "some": 29}  # from one operation that fails to the next
EVERY_OPERATION = bool(os.environ.get("COMMONSPACE_EVERY_OPERATION"))


@pytest.fixture(scope="module")
def worlds(built_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, a place that it was pushed to, and a reader; since then the bundle has changed."""
    world = tmp_path_factory.mktemp("worlds")
    shutil.copytree(built_shop, world / "shop")
    push_bundle(world / "shop", world / "place")
    pull_bundle(world / "place", world / "reader")
    change(world / "shop", "blue kite", gone="red-mug")
    compact(world / "shop")
    change(world / "shop", "green kite")
    return world


@pytest.fixture(autouse=True)
def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(push, "LARGE_BYTES", 0)  # objects of an interrupted push are taken over


def newest(place: Path) -> str:
    """What the newest state serves, once every object of every state was read."""
    objects, states = FolderObjects(place), pushed_states(place)
    for state in states:
        for file in (*state.files, *state.changes):
            data = read_object(objects, file.object, file.size)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
    return states[-1].served


@pytest.mark.parametrize("done", [False, True], ids=["not done", "answer lost"])
def test_a_push_that_storage_fails_leaves_the_state_before_or_the_new_one(
    done: bool, worlds: Path, tmp_path: Path
) -> None:
    old, new = newest(worlds / "place"), state_of(worlds / "shop")
    seen: list[bool] = []
    uploaded: list[int] = []
    fail_at, failed = 0, True
    while failed:
        fail_at += 1
        world = tmp_path / str(fail_at)
        shutil.copytree(worlds, world)
        place = RenamedObjects(world / "place", worlds / "place")
        faulty, acknowledged = FaultyObjects(place, fail_at, done=done), False
        with suppress(StorageError):
            acknowledged = push_bundle(world / "shop", faulty).number == 2
        failed = faulty.failed
        found = newest(world / "place")
        assert found in (old, new)
        assert found == new or not acknowledged
        seen.append(found == new)
        uploaded.append(len(list((world / "place" / "objects").iterdir())))
        assert push_bundle(world / "shop", place).number == 2  # a lost answer is no conflict
        assert newest(world / "place") == new
        objects = len(list((world / "place" / "objects").iterdir()))
        shutil.rmtree(world)
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]
    assert set(uploaded) == set(range(uploaded[0], objects + 1))  # nothing twice


def test_a_push_whose_answer_was_lost_is_known_after_further_changes(shop: Path, tmp_path: Path) -> None:
    place = FolderObjects(tmp_path / "place")
    push_bundle(shop, place)
    change(shop, "white kite")
    calls = FaultyObjects(place)
    shutil.copytree(shop, counting := tmp_path / "counting")
    shutil.copytree(tmp_path / "place", tmp_path / "before")
    push_bundle(counting, calls)
    shutil.rmtree(tmp_path / "place")
    shutil.copytree(tmp_path / "before", tmp_path / "place")
    with pytest.raises(StorageError, match="the line is dead"):  # the last call but one writes the state
        push_bundle(shop, FaultyObjects(place, calls.count - 1, done=True))
    assert [state.number for state in pushed_states(place)] == [1, 2]
    change(shop, "green kite")
    assert push_bundle(shop, place).number == 3
    assert newest(tmp_path / "place") == state_of(shop)


class RenamedObjects(FolderObjects):
    """A copy of a folder that goes by the URL of the first."""

    def __init__(self, folder: Path, original: Path) -> None:
        super().__init__(folder)
        self.url = FolderObjects(original).url


@pytest.mark.parametrize("mode", STEPS)
@pytest.mark.parametrize("work", ["push", "pull"])
def test_a_disk_that_fails_at_any_operation_leaves_the_state_before_or_the_new_one(
    work: str, mode: Mode, worlds: Path, tmp_path: Path
) -> None:
    if work == "pull":
        shutil.copytree(worlds, pushed := tmp_path / "pushed")
        push_bundle(pushed / "shop", RenamedObjects(pushed / "place", worlds / "place"))
        worlds, original = pushed, worlds
    else:
        original = worlds
    run: Callable[[Path, RenamedObjects], object] = {
        "push": lambda world, place: push_bundle(world / "shop", place),
        "pull": lambda world, place: pull_bundle(place, world / "reader"),
    }[work]
    look: Callable[[Path], str] = {
        "push": lambda world: newest(world / "place"),
        "pull": lambda world: state_of(world / "reader"),
    }[work]
    old, new, seen = look(worlds), state_of(worlds / "shop"), []
    fail_at, failed = 0, True
    while failed:
        fail_at += 1 if EVERY_OPERATION else STEPS[mode]
        world = tmp_path / str(fail_at)
        shutil.copytree(worlds, world)
        place = RenamedObjects(world / "place", original / "place")
        acknowledged = False
        with FaultyDisk(world, fail_at, mode) as disk, suppress(OSError, CommonspaceError):
            run(world, place)
            acknowledged = True
        failed = disk.failed
        found = look(world)
        assert found in (old, new)
        assert found == new or not acknowledged
        seen.append(found == new)
        changed = world / ("shop" if work == "push" else "reader")
        assert not [problem for problem in verify(changed) if problem.serving]  # nothing that was not acknowledged
        run(world, place)
        assert look(world) == new
        assert not (world / "reader" / "pulled-files").exists()
        shutil.rmtree(world)
    assert seen[-1]
    if mode != "error":
        assert seen == sorted(seen)


def test_a_pull_that_storage_fails_continues(worlds: Path, tmp_path: Path) -> None:
    shutil.copytree(worlds, pushed := tmp_path / "pushed")
    push_bundle(pushed / "shop", RenamedObjects(pushed / "place", worlds / "place"))
    old, new = state_of(worlds / "reader"), state_of(worlds / "shop")
    place = RenamedObjects(pushed / "place", worlds / "place")
    calls = FaultyObjects(place)
    shutil.copytree(pushed / "reader", tmp_path / "whole")
    files = pull_bundle(calls, tmp_path / "whole").downloaded
    for fail_at in range(1, calls.count + 1):
        shutil.copytree(pushed / "reader", reader := tmp_path / str(fail_at))
        with pytest.raises(StorageError, match="the line is dead"):
            pull_bundle(FaultyObjects(place, fail_at), reader)
        assert state_of(reader) == old
        downloaded = pull_bundle(place, reader).downloaded
        assert downloaded <= files
        assert state_of(reader) == new
        shutil.rmtree(reader)
    assert downloaded == 1  # the last, of which a part was there
