"""Whatever is done to a bundle in whatever order, its answers are those of brute force; readers never see a mixture."""

import gc
import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.catalogue.catalogue import Catalogue
from indexing.index import FlatIndex
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder

ENCODE = EncodeConfig(64, workers=0)
IDS = [f"item-{number}" for number in range(8)]

Items = dict[str, tuple[str, int]]
"""What a bundle should hold: title and price of each item."""


def catalogue(folder: Path, items: Items) -> Catalogue:
    path = folder / "items.parquet"
    titles, prices = [title for title, _ in items.values()], [price for _, price in items.values()]
    pq.write_table(pa.table({"item_id": list(items), "title": titles, "price": prices}), path)
    return Catalogue.from_parquet(path)


def vectors_of(titles: list[str]) -> Vectors:
    return unit(ToyEncoder().encode_texts(titles).astype(np.float16).astype(np.float32))


titles = st.integers(0, 99).map(lambda number: f"word{number}")
some_items = st.dictionaries(st.sampled_from(IDS), st.tuples(titles, st.integers(0, 9)), min_size=1, max_size=3)


class LiveBundle(RuleBasedStateMachine):
    """A bundle beside a dictionary and the list of everything that was done to it."""

    @initialize(items=some_items)
    def build(self, items: Items) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "bundle"
        self.changes: list[tuple[set[str], Items]] = []
        self.bases: dict[str, tuple[Items, int]] = {}
        self._build(items)
        self.retriever = Retriever.load(self.root, ToyEncoder())

    def _build(self, items: Items) -> None:
        bundle = build_bundle(catalogue(self.folder, items), ToyEncoder(), self.root, encode=ENCODE)
        self.bases[bundle.manifest.generation] = (dict(items), len(self.changes))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def items(self) -> Items:
        """What should be there: the items of the generation in force, and all changes that it lacks."""
        base, contained = self.bases[Bundle.open(self.root).manifest.generation]
        items = dict(base)
        for removed, put in self.changes[contained:]:
            items = {item_id: item for item_id, item in items.items() if item_id not in removed | put.keys()} | put
        return items

    @rule(items=some_items)
    def add(self, items: Items) -> None:
        new = {item_id: item for item_id, item in items.items() if item_id not in self.items}
        if new:
            assert add(self.root, catalogue(self.folder, new), ToyEncoder(), encode=ENCODE).added == len(new)
            self.changes.append((set(), new))

    @rule(items=some_items)
    def upsert(self, items: Items) -> None:
        new = {item_id: item for item_id, item in items.items() if self.items.get(item_id) != item}
        known = len(new.keys() & self.items.keys())
        report = upsert(self.root, catalogue(self.folder, items), ToyEncoder(), encode=ENCODE)
        assert (report.added, report.replaced, report.unchanged) == (len(new) - known, known, len(items) - len(new))
        if new:
            self.changes.append((set(), new))

    @rule(wanted=st.sets(st.sampled_from(IDS), min_size=1))
    def delete(self, wanted: set[str]) -> None:
        known = sorted(wanted & self.items.keys())
        if known and len(known) < len(self.items):
            assert delete(self.root, known).removed == len(known)
            self.changes.append((set(known), {}))

    @rule()
    def compact(self) -> None:
        items = self.items
        bundle = compact(self.root)
        self.bases[bundle.manifest.generation] = (items, len(self.changes))

    @rule(items=some_items)
    def build_again(self, items: Items) -> None:
        self._build(items)

    @rule()
    @precondition(lambda self: len(generations(self.root)) > 1)
    def roll_back(self) -> None:
        names = generations(self.root)
        present = Bundle.open(self.root).manifest.generation
        rollback(self.root, names[names.index(present) - 1])

    @rule()
    def reopen(self) -> None:
        self.retriever = Retriever.load(self.root, ToyEncoder())

    @invariant()
    def answers_are_those_of_brute_force(self) -> None:
        self.retriever = self.retriever.latest()
        items = self.items
        vectors = vectors_of([title for title, _ in items.values()])
        score_of = dict(zip(items, vectors @ vectors_of(["word1 word2"])[0], strict=True))
        for cheap in (10, 5):
            matching = {item_id for item_id, (_, price) in items.items() if price < cheap}
            for k in (1, 3, 20):
                hits = self.retriever.search_vectors(vectors_of(["word1 word2"]), k, where=[("price", "<", cheap)])[0]
                best = sorted((score_of[item_id] for item_id in matching), reverse=True)[:k]
                np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
                assert len({hit.item_id for hit in hits}) == len(hits)
                for hit in hits:
                    assert hit.item_id in matching
                    assert abs(hit.score - score_of[hit.item_id]) < 1e-5


LiveBundle.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestLiveBundle = LiveBundle.TestCase

SWAPS, READERS = 100, 4


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    items = {f"fixed-{number}": (f"thing {number}", 0) for number in range(300)}
    items |= {"left": ("twin left", 0), "right": ("twin right", 0)}
    build_bundle(catalogue(tmp_path, items), ToyEncoder(), tmp_path / "bundle", encode=ENCODE)
    return tmp_path / "bundle"


def read_on(retriever: Retriever, stop: threading.Event, seen: list[str], problems: list[str]) -> None:
    """Search, and reload new states, until stopped; every answer must be of one state."""
    query = vectors_of(["twin"])
    try:
        while not stop.wait(0.005):
            retriever = retriever.latest()
            found = retriever.search_vectors(query, 20)
            rows = [row for row in found.rows[0].tolist() if row >= 0]
            exact = FlatIndex(retriever.vectors).search(query, 20, retriever.bundle.is_live)[0]
            np.testing.assert_allclose(found.scores, exact, atol=1e-5)
            prices = retriever.bundle.attributes.column("price")
            twins = {prices[row].as_py() for row in rows if retriever.items[row] in ("left", "right")}
            if len(twins) != 1:
                problems.append(f"a mixture of states: {twins}")
            seen.append(retriever.bundle.manifest.generation)
    except Exception as error:
        problems.append(repr(error))


def test_readers_see_no_failure_and_no_mixture_through_a_hundred_swaps(root: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(root, ToyEncoder())
    files = len(os.listdir("/proc/self/fd"))
    stop, problems, seen = threading.Event(), list[str](), [list[str]() for _ in range(READERS)]
    threads = [threading.Thread(target=read_on, args=(retriever, stop, seen[n], problems)) for n in range(READERS)]
    for thread in threads:
        thread.start()
    grown = []
    for number in range(1, SWAPS + 1):
        both = {"left": (f"twin left {number}", number), "right": (f"twin right {number}", number)}
        upsert(root, catalogue(tmp_path, both | {f"new-{number}": (f"twin {number}", 0)}), ToyEncoder(), encode=ENCODE)
        delete(root, [f"new-{number}"])
        compact(root)
        grown.append(resident())
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert all(len(set(generations)) > SWAPS / 4 for generations in seen)
    assert all(generations == sorted(generations) for generations in seen)  # nobody goes back
    del retriever
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert max(grown[-20:]) < max(grown[20:40]) + 30e6
    assert len(generations(root)) <= 4
