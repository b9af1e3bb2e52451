"""The arguments of `fit`, its report, and the record that the manifest keeps."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import pyarrow as pa

from indexing.errors import InputError
from indexing.runtime.arguments import check_flag, check_kind
from retrieval.fitting.exposure_limit import Exposure
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.selection.validation import VALIDATION_METRIC, Gain
from retrieval.interactions.cleaning import PreparationReport
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.event_types import EventTypes
from retrieval.interactions.histories import History
from retrieval.interactions.impressions import Impressions, ImpressionsLike, as_impressions
from retrieval.interactions.known_items import KnownItems
from retrieval.interactions.user_profiles import Profiles, as_profiles


def check_fit_arguments(
    config: object, profiles: object, impressions: ImpressionsLike | None, refresh: object
) -> tuple[Profiles | None, Impressions | None]:
    """Check the arguments of `fit`, and read profiles and impressions.

    Raises:
        InputError: When one is of a wrong type, or two exclude each other.
    """
    if config is not None:
        check_kind(config, FitConfig, "config", "give FitConfig(…), or None")
    if check_flag(refresh, "refresh") and impressions is not None:
        raise InputError(
            "a refresh trains no head, and impressions train only the head",
            python="leave out impressions, or fit without refresh",
            cli="leave out --impressions, or --refresh",
        )
    shown = None if impressions is None else as_impressions(impressions)
    return None if profiles is None else as_profiles(profiles), shown


class Gains(TypedDict, total=False):
    """Fields of a `FitReport` that are gains."""

    gain: Gain | None
    in_time: Gain | None
    in_context: Gain | None


@dataclass(frozen=True, repr=False)
class FitReport:
    """The parts that were trained, and their quality on the test part of each history.

    Attributes:
        generation: The current generation afterwards.
        published: The parts that were published: ``"adapter"``, ``"behaviour"``, ``"profiles"``, ``"reranker"``; empty
            when publishing was refused.
        users: Number of validation users.
        ndcg: ndcg@10 on the test part, by model: frozen, adapter, behaviour, reranker; where interactions came after
            the training of the published parts, also of the published and the new parts on those interactions alone.
            Of a refresh: ``published`` (the current parts) and ``refreshed``.
        search: Recall@10 of finding items by their own vector of each modality, and by blurred ones, with the frozen
            vectors and with the adapter; empty when no adapter was trained.
        refused: Why nothing was published; "" when something was.
        exposure: The item that most exceeds the share of lists that its audience warrants.
        serving: The weight of each part of a query, as selected on the validation part.
        short: By the length of a short history (``"1-3"``, ``"5"``, ``"10"``, ``"20"``) ndcg@10 on the next items of
            held-out users, of ``retrieval`` and of the ``reranker``. Histories shorter than the length from which on
            the reranker does at least as well get the order of retrieval.
        new_users: Number of ``users`` held out of the profile model, and ndcg@20 on the first items of each, by
            popularity alone (``popular``) and with ``profiles``; empty where no profile model was trained.
        notes: Why a part was not trained or not published, by part.
        preparation: The interactions that cleaning left out.
        known: The interactions with items that are not in the bundle, and possible reasons.
        training: The losses of each part in its last training from scratch, and what an adapter costs search; see
            `retrieval.training.loop.TrainingCurve`.
        current: The published parts afterwards, new or old.
        in_time: The gain of the head for returning users over retrieval, in windows after those that it was trained
            on; None where it could not be validated.
        in_context: The gain of the second stage with the context of requests over lists without it, by what was liked
            later in the context of the first of it; None where the log has no context.
        held_back: Items whose scores were lowered because of over-exposure.
        gain: The new parts against the vectors of the encoder alone, of a refresh against the published parts, on the
            same users; None where nothing could be compared.
        position_curve: How likely each position of a list is examined, learned from impressions; None without. See
            `retrieval.training.ranker.position_bias.PositionCurve`.
        staged: The generation that was made and not published; "" when none was asked for or it was refused.
        staged_parts: Its parts.
    """

    generation: str
    published: tuple[str, ...]
    users: int
    ndcg: dict[str, float]
    search: dict[str, dict[str, float]]
    refused: str = ""
    exposure: Exposure | None = None
    serving: dict[str, float] = field(default_factory=dict)
    short: dict[str, dict[str, float]] = field(default_factory=dict)
    new_users: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    preparation: PreparationReport | None = None
    known: KnownItems | None = None
    training: dict[str, Any] = field(default_factory=dict)
    current: tuple[str, ...] = ()
    gain: Gain | None = None
    in_time: Gain | None = None
    in_context: Gain | None = None
    held_back: tuple[str, ...] = ()
    position_curve: dict[str, Any] | None = None
    staged: str = ""
    staged_parts: tuple[str, ...] = ()

    @property
    def serves_returning(self) -> bool:
        """Whether a head for users who return was published or staged."""
        return (
            self.in_time is not None
            and "reranker" in (*self.published, *self.staged_parts)
            and "returning users" not in self.notes
        )

    def __str__(self) -> str:
        """Return the outcome in sentences."""
        if self.refused:
            first = f"Nothing was published: {self.refused}. Generation {self.generation} stays current."
        elif self.staged:
            parts = ", ".join(self.staged_parts) or "no learned part, as none was configured"
            first = f"Staged generation {self.staged} with {parts}. Generation {self.generation} stays current."
        else:
            parts = ", ".join(self.published) or "no learned part, as none was configured"
            first = f"Published generation {self.generation} with {parts}."
        if self.gain is None:
            return first
        gain = self.gain
        return (
            f"{first} ndcg@10 on later interactions of {gain.users} users: {gain.after:.4f} with the new parts, "
            f"{gain.before:.4f} {self._compared_with()}; difference {gain} (90 % interval)."
        )

    def _compared_with(self) -> str:
        return "with the vectors of the encoder alone" if "frozen" in self.ndcg else "with the published parts"

    def __repr__(self) -> str:
        return f"<FitReport {self}>"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, and in ``summary`` the outcome in sentences."""
        gains = {name: None if gain is None else gain._asdict() for name, gain in self._gains().items()}
        return asdict(self) | gains | {"summary": str(self)}

    def _gains(self) -> dict[str, Gain | None]:
        return {"gain": self.gain, "in_time": self.in_time, "in_context": self.in_context}

    def to_arrow(self) -> pa.Table:
        """Give one row for each validated part: ``part, ndcg@10, published``."""
        columns = {"part": list(self.ndcg), "ndcg@10": list(self.ndcg.values())}
        return pa.table(columns | {"published": [part in self.published for part in self.ndcg]})


def manifest_record(
    report: FitReport,
    config: FitConfig,
    histories: Sequence[History],
    events: EventTypes | None = None,
    refreshed: str | None = None,
) -> dict[str, Any]:
    """Give what the manifest keeps of a run.

    Args:
        report: Its report.
        config: Its settings.
        histories: Its training histories.
        events: Weights of its types of events.
        refreshed: The generation that a refresh continued from.
    """
    last = max(int(history.timestamps[-1]) for history in histories)
    return {
        "user_model": asdict(config.user_model),
        "config": asdict(config),
        "interactions": sum(map(len, histories)),
        "events": None if events is None else events.to_json(),
        "until": last if last > EARLIEST else None,  # without times it is unknown which interactions are new
        "serving": report.serving,
        "refreshed": refreshed,
        "measured": {
            VALIDATION_METRIC: report.ndcg,
            "search_recall@10": report.search,
            "users": report.users,
            "short histories": report.short,
            "new users": report.new_users,
        },
        "exposure": asdict(report.exposure) if report.exposure else None,
        "training": report.training,
        "preparation": report.preparation.to_json() if report.preparation else None,
        **({"position_curve": report.position_curve} if report.position_curve else {}),
    }
