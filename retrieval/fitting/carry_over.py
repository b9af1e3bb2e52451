"""What was learned, taken over to the items of a bundle that is built again."""

import numpy as np

from indexing.bundle.bundle import Bundle
from indexing.bundle.index_files import held_out_queries
from indexing.bundle.publish import Carried, Items
from indexing.runtime.arguments import check_kind
from retrieval.fitting.fitted_model import LEARNED
from retrieval.models.behaviour import BEHAVIOUR
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import carried_over
from retrieval.retriever.learned_parts import LearnedParts, behaviour_queries


def carry_over(bundle: Bundle, items: Items) -> Carried:
    """Take what a bundle has learned over to other items, for `indexing.build_bundle`.

    An item that the bundle has keeps what users taught of it; any other is predicted from its content and attributes,
    as one that is added.

    Args:
        bundle: The bundle in force, changes included.
        items: Those of the new generation.
    """
    check_kind(bundle, Bundle, "bundle", "give one opened with Bundle.open")
    check_kind(items, Items, "items", "build_bundle gives them")
    learned, known = LearnedParts(bundle), len(bundle.generation.items)
    rows = np.array([-1 if (row := bundle.items.row(item_id)) is None else row for item_id in items.ids], np.int64)
    block = learned.block(bundle)
    if block is not None and learned.description is not None:
        block = block.later(learned.description.of(items.frozen, items.attributes), rows)
    content = learned.project(items.frozen)
    vectors = content if block is None else block.joined(content)
    queries = held_out_queries(items.frozen, content, items.sample)
    if block is not None:
        queries = behaviour_queries(ItemSpace(vectors, learned.dim, learned.users, block), queries)
    files = {name: bundle.read(name) for name in LEARNED if bundle.has(name)}
    if block is not None:
        files[BEHAVIOUR] = block.to_bytes()
    if RERANKER in files:
        later = np.concatenate([np.arange(known), bundle.origins]) if bundle.batches else np.arange(known)
        origins = np.where(rows >= 0, later[rows], -1)
        kept = np.arange(known + len(rows)) >= known
        files[RERANKER] = carried_over(files[RERANKER], origins, kept)
    count = {"items": int((rows >= 0).sum()), "new items": int((rows < 0).sum())}
    told = dict(bundle.manifest.learned) | {"carried_over": count}
    return Carried(vectors, queries, files, told, bundle.manifest.features)
