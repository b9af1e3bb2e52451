"""`fit`: train each part, validate it on later interactions, publish what helps. Nothing is encoded again.

Each history is split in time into a train, a validation and a test part.

    train   trains the behaviour block, or the adapter where there is none. Some users are held out: they stand for new
            users, and select how much a short history counts and which lengths the head orders
    valid   selects the weights of a query's parts, and trains the second stage on candidates of sources that were
            trained on the train part; a source that has seen more raises an error with its name
    test    validates: a part is published only if the interval of its gain is above zero

If the log has times and enough users, all histories are also split at the starts of windows. A second head is
trained on what users did in each window, new users included, and judged by windows after those that it was trained on.
If its gain is not surely above zero, users who return, and new ones, get the order of retrieval. What passed is trained
once more on everything. An item that would then be shown far more often than its audience explains is held back; see
`exposure_limit`.

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
from indexing.errors import CommonspaceError, InputError, TrainingError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_call, check_path
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import LimitedExposure, allowed_exposure, exposure_problem, limit_exposure
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fit_ranker import (
    ReturningUsers,
    answer_visits,
    retrain_with_last_part,
    select_shortest_history,
    train_for_returning,
    train_second_stage,
)
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour, check_index_memory, publish_fitted
from retrieval.fitting.log_kind import LogKind, TrainingData
from retrieval.fitting.publish_gate import unchanged_since, why_not_better, why_not_published
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.report import FitReport, check_wishes, manifest_record
from retrieval.fitting.selection.behaviour_selection import (
    learn_item_features,
    sample_users,
    select_behaviour,
    validation_users,
)
from retrieval.fitting.selection.held_out_new_users import HeldOutUsers, hold_out_users
from retrieval.fitting.selection.temporal_split import split_at, split_since, temporal_split
from retrieval.fitting.selection.validation import MIN_USERS, NUM_CANDIDATES, Gain, Validation, why_too_few
from retrieval.fitting.steps import BEFORE, EARLY, EVERYTHING, StepCounter, Tell, expected_refresh_steps, expected_steps
from retrieval.fitting.trainer import Trainer
from retrieval.interactions.histories import History, histories
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions, as_interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.adapter import Adapter
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.learned_parts import LearnedParts
from retrieval.training.cutoffs import rolling_cutoffs

_PARTS = ("adapter", "behaviour", "reranker")
Part = TypeVar("Part")


def fit(
    bundle: Path | str,
    interactions: Interactions | ArrowStream,
    config: FitConfig | None = None,
    *,
    profiles: Profiles | None = None,
    impressions: Impressions | None = None,
    refresh: bool = False,
    work: Path | str | None = None,
    progress: Tell | None = None,
) -> FitReport:
    """Learn from interactions, and publish what helps as a new generation.

    Changes since the generation in force are folded into one first; see `compact`. Learning holds no lock of the
    bundle: what is added or deleted meanwhile stays a change, of whatever is in force in the end. When what was learned
    is no better than what is in force, shows one item out of proportion, or is what is in force, the generation in
    force stays.

    Args:
        bundle: Folder of the bundle.
        interactions: What users did, or a table of it, without items that the bundle lacks and what cleaning leaves out
            (see `retrieval.interactions.cleaning`). For a refresh too it is the whole log, not only what is new in it.
        config: How to learn. For a refresh that of what is in force when None; its parts and serving stay in any case.
        profiles: What is known of users beside what they did, if anything: what new users of a profile like is learned,
            and published where it does better than what is popular with all.
        impressions: What was shown to users, if anybody knows: what was taken teaches the reranker the more, the
            less its position is examined, and what was shown and not taken counts against it. A refresh takes none.
        refresh: Go on from the parts in force, with the users who did something since and some others, in fewer passes.
        work: Folder that keeps the state of each training as it goes on: after a kill the same call goes on, and
            publishes the same bits. One inside the bundle when None, which is gone afterwards; any other stays.
        progress: Called as learning goes on.

    Raises:
        TrainingError: When there is too little to learn from, or nothing that a refresh could go on from.
        InputError: When a refresh is asked for with other dimensions than what is in force has, or without the profiles
            that it learned from.
        BundleLockedError: When the bundle is being fitted or compacted already.
        BundleError: When another generation was put in force meanwhile; that one stays.
    """
    interactions = as_interactions(interactions)
    root = check_path(bundle, "the folder of the bundle")
    check_wishes(config, profiles, impressions, refresh)
    check_call(progress, "progress")
    checkpoints = None if work is None else check_path(work, "work")
    require_bundle(root)
    own = root / f"{FITTING}-gen-learning"
    with write_lock(root, name="FITTING", activity="fitting"):
        for left in root.glob(f"{FITTING}-gen-*"):  # by a fit that was killed
            if left != own:
                fsops.remove(left)
        opened = compact(root, LearnedParts).without_changes()
        before = PublishedModel.of(opened) if refresh else None
        chosen = config or (before.config if before else FitConfig())
        try:
            data = TrainingData(interactions, profiles, impressions)
            report = _Fit(opened, data, chosen, before, checkpoints or own, progress).run()
        except CommonspaceError:  # which would come again: there is nothing to go on with
            fsops.remove(own)
            raise
        fsops.remove(own)
        return report


class _Fit:
    """One run of learning over one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        data: TrainingData,
        config: FitConfig,
        before: PublishedModel | None,
        work: Path,
        progress: Tell | None,
    ) -> None:
        self.bundle, self.config, self.before = bundle, config, before
        if before is not None and before.space.profiles is not None and data.profiles is None:
            raise InputError("what is in force has learned from profiles of users: give them to a refresh too")
        interactions, self.known, self.preparation = data.cleaned(bundle.items, config.prepare)
        check_index_memory(bundle, config.behaviour)
        self.histories = histories(interactions, bundle.items)
        kind = LogKind.of_log(self.histories, interactions)
        if before is not None:
            kind = kind.as_read_by(before.space.users)
        if config.split == "time" and self.histories and not kind.in_order:
            raise InputError(
                "all of the log is of one second, or it has no times: nothing was before and after a moment",
                python='name the column of times, or cut by split="user"',
                cli="name the column of times by --time-column, or leave out --split",
            )
        self.config = config = kind.config(config)
        self.splits = []
        if self.histories:
            args = (self.histories, config.split)
            self.splits = split_since(self.histories, before.until) if before else temporal_split(*args)
        self.notes = kind.notes
        self.shown = data.shown(interactions, bundle.items, config, self.notes)
        users = sample_users(validation_users(self.splits, kind.min_relevance), len(bundle.items))
        self.validation = Validation(bundle.items, users, NUM_CANDIDATES, kind.min_relevance, self.shown)
        self.cutoffs = rolling_cutoffs(self.histories) if before is None and config.split == "both" else []
        self.cutoffs = self.cutoffs if config.trains_on_windows else self.cutoffs[-1:]  # that selects query weights
        description = (before.description if before else None) or learn_item_features(bundle)
        flags = (data.profiles is not None, len(self.cutoffs), "until" in bundle.manifest.learned)
        expected = expected_refresh_steps(before.fitted.names) if before else expected_steps(config, *flags)
        inputs = (description, kind.min_relevance, data.profiles, before, work, progress)
        self.trainer = Trainer(bundle, config.scaled(), *inputs, steps=StepCounter(expected), shown=self.shown)
        self.ndcg: dict[str, float] = {}
        self.short: dict[str, dict[str, float]] = {}
        self.new_users: dict[str, float] = {}
        self.gain: Gain | None = None
        self.in_time: Gain | None = None
        self.best: Candidates | None = None  # what the best so far answers

    def run(self) -> FitReport:
        passed, refused = self._fit_parts() if self.before is None else self._refresh(self.before)
        report = self._report(passed)
        if refused:
            return replace(report, refused=refused)
        held = self._limit_exposure(self.trainer.again(passed, self.histories, EVERYTHING))
        final, names = held.parts, tuple(self.bundle.items[row] for row in held.rows)
        report = replace(report, exposure=held.exposure, held_back=names, training=self.trainer.curves)
        if final.names and (refused := exposure_problem(held.exposure)):
            return replace(report, refused=refused)
        record = manifest_record(report, self.config, self.histories, self.before.generation if self.before else None)
        if refused := unchanged_since(self.bundle, final.files(self.histories, self.bundle.items), record, self.config):
            return replace(report, refused=refused)
        self.trainer.told("index", EVERYTHING, 0, 0)
        made = publish_fitted(self.bundle, final, self.histories, record).manifest
        return replace(report, generation=made.generation, published=made.features, in_force=made.features)

    def _report(self, passed: FittedModel) -> FitReport:
        """Say what is known before anything is learned from everything."""
        return FitReport(
            self.bundle.manifest.generation,
            (),
            len(self.validation.splits),
            self.ndcg,
            self.trainer.curves.get("adapter", {}).get("search_recall@10", {}),
            serving=passed.block.serving if passed.block else {},
            short=self.short,
            new_users=self.new_users,
            notes=self.notes,
            preparation=self.preparation,
            known=self.known,
            training=self.trainer.curves,
            in_force=self.bundle.manifest.features,
            gain=self.gain,
            in_time=self.in_time,
            position_curve=None if self.shown is None else self.shown.curve.to_json(),
        )

    def _refresh(self, before: PublishedModel) -> tuple[FittedModel, str]:
        """Let what is in force go on with the first half of what came since, and judge both by the other half."""
        now, users = before.fitted, len(self.validation.splits)
        if users < MIN_USERS:
            return now, (
                f"only {users} users with a past did something that they liked lately, since what is in force was "
                f"learned; judging needs at least {MIN_USERS}"
            )
        before_it = self._recommend(now, self.validation.histories)
        self.ndcg["in force"] = self.validation.ndcg(before_it)
        try:
            new = self.trainer.again(now, [part.before_test for part in self.splits], BEFORE)
        except TrainingError as error:
            return now, f"what came since cannot teach yet: {error}"
        after = self._recommend(new, self.validation.histories)
        self.ndcg["refreshed"], self.gain = self.validation.ndcg(after), self.validation.gain(before_it, after)
        if self.gain.high >= 0:  # not surely worse, and it knows more
            return now, ""
        return now, (
            f"what is in force does better on what {users} users did since: ndcg@10 {self.ndcg['in force']:.4f} "
            f"against {self.ndcg['refreshed']:.4f}"
        )

    def _fit_parts(self) -> tuple[FittedModel, str]:
        """Learn part after part, keep those that help, and say why what is in force should stay, if it should."""
        if len(self.validation.splits) < MIN_USERS:
            raise TrainingError(
                f"only {len(self.validation.splits)} users have known items both before and after the cut (by "
                f"{self.config.split}; five in all where each history is cut for itself); learning and judging need at "
                f"least {MIN_USERS}.{why_too_few(self.histories, self.validation.min_relevance)} {self.known}".rstrip()
            )
        passed = self._train_parts()
        return passed, self._why_keep_published(passed)

    def _train_parts(self) -> FittedModel:
        """Learn part after part from the early part of the log, and keep those that help on the last."""
        trainer, everybody = self.trainer, [part.train for part in self.splits]
        others, out = hold_out_users([history for history in everybody if len(history)])
        frozen = ItemSpace.of(trainer.fused, self.config.user_model)
        before = self.best = self.validation.recommend_all(frozen)
        self.ndcg["frozen"] = self.validation.ndcg(before)
        block = self._train_if_better("behaviour", lambda: self._train_behaviour(frozen, others), self._recommend_with)
        adapter = self._train_adapter(block, others)
        content = adapter.apply(trainer.frozen) if adapter else trainer.fused
        taste = self._train_profiles(block, everybody)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        passed, names = FittedModel(adapter, block, None, space, trainer.description), {one.user_id for one in out}
        left_out = [history for history in self.histories if block is not None and history.user_id in names]
        held_out = HeldOutUsers.of(left_out, self.validation.min_relevance)
        if held_out is not None:
            passed = trainer.short_histories(passed, self.validation, held_out)
        # Without behaviour nothing answers new users.
        returning = train_for_returning(trainer, passed, self.cutoffs if block else [], self.validation)
        passed = returning.passed
        staged = self._train_if_better(
            "reranker",
            lambda: train_second_stage(trainer, passed, self.splits, self.validation),
            lambda found: answer_visits(self.trainer, found.stage, self.validation.histories),
        )
        self.gain = self.validation.gain(before, self.best) if self.best is not before else None
        if staged is None:
            return passed
        stage = staged.stage
        if self.config.retrains_reranker:
            stage = replace(stage, head=retrain_with_last_part(trainer, passed, staged.examples, self.splits))
        stage = self._with_returning(stage, returning)
        if held_out is not None and stage.min_history:
            judged = (staged.stage, passed, self.splits, left_out, self.validation)
            fewest, self.short = select_shortest_history(trainer, *judged)
            stage = replace(stage, min_history=fewest)
        return passed._replace(reranker=stage)

    def _train_if_better(self, name: str, learn: Callable[[], Part], ask: Callable[[Part], Candidates]) -> Part | None:
        """Learn a part, if it is wanted, and give it if the interval of its gain over all before is above zero."""
        if getattr(self.config, name) is None or self.best is None:
            return None
        try:
            part = learn()
        except TrainingError as error:  # the other parts may help all the same
            self.notes[name] = str(error)
            return None
        answered = ask(part)
        self.ndcg[name], gain = self.validation.ndcg(answered), self.validation.gain(self.best, answered)
        if reason := why_not_published(gain):
            self.notes[name] = reason
            return None
        self.best = answered
        return part

    def _with_returning(self, stage: SecondStage, returning: ReturningUsers) -> SecondStage:
        """Add the head for users who return, and for new ones, where it surely gains, and note where it does not."""
        if self.config.split != "both":
            return stage
        self.in_time = returning.gain
        gains = {"returning users": returning.gain, "new users": returning.gain_of_new}
        better = [name for name, gain in gains.items() if gain is not None and gain.low > 0]
        for name, gain in gains.items():
            if gain is not None and name not in better:
                left = "left to retrieval, for the gain of a head is not surely above zero"
                self.notes[name] = f"{left}: {gain}, on {gain.users} users"
        if "returning users" in better:
            return replace(stage, returning=returning.head, orders_new="new users" in better)
        return replace(stage, leaves_returning=True)

    def _train_adapter(self, block: ServedBehaviour | None, early: Sequence[History]) -> Adapter | None:
        """Learn an adapter where there is no behaviour block, beside which it has gained nothing."""
        if block is None:
            return self._train_if_better("adapter", lambda: self.trainer.adapter(early, EARLY), self._recommend_adapted)
        if self.config.adapter is not None:
            self.notes["adapter"] = "not learned, for beside a behaviour block it gains nothing; fit without behaviour"
        return None

    def _train_profiles(self, block: ServedBehaviour | None, early: Sequence[History]) -> ProfileModel | None:
        """Learn what profiles say, if there are any, and give it if new users are better answered with it."""
        if self.trainer.profiles is None:
            return None
        if block is None:
            self.notes["profiles"] = "new users are answered by the behaviour block, and there is none"
            return None
        try:
            taste, record = self.trainer.profile_taste(early, block)
        except TrainingError as error:
            self.notes["profiles"] = str(error)
            return None
        self.new_users = record._asdict()
        return taste

    def _recommend_adapted(self, adapter: Adapter) -> Candidates:
        return self.validation.recommend_all(ItemSpace.of(adapter.apply(self.trainer.frozen), self.config.user_model))

    def _recommend_with(self, block: ServedBehaviour) -> Candidates:
        return self.validation.recommend_all(ItemSpace.of(self.trainer.fused, self.config.user_model, block.behaviour))

    def _train_behaviour(self, content: ItemSpace, early: Sequence[History]) -> ServedBehaviour:
        trainer = self.trainer
        return select_behaviour(
            lambda _: trainer.behaviour(early, EARLY),
            content,
            self.splits,
            self.validation,
            lambda tried: trainer.told("serving", EARLY, tried, 0),
        ).block

    def _recommend(self, parts: FittedModel, histories: Sequence[History]) -> Candidates:
        """Answer users as they would be served."""
        if parts.reranker is None:
            return self.validation.recommend(parts.space, histories)
        return answer_visits(self.trainer, parts.reranker, histories)

    def _why_keep_published(self, passed: FittedModel) -> str:
        """Say why what is in force should stay, if it should."""
        wanted = [name for name in _PARTS if getattr(self.config, name) is not None]
        if not passed.names and wanted:
            return "nothing that was learned helps on later interactions; what is in force stays"
        until = self.bundle.manifest.learned.get("until")
        if until is None:
            return ""
        since = [split_at(history, until) for history in self.histories]
        users = sample_users(validation_users(since, self.validation.min_relevance), len(self.bundle.items))
        return why_not_better(
            self.bundle,
            replace(self.validation, splits=users),
            lambda: self.trainer.space_again(passed, [part.before_test for part in since], BEFORE, afresh=True).space,
            self.ndcg,
        )

    def _limit_exposure(self, final: FittedModel) -> LimitedExposure:
        """Hold back what would be shown out of proportion to everybody who is judged."""
        shown_to = {part.train.user_id for part in self.validation.splits}
        histories = [history for history in self.histories if history.user_id in shown_to]
        allowed = allowed_exposure(self.histories, len(self.bundle.items), self.config.exposure_floor)
        return limit_exposure(final, lambda parts: self._recommend(parts, histories), allowed)
