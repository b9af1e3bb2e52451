"""`fit`: train each part, validate it on later interactions, publish what helps. Nothing is encoded again.

Each history is split in time into a train, a validation and a test part.

    train   trains the behaviour block, or the adapter where there is none. Some users are held out: they stand for new
            users, and select the history shrinkage and the shortest history that the head orders
    valid   selects the weights of a query's parts, and trains the second stage on candidates of sources that were
            trained on the train part; a source that has seen more raises an error with its name
    test    validates: a part is published only if the interval of its gain is above zero

If the log has times and enough users, all histories are also split at the starts of windows. A second head is trained
on what users did in each window, new users included, and validated on windows after those that it was trained on. If
the interval of its gain is not above zero, returning users and new users get the order of retrieval. The parts that
help are trained once more on everything. An item that would then be shown far more often than its audience explains has
its scores lowered; see `exposure_limit`.

A refresh continues from the published model. Only the new interactions are split: the first half trains, and the second
half decides between the published model and the refreshed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle
from indexing.bundle.current import read_state
from indexing.bundle.maintenance.compact import folded
from indexing.bundle.publish import FITTING
from indexing.catalogue.readers.arrow_tables import ArrowStream
from indexing.encoders.inference.torch_device import computing_on, torch_device
from indexing.errors import CommonspaceError, TrainingError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_call, check_flag, check_local_path, check_path
from indexing.runtime.device import CPU, check_device
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import LimitedExposure, allowed_exposure, limit_exposure
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fitted_model import FittedModel, check_index_memory, publish_fitted
from retrieval.fitting.log_kind import LogKind, TrainingData
from retrieval.fitting.part_training.part_selection import PartSelection, Validated
from retrieval.fitting.part_training.served_gain import ServedGain, recommend
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.publish_gate import (
    loss_note,
    num_learned,
    unchanged_since,
    warn_if_smaller,
    why_keep_published,
)
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.report import FitReport, check_fit_arguments, manifest_record
from retrieval.fitting.selection.behaviour_selection import (
    fit_item_features,
    sample_users,
    validation_users,
)
from retrieval.fitting.selection.softening import softenings
from retrieval.fitting.selection.temporal_split import split_since, temporal_split
from retrieval.fitting.selection.validation import MIN_USERS, NUM_CANDIDATES, Validation
from retrieval.fitting.steps import (
    BEFORE_TEST,
    EVERYTHING,
    Step,
    StepCounter,
    expected_refresh_steps,
    expected_steps,
)
from retrieval.interactions.histories import History
from retrieval.interactions.impressions import ImpressionsLike
from retrieval.interactions.interactions import Interactions, as_interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.item_space import ItemSpace
from retrieval.retriever.learned_parts import LearnedParts, learned_events
from retrieval.training.cutoffs import rolling_cutoffs

_PARTS = ("adapter", "behaviour", "reranker")


def fit(
    bundle: Path | str,
    interactions: Interactions | ArrowStream,
    config: FitConfig | None = None,
    *,
    profiles: Profiles | ArrowStream | Path | str | None = None,
    impressions: ImpressionsLike | None = None,
    refresh: bool = False,
    publish: bool = True,
    work: Path | str | None = None,
    progress: Callable[[Step], None] | None = None,
    device: str = CPU,
) -> FitReport:
    """Train on interactions, and publish the parts that help as a new generation.

    The new generation contains the changes since the current one. Training holds no lock of the bundle: items that are
    added or deleted meanwhile stay changes of the generation that is current in the end. The current generation, with
    its changes, stays when the new parts do no better, show one item out of proportion, or are the same to the last
    bit. A training from scratch on fewer interactions than the published parts were trained on gives a warning.

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
        publish: Make the new generation current. Without it, it is staged, in place of an earlier one that is: as long
            as the generation that it was made on, or a compaction of that, is current, `publish_staged` publishes it.
        work: Folder for checkpoints, which stays: after a kill the same call continues, and publishes the same bits.
            When None, a folder inside the bundle, which is removed afterwards.
        progress: Called with each `Step`.
        device: Where the parts are trained: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``. What was learned is applied without
            a GPU.

    Raises:
        TrainingError: When there is too little to train on, or no published part to refresh.
        InputError: When a refresh has other dimensions than the published parts, or lacks the profiles that they were
            trained on.
        DeviceError: When the GPU that was asked for is not there.
        BundleLockedError: When the bundle is being fitted or compacted already.
        BundleError: When another generation but a compaction became current meanwhile; that one stays.
    """
    root = check_local_path(bundle, "the folder of the bundle")
    known, shown = check_fit_arguments(config, profiles, impressions, refresh)
    interactions = as_interactions(interactions, learned_events(Bundle.open(root)) if refresh else None)
    check_call(progress, "progress")
    check_flag(publish, "publish")
    checkpoints = None if work is None else check_path(work, "work")
    torch_device(check_device(device))  # before anything is prepared
    require_bundle(root)
    default_work = root / f"{FITTING}-gen-learning"
    with write_lock(root, name="FITTING", activity="fitting"):
        for leftover in root.glob(f"{FITTING}-gen-*"):  # of a fit that was killed
            if leftover != default_work:
                fsops.remove(leftover)
        with folded(root, LearnedParts, FITTING) as current:
            published = PublishedModel.of(current) if refresh else None
            settings = config or (published.config if published else FitConfig())
            try:
                data = TrainingData(interactions, known, shown)
                run = _Fit(current, data, settings, published, checkpoints or default_work, progress)
                if published is None:
                    warn_if_smaller(current, run.histories)
                with computing_on(device):
                    report = run.run(publish=publish)
            except CommonspaceError:  # the same call would raise it again
                fsops.remove(default_work)
                raise
        fsops.remove(default_work)
        # Where nothing was published a compaction may have made another generation current meanwhile.
        state = None if report.published else read_state(root)
        return report if state is None else replace(report, generation=state.generation)


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
        self.histories, late = data.histories(interactions, bundle.items)
        kind = LogKind.of_log(self.histories, interactions)
        if published is not None:
            data.check_refresh(published.space.profiles, published.reranker)
            kind = kind.continued_from(published.space.users)
        self.config = config = kind.config(config)
        log, by = self.histories, config.split
        self.splits = (split_since(log, published.until) if published else temporal_split(log, by)) if log else []
        self.events, self.notes = interactions.events, kind.notes | data.notes | late
        if published is not None:
            self.notes |= data.unread_context(published.reranker)
        self.shown = data.shown(interactions, bundle.items, config, self.notes)
        users = sample_users(validation_users(self.splits, kind.min_relevance), len(bundle.items))
        self.validation = Validation(bundle.items, users, NUM_CANDIDATES, kind.min_relevance, self.shown)
        cutoffs = rolling_cutoffs(self.histories) if published is None and config.split == "both" else []
        cutoffs = cutoffs if config.trains_on_windows else cutoffs[-1:]  # for query weights alone
        description = (published.description if published else None) or fit_item_features(bundle)
        flags = (data.profiles is not None, len(cutoffs), "until" in bundle.manifest.learned)
        expected = expected_refresh_steps(published.fitted.names) if published else expected_steps(config, *flags)
        inputs = (description, kind.min_relevance, data.profiles, published, work, progress)
        context, steps = interactions.context_columns, StepCounter(expected)
        self.trainer = Trainer(bundle, config.scaled(), *inputs, steps=steps, shown=self.shown, context=context)
        self.selection = PartSelection(self.trainer, self.validation, self.splits, self.histories, cutoffs, self.notes)
        self.ndcg, self.gains = self.selection.ndcg, self.selection.gains
        self.validated: Validated

    def run(self, *, publish: bool) -> FitReport:
        accepted, refused = self._fit_parts() if self.published is None else self._refresh(self.published)
        report = self._report(accepted)
        if refused:
            return replace(report, refused=refused)
        limited = self._limit_exposure(self.trainer.retrain(accepted, self.histories, EVERYTHING))
        final, report = limited.parts, self._report_limited(report, limited)
        if limited.problem:
            return replace(report, refused=limited.problem)
        continued_from = self.published.generation if self.published else None
        record = manifest_record(report, self.config, self.histories, self.events, continued_from)
        if self.published:  # what it continues from was trained on more, where the log is the later part alone
            record["interactions"] = max(record["interactions"], num_learned(self.bundle))
        else:
            report = replace(report, notes=report.notes | loss_note(self.bundle, self.histories, final.names))
        if refused := unchanged_since(self.bundle, final.files(self.histories, self.bundle.items), record, self.config):
            return replace(report, refused=refused)
        self.trainer.report_progress("index", EVERYTHING, 0, 0)
        manifest = publish_fitted(self.bundle, final, self.histories, record, publish=publish)
        if not publish:
            return replace(report, staged=manifest.generation, staged_parts=manifest.features)
        return replace(report, generation=manifest.generation, published=manifest.features, current=manifest.features)

    def _report(self, accepted: FittedModel) -> FitReport:
        """Give the report before the training on everything."""
        return FitReport(
            self.bundle.state.generation,
            (),
            len(self.validation.splits),
            self.ndcg,
            self.trainer.curves.get("adapter", {}).get("search_recall@10", {}),
            serving=accepted.block.serving if accepted.block else {},
            short=self.selection.short_histories,
            new_users=self.selection.new_users,
            notes=self.notes,
            preparation=self.preparation,
            known=self.known,
            training=self.trainer.curves,
            current=self.bundle.manifest.features,
            **self.gains,
            position_curve=None if self.shown is None else self.shown.curve.to_json(),
        )

    def _report_limited(self, report: FitReport, limited: LimitedExposure) -> FitReport:
        """Add to the report what was held back, and what is served then."""
        ids = tuple(self.bundle.items[row] for row in limited.rows)
        report = replace(report, exposure=limited.exposure, held_back=ids, training=self.trainer.curves)
        if limited.problem or limited.gain is None:
            return report
        if limited.softened:
            why = f"{limited.softened}, because items would else be shown out of proportion to their audience"
            report = replace(report, notes=report.notes | {"exposure": why})
        block = limited.parts.block
        return replace(report, gain=limited.gain, serving=block.serving if block else {})

    def _refresh(self, published: PublishedModel) -> tuple[FittedModel, str]:
        """Train the published parts on the first half of the new interactions, and validate on the other half."""
        current, users = published.fitted, len(self.validation.splits)
        if users < MIN_USERS:
            return current, (
                f"only {users} users with a history liked something after the published parts were trained; validation "
                f"needs at least {MIN_USERS}"
            )
        before = self._recommend(current, self.validation.histories)
        self.ndcg["published"] = self.validation.ndcg(before)
        try:
            new = self.trainer.retrain(current, [part.before_test for part in self.splits], BEFORE_TEST)
        except TrainingError as error:
            return current, f"the new interactions are too few to train on: {error}"
        after, self.validated = self._recommend(new, self.validation.histories), Validated(new, before)
        self.ndcg["refreshed"], gain = self.validation.ndcg(after), self.validation.gain(before, after)
        self.gains["gain"] = gain
        if gain.high >= 0:  # not surely worse, and trained on more interactions
            return current, ""
        return current, (
            f"the published parts do better on new interactions of {users} users: ndcg@10 {self.ndcg['published']:.4f} "
            f"against {self.ndcg['refreshed']:.4f}"
        )

    def _fit_parts(self) -> tuple[FittedModel, str]:
        """Train the parts, keep those that help, and return why the published parts should stay, or ""."""
        self.validation.check_enough(self.histories, self.config.split, str(self.known))
        accepted, self.validated = self.selection.train()
        return accepted, self._why_keep_published(accepted)

    def _recommend(self, parts: FittedModel, histories: Sequence[History]) -> Candidates:
        return recommend(self.trainer, self.validation, parts, histories)

    def _why_keep_published(self, accepted: FittedModel) -> str:
        """Return why the published parts should stay, or ""."""
        configured = [name for name in _PARTS if getattr(self.config, name) is not None]
        if not accepted.names and configured:
            return "no trained part helps on later interactions; the published parts stay"

        def retrain(histories: Sequence[History]) -> ItemSpace:
            return self.trainer.retrain_space(accepted, histories, BEFORE_TEST, from_scratch=True).space

        return why_keep_published(self.bundle, self.validation, self.histories, retrain, self.ndcg)

    def _limit_exposure(self, final: FittedModel) -> LimitedExposure:
        """Hold back items that would be shown to the validation users out of proportion."""
        users = {part.train.user_id for part in self.validation.splits}
        histories = [history for history in self.histories if history.user_id in users]
        allowed = allowed_exposure(self.histories, len(self.bundle.items), self.config.exposure_floor)
        softer = softenings(final, self.trainer.frozen)
        refreshes = self.published is not None
        judge = ServedGain(self.trainer, self.validation, *self.validated, histories, refreshes)
        return limit_exposure(final, lambda parts: self._recommend(parts, histories), allowed, judge, softer)
