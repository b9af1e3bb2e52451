"""Settings that were stored by an earlier version are read: former names, fixed values, and at most eight fields."""

import dataclasses
from typing import Any

import pytest

from indexing.errors import InputError
from retrieval import FitConfig
from retrieval.models.behaviour import DEFAULT_HISTORY_SHRINKAGE, DEFAULT_WEIGHTS
from retrieval.training.config import AdapterConfig, AttentionConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, SourcesConfig, StageConfig, TreesConfig
from retrieval.training.settings import check_settings, settings_of

KINDS = (
    AdapterConfig,
    AttentionConfig,
    NextItemsConfig,
    BehaviourConfig,
    HeadConfig,
    TreesConfig,
    SourcesConfig,
    StageConfig,
)
# Each class as `dataclasses.asdict` gave it when all of these were fields, with other values where a field has stayed.
ADAPTER = {
    "hidden": 8,
    "epochs": 2,
    "most_steps": 3,
    "targets": 4,
    "batch_size": 512,
    "uniform": 512,
    "learning_rate": 0.5,
    "temperature": 0.07,
    "stay": 0.25,
    "modality_dropout": 0.1,
    "held_out": 0.2,
    "patience": 5,
    "seed": 6,
}
ATTENTION = {
    "dims": 8,
    "layers": 2,
    "heads": 4,
    "epochs": 3,
    "most_steps": 1000,
    "negatives": 4096,
    "ahead": 10,
    "longest": 50,
    "batch_size": 16,
    "learning_rate": 0.5,
    "weight_decay": 0.01,
    "dropout": 0.2,
    "hidden_dropout": 0.1,
    "seed": 6,
}
NEXT_ITEMS = {
    "dims": 8,
    "epochs": 2,
    "most_steps": 3,
    "negatives": 8192,
    "cuts": 3,
    "ahead": 4,
    "batch_size": 128,
    "learning_rate": 0.5,
    "dropout": 0.2,
    "id_dropout": 0.1,
    "feature_dropout": 0.5,
    "predicting": 0.02,
    "half_lives": [15.0, 3.0, 15.0],
    "seed": 6,
}
BEHAVIOUR = {
    "closed": 8,
    "regularisation": 2.0,
    "half_life": None,
    "share": 0.3,
    "popular": 1.6,
    "content": 0.0,
    "decay_days": 7.0,
    "early": 60.0,
    "disliked": 0.3,
    "ridge": 0.5,
    "doubt": 4.0,
    "few": 2.0,
    "most_items": 100,
    "next_items": NEXT_ITEMS,
    "attention": ATTENTION,
}
HEAD = {
    "hidden": 8,
    "networks": 3,
    "epochs": 2,
    "least_steps": 7,
    "batch_size": 5,
    "learning_rate": 0.5,
    "weight_decay": 0.01,
    "dropout": 0.3,
    "seed": 6,
}
TREES = {
    "leaves": 7,
    "rounds": 9,
    "learning_rate": 0.5,
    "fewest": 11,
    "columns": 0.75,
    "top": 12,
    "threads": 2,
    "seed": 6,
}
SOURCES = {
    "neighbours": 9,
    "most_items": 100,
    "regularisation": 2.0,
    "half_life": 4.0,
    "ahead": 3,
    "doubt": 1.0,
    "days": 5.0,
}
STAGE = {
    "head": "trees",
    "each": 9,
    "least": 2.5,
    "new_users": False,
    "neural": HEAD,
    "trees": TREES,
    "sources": SOURCES,
}


def test_all_settings_of_an_earlier_version_keep_their_values() -> None:
    found = settings_of(FitConfig, {"adapter": ADAPTER, "behaviour": BEHAVIOUR, "head": STAGE})
    assert found.adapter == AdapterConfig(8, 2, 3, 0.5, 0.25, 0.2, 5, 6)
    assert found.behaviour == BehaviourConfig(
        8,
        2.0,
        100,
        7.0,
        0.5,
        4.0,
        NextItemsConfig(8, 2, 3, 4, 0.5, 0.2, 0.1, 6),
        AttentionConfig(8, 2, 4, 3, 50, 0.5, 0.2, 6),
    )
    neural, trees = HeadConfig(8, 3, 2, 7, 5, 0.5, 0.3, 6), TreesConfig(7, 9, 0.5, 11, 0.75, 12, 2, 6)
    assert found.reranker == StageConfig(
        "trees", 9, 2.5, False, neural, trees, SourcesConfig(9, 100, 2.0, 4.0, 3, 1.0, 5.0)
    )
    assert settings_of(FitConfig, dataclasses.asdict(found)) == found


