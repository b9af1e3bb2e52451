"""Learn from interactions and publish the result as a new generation; nothing is re-encoded.

Each user's history is cut in time into three parts:

    early   teaches the adapter and the behaviour block
    middle  teaches how much each part of a query counts, and the reranker, on candidates from a retriever that has seen
            only the early part
    last    decides: a learned part is published only if it does better here than going without it

What passes is trained once more on everything before it is published.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.bundle import Bundle
from indexing.compact import folded
from indexing.errors import TrainingError
from indexing.fusion import fuse
from indexing.generation import INDEX, PROMISE, part_of
from indexing.held_out import held_out_queries
from indexing.index import IndexConfig
from indexing.indexed import indexed
from indexing.lock import writing
from indexing.publish import publish, work_folder
from indexing.types import Rows, Vectors
from retrieval.adapter import ADAPTER, Adapter
from retrieval.behaviour import BEHAVIOUR
from retrieval.block import Block, learned_again, learned_block, sample, taught
from retrieval.candidates import Candidates
from retrieval.cut import cut
from retrieval.description import DESCRIPTION
from retrieval.features import FeatureSource, log_popularity
from retrieval.fit_report import FitConfig, FitReport
from retrieval.gate import FEWEST, exposure, no_better, pushed
from retrieval.interactions import Interactions
from retrieval.item_space import ItemSpace
from retrieval.judging import JUDGE, Judging
from retrieval.learned import LearnedParts, behaviour_queries
from retrieval.preparation import PreparationReport, prepare
from retrieval.prepare import History, histories
from retrieval.rerank import RERANKER, HeadReranker

LEARNED_FILES = (ADAPTER, BEHAVIOUR, DESCRIPTION, RERANKER, INDEX, PROMISE)


def fit(bundle: Path | str, interactions: Interactions, config: FitConfig | None = None) -> FitReport:
    """Learn from interactions, and publish what helps as a new generation.

    Changes since the generation in force are folded into one first; see `compact`. When what was learned is no better
    than what is in force, or shows one item out of proportion, the generation in force stays.

    Args:
        bundle: Folder of the bundle.
        interactions: What users did; items that the bundle lacks are left out, and so is what
            `retrieval.preparation.prepare` leaves out.
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


class _Learned(NamedTuple):
    """The adapter, if any, and the space of the items."""

    adapter: Adapter | None
    space: ItemSpace


