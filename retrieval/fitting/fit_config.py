"""`FitConfig`: how `fit` learns. One dial, `effort`, scales the passes and networks of all parts."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from indexing.errors import InputError
from indexing.runtime.arguments import check_choice
from retrieval.fitting.selection.temporal_split import SplitMethod
from retrieval.interactions.cleaning import PrepareConfig
from retrieval.models.user_model import UserModel
from retrieval.ranking.heads import BothHead
from retrieval.training.config import AdapterConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import StageConfig
from retrieval.training.settings import check_settings, settings_of

Effort = Literal["fast", "default"]
SCALES: dict[str, float] = {"fast": 0.5, "default": 1.0}  # of passes, batches and networks
Passes = TypeVar("Passes", AdapterConfig, NextItemsConfig)


@dataclass(frozen=True)
class FitConfig:
    """How `fit` learns. Start with ``effort``; the other fields are for those who know what they change.

    Attributes:
        effort: ``"fast"`` halves the passes and networks that the parts below name, does not train the reranker again
            on the last interactions, and leaves returning users to retrieval; ``"default"`` leaves all as it is. See
            `scaled`.
        adapter: How the adapter of the item vectors is trained; None goes without.
        behaviour: How item vectors are learned from histories; None goes without.
        reranker: How the second stage is trained; None goes without.
        user_model: How a history becomes a query.
        prepare: Which interactions are left out before training; None keeps all.
        split: How histories are split into train, validation and test: by ``"user"``, each history for itself; by
            ``"time"``, all at the same moments; or ``"both"``: by user, and for the reranker at one moment for all too,
            where the log has times and enough users. See `retrieval.fit`.
        exposure_floor: Fraction of the top-10 lists that any item may be in, however few users touched it. Raise it for
            a small catalogue; see `retrieval.fitting.exposure_limit.allowed_exposure`.
    """

    effort: Effort = "default"
    adapter: AdapterConfig | None = field(default_factory=AdapterConfig)
    behaviour: BehaviourConfig | None = field(default_factory=BehaviourConfig)
    reranker: StageConfig | None = field(default_factory=StageConfig)
    user_model: UserModel = field(default_factory=UserModel)
    prepare: PrepareConfig | None = field(default_factory=PrepareConfig)
    split: SplitMethod = "both"
    exposure_floor: float = 0.2

    def __post_init__(self) -> None:
        check_choice(self.effort, "effort", get_args(Effort))
        check_choice(self.split, "split", get_args(SplitMethod))
        check_settings(self)

    @property
    def retrains_reranker(self) -> bool:
        """Whether a reranker that helps is trained again, on the last interactions too."""
        return self.effort != "fast"

    @property
    def trains_on_windows(self) -> bool:
        """Whether a second head is trained for users who return, on several windows of the log."""
        return self.effort != "fast"

    def scaled(self) -> "FitConfig":
        """Give the settings that the parts are trained by: passes, batches and networks times what ``effort`` says.

        >>> FitConfig().scaled() == FitConfig()
        True
        >>> fast = FitConfig(effort="fast").scaled()
        >>> fast.reranker.neural.ensemble_size, fast.behaviour.next_items.epochs
        (1, 8)
        """
        scale = SCALES[self.effort]
        if scale == 1:
            return self
        adapter, behaviour, reranker = self.adapter, self.behaviour, self.reranker
        if adapter is not None:
            adapter = _scaled_passes(adapter, scale)
        if behaviour is not None and behaviour.next_items is not None:
            behaviour = replace(behaviour, next_items=_scaled_passes(behaviour.next_items, scale))
        if reranker is not None:
            neural, trees = reranker.neural, reranker.trees
            size, epochs = _times(neural.ensemble_size, scale), _times(neural.epochs, scale)
            neural = replace(neural, ensemble_size=size, epochs=epochs)
            trees = replace(trees, num_boost_round=_times(trees.num_boost_round, scale))
            reranker = replace(reranker, neural=neural, trees=trees)
        return replace(self, adapter=adapter, behaviour=behaviour, reranker=reranker)


def _scaled_passes(config: Passes, scale: float) -> Passes:
    return replace(config, epochs=_times(config.epochs, scale), max_steps=_times(config.max_steps, scale))


def _times(count: int, scale: float) -> int:
    return max(1, round(count * scale)) if count else 0


def stored_config(values: Any) -> FitConfig:  # noqa: ANN401 - plain JSON values
    """Read the settings that a manifest keeps, of this version or an earlier one.

    A reranker with both heads, as earlier versions trained them, is read as one with the default head: a refresh trains
    no head.

    Raises:
        InputError: When a setting is unknown or refused.
    """
    for name in ("reranker", "head"):
        stage = values.get(name) if isinstance(values, dict) else None
        if isinstance(stage, dict) and stage.get("head") == BothHead.kind:
            values = values | {name: stage | {"head": StageConfig.head}}
    return settings_of(FitConfig, values)


def same_config(stored: Any, config: FitConfig) -> bool:  # noqa: ANN401 - plain JSON values
    """Say whether the settings that a manifest keeps are these."""
    try:
        return stored_config(stored) == config
    except InputError:
        return False
