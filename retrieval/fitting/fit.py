"""`fit`: train each part, validate it on later interactions, publish what helps. Nothing is encoded again.

Each user's history is split in time into three parts:

    early   trains the behaviour block, or the adapter where there is none. Some users are held out: they stand for new
            users, and decide how much a short history counts and whether the head ranks for such users
    middle  selects the weights of a query's parts, and trains the second stage on candidates of sources that have seen
            only the early part; a source that has seen more raises an error with its name
    last    validates: a part is published only if the interval of its gain is above zero

Where the log has times and enough users, all histories are also split at one moment. A second head learns from half of
the users who were active after it, new users included, with sources that know only what was before. If its gain on the
other half is not surely above zero, retrieval alone answers such users. What passed is trained once more on everything.
An item that would then be shown far more often than its audience explains is held back; see `exposure_limit`.

A refresh continues from the published model. That has seen everything up to its training, so only what came since is
split: the first half trains, and the second half decides between the published model and the refreshed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle
from indexing.bundle.maintenance.compact import compact
from indexing.bundle.publish import FITTING
from indexing.errors import CommonspaceError, InputError, TrainingError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_call, check_path
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import LimitedExposure, allowed_exposure, limit_exposure, why_over_exposed
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fit_ranker import (
    TrainedStage,
    answer_at,
    answer_visits,
    retrain_with_last_part,
    select_returning_weights,
    select_shortest_history,
    train_on_earlier,
    train_second_stage,
)
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour, check_index_memory, publish_fitted
from retrieval.fitting.log_kind import LogKind
from retrieval.fitting.publish_gate import unchanged_since, why_not_better, why_not_published
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.report import FitReport, check_wishes, manifest_record
from retrieval.fitting.selection.behaviour_selection import (
    description_of,
    sample_users,
    select_behaviour,
    validation_users,
)
from retrieval.fitting.selection.held_out_new_users import HeldOutUsers, hold_out_users
from retrieval.fitting.selection.temporal_split import split_at, split_since, temporal_split
from retrieval.fitting.selection.validation import FEWEST, NUM_CANDIDATES, Gain, Validation, why_too_few
from retrieval.fitting.steps import BEFORE, EARLY, EVERYTHING, StepCounter, Tell, expected_refresh_steps, expected_steps
from retrieval.fitting.trainer import Trainer
from retrieval.interactions.cleaning import PreparationReport, prepare
from retrieval.interactions.histories import History, check_weights, histories
from retrieval.interactions.interactions import Interactions, require_log
from retrieval.interactions.known_items import known_items
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.adapter import Adapter
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.retriever.learned_parts import LearnedParts
from retrieval.training.cutoffs import global_cutoff

_PARTS = ("adapter", "behaviour", "reranker")
Part = TypeVar("Part")


def fit(
    bundle: Path | str,
    interactions: Interactions,
    config: FitConfig | None = None,
    *,
    profiles: Profiles | None = None,
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
        interactions: What users did, without items that the bundle lacks and what cleaning leaves out (see
            `retrieval.interactions.cleaning`). For a refresh too it is the whole log, not only what is new in it.
        config: How to learn. For a refresh that of what is in force when None; its parts and serving stay in any case.
        profiles: What is known of users beside what they did, if anything: what new users of a profile like is learned,
            and published where it does better than what is popular with all.
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
    require_log(interactions)
    root = check_path(bundle, "the folder of the bundle")
    check_wishes(config, profiles, refresh)
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
            report = _Fit(opened, interactions, chosen, profiles, before, checkpoints or own, progress).run()
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
        interactions: Interactions,
        config: FitConfig,
        profiles: Profiles | None,
        before: PublishedModel | None,
        work: Path,
        progress: Tell | None,
    ) -> None:
        self.bundle, self.config, self.before = bundle, config, before
        if before is not None and before.space.profiles is not None and profiles is None:
            raise InputError("what is in force has learned from profiles of users: give them to a refresh too")
        interactions, self.known = known_items(interactions, bundle.items)
        self.preparation: PreparationReport | None = None
        if config.prepare is not None:
            interactions, self.preparation = prepare(interactions, config.prepare)
        check_weights(interactions)
        check_index_memory(bundle, config.behaviour)
        self.all = histories(interactions, bundle.items)
        kind = LogKind.of(self.all, interactions.repeats)
        if before is not None:
            kind = kind.as_read_by(before.space.users)
        if config.split == "time" and self.all and not kind.in_order:
            raise InputError(
                "all of the log is of one second, or it has no times: nothing was before and after a moment",
                python='name the column of times, or cut by split="user"',
                cli="name the column of times by --time-column, or leave out --split",
            )
        self.config = config = kind.config(config)
        self.cuts = []
        if self.all:
            self.cuts = split_since(self.all, before.until) if before else temporal_split(self.all, config.split)
        users = sample_users(validation_users(self.cuts, kind.least), len(bundle.items))
        self.validation = Validation(bundle.items, users, NUM_CANDIDATES, kind.least)
        self.later = global_cutoff(self.all) if before is None and config.split == "both" else None
        description = (before.description if before else None) or description_of(bundle)
        steps = StepCounter(self._steps(profiles is not None))
        trained = config.scaled()
        self.trainer = Trainer(bundle, trained, description, kind.least, profiles, before, work, progress, steps=steps)
        self.ndcg: dict[str, float] = {}
        self.short: dict[str, dict[str, float]] = {}
        self.new_users: dict[str, float] = {}
        self.notes = kind.notes
        self.gain: Gain | None = None
        self.in_time: Gain | None = None
        self.shown: Candidates | None = None  # what the best so far answers

    def _steps(self, profiles: bool) -> list[tuple[str, str]]:
        if self.before is not None:
            return expected_refresh_steps(self.before.fitted.names)
        return expected_steps(self.config, profiles, self.later is not None, "until" in self.bundle.manifest.learned)

    def run(self) -> FitReport:
        passed, refused = self._chosen() if self.before is None else self._refreshed(self.before)
        report = self._report(passed)
        if refused:
            return replace(report, refused=refused)
        held = self._in_proportion(self.trainer.again(passed, self.all, EVERYTHING))
        final, names = held.parts, tuple(self.bundle.items[row] for row in held.rows)
        report = replace(report, exposure=held.exposure, held_back=names, training=self.trainer.curves)
        if final.names and (refused := why_over_exposed(held.exposure)):
            return replace(report, refused=refused)
        told = manifest_record(report, self.config, self.all, self.before.generation if self.before else None)
        if refused := unchanged_since(self.bundle, final.files(self.all, self.bundle.items), told, self.config):
            return replace(report, refused=refused)
        self.trainer.told("index", EVERYTHING, 0, 0)
        made = publish_fitted(self.bundle, final, self.all, told).manifest
        return replace(report, generation=made.generation, published=made.features, in_force=made.features)

    def _report(self, passed: FittedModel) -> FitReport:
        """Say what is known before anything is learned from everything."""
        return FitReport(
            self.bundle.manifest.generation,
            (),
            len(self.validation.cuts),
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
        )

    def _refreshed(self, before: PublishedModel) -> tuple[FittedModel, str]:
        """Let what is in force go on with the first half of what came since, and judge both by the other half."""
        now, users = before.fitted, len(self.validation.cuts)
        if users < FEWEST:
            return now, (
                f"only {users} users with a past did something that they liked lately, since what is in force was "
                f"learned; judging needs at least {FEWEST}"
            )
        before_it = self._served(now, self.validation.pasts)
        self.ndcg["in force"] = self.validation.ndcg(before_it)
        try:
            new = self.trainer.again(now, [part.past for part in self.cuts], BEFORE)
        except TrainingError as error:
            return now, f"what came since cannot teach yet: {error}"
        after = self._served(new, self.validation.pasts)
        self.ndcg["refreshed"], self.gain = self.validation.ndcg(after), self.validation.gain(before_it, after)
        if self.gain.high >= 0:  # not surely worse, and it knows more
            return now, ""
        return now, (
            f"what is in force does better on what {users} users did since: ndcg@10 {self.ndcg['in force']:.4f} "
            f"against {self.ndcg['refreshed']:.4f}"
        )

    def _chosen(self) -> tuple[FittedModel, str]:
        """Learn part after part, keep those that help, and say why what is in force should stay, if it should."""
        if len(self.validation.cuts) < FEWEST:
            raise TrainingError(
                f"only {len(self.validation.cuts)} users have known items both before and after the cut (by "
                f"{self.config.split}; five in all where each history is cut for itself); learning and judging need at "
                f"least {FEWEST}.{why_too_few(self.all, self.validation.least)} {self.known}".rstrip(" ")
            )
        passed = self._passed()
        return passed, self._no_better(passed)

    def _passed(self) -> FittedModel:
        """Learn part after part from the early part of the log, and keep those that help on the last."""
        trainer, everybody = self.trainer, [part.early for part in self.cuts]
        others, out = hold_out_users([past for past in everybody if len(past)])
        frozen = ItemSpace.of(trainer.fused, self.config.user_model)
        before = self.shown = self.validation.listed(frozen)
        self.ndcg["frozen"] = self.validation.ndcg(before)
        block = self._helping("behaviour", lambda: self._block(frozen, others), self._listed)
        adapter = self._adapted(block, others)
        content, taste = adapter.apply(trainer.frozen) if adapter else trainer.fused, self._profiled(block, everybody)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        passed, names = FittedModel(adapter, block, None, space, trainer.description), {past.user_id for past in out}
        left_out = [past for past in self.all if block is not None and past.user_id in names]
        newcomers = HeldOutUsers.of(left_out, self.validation.least)
        if newcomers is not None:
            passed = trainer.short_histories(passed, self.validation, newcomers)
        earlier = None
        if block and self.later:  # without behaviour nothing answers new users
            try:
                earlier = train_on_earlier(trainer, passed, self.later)
                passed, earlier = select_returning_weights(passed, earlier, self.validation)
            except TrainingError as error:  # the other parts may help all the same
                self.notes["users who come back"] = str(error)
        staged = self._helping(
            "reranker",
            lambda: train_second_stage(trainer, passed, self.cuts, self.validation, earlier),
            lambda found: answer_visits(self.trainer, found.stage, self.validation.pasts),
        )
        self.gain = self.validation.gain(before, self.shown) if self.shown is not before else None
        if staged is None:
            return passed
        stage = staged.stage
        if self.config.retrains_reranker:
            stage = replace(stage, head=retrain_with_last_part(trainer, passed, staged.examples, self.cuts))
        if not self._holds_in_time(staged):
            stage = replace(stage, returning=None, leaves_returning=True)
        if newcomers is not None and stage.min_history:
            judged = (staged.stage, passed, self.cuts, left_out, self.validation)
            fewest, self.short = select_shortest_history(trainer, *judged)
            stage = replace(stage, min_history=fewest)
        return passed._replace(reranker=stage)

    def _helping(self, name: str, learn: Callable[[], Part], ask: Callable[[Part], Candidates]) -> Part | None:
        """Learn a part, if it is wanted, and give it if the interval of its gain over all before is above zero."""
        if getattr(self.config, name) is None or self.shown is None:
            return None
        try:
            part = learn()
        except TrainingError as error:  # the other parts may help all the same
            self.notes[name] = str(error)
            return None
        answered = ask(part)
        self.ndcg[name], gain = self.validation.ndcg(answered), self.validation.gain(self.shown, answered)
        if reason := why_not_published(gain):
            self.notes[name] = reason
            return None
        self.shown = answered
        return part

    def _holds_in_time(self, staged: TrainedStage) -> bool:
        """Say whether the head for those who come back surely gains, and note what it does."""
        if staged.later is None or (asking := staged.asking) is None:  # nor is that of a visit shown to be for them
            return self.config.split != "both"
        first = self.validation.recommend(staged.later.space.for_returning, asking.pasts)
        self.in_time = gain = self.validation.gain(first, answer_at(self.trainer, staged.later, asking), asking.wanted)
        if gain.low > 0:
            return True
        left = "users who come back and new ones are left to retrieval, for the gain of a head is not surely above zero"
        self.notes["users who come back"] = f"{left}: {gain}, on {gain.users} users"
        return False

    def _adapted(self, block: ServedBehaviour | None, early: Sequence[History]) -> Adapter | None:
        """Learn an adapter where there is no behaviour block, beside which it has gained nothing."""
        if block is None:
            return self._helping("adapter", lambda: self.trainer.adapter(early, EARLY), self._with_adapter)
        if self.config.adapter is not None:
            self.notes["adapter"] = "not learned, for beside a behaviour block it gains nothing; fit without behaviour"
        return None

    def _profiled(self, block: ServedBehaviour | None, early: Sequence[History]) -> ProfileModel | None:
        """Learn what profiles say, if there are any, and give it if new users are better answered with it."""
        if self.trainer.profiles is None:
            return None
        if block is None:
            self.notes["profiles"] = "new users are answered by the behaviour block, and there is none"
            return None
        try:
            taste, told = self.trainer.profile_taste(early, block)
        except TrainingError as error:
            self.notes["profiles"] = str(error)
            return None
        self.new_users = told._asdict()
        return taste

    def _with_adapter(self, adapter: Adapter) -> Candidates:
        return self.validation.listed(ItemSpace.of(adapter.apply(self.trainer.frozen), self.config.user_model))

    def _listed(self, block: ServedBehaviour) -> Candidates:
        return self.validation.listed(ItemSpace.of(self.trainer.fused, self.config.user_model, block.behaviour))

    def _block(self, content: ItemSpace, early: Sequence[History]) -> ServedBehaviour:
        trainer = self.trainer
        return select_behaviour(
            lambda _: trainer.behaviour(early, EARLY),
            content,
            self.cuts,
            self.validation,
            lambda tried: trainer.told("serving", EARLY, tried, 0),
        ).block

    def _served(self, parts: FittedModel, pasts: Sequence[History]) -> Candidates:
        """Answer users as they would be served."""
        stage = parts.reranker
        return answer_visits(self.trainer, stage, pasts) if stage else self.validation.recommend(parts.space, pasts)

    def _no_better(self, passed: FittedModel) -> str:
        """Say why what is in force should stay, if it should."""
        wanted = [name for name in _PARTS if getattr(self.config, name) is not None]
        if not passed.names and wanted:
            return "nothing that was learned helps on later interactions; what is in force stays"
        until = self.bundle.manifest.learned.get("until")
        if until is None:
            return ""
        since = [split_at(past, until) for past in self.all]
        users = sample_users(validation_users(since, self.validation.least), len(self.bundle.items))
        return why_not_better(
            self.bundle,
            replace(self.validation, cuts=users),
            lambda: self.trainer.space_again(passed, [part.past for part in since], BEFORE, afresh=True).space,
            self.ndcg,
        )

    def _in_proportion(self, final: FittedModel) -> LimitedExposure:
        """Hold back what would be shown out of proportion to everybody who is judged."""
        shown_to = {part.early.user_id for part in self.validation.cuts}
        pasts = [past for past in self.all if past.user_id in shown_to]
        allowed = allowed_exposure(self.all, len(self.bundle.items), self.config.exposure_floor)
        return limit_exposure(final, lambda parts: self._served(parts, pasts), allowed)