class _Fit:
    """One run of learning over one bundle."""

    def __init__(self, bundle: Bundle, interactions: Interactions, config: FitConfig) -> None:
        self.bundle, self.config = bundle, config
        self.preparation: PreparationReport | None = None
        if config.prepare is not None:
            interactions, self.preparation = prepare(interactions, config.prepare)
        self.frozen = bundle.modality_vectors
        self.fused = fuse(self.frozen)
        self.all = histories(interactions, bundle.items)
        self.cuts = cut(self.all, config.way) if self.all else []
        self.curves: dict[str, Any] = {}
        judged = sample([part for part in self.cuts if len(part.last) and len(part.past)], len(self.fused))
        self.judging = Judging(bundle.items, judged, config.depth)
        if len(judged) < FEWEST:
            raise TrainingError(
                f"only {len(judged)} users have five or more known items before and after the cut; learning and "
                f"judging need at least {FEWEST}"
            )

    def run(self) -> FitReport:
        frozen = ItemSpace.of(self.fused, self.config.users)
        listed = self.judging.listed(frozen)
        ndcg = {"frozen": self.judging.ndcg(listed)}
        adapter, search = self._adapter_that_helps(ndcg)
        space = ItemSpace.of(adapter.apply(self.frozen) if adapter else self.fused, self.config.users)
        block = self._block_that_helps(space, ndcg)
        space = ItemSpace.of(space.content, self.config.users, block.behaviour if block else None)
        listed = self.judging.listed(space)
        reranker = self._reranker_that_helps(space, listed, ndcg)
        shown = exposure(listed, self.judging.pasts, self.config.exposure_growth, self.config.exposure_floor)
        pasts = [part.past for part in self.cuts]
        refused = (pushed(shown) if adapter or block else "") or no_better(
            self.bundle, self.judging, lambda: self._learned(adapter, block, pasts).space, ndcg
        )
        users = len(self.judging.cuts)
        measured = {JUDGE: ndcg, "search_recall@10": search, "users": users, "exposure": asdict(shown)}
        generation, published = self.bundle.manifest.generation, self.bundle.manifest.features
        if not refused:
            made = self._publish(adapter, block, reranker, measured)
            generation, published = made.manifest.generation, made.manifest.features
        serving = block.serving if block else {}
        return FitReport(generation, published, users, ndcg, search, refused, shown, serving, self.preparation)

    def _adapter_that_helps(self, ndcg: dict[str, float]) -> tuple[Adapter | None, dict[str, dict[str, float]]]:
        if self.config.adapter is None:
            return None, {}
        adapter = self._adapter([part.early for part in self.cuts])
        space = ItemSpace.of(adapter.apply(self.frozen), self.config.users)
        ndcg["adapter"] = self.judging.ndcg(self.judging.listed(space))
        search = self.curves["adapter"]["search_recall@10"]
        return adapter if ndcg["adapter"] > ndcg["frozen"] else None, search

    def _adapter(self, pasts: Sequence[History]) -> Adapter:
        from retrieval.training.adapter import train_adapter  # torch is loaded only by those who learn
        from retrieval.training.search_floor import keeping_search

        if self.config.adapter is None:
            raise TrainingError("no adapter was asked for")
        rows = [past.rows for past in pasts]
        adapter, curve = train_adapter(self.frozen, rows, self.config.users, self.config.adapter)
        kept = keeping_search(adapter, self.frozen, self.config.search_loss)
        self.curves["adapter"] = curve.to_json() | kept.to_json()
        return kept.adapter

    def _block_that_helps(self, space: ItemSpace, ndcg: dict[str, float]) -> Block | None:
        """Learn the behaviour block from the early part, serve it as the middle wants it, and judge it on the last."""
        if self.config.behaviour is None:
            return None
        block = learned_block(self.bundle, space, self.cuts, self.judging, self.config.behaviour)
        best = max(ndcg.values())
        joined = ItemSpace.of(space.content, self.config.users, block.behaviour)
        ndcg["behaviour"] = self.judging.ndcg(self.judging.listed(joined))
        return block if ndcg["behaviour"] > best else None

    def _reranker_that_helps(self, space: ItemSpace, listed: Candidates, ndcg: dict[str, float]) -> HeadReranker | None:
        """Learn the head from candidates and counts of the early part, to find what came in the middle."""
        from retrieval.training.head import train_head

        if self.config.head is None:
            return None
        users = sample(taught(self.cuts), len(self.fused))
        found = self.judging.recommend(space, [part.early for part in users])
        early = self._popularity([part.early for part in self.cuts])
        source = FeatureSource(space.content, self.frozen, early, self.config.users)
        relevant = np.array([np.isin(line, part.middle.rows) for line, part in zip(found.rows, users, strict=True)])
        head, curve = train_head(source.of(found), relevant, found.rows >= 0, self.config.head)
        self.curves["reranker"] = curve.to_json()
        past = self._popularity([part.past for part in self.cuts])
        reranker = HeadReranker(head, replace(source, popularity=past), space.indexed)
        best = max(ndcg.values())
        ndcg["reranker"] = self.judging.ndcg(reranker.rerank(listed))
        return reranker if ndcg["reranker"] > best else None

    def _learned(self, adapter: Adapter | None, block: Block | None, pasts: Sequence[History]) -> "_Learned":
        """Learn the parts that passed once more, from other pasts."""
        content, behaviour = self.fused, None
        if adapter is not None:
            adapter = self._adapter(pasts)
            content = adapter.apply(self.frozen)
        if block is not None and self.config.behaviour is not None:
            some = [past for past in pasts if len(past)]
            behaviour = learned_again(self.bundle, block, some, self.config.behaviour)
        return _Learned(adapter, ItemSpace.of(content, self.config.users, behaviour))

    def _popularity(self, pasts: Sequence[History]) -> Vectors:
        rows: Rows = np.concatenate([np.empty(0, np.int64), *(past.rows for past in pasts)])
        counts: NDArray[np.int64] = np.bincount(rows, minlength=len(self.fused))
        return log_popularity(counts)

    def _publish(
        self,
        adapter: Adapter | None,
        block: Block | None,
        reranker: HeadReranker | None,
        measured: dict[str, Any],
    ) -> Bundle:
        """Learn on everything what has passed, and put it in force."""
        old, files = self.bundle, dict[str, Any]()
        adapter, space = self._learned(adapter, block, self.all)
        if adapter is not None:
            files[ADAPTER] = adapter.to_bytes()
        if block is not None and space.behaviour is not None:
            files |= {BEHAVIOUR: space.behaviour.to_bytes(), DESCRIPTION: block.description.to_bytes()}
        if reranker is not None:
            latest = replace(reranker.source, vectors=space.content, popularity=self._popularity(self.all))
            files[RERANKER] = HeadReranker(reranker.head, latest, space.indexed).to_bytes()
        index_files, index_section = self._indexed(space)
        names = [record.name for record in old.manifest.files if part_of(record.name) not in LEARNED_FILES]
        kept = {name: old.folder / name for name in names}
        learned = {
            "user_model": asdict(self.config.users),
            "config": asdict(self.config),
            "interactions": sum(map(len, self.all)),
            "until": max(int(history.timestamps[-1]) for history in self.all),
            "measured": measured,
            "training": self.curves,
            "preparation": self.preparation.to_json() if self.preparation else None,
        }
        parts = {"adapter": adapter, "behaviour": space.behaviour, "reranker": reranker}
        manifest = replace(
            old.manifest,
            index=index_section,
            learned=learned,
            features=tuple(name for name, made in parts.items() if made is not None),
        )
        publish(old.root, manifest, {**kept, **files, **index_files})
        return Bundle.open(old.root)

    def _indexed(self, space: ItemSpace) -> tuple[dict[str, Any], dict[str, Any]]:
        """Index to the goals of the bundle, which real histories are now among the queries for."""
        config = IndexConfig(**self.bundle.manifest.index["config"])
        asked = held_out_queries(self.frozen, space.content, config.sample)
        if space.behaviour is not None:
            rows = [history.rows for history in self.all]
            chosen = np.random.default_rng(0).permutation(len(rows))[: config.sample]
            asked = behaviour_queries(space, asked, [rows[line] for line in chosen])
        return indexed(self.frozen, space.indexed, config, work_folder(self.bundle.root), asked)
