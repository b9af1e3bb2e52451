"""Toy bundles that are pushed and pulled, what they answer, and object storage that fails."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import StorageError
from indexing.exchange.object_storage.base import ObjectInfo, WritableObjects
from indexing.exchange.object_storage.state import served
from indexing.store.encode import EncodeConfig
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder

ENCODE = EncodeConfig(4, workers=0)


def items(*titles: str) -> Catalogue:
    return Catalogue.from_arrow(pa.table({"item_id": [t.replace(" ", "-") for t in titles], "title": list(titles)}))


def change(root: Path, *titles: str, gone: str = "") -> None:
    """Add items, and take one out."""
    add(root, items(*titles), ToyEncoder(), encode=ENCODE)
    if gone:
        delete(root, [gone])


def answers(root: Path) -> list[list[tuple[str, float]]]:
    """What a bundle answers, once every byte of it was checked."""
    assert verify(root) == []
    found = Retriever.load(root, ToyEncoder()).search_texts(["kite", "red mug", "blue"], 50)
    return [[(hit.item_id, round(float(hit.score), 5)) for hit in line] for line in found]


def state_of(root: Path) -> str:
    """What a bundle serves, once every file of it was compared."""
    bundle = Bundle.open(root)
    assert len(bundle.attributes) == len(bundle.items)
    return served(bundle.state)


class FaultyObjects:
    """Storage that fails at one call and all after it.

    Args:
        objects: The storage.
        fail_at: Which call fails, counted from 1.
        done: Whether the first that fails was done nevertheless, as when an answer is lost.
    """

    def __init__(self, objects: WritableObjects, fail_at: int = 10**9, *, done: bool = False) -> None:
        self._objects, self._fail_at, self._done = objects, fail_at, done
        self.url, self.count = objects.url, 0

    @property
    def failed(self) -> bool:
        return self.count >= self._fail_at

    def _call(self, call: Callable[[], object]) -> None:
        self.count += 1
        if self.count < self._fail_at or (self._done and self.count == self._fail_at):
            call()
        if self.failed:
            raise StorageError("the line is dead")

    def find(self, prefix: str) -> list[ObjectInfo]:
        self._call(lambda: None)
        return self._objects.find(prefix)

    def chunks(self, name: str) -> Iterator[bytes]:
        for chunk in self._objects.chunks(name):
            self._call(lambda: None)
            yield chunk[: len(chunk) // 2]
            self._call(lambda: None)
            yield chunk[len(chunk) // 2 :]

    def upload(self, name: str, path: Path) -> None:
        self._call(lambda: self._objects.upload(name, path))

    def create(self, name: str, data: bytes) -> bool:
        created: list[bool] = []
        self._call(lambda: created.append(self._objects.create(name, data)))
        return created[0]

    def remove(self, names: Sequence[str]) -> None:
        self._call(lambda: self._objects.remove(names))
