"""Learn from interactions and publish the result as a new generation; nothing is re-encoded.

Each user's history is cut in time into three parts:

    early   teaches the adapter and the behaviour block
    middle  teaches how much each part of a query counts, and the second stage, on candidates from sources that have
            seen only the early part; a source that has seen more is refused by name
    last    decides: a learned part is published only if it does better here than going without it

What passes is trained once more on everything; what then shows an item out of proportion is not published.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from indexing.bundle import Bundle
from indexing.compact import folded
from indexing.errors import TrainingError
from indexing.fusion import fuse
from indexing.index import IndexConfig
from indexing.lock import writing
from indexing.publish import publish, work_folder
from indexing.sizes import parse_bytes
from indexing.types import Vectors
from retrieval.adapter import Adapter
from retrieval.block import description_of, judged, learned_again, learned_block, sample, taught
from retrieval.candidates import Candidates
from retrieval.cut import cut, cut_at
from retrieval.fit_report import FitConfig, FitReport
from retrieval.fitted import Fitted, publish_fitted
from retrieval.gate import Exposure, exposure, no_better, pushed
from retrieval.interactions import Interactions
from retrieval.item_space import ItemSpace
from retrieval.judging import FEWEST, JUDGE, Judging
from retrieval.learned import LearnedParts
from retrieval.preparation import PreparationReport, prepare
from retrieval.preparation.config import EARLIEST
from retrieval.prepare import History, check_weights, histories, least_liked
from retrieval.second_stage import SecondStage
from retrieval.sources import Asked
from retrieval.training.config import AdapterConfig, BehaviourConfig, StageConfig
from retrieval.views import views_of

if TYPE_CHECKING:
    from retrieval.training.second_stage import StageLearner

_SETTINGS = {"adapter": "adapter", "behaviour": "behaviour", "reranker": "head"}
Part = TypeVar("Part")


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


class _Fit:
    """One run of learning over one bundle."""

    def __init__(self, bundle: Bundle, interactions: Interactions, config: FitConfig) -> None:
        self.bundle, self.config = bundle, config
        self.behaviour = config.behaviour or BehaviourConfig()
        self.preparation: PreparationReport | None = None
        if config.prepare is not None:
            interactions, self.preparation = prepare(interactions, config.prepare)
        check_weights(interactions)
        self._check_memory()
        self.frozen = bundle.modality_vectors
        self.fused = fuse(self.frozen)
        self.description = description_of(bundle)
        self.all = histories(interactions, bundle.items)
        self.cuts = cut(self.all, config.way) if self.all else []
        least = least_liked(self.all)
        users = sample(judged(self.cuts, least), len(self.fused))
        self.judging = Judging(bundle.items, users, config.depth, least)
        if len(users) < FEWEST:
            raise TrainingError(
                f"only {len(users)} users have known items both before and after the cut (by {config.way}; five in "
                f"all where each history is cut for itself); learning and judging need at least {FEWEST}"
            )
        self.ndcg: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self.curves: dict[str, Any] = {}

    def _check_memory(self) -> None:
        """Check that an index in shards can be built with what behaviour adds, before anything is learned."""
        config = IndexConfig(**self.bundle.manifest.index["config"])
        if config.kind == "sharded" and self.config.behaviour is not None:
            from indexing.index.sharding import MEMORY, Plan  # FAISS is loaded only by those who build

            dim = self.bundle.manifest.encoder.dim + self.behaviour.width
            Plan.within(parse_bytes(config.max_memory or MEMORY), dim, on_disk=config.on_disk)

    def run(self) -> FitReport:
        passed = self._passed()
        search = self.curves.get("adapter", {}).get("search_recall@10", {})
        serving = passed.block.serving if passed.block else {}
        report = FitReport(
            self.bundle.manifest.generation,
            self.bundle.manifest.features,
            len(self.judging.cuts),
            self.ndcg,
            search,
            serving=serving,
            notes=self.notes,
            preparation=self.preparation,
        )
        if refused := self._no_better(passed):
            return replace(report, refused=refused)
        final = self._again(passed, self.all)
        shown = self._exposure(final)
        report = replace(report, exposure=shown)
        if final.names and (refused := pushed(shown)):
            return replace(report, refused=refused)
        made = publish_fitted(self.bundle, final, self.all, self._told(report)).manifest
        return replace(report, generation=made.generation, published=made.features)

    def _passed(self) -> Fitted:
        """Learn part after part from the early part of the log, and keep those that help on the last."""
        frozen = ItemSpace.of(self.fused, self.config.users)
        self.ndcg["frozen"] = self.judging.ndcg(self.judging.listed(frozen))
        adapter = self._helping(
            "adapter", lambda: self._adapter([part.early for part in self.cuts]), self._with_adapter
        )
        content = adapter.apply(self.frozen) if adapter else self.fused
        space = ItemSpace.of(content, self.config.users)
        block = self._helping(
            "behaviour",
            lambda: learned_block(self._described(), space, self.cuts, self.judging, self.behaviour),
            lambda found: self.judging.listed(ItemSpace.of(content, self.config.users, found.behaviour)),
        )
        space = ItemSpace.of(content, self.config.users, block.behaviour if block else None)
        stage = self._helping("reranker", lambda: self._stage(space), self._staged)
        return Fitted(adapter, block, stage, space, self.description)

    def _helping(self, name: str, learn: Callable[[], Part], ask: Callable[[Part], Candidates]) -> Part | None:
        """Learn a part, if it is wanted, and give it if it does better than all before."""
        if getattr(self.config, _SETTINGS[name]) is None:
            return None
        try:
            part = learn()
        except TrainingError as error:  # the other parts may help all the same
            self.notes[name] = str(error)
            return None
        best = max(self.ndcg.values())
        self.ndcg[name] = self.judging.ndcg(ask(part))
        return part if self.ndcg[name] > best else None

    def _with_adapter(self, adapter: Adapter) -> Candidates:
        return self.judging.listed(ItemSpace.of(adapter.apply(self.frozen), self.config.users))

    def _adapter(self, pasts: Sequence[History]) -> Adapter:
        from retrieval.training.adapter import train_adapter  # torch is loaded only by those who learn
        from retrieval.training.search_floor import keeping_search

        rows = [past.rows for past in pasts]
        adapter, curve = train_adapter(self.frozen, rows, self.config.users, self.config.adapter or AdapterConfig())
        kept = keeping_search(adapter, self.frozen, self.config.search_loss)
        self.curves["adapter"] = curve.to_json() | kept.to_json()
        return kept.adapter

    def _described(self) -> Vectors:
        return self.description.of(self.frozen, self.bundle.attributes)

    def _stage(self, space: ItemSpace) -> SecondStage:
        """Learn the second stage from the early part, to find what came in the middle."""
        from retrieval.training.leaks import check_recalls
        from retrieval.training.second_stage import Moment

        learner, users = self._learner(), sample(taught(self.cuts, self.judging.least), len(self.fused))
        if not users:
            raise TrainingError("no user has interactions both early and in the middle: there is nothing to order")
        early, middle = [part.early for part in users], [part.middle for part in users]
        features = learner.seen(space, [part.early for part in self.cuts])
        moment = Moment(early, middle, Asked.after(early).times)
        head, curve = learner.head([learner.examples(moment, features)])
        check_recalls(
            features.sources, (early, middle), (self.judging.pasts, [part.last for part in self.judging.cuts])
        )
        self.curves["reranker"] = curve
        return SecondStage(features, head, space.indexed)

    def _learner(self) -> "StageLearner":
        from retrieval.training.second_stage import StageLearner  # torch is loaded only by those who learn

        views = views_of(self.description, self.frozen, self.bundle.attributes)
        config = self.config.head or StageConfig()
        if config.least is None:  # what was disliked is no more to be found by the head than by the judge
            config = replace(config, least=self.judging.least)
        return StageLearner(self.bundle.items, views, config=config)

    def _staged(self, stage: SecondStage) -> Candidates:
        """Let both stages answer those who are judged."""
        return self._pooled(stage, self.judging.pasts)

    def _pooled(self, stage: SecondStage, pasts: Sequence[History]) -> Candidates:
        each = (self.config.head or StageConfig()).each
        return stage.rerank(stage.pool(Asked.after(pasts), self.bundle.items, each))

    def _again(self, passed: Fitted, pasts: Sequence[History]) -> Fitted:
        """Learn what passed once more, from other pasts."""
        adapter, block, content = passed.adapter, passed.block, self.fused
        if adapter is not None:
            adapter = self._adapter(pasts)
            content = adapter.apply(self.frozen)
        if block is not None:
            some = [past for past in pasts if len(past)]
            block = block._replace(behaviour=learned_again(block, some, self.behaviour))
        space = ItemSpace.of(content, self.config.users, block.behaviour if block else None)
        stage = passed.reranker
        if stage is not None:
            stage = replace(stage, features=self._learner().seen(space, pasts), vectors=space.indexed)
        return Fitted(adapter, block, stage, space, self.description)

    def _no_better(self, passed: Fitted) -> str:
        """Say why what is in force should stay, if it should."""
        wanted = {name for name, setting in _SETTINGS.items() if getattr(self.config, setting) is not None}
        if not passed.names and wanted:
            return "nothing that was learned helps on later interactions; what is in force stays"
        until = self.bundle.manifest.learned.get("until")
        if until is None:
            return ""
        since = [cut_at(past, until) for past in self.all]
        users = sample(judged(since, self.judging.least), len(self.fused))
        return no_better(
            self.bundle,
            replace(self.judging, cuts=users),
            lambda: self._again(passed, [part.past for part in since]).space,
            self.ndcg,
        )

    def _exposure(self, final: Fitted) -> Exposure:
        """Show everybody who is judged what would be served now."""
        shown_to = {part.early.user_id for part in self.judging.cuts}
        pasts = [past for past in self.all if past.user_id in shown_to]
        stage = final.reranker
        shown = self._pooled(stage, pasts) if stage else self.judging.recommend(final.space, pasts)
        return exposure(shown, self.all, self.config.exposure_growth, self.config.exposure_floor)

    def _told(self, report: FitReport) -> dict[str, Any]:
        """What the manifest says of this run."""
        last = max(int(history.timestamps[-1]) for history in self.all)
        return {
            "user_model": asdict(self.config.users),
            "config": asdict(self.config),
            "interactions": sum(map(len, self.all)),
            "until": last if last > EARLIEST else None,  # a log without a clock cannot tell what came since
            "measured": {JUDGE: report.ndcg, "search_recall@10": report.search, "users": report.users},
            "exposure": asdict(report.exposure) if report.exposure else None,
            "training": self.curves,
            "preparation": self.preparation.to_json() if self.preparation else None,
        }
