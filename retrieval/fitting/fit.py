"""`fit`: train each part, validate it on later interactions, publish what helps. Nothing is encoded again.

Each history is split in time into a train, a validation and a test part.

    train   trains the behaviour block, or the adapter where there is none. Some users are held out: they stand for new
            users, and select how much a short history counts and which lengths the head orders
    valid   selects the weights of a query's parts, and trains the second stage on candidates of sources that were
            trained on the train part; a source that has seen more raises an error with its name
    test    validates: a part is published only if the interval of its gain is above zero

If the log has times and enough users, all histories are also split at the starts of windows. A second head is
trained on what users did in each window, new users included, and judged by windows after those that it was trained on.
If its gain is not surely above zero, users who return, and new ones, get the order of retrieval. The parts that
help are trained once more on everything. An item that would then be shown far more often than its audience explains has
its scores lowered; see `exposure_limit`.

A refresh continues from the published model. Only what came since is split: the first half trains, and the second half
decides between the published model and the refreshed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle
from indexing.bundle.maintenance.compact import compact
from indexing.bundle.publish import FITTING
from indexing.catalogue.readers.arrow_tables import ArrowStream
from indexing.errors import CommonspaceError, TrainingError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_call, check_path
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import LimitedExposure, allowed_exposure, exposure_problem, limit_exposure
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fit_ranker import (
    ReturningUsers,
    TrainedStage,
    answer_visits,
    retrain_with_last_part,
    select_shortest_history,
    train_for_returning,
    train_in_context,
    train_second_stage,
)
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour, check_index_memory, publish_fitted
from retrieval.fitting.log_kind import LogKind, TrainingData
from retrieval.fitting.publish_gate import unchanged_since, why_keep_published, why_not_published
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.report import FitReport, Gains, check_fit_arguments, manifest_record
from retrieval.fitting.selection.behaviour_selection import (
    fit_item_features,
    sample_users,
    select_behaviour,
    validation_users,
)
from retrieval.fitting.selection.held_out_new_users import ShortHistories, hold_out_users
from retrieval.fitting.selection.temporal_split import split_since, temporal_split
from retrieval.fitting.selection.validation import MIN_USERS, NUM_CANDIDATES, Validation
from retrieval.fitting.steps import BEFORE, EARLY, EVERYTHING, Step, StepCounter, expected_refresh_steps, expected_steps
from retrieval.fitting.trainer import Trainer
from retrieval.interactions.histories import History, histories
from retrieval.interactions.impressions import ImpressionsLike
from retrieval.interactions.interactions import Interactions, as_interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.adapter import Adapter
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.learned_parts import LearnedParts, learned_events
from retrieval.training.cutoffs import rolling_cutoffs

_PARTS = ("adapter", "behaviour", "reranker")
Part = TypeVar("Part")


def fit(
    bundle: Path | str,
    interactions: Interactions | ArrowStream,
    config: FitConfig | None = None,
    *,
    profiles: Profiles | ArrowStream | Path | str | None = None,
    impressions: ImpressionsLike | None = None,
    refresh: bool = False,
    work: Path | str | None = None,
    progress: Callable[[Step], None] | None = None,
) -> FitReport:
    """Train on interactions, and publish the parts that help as a new generation.

    Changes since the current generation are folded into one first; see `compact`. Training holds no lock of the bundle:
    items that are added or deleted meanwhile stay changes of the generation that is current in the end. The current
    generation stays when the new parts do no better, show one item out of proportion, or are the same to the last bit.

    Args:
        bundle: Folder of the bundle.
        interactions: The log, or a table of it; for a refresh too, the whole log. Interactions with items that the
            bundle lacks, and those that `retrieval.interactions.cleaning` removes, are left out.
        config: The settings; for a refresh those of the published parts when None. It keeps parts and query weights.
        profiles: Attributes of users, or a table or file of them: a model of what new users like is trained on them,
            and published where it does better than popularity.
        impressions: The items that were shown to users, or a table or file of them: they train the reranker. An item
            that was taken is weighted by inverse propensity; another is a negative. A refresh takes no impressions.
        refresh: Continue from the published parts, on users with new interactions and some others, in fewer passes.
        work: Folder for checkpoints, which stays: after a kill the same call continues, and publishes the same bits.
            When None, a folder inside the bundle, which is removed afterwards.
        progress: Called with each `Step`.

    Raises:
        TrainingError: When there is too little to learn from, or nothing that a refresh could continue from.
        InputError: When a refresh has other dimensions than the published parts, or lacks the profiles that they were
            trained on.
        BundleLockedError: When the bundle is being fitted or compacted already.
        BundleError: When another generation became current meanwhile; that one stays.
    """
    root = check_path(bundle, "the folder of the bundle")
    known, shown = check_fit_arguments(config, profiles, impressions, refresh)
    interactions = as_interactions(interactions, learned_events(Bundle.open(root)) if refresh else None)
    check_call(progress, "progress")
    checkpoints = None if work is None else check_path(work, "work")
    require_bundle(root)
    default_work = root / f"{FITTING}-gen-learning"
    with write_lock(root, name="FITTING", activity="fitting"):
        for leftover in root.glob(f"{FITTING}-gen-*"):  # of a fit that was killed
            if leftover != default_work:
                fsops.remove(leftover)
        compacted = compact(root, LearnedParts).without_changes()
        published = PublishedModel.of(compacted) if refresh else None
        settings = config or (published.config if published else FitConfig())
        try:
            data = TrainingData(interactions, known, shown)
            report = _Fit(compacted, data, settings, published, checkpoints or default_work, progress).run()
        except CommonspaceError:  # it would be raised again: there is nothing to continue
            fsops.remove(default_work)
            raise
        fsops.remove(default_work)
        return report


class _Fit:
    """One run of `fit` on one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        data: TrainingData,
        config: FitConfig,
        published: PublishedModel | None,
        work: Path,
        progress: Callable[[Step], None] | None,
    ) -> None:
        self.bundle, self.config, self.published = bundle, config, published
        interactions, self.known, self.preparation = data.cleaned(bundle.items, config.prepare)
        check_index_memory(bundle, config.behaviour)
        self.histories = histories(interactions, bundle.items)
        kind = LogKind.of_log(self.histories, interactions)
        if published is not None:
            data.check_refresh(published.space.profiles, published.reranker)
            kind = kind.continued_from(published.space.users)
        self.config = config = kind.config(config)
        log, by = self.histories, config.split
        self.splits = (split_since(log, published.until) if published else temporal_split(log, by)) if log else []
        self.events, self.notes = interactions.events, kind.notes | data.notes
        self.shown = data.shown(interactions, bundle.items, config, self.notes)
        users = sample_users(validation_users(self.splits, kind.min_relevance), len(bundle.items))
        self.validation = Validation(bundle.items, users, NUM_CANDIDATES, kind.min_relevance, self.shown)
        self.cutoffs = rolling_cutoffs(self.histories) if published is None and config.split == "both" else []
        self.cutoffs = self.cutoffs if config.trains_on_windows else self.cutoffs[-1:]  # for query weights alone
        description = (published.description if published else None) or fit_item_features(bundle)
        flags = (data.profiles is not None, len(self.cutoffs), "until" in bundle.manifest.learned)
        expected = expected_refresh_steps(published.fitted.names) if published else expected_steps(config, *flags)
        inputs = (description, kind.min_relevance, data.profiles, published, work, progress)
        context, steps = interactions.context_columns, StepCounter(expected)
        self.trainer = Trainer(bundle, config.scaled(), *inputs, steps=steps, shown=self.shown, context=context)
        self.ndcg, self.new_users = dict[str, float](), dict[str, float]()
        self.short_histories: dict[str, dict[str, float]] = {}
        self.gains = Gains()
        self.best: Candidates | None = None  # of the best model so far

    def run(self) -> FitReport:
        accepted, refused = self._fit_parts() if self.published is None else self._refresh(self.published)
        report = self._report(accepted)
        if refused:
            return replace(report, refused=refused)
        limited = self._limit_exposure(self.trainer.retrain(accepted, self.histories, EVERYTHING))
        final, ids = limited.parts, tuple(self.bundle.items[row] for row in limited.rows)
        report = replace(report, exposure=limited.exposure, held_back=ids, training=self.trainer.curves)
        if final.names and (refused := exposure_problem(limited.exposure)):
            return replace(report, refused=refused)
        continued_from = self.published.generation if self.published else None
        record = manifest_record(report, self.config, self.histories, self.events, continued_from)
        if refused := unchanged_since(self.bundle, final.files(self.histories, self.bundle.items), record, self.config):
            return replace(report, refused=refused)
        self.trainer.report_progress("index", EVERYTHING, 0, 0)
        manifest = publish_fitted(self.bundle, final, self.histories, record).manifest
        return replace(report, generation=manifest.generation, published=manifest.features, in_force=manifest.features)

    def _report(self, accepted: FittedModel) -> FitReport:
        """Give the report before the training on everything."""
        return FitReport(
            self.bundle.manifest.generation,
            (),
            len(self.validation.splits),
            self.ndcg,
            self.trainer.curves.get("adapter", {}).get("search_recall@10", {}),
            serving=accepted.block.serving if accepted.block else {},
            short=self.short_histories,
            new_users=self.new_users,
            notes=self.notes,
            preparation=self.preparation,
            known=self.known,
            training=self.trainer.curves,
            in_force=self.bundle.manifest.features,
            **self.gains,
            position_curve=None if self.shown is None else self.shown.curve.to_json(),
        )

    def _refresh(self, published: PublishedModel) -> tuple[FittedModel, str]:
        """Train the published parts on the first half of the new interactions, and validate on the other half."""
        current, users = published.fitted, len(self.validation.splits)
        if users < MIN_USERS:
            return current, (
                f"only {users} users with a past did something that they liked lately, since what is in force was "
                f"learned; judging needs at least {MIN_USERS}"
            )
        before = self._recommend(current, self.validation.histories)
        self.ndcg["in force"] = self.validation.ndcg(before)
        try:
            new = self.trainer.retrain(current, [part.before_test for part in self.splits], BEFORE)
        except TrainingError as error:
            return current, f"what came since cannot teach yet: {error}"
        after = self._recommend(new, self.validation.histories)
        self.ndcg["refreshed"], gain = self.validation.ndcg(after), self.validation.gain(before, after)
        self.gains["gain"] = gain
        if gain.high >= 0:  # not surely worse, and trained on more interactions
            return current, ""
        return current, (
            f"what is in force does better on what {users} users did since: ndcg@10 {self.ndcg['in force']:.4f} "
            f"against {self.ndcg['refreshed']:.4f}"
        )

    def _fit_parts(self) -> tuple[FittedModel, str]:
        """Train part after part, keep those that help, and return why the published parts should stay, or ""."""
        self.validation.check_enough(self.histories, self.config.split, str(self.known))
        accepted = self._train_parts()
        return accepted, self._why_keep_published(accepted)

    def _train_parts(self) -> FittedModel:
        """Train part after part on the train part of the log, and keep those that help on the test part."""
        trainer, train_parts = self.trainer, [part.train for part in self.splits]
        train, held_out = hold_out_users([history for history in train_parts if len(history)])
        frozen = ItemSpace.of(trainer.fused, self.config.user_model)
        before = self.best = self.validation.recommend_all(frozen)
        self.ndcg["frozen"] = self.validation.ndcg(before)
        block = self._train_if_better("behaviour", lambda: self._train_behaviour(frozen, train), self._recommend_with)
        adapter = self._train_adapter(block, train)
        content = adapter.apply(trainer.frozen) if adapter else trainer.fused
        taste = self._train_profiles(block, train_parts)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        accepted = FittedModel(adapter, block, None, space, trainer.description)
        held_out_ids = {history.user_id for history in held_out}
        whole = [history for history in self.histories if block is not None and history.user_id in held_out_ids]
        short = ShortHistories.of(whole, self.validation.min_relevance)
        if short is not None:
            accepted = trainer.select_history_shrinkage(accepted, self.validation, short)
        # Without a behaviour block new users get no recommendations.
        returning = train_for_returning(trainer, accepted, self.cutoffs if block else [], self.validation)
        accepted = returning.accepted
        staged = self._train_if_better(
            "reranker",
            lambda: train_second_stage(trainer, accepted, self.splits, self.validation),
            lambda trained: answer_visits(self.trainer, trained.stage, self.validation.histories),
        )
        self.gains["gain"] = self.validation.gain(before, self.best) if self.best is not before else None
        staged = self._train_in_context(accepted, staged, before)
        if staged is None:
            return accepted
        stage = staged.stage
        if self.config.retrains_reranker:
            stage = replace(stage, head=retrain_with_last_part(trainer, accepted, staged, self.splits))
        stage = self._with_returning(stage, returning)
        if short is not None and stage.min_history:
            validated = (staged.stage, accepted, self.splits, whole, self.validation)
            min_history, self.short_histories = select_shortest_history(trainer, *validated)
            stage = replace(stage, min_history=min_history)
        return accepted._replace(reranker=stage)

    def _train_if_better(self, name: str, train: Callable[[], Part], rank: Callable[[Part], Candidates]) -> Part | None:
        """Train a part that the settings name; give it if its gain over the best so far is surely above zero."""
        if getattr(self.config, name) is None or self.best is None:
            return None
        if (part := self._train_or_note(name, train)) is None:
            return None
        candidates = rank(part)
        self.ndcg[name], gain = self.validation.ndcg(candidates), self.validation.gain(self.best, candidates)
        if reason := why_not_published(gain):
            self.notes[name] = reason
            return None
        self.best = candidates
        return part

    def _train_or_note(self, name: str, train: Callable[[], Part]) -> Part | None:
        """Train a part; note why, where it cannot be trained: the other parts may help all the same."""
        try:
            return train()
        except TrainingError as error:
            self.notes[name] = str(error)
            return None

    def _train_in_context(
        self, accepted: FittedModel, staged: TrainedStage | None, before: Candidates
    ) -> TrainedStage | None:
        """Train the second stage with the context of requests too; give it if it is surely better than without."""
        if not self.trainer.context or self.config.reranker is None or self.best is None:
            return staged
        curves, best = dict(self.trainer.curves), self.best
        inputs = (self.trainer, accepted, self.splits, self.validation, best)
        found = self._train_or_note("context", lambda: train_in_context(*inputs))
        if found is None:
            return staged
        self.gains["in_context"] = found.gain
        if reason := why_not_published(found.gain):
            self.notes["context"] = reason
            self.trainer.curves.update(curves)
            return staged
        self.notes.pop("reranker", None)  # which may have been no better without
        self.gains["gain"] = self.validation.gain(before, found.answers, found.targets)
        return found.staged

    def _with_returning(self, stage: SecondStage, returning: ReturningUsers) -> SecondStage:
        """Add the head for returning and for new users where its gain is surely above zero; note where it is not."""
        if self.config.split != "both":
            return stage
        self.gains["in_time"] = returning.gain
        notes = returning.why_not_served(fast=not self.config.trains_on_windows)
        self.notes |= {name: f"left to retrieval, {why}" for name, why in notes.items()}
        if "returning users" not in notes:
            return replace(stage, returning=returning.head, orders_new="new users" not in notes)
        return replace(stage, leaves_returning=True)

    def _train_adapter(self, block: ServedBehaviour | None, train: Sequence[History]) -> Adapter | None:
        """Train an adapter where there is no behaviour block, beside which it has gained nothing."""
        if block is None:
            return self._train_if_better("adapter", lambda: self.trainer.adapter(train, EARLY), self._recommend_adapted)
        if self.config.adapter is not None:
            self.notes["adapter"] = "not learned, for beside a behaviour block it gains nothing; fit without behaviour"
        return None

    def _train_profiles(self, block: ServedBehaviour | None, train: Sequence[History]) -> ProfileModel | None:
        """Train a profile model, if there are profiles, and give it if it does better for new users than popularity."""
        if self.trainer.profiles is None:
            return None
        if block is None:
            self.notes["profiles"] = "new users are answered by the behaviour block, and there is none"
            return None
        trained = self._train_or_note("profiles", lambda: self.trainer.train_profile_model(train, block))
        taste, record = trained or (None, None)
        self.new_users = record._asdict() if record else {}
        return taste

    def _recommend_adapted(self, adapter: Adapter) -> Candidates:
        return self.validation.recommend_all(ItemSpace.of(adapter.apply(self.trainer.frozen), self.config.user_model))

    def _recommend_with(self, block: ServedBehaviour) -> Candidates:
        return self.validation.recommend_all(ItemSpace.of(self.trainer.fused, self.config.user_model, block.behaviour))

    def _train_behaviour(self, content: ItemSpace, train: Sequence[History]) -> ServedBehaviour:
        trainer = self.trainer
        return select_behaviour(
            lambda _: trainer.behaviour(train, EARLY),
            content,
            self.splits,
            self.validation,
            lambda num_trials: trainer.report_progress("serving", EARLY, num_trials, 0),
        ).block

    def _recommend(self, parts: FittedModel, histories: Sequence[History]) -> Candidates:
        """Recommend to users as in serving."""
        if parts.reranker is None:
            return self.validation.recommend(parts.space, histories)
        return answer_visits(self.trainer, parts.reranker, histories)

    def _why_keep_published(self, accepted: FittedModel) -> str:
        """Return why the published parts should stay, or ""."""
        configured = [name for name in _PARTS if getattr(self.config, name) is not None]
        if not accepted.names and configured:
            return "nothing that was learned helps on later interactions; what is in force stays"

        def retrain(histories: Sequence[History]) -> ItemSpace:
            return self.trainer.retrain_space(accepted, histories, BEFORE, from_scratch=True).space

        return why_keep_published(self.bundle, self.validation, self.histories, retrain, self.ndcg)

    def _limit_exposure(self, final: FittedModel) -> LimitedExposure:
        """Lower the scores of items that would be shown to the validation users out of proportion."""
        users = {part.train.user_id for part in self.validation.splits}
        histories = [history for history in self.histories if history.user_id in users]
        allowed = allowed_exposure(self.histories, len(self.bundle.items), self.config.exposure_floor)
        return limit_exposure(final, lambda parts: self._recommend(parts, histories), allowed)
