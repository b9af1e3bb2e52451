"""Which encoder suits one's own data: several are measured on the same items, each kept as soon as it is done."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.sampling import contents, draw
from indexing.encoders import Encoder, load_encoder
from indexing.errors import InputError
from indexing.filesystem.locks import writing
from retrieval.evaluation.encoder_benchmark.labels import find_label, label_column
from retrieval.evaluation.encoder_benchmark.measures import Estimate, estimate
from retrieval.evaluation.encoder_benchmark.trial import DIRECTIONS, Begun, EncoderResult, K, RankConfig, Trial

__all__ = ["EncoderRanking", "EncoderResult", "RankConfig", "rank_encoders"]


@dataclass(frozen=True)
class EncoderRanking:
    """Encoders in order, and those that failed.

    Attributes:
        results: The best first.
        failed: For each name of an encoder that could not be measured the reason.
        items: How many items were looked at.
        label: The column that probes told, if any.
    """

    results: tuple[EncoderResult, ...]
    failed: dict[str, str]
    items: int
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return {
            "items": self.items,
            "label": self.label,
            "results": [result.to_json() for result in self.results],
            "failed": dict(self.failed),
        }


def rank_encoders(
    catalogue: Catalogue,
    names: Sequence[str],
    folder: Path | str,
    *,
    config: RankConfig | None = None,
    load: Callable[[str], Encoder] = load_encoder,
    begun: Begun = lambda name, contents: nullcontext(),  # noqa: ARG005
) -> EncoderRanking:
    """Measure encoders on a catalogue; one that fails is reported and the others go on.

    A result is kept in the folder as soon as it is complete, named after the encoder's fingerprint and all that it
    was measured on, beside the vectors: what is there already is neither encoded nor measured again.

    Args:
        catalogue: The items, of which a sample is drawn.
        names: What `load_encoder` takes.
        folder: Where vectors and results are and go.
        config: On what they are compared.
        load: Gives an encoder by its name.
        begun: Called for each encoder that is to be measured, with the number of its contents; gives a context, and
            in it a function to be told of progress.

    Raises:
        InputError: Without names, or for a label that is none.
        BundleLockedError: When another process is writing to the folder.
    """
    config, root = config or RankConfig(), Path(folder)
    if not names:
        raise InputError("there is no encoder to rank; name some, for example pocket and open_clip:ViT-B-32/openai")
    drawn = draw(catalogue, config.sample, seed=config.seed)
    held, attributes = contents(drawn), drawn.attributes
    label = (
        find_label(attributes, drawn.columns.text) if config.label is None else label_column(attributes, config.label)
    )
    trial = Trial(drawn, held, label, config, root)
    results: list[EncoderResult] = []
    failed: dict[str, str] = {}
    with writing(root):
        for name in dict.fromkeys(names):
            try:
                results.append(trial.result(name, load(name), begun))
            except Exception as error:  # whatever a model or its library raises, the others are still wanted
                failed[name] = " ".join(str(error).split()) or type(error).__name__
    ordered = sorted(results, key=lambda result: (*result.order, result.name))
    compared = [replace(one, against_first=_difference(ordered[0], one, config.seed)) for one in ordered]
    return EncoderRanking(tuple(compared), failed, len(held.item_ids), label.name if label else None)


def _difference(first: EncoderResult, other: EncoderResult, seed: int) -> Estimate | None:
    """Give recall@10 minus that of the first, over the same pairs, with its interval."""
    if other is first or not first.retrieval or first.retrieval["rows"] != other.retrieval.get("rows"):
        return None
    found = [
        np.mean([np.array(one.retrieval[way]["ranks"]) <= K for way in DIRECTIONS], axis=0) for one in (other, first)
    ]
    return estimate(found[0] - found[1], seed=seed)
