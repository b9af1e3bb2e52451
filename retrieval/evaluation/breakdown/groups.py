"""Who and what to tell apart: groups of users by their past, and of items by past, modalities and attributes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.media.files import Modality
from retrieval.evaluation.beyond_accuracy.novelty import Past
from retrieval.features.column_encoders import values_in
from retrieval.filters.values import attribute_type
from retrieval.interactions.interactions import Interactions

Groups = dict[str, dict[str, frozenset[str]]]
"""For each name, the ids of each value."""


def user_groups(past: Interactions) -> Groups:
    """Tell users of a log apart by how much they did: ``history`` is ``light`` or ``heavy``.

    Heavy are those with more different items than the median user. Who is not in the log is in neither, and becomes a
    slice of their own.
    """
    counted = past.table.group_by("user_id").aggregate([("item_id", "count_distinct")])
    names = np.array(counted["user_id"].to_pylist(), np.object_)
    lengths = counted["item_id_count_distinct"].to_numpy()
    heavy = lengths > (np.median(lengths) if len(lengths) else 0)
    return {"history": {"light": frozenset(names[~heavy]), "heavy": frozenset(names[heavy])}}


def item_groups(bundle: Bundle, past: Interactions, *, attributes: Sequence[str] = (), popular: float = 0.5) -> Groups:
    """Tell the items of a bundle apart.

    - ``item``: ``warm`` with, ``cold`` without interactions in the past;
    - ``popularity``: ``popular``, the fewest items that together hold a share of the past interactions; ``tail``, the
      other warm ones;
    - for each modality that any item has, as ``image``: ``with image`` or ``without image``;
    - for each attribute asked for, its values; an item with several values is in each.

    Args:
        bundle: The opened bundle.
        past: What users did before what is to be found.
        attributes: Names of attributes; one with numbers is best made into ranges first.
        popular: The share of the interactions that makes the popular items, between 0 and 1.

    Raises:
        InputError: For a senseless share, or an empty past.
        FilterError: For an attribute that the bundle lacks.
    """
    if not 0 < popular < 1:
        raise InputError(f"a share of {popular} makes no popular items; give a number between 0 and 1, such as 0.5")
    names = np.array(list(bundle.items), np.object_)
    alive = bundle.alive

    def group(**masks: NDArray[np.bool_]) -> dict[str, frozenset[str]]:
        return {value.replace("_", " "): frozenset(names[mask & alive]) for value, mask in masks.items()}

    counts = Past.of(past, bundle.items).interactions
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), np.bool_)
    # A share of 0.07 of 100 is a hair above 7 in floating point, and seven are enough.
    head[order] = before < popular * counts.sum() - 1e-9
    groups: Groups = {
        "item": group(warm=counts > 0, cold=counts == 0),
        "popularity": group(popular=head & (counts > 0), tail=~head & (counts > 0)),
    }
    for modality in bundle.modality_vectors.modalities:
        exists = bundle.modality_vectors.exists[Modality(modality)]
        groups[modality] = group(**{f"with_{modality}": exists, f"without_{modality}": ~exists})
    for attribute in attributes:
        groups[attribute if attribute not in groups else f"attribute {attribute}"] = _by_value(bundle, attribute)
    return groups


def _by_value(bundle: Bundle, attribute: str) -> dict[str, frozenset[str]]:
    attribute_type(bundle.attributes, attribute)  # says which there are, when there is no such
    table = bundle.attributes.select(["item_id", attribute]).filter(pa.array(bundle.alive))
    members: dict[str, set[str]] = {}
    for line in table.to_pylist():
        for value in values_in(line[attribute]):
            members.setdefault(value, set()).add(line["item_id"])
    return {value: frozenset(members[value]) for value in sorted(members)}
