"""The films of MovieLens 100k as a bundle, and what `fit` makes of it: what benchmarks of quality ask.

A bundle is built once, with vectors of vectors.parquet for texts and posters, with titles, descriptions, genres and
years, and with vectors of the title alone and of a second poster, by the pocket encoder. Each fit has a copy of it,
the default configuration, and a seed. Users are answered by `Retriever.recommend`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Mask
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import InputError
from retrieval import Candidates, FitConfig, FitReport, Interactions, Profiles, Retriever, fit
from retrieval.evaluation.splits.queries import EvaluationQueries
from scripts.benchmarks.encode.products import opened

STAGES: dict[str, Literal["all", "retrieval"]] = {"two stages": "all", "retrieval alone": "retrieval"}
SHARE_LOST = 0.3
TEXT, IMAGE = "text_vector", "image_vector"
_TEXTS = ("title", "description")


@dataclass(frozen=True)
class Content:
    """What is known of films: all of it, or less.

    Attributes:
        text: Titles and descriptions, with their vectors.
        image: Vectors of both posters.
        attributes: Genres and years.
        lost: ``"text_vector"`` or ``"image_vector"``: 30 % of the films (seed 0) are without these texts or posters.
    """

    text: bool = True
    image: bool = True
    attributes: bool = True
    lost: str = ""


FULL = Content()


def film_bundle(data: Path, folder: Path, content: Content = FULL, pocket: Path | None = None) -> Path:
    """Build the bundle in a folder, and give where it is.

    Args:
        data: Folder with items.parquet and vectors.parquet.
        folder: Where to.
        content: What is known of films.
        pocket: File that keeps what the pocket encoder made, which takes a minute, for the next bundle.
    """
    table, further = folder / "items.parquet", pocket or folder / "pocket.parquet"
    if not further.exists():
        pq.write_table(pa.table(_by_pocket(data)), further)
    pq.write_table(film_table(data, pq.read_table(further), content), table)
    build_bundle(Catalogue.from_parquet(table), load_encoder("vectors:"), folder / "films")
    return folder / "films"


def film_table(data: Path, further: pa.Table, content: Content = FULL) -> pa.Table:
    """Give a line a film: its id, and what is known of it; further vectors among that."""
    names = ["item_id", *_TEXTS, "genres", "year"]
    items = pq.read_table(data / "items.parquet", columns=names)
    vectors = pq.read_table(data / "vectors.parquet")
    line = {item_id: number for number, item_id in enumerate(vectors["item_id"].to_pylist())}
    of_item = pa.array([line.get(item_id) for item_id in items["item_id"].to_pylist()])
    columns = {name: items[name] for name in names} | {name: vectors[name].take(of_item) for name in (TEXT, IMAGE)}
    columns |= {name: further[name] for name in further.column_names}
    lost = np.random.default_rng(0).random(len(items)) < SHARE_LOST
    texts, images = (*_TEXTS, TEXT, "title_vector"), (IMAGE, "image_alt_vector")
    for group, kept in ((texts, content.text), (images, content.image), (("genres", "year"), content.attributes)):
        for name in group:
            if not kept:
                del columns[name]
            elif content.lost in group:
                columns[name] = _without(columns[name], lost)
    return pa.table(columns)


def _by_pocket(data: Path) -> dict[str, pa.Array]:
    """Embed titles, and second posters where there are some."""
    encoder = load_encoder("pocket")
    items = pq.read_table(data / "items.parquet")
    titles = encoder.encode_texts(items["title"].to_pylist()).tolist()
    found = {"title_vector": pa.array(titles, pa.list_(pa.float32()))}
    if "image_alt" in items.column_names:
        given = items["image_alt"].to_pylist()
        pictures = [None if one is None else opened(one) for one in given]
        vectors = iter(encoder.encode_images([one for one in pictures if one is not None]).tolist())
        seconds = [None if one is None else next(vectors) for one in pictures]
        found["image_alt_vector"] = pa.array(seconds, pa.list_(pa.float32()))
    return found


def _without(column: Any, lost: Mask) -> pa.Array:  # noqa: ANN401 - an array of Arrow, in chunks or not
    values = [None if gone else value for gone, value in zip(lost.tolist(), column.to_pylist(), strict=True)]
    return pa.array(values, column.type)


def seeded(config: FitConfig, seed: int) -> FitConfig:
    """Give all that is drawn another seed."""
    behaviour, head = config.behaviour, config.reranker
    if behaviour is not None and behaviour.next_items is not None:
        behaviour = replace(behaviour, next_items=replace(behaviour.next_items, seed=seed))
    if behaviour is not None and behaviour.attention is not None:
        behaviour = replace(behaviour, attention=replace(behaviour.attention, seed=seed))
    if head is not None:
        head = replace(head, neural=replace(head.neural, seed=seed), trees=replace(head.trees, seed=seed))
    adapter = None if config.adapter is None else replace(config.adapter, seed=seed)
    return replace(config, adapter=adapter, behaviour=behaviour, reranker=head)


def quick(config: FitConfig) -> FitConfig:
    """Learn as little as can be, to see whether a benchmark runs at all."""
    behaviour, head = config.behaviour, config.reranker
    if behaviour is not None and behaviour.next_items is not None:
        behaviour = replace(behaviour, max_ease_items=300, next_items=replace(behaviour.next_items, epochs=1))
    if head is not None:
        neural, sources = (
            replace(head.neural, ensemble_size=1, epochs=1, min_steps=1),
            replace(head.sources, max_ease_items=300),
        )
        head = replace(head, neural=neural, sources=sources, candidates_per_source=20)
    return replace(config, adapter=None, behaviour=behaviour, reranker=head)


class Fitted(NamedTuple):
    """A bundle that has learned."""

    retriever: Retriever
    report: FitReport


@contextmanager
def fitted(
    bundle: Path, past: Interactions, config: FitConfig, seed: int, profiles: Profiles | None = None
) -> Iterator[Fitted]:
    """Fit a copy of a bundle, open it, and remove it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "films")
        shutil.copytree(bundle, copy)
        report = fit(copy, past, seeded(config, seed), profiles=profiles)
        yield Fitted(Retriever.open(copy), report)


