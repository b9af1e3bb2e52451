"""Rank encoders on the same items; each result is stored as soon as it is complete."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.sampling import Contents, contents, draw
from indexing.encoders import Encoder, load_encoder
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import CatalogueError, InputError, SeparateSpacesError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from indexing.store.encode import EncodeConfig, OnProgress, encode_catalogue, store_vectors
from indexing.store.store import EmbeddingStore
from retrieval.evaluation.encoder_benchmark import measures
from retrieval.evaluation.encoder_benchmark.measures import Estimate, estimate
from retrieval.evaluation.encoder_benchmark.probes import LabelColumn, find_label, label_column

VERSION = 1  # of the measures; results of other versions are not reused
DIRECTIONS = ("text to image", "image to text")
K = 10
TrackProgress: TypeAlias = Callable[[str, int], AbstractContextManager[OnProgress | None]]


@dataclass(frozen=True)
class RankConfig:
    """Settings of `rank_encoders`.

    Attributes:
        sample: Maximum number of items; items with text and image come first.
        label: Column that probes predict; if None, a suitable column is used, if there is one.
        seed: For the sample, the split and the intervals.
        encode: Batches, workers and limits of encoding.
    """

    sample: int = 2000
    label: str | None = None
    seed: int = 0
    encode: EncodeConfig = field(default_factory=EncodeConfig)


@dataclass(frozen=True)
class EncoderResult:
    """The measures of one encoder, as plain JSON values.

    Attributes:
        name: The name it was loaded by.
        fingerprint: Its fingerprint.
        dim: Dimension of its vectors.
        bytes_per_item: Of the stored vectors: two bytes per component and modality.
        items_per_second: Texts and images per second of the model alone; None if all vectors were stored before.
        retrieval: See `measures.retrieval`.
        probes: See `measures.probes`; empty without a label.
        health: Findings by name.
        seconds: Time to encode and measure, without loading.
        against_first: Difference of its recall@10 over both directions from that of the first encoder, over the same
            pairs; None for the first one and if the pairs differ.
    """

    name: str
    fingerprint: str
    dim: int
    bytes_per_item: float
    items_per_second: dict[str, float | None]
    retrieval: dict[str, Any]
    probes: dict[str, Any]
    health: dict[str, Any]
    seconds: float
    against_first: dict[str, float] | None = None

    @property
    def order(self) -> tuple[float, float]:
        """Sort key, best first: recall@10 of both directions, then the best linear probe."""
        recall = [self.retrieval[direction][f"recall@{K}"]["value"] for direction in DIRECTIONS if self.retrieval]
        probed = [block["linear"]["value"] for block in self.probes.get("from", {}).values()]
        return -float(np.mean(recall)) if recall else 0.0, -max(probed, default=0.0)

    def to_json(self, *, ranks: bool = False) -> dict[str, Any]:
        """Return the fields as plain JSON values, the rank of every pair only with ``ranks``."""
        data = asdict(self)
        if not ranks:
            data["retrieval"].pop("rows", None)
            for direction in DIRECTIONS:
                data["retrieval"].get(direction, {}).pop("ranks", None)
        return data


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The data that all encoders are measured on.

    Attributes:
        catalogue: The sample.
        contents: Texts and images of its items.
        label: Their classes, if any.
        config: Seeds and limits.
        folder: Folder of vectors and results.
    """

    catalogue: Catalogue
    contents: Contents
    label: LabelColumn | None
    config: RankConfig
    folder: Path

    def result(self, name: str, encoder: Encoder, track_progress: TrackProgress) -> EncoderResult:
        """Return the stored result of an encoder, or measure and store it.

        Args:
            name: The name it was loaded by.
            encoder: The encoder.
            track_progress: See `rank_encoders`.

        Raises:
            CatalogueError: If no item could be encoded.
        """
        if encoder.info.separate or (isinstance(encoder, VectorsEncoder) and encoder.separates(self.catalogue)):
            raise SeparateSpacesError(
                f"{self.catalogue.source} brings vectors of different spaces: no text can look for a picture, which "
                "encoders are ranked by; give vectors of one model, or build a bundle and evaluate recommendations"
            )
        if isinstance(encoder, VectorsEncoder):
            encoder = encoder.fitted(self.catalogue)
        path = self.folder / f"{encoder.info.fingerprint[:16]}-{self._key}.json"
        if (stored := _read(path)) is not None:
            return replace(stored, name=name)
        num_contents = sum(map(bool, (*self.contents.texts, *self.contents.pictures)))
        with track_progress(name, num_contents) as progress:
            result = self._measured(name, encoder, progress)
        fsops.write_bytes(path, json.dumps(result.to_json(ranks=True)).encode())
        return result

    @property
    def _key(self) -> str:
        """Hash of all that a result depends on except the encoder."""
        label = [self.label.name, *self.label.classes, self.label.of_item.tolist()] if self.label else None
        description = json.dumps([VERSION, self.contents.digest, label, self.config.seed])
        return hashlib.blake2b(description.encode(), digest_size=8).hexdigest()

    def _measured(self, name: str, encoder: Encoder, progress: OnProgress | None) -> EncoderResult:
        start_time, info, seed = perf_counter(), encoder.info, self.config.seed
        store = EmbeddingStore(self.folder / f"work-{info.fingerprint[:16]}", info.dim)
        frozen, speeds = self._encoded(encoder, store, progress)
        embedded = sum(int(exists.sum()) for exists in frozen.exists.values())
        if not embedded:
            reasons = "; ".join(f"{count} times {reason}" for reason, count in store.reasons().most_common(2))
            modalities = ", ".join(info.modalities)
            raise CatalogueError(
                f"none of {len(self.contents.item_ids)} items could be encoded as {modalities}; "
                f"{reasons or 'none has any'}"
            )
        return EncoderResult(
            name=name,
            fingerprint=info.fingerprint,
            dim=info.dim,
            bytes_per_item=round(2 * info.dim * embedded / len(self.contents.item_ids), 1),
            items_per_second=speeds,
            retrieval=measures.retrieval(frozen, self.contents, seed=seed),
            probes=measures.probes(frozen, self.label, seed=seed) if self.label else {},
            health=measures.health(frozen, self.contents, seed=seed),
            seconds=round(perf_counter() - start_time, 2),
        )

    def _encoded(
        self, encoder: Encoder, store: EmbeddingStore, progress: OnProgress | None
    ) -> tuple[ModalityVectors, dict[str, float | None]]:
        """Encode texts, then images, each timed separately; vectors in the store are reused."""
        columns_named = self.catalogue.columns
        no_content = replace(columns_named, text=(), image=None, audio=None, video=None, vectors=(), attributes=())
        parts = {
            Modality.TEXT: replace(no_content, text=columns_named.text) if columns_named.text else None,
            Modality.IMAGE: replace(no_content, image=columns_named.image) if columns_named.image else None,
        }
        frozen, speeds = ModalityVectors({}, {}), dict[str, float | None]()
        if encoder.info.precomputed:
            store_vectors(self.catalogue, store, encoder, progress=progress)
            return _collected(store, self.contents, encoder.info.modalities), speeds
        for modality, columns in parts.items():
            if columns is None or modality not in encoder.info.modalities:
                continue
            _warm_up(encoder, modality)
            catalogue = Catalogue(self.catalogue.reader, columns, self.catalogue.image_dir)
            report = encode_catalogue(catalogue, encoder, store, config=self.config.encode, progress=progress)
            frozen = _collected(store, self.contents, (modality,), frozen)
            seconds = report.seconds["encode"]
            speeds[str(modality)] = round(report.encoded / seconds, 1) if report.encoded and seconds else None
        return frozen, speeds


