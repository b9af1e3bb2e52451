"""The main job on the shipped sample, as tables and as one page with the pictures.

    python -m scripts.quickstart [--out demo]

Builds a bundle with the pocket encoder, searches it by text, by picture and by item, learns from the simulated users,
and recommends to some of them before and after reranking.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from indexing import Catalogue, build_bundle, index_words, load_encoder
from indexing.sample import interactions_path, items_path
from retrieval import Candidates, Interactions, Retriever, evaluate, fit
from retrieval.batch.in_memory import relevant_items, users_of
from retrieval.interactions.histories import hold_out_last
from scripts.demo_page import Ranked, Section, page
from scripts.drawings import Drawing, read_drawings

TEXTS = ("a red apple", "sailing boat on the sea", "an old telephone", "birthday party", "wild animal with stripes")
ASKED = ("elephant", "croissant", "violin-colour", "two-sailboats-in-sunset")  # titles not trained on
SHOWN = 8
DEPTH = 200
HELD_OUT = 0.2
console = Console()


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the bundle and the page")
    folder: Path = parser.parse_args().out
    started = perf_counter()
    drawings = read_drawings()
    build(folder / "bundle")
    frozen = Retriever.open(folder / "bundle")
    sections = [*searches(frozen, drawings), *recommendations(folder / "bundle", frozen, drawings)]
    path = folder / "index.html"
    path.write_text(page(sections, list(drawings.values())), "utf-8")
    console.print(f"\nDone in {perf_counter() - started:.0f} s. The same with pictures: {path.resolve()}")
    console.print("Ask it yourself, in a browser:")
    console.print(f"  commonspace serve {folder / 'bundle'} --catalogue {items_path()}", soft_wrap=True)


def build(folder: Path) -> None:
    """Build the sample's bundle; what an earlier run encoded is kept."""
    items, encoder = Catalogue.from_parquet(items_path()), load_encoder("pocket")
    bundle = build_bundle(items, encoder, folder, progress=True, drop_learned=True)  # of an earlier demo
    index_words(folder)
    counts, index = bundle.manifest.counts, bundle.manifest.index
    console.print(f"{bundle.manifest.items} drawings, {counts['embeddings']} embeddings, recall@10 {index['recall']}")


def searches(retriever: Retriever, drawings: Mapping[str, Drawing]) -> Iterator[Section]:
    """Show text to item, image to item and item to item."""
    pictures = [drawings[item_id].picture for item_id in ASKED]
    yield section("Text to item", retriever.search_texts(TEXTS, SHOWN).named(TEXTS), drawings)
    yield section("Image to item", retriever.search_images(pictures, SHOWN).named(ASKED), drawings)
    yield section("Item to item", retriever.similar_items(ASKED, SHOWN), drawings)


def recommendations(folder: Path, frozen: Retriever, drawings: Mapping[str, Drawing]) -> Iterator[Section]:
    """Learn from the simulated users, and show lists before and after reranking, with what they are worth."""
    past, future = hold_out_last(Interactions.from_parquet(interactions_path()), HELD_OUT)
    report = fit(folder, past)
    if not report.published:
        raise SystemExit(f"nothing was published: {report.refused}")
    console.print(f"\nLearned from {len(past)} simulated interactions; published: {', '.join(report.published)}")
    learned = Retriever.open(folder)
    known = users_of(past, learned.items)
    histories, wanted = known.histories, relevant_items(future, known.histories, known.min_relevance)
    users = list(histories)
    for part, why in report.notes.items():
        console.print(f"{part}: {why}")
    shown = {"what fit published": learned.recommend(past, DEPTH, stages="retrieval", user_ids=users)}
    if "reranker" in report.published:
        shown["and reranked"] = learned.recommend(past, DEPTH, user_ids=users)
    lists = {"frozen vectors": frozen.recommend(past, DEPTH, user_ids=users), **shown}
    show_quality(lists, [wanted.get(user, []) for user in histories])
    for title, candidates in shown.items():
        yield section(f"History to recommendations, {title}", candidates.take([0, 1, 2]).top(SHOWN), drawings)


def show_quality(lists: Mapping[str, Candidates], wanted: Sequence[Sequence[str]]) -> None:
    """Print what each kind of list is worth on the interactions that were held out."""
    measures = ("recall@10", "ndcg@10")
    table = Table("", *measures, title=f"{HELD_OUT:.0%} of each simulated user held out", title_justify="left")
    for name, candidates in lists.items():
        result = evaluate(candidates, wanted, measures=measures)
        intervals = (result.interval(measure) for measure in measures)
        values = zip((result.means[measure] for measure in measures), intervals, strict=True)
        table.add_row(name, *(f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, (low, high) in values))
    console.print(table)


def section(title: str, candidates: Candidates, drawings: Mapping[str, Drawing]) -> Section:
    """Print ranked lists as tables, and give them for the page."""
    console.print(f"\n[bold]{title}[/bold] (* title not trained on)")
    lists = []
    for query_id, history, hits in zip(candidates.query_ids, candidates.histories, candidates, strict=True):
        past = [drawings[candidates.items[row]] for row in history[-6:]]
        asked = past or [drawings[item_id] for item_id in (query_id,) if item_id in drawings]
        name = drawings[query_id].title if query_id in drawings else query_id
        remark = "last of the history: " + ", ".join(drawing.title for drawing in past) if past else ""
        found = [(drawings[hit.item_id], hit.score) for hit in hits]
        lists.append(Ranked(name, remark, asked, found))
        table = Table("rank", "drawing", "score", title=f"{name} {remark}".strip(), title_justify="left")
        for rank, (drawing, score) in enumerate(found, start=1):
            table.add_row(str(rank), drawing.title + " *" * drawing.unseen, f"{score:.3f}")
        console.print(table)
    return Section(title, lists)


if __name__ == "__main__":
    main()
