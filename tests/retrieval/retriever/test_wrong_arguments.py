"""Whatever a public verb is given, what it raises is of the project's errors, and what nothing takes is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import Catalogue, build_bundle
from indexing.arrays import Vectors
from indexing.encoders.base import EncoderInfo
from indexing.errors import CommonspaceError
from indexing.media.files import Modality
from retrieval import Impressions, Interactions, Profiles, Query, Retriever, evaluate, fit
from retrieval.postprocess.rules import Boost
from tests.groups import COUNT, SIZE, SMALL, STAGE, walks
from tests.public_verbs import THING, Verb, verbs, wrong_values
from tests.toy import COLOURS, ToyEncoder, picture

# What takes anything at all: ids are looked up, whatever they are.
TAKES_ALL = {("ItemIds.row", "item_id"), ("ItemIds.suggestion", "item_id")}


class Hearing(ToyEncoder):
    """Hears every sound alike."""

    audio_rate = 8000

    def __init__(self) -> None:
        super().__init__()
        self.info = EncoderInfo("toy", self.info.dim, (*self.info.modalities, Modality.AUDIO), self.info.fingerprint)

    def encode_audio(self, sounds: list[Vectors]) -> Vectors:
        return self.encode_texts(["sound"] * len(sounds))


def shop(folder: Path, count: int) -> Catalogue:
    """A few things of a colour each, some of which have a picture."""
    names = [list(COLOURS)[row % 4] for row in range(count)]
    columns = {
        "item_id": [f"i{row:03}" for row in range(count)],
        "title": [f"{name} thing {row}" for row, name in enumerate(names)],
        "price": list(range(count)),
        "shelf": [f"shelf {row // SIZE}" for row in range(count)],
    }
    pictures = {"image": [picture(name) for name in names]} if count == COUNT else {}
    pq.write_table(pa.table(columns | pictures), folder / f"items-{count}.parquet")
    return Catalogue.from_parquet(folder / f"items-{count}.parquet")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Right values by the name of the parameter, or by that of the verb and of the parameter; instances by class."""
    folder = tmp_path_factory.mktemp("shop")
    root, log, few = folder / "bundle", walks(), shop(folder, 4)
    build_bundle(shop(folder, COUNT), Hearing(), root)
    assert "reranker" in fit(root, log, replace(SMALL, reranker=STAGE)).published
    retriever = Retriever.load(root, Hearing())
    found = retriever.recommend([["i001", "i002"], ["i050"]], 20)
    profiles = pa.table({"user_id": ["a", "b"], "age": [1, 2]})
    shown = pa.table({"user_id": ["a", "b"], "item_id": ["i001", "i002"], "position": [1, 2], "timestamp": [1, 2]})
    return {
        "Bundle": retriever.bundle,
        "Bundle.until.last": 0,
        "Candidates": found,
        "Catalogue": few,
        "Columns": few.columns,
        "Evaluation": evaluate(found, [["i001"], ["i003"]], measures=["recall@10"]),
        "Impressions": Impressions.from_arrow(
            pa.table({"user_id": ["a"], "item_id": ["i001"], "position": [1], "timestamp": [1]})
        ),
        "Impressions.counts_for.user_id": "a",
        "Impressions.knows.user_id": "a",
        "Impressions.counts_for.at": 1,
        "Impressions.counts_for.days": 7.0,
        "Candidates.folded_ids.query": 0,
        "Candidates.stage_of.query": 0,
        "ItemIds": found.items,
        "Profiles": Profiles.from_arrow(profiles),
        "Retriever": retriever,
        "bundle": root,
        "root": root,
        "folder": folder,
        "out": folder / "out",
        "source": folder,
        "path": root,
        "Retriever.bundle": retriever.bundle,
        "carry_over.bundle": retriever.bundle,
        "Columns.check.source": "s",
        "catalogue": few,
        "encoder": Hearing(),
        "spec": "pocket",
        "dataset": [],
        "data": Hearing().info.to_json(),
        "updates": [{"item_id": "i001", "price": 3}],
        "item_id": "i001",
        "item_ids": ["i001"],
        "baskets": [["i001", "i002"]],
        "size": 10,
        "text": ("title",),
        "image": None,
        "schema": few.attributes.schema,
        "name": "golden.safetensors",
        "texts": ["red"],
        "images": [picture("red")],
        "sounds": [np.ones(8000, np.float32)],
        "k": 3,
        "positions": [0],
        "Retriever.search.queries": ["red"],
        "Retriever.explain_queries.queries": ["red", "blue"],
        "Query.parts": Query.text("red").parts,
        "Query.text.text": "red",
        "Query.image.image": picture("red"),
        "Query.audio.sound": np.ones(8000, np.float32),
        "Query.vector.vector": [1.0, 2.0],
        "more": found,
        "vectors": retriever.vectors[:2],
        "histories": [["i001", "i002"], ["i050"]],
        "candidates": found,
        "Retriever.verdicts.candidates": retriever.search_texts(["red thing"], 20),
        "Retriever.user_queries.histories": [np.array([1, 2]), np.array([3])],
        "profiles": None,
        "count": 2,
        "weights": {"price": 0.2},
        "rules": [Boost("price > 3", by=0.2)],
        "user_ids": ["a"],
        "stage": "new",
        "order": np.tile(np.arange(20), (2, 1)),
        "scores": found.scores,
        "rows": found.rows,
        "items": found.items,
        "queries": found.queries,
        "query_ids": ["a", "b"],
        "relevant": [["i001"], ["i002"]],
        "measure": "recall@10",
        "interactions": Interactions.from_arrow(log.table.slice(0, 30)),
        "table": log.table,
        "Interactions": log,
        "mask": np.ones(len(log), np.bool_),
        "Catalogue.from_arrow.table": few.attributes,
        "Catalogue.from_pandas.frame": few.attributes.to_pandas(),
        "Interactions.from_pandas.frame": log.table.to_pandas(),
        "Impressions.from_arrow.table": shown,
        "Impressions.from_pandas.frame": shown.to_pandas(),
        "Profiles.from_arrow.table": profiles,
        "Profiles.from_pandas.frame": profiles.to_pandas(),
    }