def _collected(
    store: EmbeddingStore,
    contents: Contents,
    modalities: tuple[Modality, ...],
    earlier: ModalityVectors | None = None,
) -> ModalityVectors:
    """Collect vectors of some modalities from a store, in addition to earlier ones."""
    collected = {modality: store.collect(contents.item_ids, modality) for modality in modalities}
    previous = earlier or ModalityVectors({}, {})
    return ModalityVectors(
        {**previous.vectors, **{modality: vectors for modality, (vectors, _) in collected.items()}},
        {**previous.exists, **{modality: exists for modality, (_, exists) in collected.items()}},
    )


def _warm_up(encoder: Encoder, modality: Modality) -> None:
    """Encode once before timing, since the first batch is slower."""
    if modality is Modality.TEXT:
        encoder.encode_texts(["a first text"])
    else:
        encoder.encode_images([Image.new("RGB", (64, 64))])


def _read(path: Path) -> EncoderResult | None:
    """Read a stored result; None if it is missing or damaged."""
    try:
        return EncoderResult(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


__all__ = ["EncoderRanking", "EncoderResult", "RankConfig", "rank_encoders"]


@dataclass(frozen=True)
class EncoderRanking:
    """Encoders in order, and those that failed.

    Attributes:
        results: The results, best first.
        failed: The reason for each encoder that could not be measured, by name.
        items: Number of items.
        label: The column that probes predict, if any.
    """

    results: tuple[EncoderResult, ...]
    failed: dict[str, str]
    items: int
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
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
    track_progress: TrackProgress = lambda name, contents: nullcontext(),  # noqa: ARG005
) -> EncoderRanking:
    """Measure encoders on a catalogue; one that fails is reported, and the others are still measured.

    Each result is stored in the folder as soon as it is complete, under the fingerprint of the encoder and a hash of
    the data, next to the vectors. Stored vectors and results are reused.

    Args:
        catalogue: The items; a sample is drawn of them.
        names: Names of encoders for `load_encoder`.
        folder: Folder of vectors and results.
        config: The settings.
        load: Returns the encoder of a name.
        track_progress: Called with the name and the number of contents of each encoder that is measured; returns a
            context manager that gives a progress callback.

    Raises:
        InputError: If there are no names, or the label cannot be used.
        BundleLockedError: If another process is writing to the folder.
    """
    config, root = config or RankConfig(), Path(folder)
    if not names:
        raise InputError("there is no encoder to rank; name some, for example pocket and open_clip:ViT-B-32/openai")
    drawn = draw(catalogue, config.sample, seed=config.seed)
    sample_contents, attributes = contents(drawn), drawn.attributes
    label = (
        find_label(attributes, drawn.columns.text) if config.label is None else label_column(attributes, config.label)
    )
    benchmark = Benchmark(drawn, sample_contents, label, config, root)
    results: list[EncoderResult] = []
    failed: dict[str, str] = {}
    with write_lock(root):
        for name in dict.fromkeys(names):
            try:
                results.append(benchmark.result(name, load(name), track_progress))
            except Exception as error:  # any error of a model or its library; the others are still measured
                failed[name] = " ".join(str(error).split()) or type(error).__name__
    ordered = sorted(results, key=lambda result: (*result.order, result.name))
    compared = [replace(result, against_first=_difference(ordered[0], result, config.seed)) for result in ordered]
    return EncoderRanking(tuple(compared), failed, len(sample_contents.item_ids), label.name if label else None)


def _difference(best: EncoderResult, result: EncoderResult, seed: int) -> Estimate | None:
    """Return the difference in recall@10 from the best result over the same pairs, with its interval."""
    if result is best or not best.retrieval or best.retrieval["rows"] != result.retrieval.get("rows"):
        return None
    recalls = [
        np.mean([np.array(encoder.retrieval[direction]["ranks"]) <= K for direction in DIRECTIONS], axis=0)
        for encoder in (result, best)
    ]
    return estimate(recalls[0] - recalls[1], seed=seed)
