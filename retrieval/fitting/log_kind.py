"""The kind of a log: whether its weights are ratings, counts or neither, and whether it has an order of time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, TrainingError, examples
from retrieval.fitting.context_checks import context_notes
from retrieval.fitting.fit_config import FitConfig
from retrieval.interactions.cleaning import PreparationReport, PrepareConfig, prepare
from retrieval.interactions.columns import Repeats
from retrieval.interactions.event_types import late_tail
from retrieval.interactions.histories import History, check_weights, histories, min_liked_weight
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import KnownItems, known_items
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.profile_model import ProfileModel
from retrieval.models.user_model import ALL_ALIKE, UserModel
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.ranker.shown_items import ShownItems


class TrainingData(NamedTuple):
    """The data that `fit` trains on.

    Attributes:
        interactions: The log.
        profiles: Attributes of users, or None.
        impressions: The items that were shown to users, or None.
    """

    interactions: Interactions
    profiles: Profiles | None = None
    impressions: Impressions | None = None

    @property
    def notes(self) -> dict[str, str]:
        """Notes for the report, by subject."""
        notes, log = {}, self.interactions
        if unread := log.unread_events:
            notes["events"] = f"the column {unread!r} was not read, so all events weigh the same; give event weights"
        return notes | context_notes(log.table, log.context_columns)

    def check_refresh(self, profiles: ProfileModel | None, stage: SecondStage | None) -> None:
        """Check that the data has what the published parts were trained on.

        Raises:
            InputError: When profiles or columns of the context are missing.
        """
        if profiles is not None and self.profiles is None:
            raise InputError("the published parts were trained on profiles of users: give them to a refresh too")
        names = () if stage is None else stage.features.context_columns
        if missing := [name for name in names if name not in self.interactions.context_columns]:
            raise InputError(
                f"the published parts were trained on the context {examples(missing)}: give it to a refresh too",
                python="read the log with Interactions.open(…, context=[…])",
                cli="name the columns with --context-columns",
                http="name the columns in `context`",
            )

    def unread_context(self, stage: SecondStage | None) -> dict[str, str]:
        """Give a note of the columns of the context that a refresh does not read."""
        names = () if stage is None else stage.features.context_columns
        if not (unread := [name for name in self.interactions.context_columns if name not in names]):
            return {}
        return {
            "context": f"{examples(unread)} was not read: a refresh reads what the published reranker was trained on"
        }

    def cleaned(
        self, items: ItemIds, config: PrepareConfig | None
    ) -> tuple[Interactions, KnownItems, PreparationReport | None]:
        """Give the interactions with known items that cleaning leaves, and what was left out.

        Raises:
            InputError: When a weight is negative, or all are 0.
        """
        interactions, known = known_items(self.interactions, items)
        preparation = None
        if config is not None:
            interactions, preparation = prepare(interactions, config)
        check_weights(interactions)
        return interactions, known, preparation

    @staticmethod
    def histories(interactions: Interactions, items: ItemIds) -> tuple[list[History], dict[str, str]]:
        """Give the histories of a log, in which a late tail counts as of the end of all others, and a note of it."""
        table = interactions.table
        times = table["timestamp"].to_numpy()
        if (tail := late_tail(times, table["user_id"])) is None:
            return histories(interactions, items), {}
        position = table.schema.get_field_index("timestamp")
        ended = pa.array(np.minimum(times, tail.end), pa.int64())
        table = table.set_column(position, table.schema.field(position), ended)
        return histories(replace(interactions, table=table), items), {"end of the log": str(tail)}

    def shown(
        self, interactions: Interactions, items: ItemIds, config: FitConfig, notes: dict[str, str]
    ) -> ShownItems | None:
        """Match impressions with interactions, and fit the position curve; add a note where that is not possible."""
        if self.impressions is None:
            return None
        if config.reranker is None:
            notes["impressions"] = "not used: they train the reranker, and there is none"
            return None
        try:
            return ShownItems.of(self.impressions, interactions, items)
        except TrainingError as error:
            notes["impressions"] = f"not used: {error}"
            return None


COUNT_RATIO = 10  # weights may be counts if the largest is more than this many times the median
MIN_KINDS = 10  # distinct weights of counts; types of events have fewer


@dataclass(frozen=True)
class LogKind:
    """The kind of the weights and of the order of a log.

    Attributes:
        min_relevance: An interaction of a smaller weight is a dislike; 0 where weights are no ratings.
        largest: Weight.
        median: Weight.
        counts: Whether weights are counts, as of plays: those of which one is more than ten times the median, and which
            are of more than ten kinds, as what was given to events is not.
        in_order: Whether any interaction came later than another. Else the order of the rows says nothing: it may be
            that of names, or of how often something was played.
    """

    min_relevance: float
    largest: float
    median: float
    counts: bool
    in_order: bool

    @classmethod
    def of(cls, histories: Sequence[History], repeats: Repeats) -> "LogKind":
        """Tell it from what users did.

        >>> plays = History("ann", np.arange(12), np.zeros(12, np.int64), 2.0 ** np.arange(12))
        >>> LogKind.of([plays], "sum")
        LogKind(min_relevance=0.0, largest=2048.0, median=48.0, counts=True, in_order=False)
        """
        weights = np.concatenate([np.empty(0, np.float32), *(history.weights for history in histories)])
        times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
        largest, median = (float(weights.max()), float(np.median(weights))) if len(weights) else (0.0, 0.0)
        counts = repeats != "last" and largest > COUNT_RATIO * median > 0 and len(np.unique(weights)) > MIN_KINDS
        return cls(
            min_liked_weight(histories, repeats), largest, median, counts, len(times) > 0 and int(np.ptp(times)) > 0
        )

    @classmethod
    def of_log(cls, histories: Sequence[History], log: Interactions) -> "LogKind":
        """Detect it from a log; weights that come from types of events are no counts, even with decay."""
        kind = cls.of(histories, log.repeats)
        return kind if log.events is None else replace(kind, counts=False)

    def continued_from(self, users: UserModel) -> "LogKind":
        """Give the kind for a refresh: counts are those of the earlier log.

        Raises:
            InputError: When one log has ratings and the other has not.
        """
        if users.min_relevance is not None and (users.min_relevance > 0) != (self.min_relevance > 0):
            kinds = ("weights that are no ratings", "ratings")
            raise InputError(
                f"the published parts were trained on {kinds[users.min_relevance > 0]}, and this log has "
                f"{kinds[self.min_relevance > 0]}",
                python="fit without refresh, or read the log with repeats as before",
                cli="fit without --refresh, or give --repeats as before",
                http="fit without `refresh`",
            )
        return replace(self, counts=users.counts)

    @property
    def notes(self) -> dict[str, str]:
        """Notes for the report, by subject."""
        notes = {}
        if self.counts:
            notes["weights"] = (
                f"counts, up to {self.largest:g} with a median of {self.median:g}; their logarithms are used"
            )
        if not self.in_order:
            notes["times"] = (
                "none in the log, so histories have no order, and their test parts are drawn at random; if rows are in "
                "order, give a column of times, such as row numbers"
            )
        return notes

    def users(self, users: UserModel) -> UserModel:
        """Give the user model for such a log."""
        users = replace(users, min_relevance=self.min_relevance, counts=self.counts)
        return users if self.in_order else replace(users, half_life=ALL_ALIKE)

    def config(self, config: FitConfig) -> FitConfig:
        """Give the settings for such a log.

        Raises:
            InputError: When it is to be split in time, and has no times.
        """
        if config.split == "time" and self.largest > 0 and not self.in_order:  # of an empty log it is 0
            raise InputError(
                "the log has no times, or all are the same: it cannot be split in time",
                python='name the column of times, or set split="user"',
                cli="name the column of times by --time-column, or leave out --split",
                http="call the column of times 'timestamp', or leave `split` out",
            )
        config = replace(config, user_model=self.users(config.user_model))
        if self.in_order:
            return config
        reranker = config.reranker
        if reranker is not None:
            sources = replace(reranker.sources, half_life=ALL_ALIKE, window=0, recent_days=0)
            reranker = replace(reranker, sources=sources)
        return replace(config, reranker=reranker)
