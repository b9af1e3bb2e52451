"""Learn from interactions and publish the result as a new generation; nothing is re-encoded.

Each user's history is cut in time into three parts:

    early   teaches the adapter
    middle  teaches the reranker, on candidates from a retriever that has seen only the early part
    last    decides: a learned part is published only if it does better here than going without it

What passes is trained once more on everything before it is published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.bundle import Bundle
from indexing.compact import folded
from indexing.encoders.base import unit
from indexing.errors import TrainingError
from indexing.fusion import fuse
from indexing.generation import INDEX, PROMISE, part_of
from indexing.index import FlatIndex, IndexConfig
from indexing.indexed import indexed
from indexing.lock import writing
from indexing.publish import publish, work_folder
from indexing.types import Modality, Rows, Vectors
from retrieval.adapter import ADAPTER, Adapter
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.features import FeatureSource, log_popularity
from retrieval.interactions import Interactions
from retrieval.learned import LearnedParts
from retrieval.prepare import histories
from retrieval.rerank import RERANKER, HeadReranker
from retrieval.retrieve import retrieve
from retrieval.training.config import AdapterConfig, HeadConfig
from retrieval.users import UserModel

JUDGE = "ndcg@10"
LEARNED_FILES = (ADAPTER, RERANKER, INDEX, PROMISE)


@dataclass(frozen=True)
class FitConfig:
    """How to learn.

    Attributes:
        adapter: The item side.
        head: The reranking head.
        users: The user model.
        depth: Candidates a user that the head learns to order.
        search_loss: How much recall@10 of text search (each item from its own text) an adapter may cost.
    """

    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    users: UserModel = field(default_factory=UserModel)
    depth: int = 200
    search_loss: float = 0.01


@dataclass(frozen=True)
class FitReport:
    """What was learned and what it did on the last part of each history.

    Attributes:
        generation: The generation that was published.
        published: Which parts passed: ``"adapter"``, ``"reranker"``.
        users: How many users could be judged.
        ndcg: ndcg@10 on the last part: frozen, adapter, reranker.
        text_search: recall@10 of finding each item by its own text: frozen, adapter; empty without texts.
    """

    generation: str
    published: tuple[str, ...]
    users: int
    ndcg: Mapping[str, float]
    text_search: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def fit(bundle: Path | str, interactions: Interactions, config: FitConfig | None = None) -> FitReport:
    """Learn an adapter and a reranking head from interactions, and publish what helps as a new generation.

    Changes since the generation in force are folded into one first; see `compact`.

    Args:
        bundle: Folder of the bundle.
        interactions: What users did; items that the bundle lacks are left out.
        config: How to learn.

    Raises:
        TrainingError: When there is too little to learn from.
        BundleLockedError: When another process is writing to the bundle.
    """
    root = Path(bundle)
    with writing(root):
        opened = Bundle.open(root)
        if opened.batches:
            publish(root, *folded(opened, LearnedParts(opened), work_folder(root)))
        return _Fit(Bundle.open(root), interactions, config or FitConfig()).run()


@dataclass(frozen=True)
class Cut:
    """One user's rows cut in time, oldest first."""

    early: Rows
    middle: Rows
    last: Rows


