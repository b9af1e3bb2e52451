"""`FitConfig`: one dial scales all parts, and the settings of earlier versions are read."""

import dataclasses
import json
import tarfile
from dataclasses import asdict, replace
from typing import Any

import pytest

from indexing.errors import InputError
from retrieval import FitConfig
from retrieval.fitting.fit_config import same_config, stored_config
from retrieval.training.config import AdapterConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig, TreesConfig
from retrieval.training.settings import settings_of
from tests.paths import ROOT

PARTS = FitConfig(
    adapter=AdapterConfig(epochs=9),
    behaviour=BehaviourConfig(next_items=NextItemsConfig(epochs=1)),
    reranker=StageConfig(neural=HeadConfig(ensemble_size=4, epochs=7), trees=TreesConfig(num_boost_round=50)),
)


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    """The settings in the manifest of a bundle that was fitted by an earlier version."""
    with tarfile.open(ROOT / "tests" / "data" / "bundle_before_layout.tar.gz") as archive:
        manifests = [name for name in archive.getnames() if name.endswith("manifest.json")]
        files = [archive.extractfile(name) for name in sorted(manifests)]
        learned = [json.loads(file.read())["learned"] for file in files if file is not None]
    config: dict[str, Any] = learned[-1]["config"]
    return config


def test_there_are_few_settings_and_the_dial_is_the_first() -> None:
    names = [field.name for field in dataclasses.fields(FitConfig)]
    assert names[0] == "effort"
    assert len(names) <= 8


def test_the_default_changes_nothing() -> None:
    assert FitConfig().scaled() == FitConfig()
    assert PARTS.scaled() == PARTS


def test_fast_halves_what_takes_time() -> None:
    def counts(config: FitConfig) -> tuple[int, ...]:
        assert config.adapter is not None
        assert config.behaviour is not None
        assert config.behaviour.next_items is not None
        assert config.reranker is not None
        neural, trees = config.reranker.neural, config.reranker.trees
        return (
            config.adapter.epochs,
            config.behaviour.next_items.epochs,
            neural.ensemble_size,
            neural.epochs,
            trees.num_boost_round,
        )

    assert counts(replace(PARTS, effort="fast").scaled()) == (4, 1, 2, 4, 25)


def test_parts_that_are_left_out_stay_out() -> None:
    config = FitConfig(effort="fast", adapter=None, behaviour=None, reranker=None).scaled()
    assert (config.adapter, config.behaviour, config.reranker) == (None, None, None)


def test_what_is_written_are_the_settings_that_were_given() -> None:
    config = replace(PARTS, effort="fast")
    assert settings_of(FitConfig, json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "slow"}, "effort is 'slow'; give one of 'fast', 'default'"),
        ({"way": "sideways"}, "split is 'sideways'; give one of 'both', 'user', 'time'"),
        ({"head": None, "reranker": None}, "head is an older name of reranker, and both are there"),
        ({"depth": 20}, "depth is 20, and there is no such setting any more: leave it out"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_of(FitConfig, settings)


def test_settings_in_an_older_manifest_are_read(stored: dict[str, Any]) -> None:
    assert {"way", "head", "users", "depth", "search_loss", "refresh_passes"} <= stored.keys()
    config = stored_config(stored)
    assert config.effort == "default"
    assert config.split == "both"
    assert config.adapter is None
    assert config.reranker == StageConfig(
        candidates_per_source=20, neural=HeadConfig(hidden=8, ensemble_size=1, epochs=8)
    )
    assert config.user_model.half_life == 10.0
    assert config.exposure_floor == 0.5


def test_settings_in_an_older_manifest_are_compared_with_todays(stored: dict[str, Any]) -> None:
    config = stored_config(stored)
    assert same_config(stored, config)
    assert not same_config(stored, replace(config, effort="fast"))
    assert not same_config(stored | {"depth": 20}, config)
    assert not same_config(None, config)