def test_a_setting_that_is_fixed_now_is_refused_at_another_value() -> None:
    with pytest.raises(
        InputError, match=r"adapter\.temperature is 0\.05, and there is no such setting any more: leave"
    ):
        settings_of(FitConfig, {"adapter": ADAPTER | {"temperature": 0.05}})
    without_times = {"half_lives": [1e9, 1e9, 1e9]}  # as `fit` stored them for a log without times
    assert settings_of(NextItemsConfig, without_times) == NextItemsConfig()
    with pytest.raises(InputError, match=r"half_lives is .*no such setting any more"):
        settings_of(NextItemsConfig, {"half_lives": (15.0, 3.0, 20.0)})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (AdapterConfig, "batch_size", AdapterConfig.BATCH_SIZE),
        (AdapterConfig, "targets", AdapterConfig.TARGETS_PER_USER),
        (AdapterConfig, "uniform", AdapterConfig.UNIFORM_NEGATIVES),
        (AdapterConfig, "temperature", AdapterConfig.TEMPERATURE),
        (AdapterConfig, "modality_dropout", AdapterConfig.MODALITY_DROPOUT),
        (AttentionConfig, "batch_size", AttentionConfig.BATCH_SIZE),
        (AttentionConfig, "most_steps", AttentionConfig.MAX_STEPS),
        (AttentionConfig, "ahead", AttentionConfig.NUM_TARGETS),
        (AttentionConfig, "negatives", AttentionConfig.MAX_NEGATIVES),
        (AttentionConfig, "weight_decay", AttentionConfig.WEIGHT_DECAY),
        (AttentionConfig, "hidden_dropout", AttentionConfig.HIDDEN_DROPOUT),
        (NextItemsConfig, "batch_size", NextItemsConfig.BATCH_SIZE),
        (NextItemsConfig, "cuts", NextItemsConfig.CUTS_PER_HISTORY),
        (NextItemsConfig, "negatives", NextItemsConfig.MAX_NEGATIVES),
        (NextItemsConfig, "feature_dropout", NextItemsConfig.FEATURE_DROPOUT),
        (NextItemsConfig, "predicting", NextItemsConfig.PREDICTION_RATE),
        (NextItemsConfig, "half_lives", NextItemsConfig.HALF_LIVES),
        (BehaviourConfig, "share", DEFAULT_WEIGHTS.share),
        (BehaviourConfig, "popular", DEFAULT_WEIGHTS.popular),
        (BehaviourConfig, "content", DEFAULT_WEIGHTS.content),
        (BehaviourConfig, "few", DEFAULT_HISTORY_SHRINKAGE),
        (BehaviourConfig, "early", BehaviourConfig.EARLY_INTERACTIONS),
        (BehaviourConfig, "disliked", BehaviourConfig.DISLIKED_WEIGHT),
        (HeadConfig, "weight_decay", HeadConfig.WEIGHT_DECAY),
    ],
)
def test_a_setting_that_is_a_constant_now_is_read_at_its_value(kind: type[Any], name: str, value: object) -> None:
    assert settings_of(kind, {name: value}) == kind()


def test_a_setting_is_given_by_one_name() -> None:
    with pytest.raises(
        InputError,
        match=r"behaviour\.closed is an older name of behaviour\.ease_dims, and both are there: leave one out",
    ):
        settings_of(FitConfig, {"behaviour": {"closed": 4, "ease_dims": 4}})


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_has_at_most_eight_fields_and_its_defaults_are_valid(kind: type[Any]) -> None:
    assert len(dataclasses.fields(kind)) <= 8
    check_settings(kind())