def cut(rows: Rows) -> Cut:
    """Cut a history: the last tenth decides, the fifth before it teaches the reranker; short ones are all early.

    >>> cut(np.arange(10)).middle.tolist(), cut(np.arange(10)).last.tolist()
    ([7, 8], [9])
    """
    if len(rows) < 5:
        return Cut(rows, rows[:0], rows[:0])
    last = -(-len(rows) // 10)
    middle = -(-len(rows) // 5)
    return Cut(rows[: -last - middle], rows[-last - middle : -last], rows[-last:])


class _Fit:
    """One run of learning over one bundle."""

    def __init__(self, bundle: Bundle, interactions: Interactions, config: FitConfig) -> None:
        self.bundle, self.config = bundle, config
        self.frozen = bundle.modality_vectors
        self.fused = fuse(self.frozen)
        self.all = [history.rows for history in histories(interactions, bundle.items)]
        self.cuts = [cut(rows) for rows in self.all]
        self.judged = [part for part in self.cuts if len(part.last)]
        if len(self.judged) < 10:
            raise TrainingError(
                f"only {len(self.judged)} users have five or more known items; learning and judging need at least 10"
            )

    def run(self) -> FitReport:
        adapter = self._adapter([part.early for part in self.cuts])
        vectors = adapter.apply(self.fused)
        pasts = [np.concatenate([part.early, part.middle]) for part in self.judged]
        frozen_list = self._recommend(self.fused, pasts, self.config.depth)
        adapted_list = self._recommend(vectors, pasts, self.config.depth)
        ndcg = {"frozen": self._judge(frozen_list), "adapter": self._judge(adapted_list)}
        search = self._text_search(vectors)
        keeps_search = not search or search["adapter"] >= search["frozen"] - self.config.search_loss
        use_adapter = ndcg["adapter"] > ndcg["frozen"] and keeps_search
        vectors, listed = (vectors, adapted_list) if use_adapter else (self.fused, frozen_list)

        reranker = self._reranker(vectors)
        seen = FeatureSource(vectors, self.frozen, self._popularity(pasts), self.config.users)
        ndcg["reranker"] = self._judge(HeadReranker(reranker.head, seen).rerank(listed))
        use_reranker = ndcg["reranker"] > max(ndcg["adapter"] if use_adapter else 0, ndcg["frozen"])
        published = self._publish(
            self._adapter(self.all) if use_adapter else None,
            reranker if use_reranker else None,
            {"ndcg@10": ndcg, "text_search_recall@10": search, "users": len(self.judged)},
        )
        return FitReport(published.manifest.generation, published.manifest.features, len(self.judged), ndcg, search)

    def _adapter(self, pasts: Sequence[Rows]) -> Adapter:
        from retrieval.training.adapter import train_adapter  # torch is loaded only by those who learn

        return train_adapter(self.fused, pasts, self.config.users, self.config.adapter)

    def _reranker(self, vectors: Vectors) -> HeadReranker:
        """Learn the head from candidates and counts of the early part, to find what came in the middle."""
        from retrieval.training.head import train_head

        pasts = [part.early for part in self.judged]
        listed = self._recommend(vectors, pasts, self.config.depth)
        source = FeatureSource(
            vectors, self.frozen, self._popularity([part.early for part in self.cuts]), self.config.users
        )
        relevant = np.array([np.isin(line, part.middle) for line, part in zip(listed.rows, self.judged, strict=True)])
        head = train_head(source.of(listed), relevant, listed.rows >= 0, self.config.head)
        return HeadReranker(head, source)

    def _recommend(self, vectors: Vectors, pasts: Sequence[Rows], k: int) -> Candidates:
        tastes = self.config.users.taste(vectors, pasts)
        scores, rows = retrieve(FlatIndex(vectors), tastes, k, exclude=pasts)
        return Candidates(tastes, rows, scores, self.bundle.items, "retrieve", histories=tuple(pasts))

    def _judge(self, candidates: Candidates) -> float:
        relevant = [[self.bundle.items[row] for row in part.last] for part in self.judged]
        return round(evaluate(candidates, relevant, measures=[JUDGE]).means[JUDGE], 4)

    def _text_search(self, vectors: Vectors) -> dict[str, float]:
        """How often an item is among the ten nearest to its own text, before and after."""
        if Modality.TEXT not in self.frozen.modalities:
            return {}
        rows = np.flatnonzero(self.frozen.exists[Modality.TEXT])
        rows = np.random.default_rng(0).choice(rows, min(1000, len(rows)), replace=False)
        texts = unit(self.frozen.vectors[Modality.TEXT][rows])
        found = {
            name: FlatIndex(space).search(texts, min(10, len(space)))[1]
            for name, space in (("frozen", self.fused), ("adapter", vectors))
        }
        return {name: round(float((hits == rows[:, None]).any(axis=1).mean()), 4) for name, hits in found.items()}

    def _popularity(self, pasts: Sequence[Rows]) -> Vectors:
        counts: NDArray[np.int64] = np.bincount(np.concatenate(pasts), minlength=len(self.fused))
        return log_popularity(counts)

    def _publish(self, adapter: Adapter | None, reranker: HeadReranker | None, measured: dict[str, Any]) -> Bundle:
        old = self.bundle
        vectors = adapter.apply(self.fused) if adapter else self.fused
        config = IndexConfig(**old.manifest.index["config"])
        index_files, index_section = indexed(self.frozen, vectors, config, work_folder(old.root))
        names = [record.name for record in old.manifest.files if part_of(record.name) not in LEARNED_FILES]
        kept = {name: old.folder / name for name in names}
        files: dict[str, Any] = {**kept, **index_files}
        if adapter is not None:
            files[ADAPTER] = adapter.to_bytes()
        if reranker is not None:
            latest = replace(reranker.source, vectors=vectors, popularity=self._popularity(self.all))
            files[RERANKER] = HeadReranker(reranker.head, latest).to_bytes()
        learned = {
            "user_model": asdict(self.config.users),
            "config": asdict(self.config),
            "interactions": sum(map(len, self.all)),
            "measured": measured,
        }
        manifest = replace(
            old.manifest,
            index=index_section,
            learned=learned,
            features=tuple(part for part, made in (("adapter", adapter), ("reranker", reranker)) if made is not None),
        )
        publish(old.root, manifest, files)
        return Bundle.open(old.root)
