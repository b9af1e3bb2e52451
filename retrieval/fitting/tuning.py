"""Search for settings of the behaviour block, validated on later interactions; it can be interrupted and resumed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from indexing.bundle.bundle import Bundle
from indexing.errors import InputError, TrainingError, import_extra
from indexing.store.collect import fuse
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.log_kind import LogKind
from retrieval.fitting.selection.behaviour_selection import fit_item_features, select_behaviour, training_users
from retrieval.fitting.selection.temporal_split import temporal_split
from retrieval.fitting.selection.validation import MIN_USERS, NUM_CANDIDATES, Validation
from retrieval.interactions.cleaning import prepare
from retrieval.interactions.histories import History, histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_items
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.training.config import BehaviourConfig, NextItemsConfig

MAX_FAILURES = 5


@dataclass(frozen=True)
class TuningResult:
    """The result of a search.

    Attributes:
        config: The best settings: those given, with another behaviour block.
        value: ndcg@20 on the validation part of the log with them.
        start: The same with the settings given.
        trials: Number of complete trials, over all runs of the search.
    """

    config: FitConfig
    value: float
    start: float
    trials: int


def tune(
    bundle: Path | str,
    interactions: Interactions,
    study: Path,
    *,
    trials: int = 50,
    config: FitConfig | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> TuningResult:
    """Search for settings of the behaviour block with Optuna's tree of Parzen estimators (Bergstra et al. 2011).

    Each trial trains on the train part of the log and is scored on the validation part, with its best serving weights.
    The test part, by which `fit` decides, is not read.

    Args:
        bundle: Folder of the bundle; its changes must be folded in.
        interactions: The log that `fit` will be given.
        study: File of the search; an existing one is continued. A study is of one bundle and one log.
        trials: Total number of trials, those in the study included.
        config: The settings of the first trial.
        progress: Called after each trial with their number and the best value.

    Raises:
        TrainingError: When there is too little to learn from.
        InputError: When the study is of another bundle or log.
        MissingExtraError: Without Optuna.
    """
    optuna = import_extra("optuna", "tune")
    config = config or FitConfig()
    start = config.behaviour or BehaviourConfig()
    current = Bundle.open(bundle).require_compacted()
    objective = _objective(current, interactions, config)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(study)))
    search = optuna.create_study(storage=storage, study_name="behaviour", direction="maximize", load_if_exists=True)
    seed = (start.next_items.seed if start.next_items else 0) + len(
        search.trials
    )  # else the same settings would be sampled again
    search.sampler = optuna.samplers.TPESampler(seed=seed)
    _check_same(search, current, interactions)
    if not _complete(search):
        search.enqueue_trial(_parameters(start))
    failed = 0
    while (done := len(_complete(search))) < trials:
        search.optimize(lambda trial: objective(_suggested(trial, start)), n_trials=1, catch=(TrainingError,))
        failed = failed + 1 if len(_complete(search)) == done else 0
        if failed == MAX_FAILURES:
            raise TrainingError(f"{failed} trials in a row could not be trained; look at the log of {study}")
        if progress is not None and not failed:
            progress(done + 1, search.best_value)
    best = _suggested(optuna.trial.FixedTrial(search.best_params), start)
    complete = _complete(search)
    return TuningResult(replace(config, behaviour=best), search.best_value, complete[0].value, len(complete))


def _check_same(study: Any, bundle: Bundle, interactions: Interactions) -> None:  # noqa: ANN401 - an optional package
    """Check that a study is of this bundle's items and this log; remember them if it is new."""
    from retrieval.training.loop import digest  # torch is loaded only by those who learn

    ids = [list(bundle.items), *(interactions.table[name].to_pylist() for name in ("user_id", "item_id"))]
    fingerprint = digest(ids, *(interactions.table[name].to_numpy() for name in ("timestamp", "weight")))
    known = study.user_attrs.get("learns from")
    if known is None:
        study.set_user_attr("learns from", fingerprint)
    elif known != fingerprint:
        raise InputError("this study is of another bundle or another log; give it another file")


def _complete(study: Any) -> list[Any]:  # noqa: ANN401 - an optional package
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def _objective(bundle: Bundle, interactions: Interactions, config: FitConfig) -> Callable[[BehaviourConfig], float]:
    """Give the function that computes ndcg@20 of a trial."""
    from retrieval.training.behaviour.behaviour import train_behaviour  # torch is loaded only by those who learn

    if config.prepare is not None:
        interactions, _ = prepare(interactions, config.prepare)
    interactions, known = known_items(interactions, bundle.items)
    all_histories = histories(interactions, bundle.items)
    kind = LogKind.of(all_histories, interactions.repeats)
    config, min_relevance = kind.config(config), kind.min_relevance
    splits = temporal_split(all_histories, config.split) if all_histories else []
    if (users := len(training_users(splits, min_relevance))) < MIN_USERS:
        raise TrainingError(
            f"only {users} users have a train and a validation part; {MIN_USERS} are needed. {known}".rstrip()
        )
    validation = Validation(bundle.items, [], NUM_CANDIDATES, min_relevance)
    content = ItemSpace.of(fuse(bundle.modality_vectors), config.user_model)
    features = fit_item_features(bundle).of(bundle.modality_vectors, bundle.attributes)

    def objective(trial_config: BehaviourConfig) -> float:
        settings = kind.config(replace(config, behaviour=trial_config)).scaled()

        def train(train_histories: Sequence[History]) -> Behaviour:
            liked = (history.counted_by(settings.user_model) for history in train_histories)
            return train_behaviour([history for history in liked if len(history)], features, settings.behaviour)

        return select_behaviour(train, content, splits, validation).value

    return objective


def _parameters(config: BehaviourConfig) -> dict[str, float]:
    """Give the settings that are searched, by their names in a study; `_suggested` reads them."""
    learned = config.next_items or NextItemsConfig()
    return {
        "closed": config.ease_dims,
        "doubt": config.shrinkage,
        **{name: getattr(config, name) for name in ("regularisation", "decay_days", "ridge")},
        "next_items.ahead": learned.num_targets,
        **{
            f"next_items.{name}": getattr(learned, name)
            for name in ("epochs", "learning_rate", "dropout", "id_dropout")
        },
    }


def _suggested(trial: Any, start: BehaviourConfig) -> BehaviourConfig:  # noqa: ANN401 - an optional package
    """Sample the settings of a trial; the total dimensions of both towers stay as they are."""
    learned = start.next_items or NextItemsConfig()
    total_dims = start.ease_dims + learned.dims
    ease_dims = trial.suggest_int("closed", min(8, total_dims // 4), total_dims - min(8, total_dims // 4))
    return replace(
        start,
        ease_dims=ease_dims,
        regularisation=trial.suggest_float("regularisation", 1.0, 5000.0, log=True),
        decay_days=trial.suggest_float("decay_days", 1.0, 1000.0, log=True),
        ridge=trial.suggest_float("ridge", 0.05, 50.0, log=True),
        shrinkage=trial.suggest_float("doubt", 0.1, 20.0, log=True),
        next_items=replace(
            learned,
            dims=total_dims - ease_dims,
            epochs=trial.suggest_int("next_items.epochs", 1, 40),
            num_targets=trial.suggest_int("next_items.ahead", 1, 30),
            learning_rate=trial.suggest_float("next_items.learning_rate", 1e-4, 3e-2, log=True),
            dropout=trial.suggest_float("next_items.dropout", 0.0, 0.8),
            id_dropout=trial.suggest_float("next_items.id_dropout", 0.0, 0.6),
        ),
    )