def answers(
    bundle: Path,
    past: Interactions,
    asked: EvaluationQueries,
    times: int | None = None,
    config: FitConfig | None = None,
    seed: int = 0,
) -> dict[str, Candidates]:
    """Fit with the default configuration, and answer by both stages and by retrieval alone.

    Args:
        bundle: That has learned nothing; it stays as it is.
        past: What is learned from, and the history of each user.
        asked: The users.
        times: When they ask, in seconds since 1970; each just after the last of the history when None.
        config: How to learn.
        seed: Of all that is drawn.
    """
    with fitted(bundle, past, config or FitConfig(), seed) as made:
        return {name: recommended(made.retriever, past, asked, times, stages=one) for name, one in STAGES.items()}


def recommended(
    retriever: Retriever,
    past: Interactions,
    asked: EvaluationQueries,
    times: int | None = None,
    k: int = 20,
    *,
    profiles: Profiles | None = None,
    **wishes: Any,  # noqa: ANN401 - whatever `recommend` takes beside
) -> Candidates:
    """Ask by the log; who is not in it asks with an empty history. Rows are those of the catalogue of the questions.

    Where `fit` published nothing that answers users without a history, their lists are empty, and count as such.
    """
    there = set(past.table["user_id"].unique().to_pylist())
    known = np.array([user in there for user in asked.user_ids])
    rows, scores = np.full((len(asked), k), -1, np.int64), np.full((len(asked), k), -np.inf, np.float32)
    mine = asked.items.rows(list(retriever.items))
    for some in (known, ~known):
        if not (lines := np.flatnonzero(some).tolist()):
            continue
        users = [asked.user_ids[line] for line in lines]
        more = wishes if profiles is None else wishes | {"profiles": profiles.of(users)}
        given: Any = past if some is known else [[]] * len(users)
        try:
            found = retriever.recommend(given, k, user_ids=users, times=times, **more)
        except InputError as error:  # nothing was published that could answer them: their lists are empty
            if some is known:
                raise
            print(f"users without a history get nothing: {error}", flush=True)
            continue
        width = found.rows.shape[1]
        rows[lines, :width] = np.where(found.rows < 0, -1, mine[found.rows])
        scores[lines, :width] = found.scores
    return asked.candidates(rows, scores, "served")


def report_json(report: FitReport) -> dict[str, Any]:
    """Give what a benchmark keeps of a report."""
    return {
        "published": list(report.published),
        "refused": report.refused,
        "notes": report.notes,
        "ndcg of fit": report.ndcg,
        "users of fit": report.users,
    }