@pytest.mark.parametrize("verb", list(verbs()), ids=lambda verb: verb.name)
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
@pytest.mark.filterwarnings("ignore::retrieval.retriever.query_inputs.LaterInteractionsWarning")  # times=3 is right
@pytest.mark.filterwarnings("ignore::retrieval.interactions.context.ContextWarning")  # {"a": 1} is a context
@pytest.mark.filterwarnings("ignore::retrieval.fitting.publish_gate.SmallerLogWarning")  # it is
def test_a_wrong_argument_is_refused_by_an_error_of_the_project(
    good: dict[str, Any], verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # "x" is a path too
    known = {name: good.get(f"{verb.name}.{name}", good.get(name)) for name, must in verb.parameters.items() if must}
    lacking = [name for name in known if name not in good and f"{verb.name}.{name}" not in good]
    assert not lacking, f"say in the fixture `good` what {verb.name} takes for {lacking}"
    faults = []
    for parameter in verb.parameters:
        for value in wrong_values():
            self = [] if verb.of is None else [good[verb.of]]
            call = f"{parameter}={value!r:.60}"
            try:
                given = verb.function(*self, **(known | {parameter: value}))
                if isinstance(given, Iterator):
                    list(given)
                if value is THING and (verb.name, parameter) not in TAKES_ALL:
                    faults.append(f"{call} was accepted")
            except CommonspaceError as error:
                if not str(error):
                    faults.append(f"{call} was refused without a word")
            except Exception as error:
                faults.append(f"{call}: {error!r:.100}")
    assert not faults, "\n".join([verb.name, *faults])


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb.of == "Retriever"], ids=lambda verb: verb.name)
def test_what_is_right_is_taken(good: dict[str, Any], verb: Verb) -> None:
    """Else the test above would try nothing but the first check of a verb."""
    known = {name: good.get(f"{verb.name}.{name}", good.get(name)) for name, must in verb.parameters.items() if must}
    given = verb.function(good["Retriever"], **known)
    assert (given is None) == (verb.name == "Retriever.new_queries")
