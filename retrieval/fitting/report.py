"""What to learn from interactions, and what became of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from indexing.errors import InputError
from indexing.runtime.arguments import check_flag, check_kind
from retrieval.fitting.exposure_limit import Exposure
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.selection.validation import VALIDATION_METRIC, Gain
from retrieval.interactions.cleaning import PreparationReport
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.histories import History
from retrieval.interactions.impressions import require_impressions
from retrieval.interactions.known_items import KnownItems
from retrieval.interactions.user_profiles import Profiles


def check_wishes(config: object, profiles: object, impressions: object, refresh: object) -> None:
    """Check what learning is asked for.

    Raises:
        InputError: When it cannot be told.
    """
    if config is not None:
        check_kind(config, FitConfig, "config", "give FitConfig(…), or None")
    if profiles is not None:
        check_kind(profiles, Profiles, "profiles", "give what Profiles.open or Profiles.from_arrow reads, or None")
    check_flag(refresh, "refresh")
    if impressions is not None:
        require_impressions(impressions)
        if refresh:
            raise InputError(
                "a refresh trains no head, which is what impressions teach",
                python="leave out impressions, or fit without refresh",
                cli="leave out --impressions, or --refresh",
            )


@dataclass(frozen=True, repr=False)
class FitReport:
    """What was learned and what it did on the last part of each history.

    Attributes:
        generation: The generation in force afterwards.
        published: Which parts were published: ``"adapter"``, ``"behaviour"``, ``"profiles"``, ``"reranker"``; none when
            it was refused.
        users: How many users could be judged.
        ndcg: ndcg@10 on the last part: frozen, adapter, behaviour, reranker; and, where interactions came since the
            parts in force were learned, present and new on those alone. Of a refresh: in force, and refreshed.
        search: Recall@10 of finding items by their own vector of each modality, and by blurred ones: frozen, adapter;
            empty when no adapter was learned.
        refused: Why nothing was published, if nothing was.
        exposure: The item that is shown most against its audience.
        serving: How much each part of a query counts, as chosen on the middle part.
        short: By the number of items of a short history (``"1-3"``, ``"5"``, ``"10"``, ``"20"``) ndcg@10 of what users
            who were left out of learning did next, by ``retrieval`` and by the ``reranker``. Histories shorter than
            those from which on the reranker does at least as well are left to retrieval.
        new_users: ``users`` left out of what profiles teach, and ndcg@20 of what each did first, by what is ``popular``
            alone and with ``profiles``; empty where profiles were not learned from.
        notes: Why a part could not be learned, by part.
        preparation: What was left out of the log.
        known: Which interactions of the log are with items that are not in the bundle, and why that may be.
        training: The losses of each part in its last training from the start, and what an adapter costs search; see
            `retrieval.training.loop.TrainingCurve`.
        in_force: The parts of the generation in force afterwards.
        in_time: What a head for users who return gains over retrieval, in windows after those that it was trained on;
            None where that was not judged.
        held_back: Items that were held back, for they would have been shown out of proportion.
        gain: What was learned against what answered before, on the same users; None where nothing could be compared.
        position_curve: How likely each position of a list is examined, as learned from impressions; None without. See
            `retrieval.training.ranker.position_bias.PositionCurve`.
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
    in_force: tuple[str, ...] = ()
    gain: Gain | None = None
    in_time: Gain | None = None
    held_back: tuple[str, ...] = ()
    position_curve: dict[str, Any] | None = None

    def __str__(self) -> str:
        """Say in sentences what came of it."""
        if self.refused:
            first = f"Nothing was published: {self.refused}. Generation {self.generation} stays in force."
        else:
            parts = ", ".join(self.published) or "no learned part, for none was asked for"
            first = f"Published generation {self.generation} with {parts}."
        if self.gain is None:
            return first
        gain = self.gain
        return (
            f"{first} ndcg@10 on later interactions of {gain.users} users: {gain.after:.4f} by what was learned, "
            f"{gain.before:.4f} before; difference {gain} (90 % interval)."
        )

    def __repr__(self) -> str:
        return f"<FitReport {self}>"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, and in ``summary`` what came of it in sentences."""
        gains = {name: None if one is None else one._asdict() for name, one in self._gains().items()}
        return asdict(self) | gains | {"summary": str(self)}

    def _gains(self) -> dict[str, Gain | None]:
        return {"gain": self.gain, "in_time": self.in_time}

    def to_arrow(self) -> pa.Table:
        """Give one line a part that was judged: ``part, ndcg@10, published``."""
        columns = {"part": list(self.ndcg), "ndcg@10": list(self.ndcg.values())}
        return pa.table(columns | {"published": [part in self.published for part in self.ndcg]})


def manifest_record(
    report: FitReport, config: FitConfig, pasts: Sequence[History], refreshed: str | None = None
) -> dict[str, Any]:
    """Give what the manifest keeps of a run.

    Args:
        report: What became of it.
        config: How it learned.
        pasts: All that it learned from.
        refreshed: The generation that a refresh went on from.
    """
    last = max(int(past.timestamps[-1]) for past in pasts)
    return {
        "user_model": asdict(config.user_model),
        "config": asdict(config),
        "interactions": sum(map(len, pasts)),
        "until": last if last > EARLIEST else None,  # a log without a clock cannot tell what came since
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
