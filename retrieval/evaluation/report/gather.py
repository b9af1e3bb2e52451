"""Collects what a report shows, from a retriever and the values that were measured."""

from collections.abc import Collection, Mapping, Sequence

from indexing.catalogue.catalogue import Catalogue
from retrieval.candidates import Candidates
from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.report.examples import cards_of, examples_of
from retrieval.evaluation.report.figures import curves
from retrieval.evaluation.report.item_map import MODALITY, map_of
from retrieval.evaluation.report.report import Report, Sliced
from retrieval.postprocess.titles import titles_of
from retrieval.retriever.retriever import Retriever


def described(retriever: Retriever, candidates: Candidates) -> dict[str, str]:
    """Say in words what answered: the bundle, its encoder, what it learned, and what ordered the lists."""
    bundle = retriever.bundle
    encoder = bundle.manifest.encoder
    return {
        "bundle": f"{bundle.root.resolve().name}, generation {bundle.manifest.generation}",
        "items": str(int(bundle.alive.sum())),
        "encoder": f"{encoder.name}, {encoder.dim} dimensions",
        "learned": ", ".join(bundle.manifest.features) or "nothing",
        "ordered by": f"{candidates.stage}, lists of {candidates.rows.shape[1]}",
    }


def gather(
    retriever: Retriever,
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    evaluation: Evaluation,
    *,
    title: str = "Evaluation",
    about: Mapping[str, str] | None = None,
    catalogue: Catalogue | None = None,
    slices: Sequence[Sliced] = (),
    warm: Collection[str] | None = None,
    measure: str = "",
    colour_by: str = MODALITY,
    seed: int = 0,
) -> Report:
    """Gather a report; `report_page` makes a page of it.

    Args:
        retriever: What found the candidates.
        candidates: What was evaluated.
        relevant: For each query the item_ids that should be found.
        evaluation: What was measured of just these.
        title: The heading.
        about: More on what was evaluated and how, by name.
        catalogue: Where pictures of the items are; titles only when None.
        slices: Means over some of the queries.
        warm: The items that somebody touched in what was learned from.
        measure: By which the best and the worst queries are chosen; the first that was measured when empty.
        colour_by: What colours the map: ``modality`` or an attribute.
        seed: Of everything that is drawn by chance.
    """
    bundle, titles = retriever.bundle, titles_of(retriever.bundle)
    index = bundle.manifest.index
    examples = examples_of(
        retriever,
        candidates,
        relevant,
        evaluation,
        measure=measure or next(iter(evaluation.per_query)),
        warm=warm,
        seed=seed,
    )
    names = [titles.get(item_id) or item_id for item_id in retriever.items]
    space = map_of(bundle, retriever.vectors, names, colour_by=colour_by, seed=seed)
    return Report(
        title=title,
        about={**(about or {}), **described(retriever, candidates), "seed": str(seed)},
        evaluation=evaluation,
        slices=slices,
        index=index,
        curves=curves(index),
        map=space,
        examples=examples,
        cards=cards_of(sorted(examples.item_ids()), titles, catalogue),
    )
