"""Collect the content of a report from a retriever and an evaluation."""

from collections.abc import Collection, Mapping, Sequence

from indexing.catalogue.catalogue import Catalogue
from retrieval.candidates import Candidates
from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.report.examples import cards_of, examples_of
from retrieval.evaluation.report.figures import curves
from retrieval.evaluation.report.item_map import MODALITY, make_map
from retrieval.evaluation.report.report import Report, Sliced
from retrieval.postprocess.titles import titles_of
from retrieval.retriever.retriever import Retriever


def describe_run(retriever: Retriever, candidates: Candidates) -> dict[str, str]:
    """Describe the bundle, its encoder, its trained parts, and the stage that ranked the lists."""
    bundle = retriever.bundle
    encoder = bundle.manifest.encoder
    return {
        "bundle": f"{bundle.root.resolve().name}, generation {bundle.manifest.generation}",
        "items": str(int(bundle.is_live.sum())),
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
        retriever: The retriever of the candidates.
        candidates: The candidates that were evaluated.
        relevant: For each query the item_ids that are relevant.
        evaluation: The evaluation of these candidates.
        title: The heading.
        about: More about the evaluation: names and values.
        catalogue: Source of the images of items; if None, only titles are shown.
        slices: Means over slices of the queries.
        warm: The items with interactions in the training data.
        measure: The measure that selects the best and the worst queries; the first one if empty.
        colour_by: What colours the map: ``modality`` or an attribute.
        seed: For all random choices.
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
    item_map = make_map(bundle, retriever.vectors, names, colour_by=colour_by, seed=seed)
    return Report(
        title=title,
        about={**(about or {}), **describe_run(retriever, candidates), "seed": str(seed)},
        evaluation=evaluation,
        slices=slices,
        index=index,
        curves=curves(index),
        map=item_map,
        examples=examples,
        cards=cards_of(sorted(examples.item_ids()), titles, catalogue),
    )
