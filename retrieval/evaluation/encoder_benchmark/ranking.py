"""Which encoder suits one's own data: several are measured on the same items, each kept as soon as it is done."""

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

VERSION = 1  # of what is measured: results of another are measured anew
DIRECTIONS = ("text to image", "image to text")
K = 10
Begun: TypeAlias = Callable[[str, int], AbstractContextManager[OnProgress | None]]


@dataclass(frozen=True)
class RankConfig:
    """On what encoders are compared.

    Attributes:
        sample: Most items, those with text and picture first.
        label: Column that probes tell; found when None, and none where there is none.
        seed: Of the sample, the split and the intervals.
        encode: Batches, workers and limits of encoding.
    """

    sample: int = 2000
    label: str | None = None
    seed: int = 0
    encode: EncodeConfig = field(default_factory=EncodeConfig)


@dataclass(frozen=True)
class EncoderResult:
    """What was measured of one encoder, all of it plain JSON.

    Attributes:
        name: What it was loaded as.
        fingerprint: Which one it is.
        dim: Length of its vectors.
        bytes_per_item: Of the stored vectors, two a component and modality.
        items_per_second: Texts and pictures a second through the model alone; None when all were kept from before.
        retrieval: See `measures.retrieval`.
        probes: See `measures.probes`; empty without a label.
        health: Findings by name.
        seconds: Loading apart, from the first item to the last number.
        against_first: How much its recall@10 over both directions differs from that of the encoder ranked first, over
            the same pairs; None for that one and where the pairs differ.
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
        """What results are sorted by, best first: recall@10 of both directions, then the best linear probe."""
        recall = [self.retrieval[way][f"recall@{K}"]["value"] for way in DIRECTIONS if self.retrieval]
        probed = [block["linear"]["value"] for block in self.probes.get("from", {}).values()]
        return -float(np.mean(recall)) if recall else 0.0, -max(probed, default=0.0)

    def to_json(self, *, ranks: bool = False) -> dict[str, Any]:
        """Give the fields as plain JSON values, the rank of every pair only when asked for."""
        data = asdict(self)
        if not ranks:
            data["retrieval"].pop("rows", None)
            for way in DIRECTIONS:
                data["retrieval"].get(way, {}).pop("ranks", None)
        return data


@dataclass(frozen=True, eq=False)
class Trial:
    """What all encoders are measured on.

    Attributes:
        catalogue: The sample.
        held: What its items hold.
        label: Their classes, if any.
        config: Seeds and limits.
        folder: Where vectors and results are and go.
    """

    catalogue: Catalogue
    held: Contents
    label: LabelColumn | None
    config: RankConfig
    folder: Path

    def result(self, name: str, encoder: Encoder, begun: Begun) -> EncoderResult:
        """Give what is kept of an encoder, or measure and keep it.

        Args:
            name: What it was loaded as.
            encoder: The encoder.
            begun: See `rank_encoders`.

        Raises:
            CatalogueError: When not one item could be encoded.
        """
        if encoder.info.separate or (isinstance(encoder, VectorsEncoder) and encoder.separates(self.catalogue)):
            raise SeparateSpacesError(
                f"{self.catalogue.source} brings vectors of different spaces: no text can look for a picture, which "
                "encoders are ranked by; give vectors of one model, or build a bundle and evaluate recommendations"
            )
        if isinstance(encoder, VectorsEncoder):
            encoder = encoder.fitted(self.catalogue)
        path = self.folder / f"{encoder.info.fingerprint[:16]}-{self._key}.json"
        if (kept := _read(path)) is not None:
            return replace(kept, name=name)
        contents = sum(map(bool, (*self.held.texts, *self.held.pictures)))
        with begun(name, contents) as progress:
            measured = self._measured(name, encoder, progress)
        fsops.write_bytes(path, json.dumps(measured.to_json(ranks=True)).encode())
        return measured

    @property
    def _key(self) -> str:
        """Hash over all that a result depends on beside the encoder."""
        label = [self.label.name, *self.label.classes, self.label.of_item.tolist()] if self.label else None
        told = json.dumps([VERSION, self.held.digest, label, self.config.seed])
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    def _measured(self, name: str, encoder: Encoder, progress: OnProgress | None) -> EncoderResult:
        started, info, seed = perf_counter(), encoder.info, self.config.seed
        store = EmbeddingStore(self.folder / f"work-{info.fingerprint[:16]}", info.dim)
        frozen, speeds = self._encoded(encoder, store, progress)
        embedded = sum(int(exists.sum()) for exists in frozen.exists.values())
        if not embedded:
            why = "; ".join(f"{count} times {reason}" for reason, count in store.reasons().most_common(2))
            able = ", ".join(info.modalities)
            raise CatalogueError(
                f"none of {len(self.held.item_ids)} items could be encoded as {able}; {why or 'none has any'}"
            )
        return EncoderResult(
            name=name,
            fingerprint=info.fingerprint,
            dim=info.dim,
            bytes_per_item=round(2 * info.dim * embedded / len(self.held.item_ids), 1),
            items_per_second=speeds,
            retrieval=measures.retrieval(frozen, self.held, seed=seed),
            probes=measures.probes(frozen, self.label, seed=seed) if self.label else {},
            health=measures.health(frozen, self.held, seed=seed),
            seconds=round(perf_counter() - started, 2),
        )

    def _encoded(
        self, encoder: Encoder, store: EmbeddingStore, progress: OnProgress | None
    ) -> tuple[ModalityVectors, dict[str, float | None]]:
        """Encode texts, then pictures, so that each has a time of its own; what is in the store already is kept."""
        named = self.catalogue.columns
        alone = replace(named, text=(), image=None, audio=None, video=None, vectors=(), attributes=())
        parts = {
            Modality.TEXT: replace(alone, text=named.text) if named.text else None,
            Modality.IMAGE: replace(alone, image=named.image) if named.image else None,
        }
        frozen, speeds = ModalityVectors({}, {}), dict[str, float | None]()
        if encoder.info.precomputed:
            store_vectors(self.catalogue, store, encoder, progress=progress)
            return _collected(store, self.held, encoder.info.modalities), speeds
        for modality, columns in parts.items():
            if columns is None or modality not in encoder.info.modalities:
                continue
            _warm_up(encoder, modality)
            part = Catalogue(self.catalogue.reader, columns, self.catalogue.image_dir)
            report = encode_catalogue(part, encoder, store, config=self.config.encode, progress=progress)
            frozen = _collected(store, self.held, (modality,), frozen)
            spent = report.seconds["encode"]
            speeds[str(modality)] = round(report.encoded / spent, 1) if report.encoded and spent else None
        return frozen, speeds


def _collected(
    store: EmbeddingStore,
    held: Contents,
    modalities: tuple[Modality, ...],
    others: ModalityVectors | None = None,
) -> ModalityVectors:
    """Take from a store what its last run settled, beside what was taken before."""
    found = {modality: store.collect(held.item_ids, modality) for modality in modalities}
    before = others or ModalityVectors({}, {})
    return ModalityVectors(
        {**before.vectors, **{modality: vectors for modality, (vectors, _) in found.items()}},
        {**before.exists, **{modality: exists for modality, (_, exists) in found.items()}},
    )


def _warm_up(encoder: Encoder, modality: Modality) -> None:
    """Let a model do once what it only does the first time, which says nothing about its speed."""
    if modality is Modality.TEXT:
        encoder.encode_texts(["a first text"])
    else:
        encoder.encode_images([Image.new("RGB", (64, 64))])


def _read(path: Path) -> EncoderResult | None:
    """Read a kept result; one that is damaged is as good as none."""
    try:
        return EncoderResult(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


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
    with write_lock(root):
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
