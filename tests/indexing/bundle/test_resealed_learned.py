"""Manifests whose checksum is right and that tell of what was learned in a way that cannot be: typed errors."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import seal, unseal
from retrieval.fitting.fit import fit
from retrieval.fitting.published_model import PublishedModel
from retrieval.interactions.cleaning.config import PushLimits
from retrieval.interactions.interactions import Interactions
from retrieval.models.user_model import ALL_ALIKE, UserModel
from retrieval.retriever.retriever import Retriever
from retrieval.training.config import AdapterConfig, NextItemsConfig
from retrieval.training.ranker_config import StageConfig, TreesConfig
from retrieval.training.settings import settings_of
from tests.groups import CLOCK, COUNT, SMALL, catalogue, items, walks

NAN = float("nan")


def clocked() -> Interactions:
    table = walks().table
    times = pa.array(table["timestamp"].to_numpy() + CLOCK)
    return Interactions(table.set_column(table.schema.get_field_index("timestamp"), "timestamp", times))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    assert "behaviour" in fit(folder / "bundle", clocked(), replace(SMALL, adapter=None, reranker=None)).published
    return folder / "bundle"


@pytest.fixture
def root(fitted: Path, tmp_path: Path) -> Path:
    shutil.copytree(fitted, tmp_path / "bundle")
    return tmp_path / "bundle"


def tell(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = Bundle.open(root).folder / "manifest.json"
    content = unseal(path)
    change(content["learned"])
    path.write_bytes(seal(content))


USERS: dict[str, list[object]] = {
    "half_life": [None, 0, -1, NAN, "10", [], {}, True],
    "longest": [None, 0, -1, 0.5, "200", [], True],
    "min_relevance": ["", "2", [], {}, NAN, True],
    "counts": [None, "x", [], NAN, 0, 1],
}
EACH = [(name, value) for name, values in USERS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), EACH)
def test_a_user_model_that_cannot_be_is_refused(root: Path, name: str, value: object) -> None:
    tell(root, lambda info: info["user_model"].update({name: value}))
    with pytest.raises(DamagedFileError, match=rf"learned\.user_model in .*manifest\.json cannot be read \({name} is"):
        Retriever.load(root)


@pytest.mark.parametrize(("name", "value"), EACH)
def test_a_user_model_made_in_python_is_checked(name: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=f"^{name} is "):
        UserModel(**{name: value})


def test_user_models_that_can_be_are_taken() -> None:
    assert not UserModel(half_life=ALL_ALIKE, longest=1, min_relevance=-0.5).in_order
    assert UserModel(half_life=0.01, min_relevance=None, counts=True).half_life == 0.01


WRONG: dict[str, list[object]] = {
    "until": ["", "x", [], {}, True, 0.5, NAN],
    "config": [None, "", [None], 3],
    "serving": [None, "x", [], {"share": "x"}, {"share": NAN}, {"share": [1]}],
    "measured": [None, "x", [0.5], NAN],
    "exposure": ["x", [], {"item_id": 3}, {"share": NAN}, {"allowed": "x"}],
    "training": [None, "x", {"behaviour": 3}, {"behaviour": {"train": [NAN]}}],
    "interactions": ["x", None, 0.5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_information_on_training_has_its_types(root: Path, name: str, value: object) -> None:
    tell(root, lambda info: info.update({name: value}))
    with pytest.raises(DamagedFileError, match=rf"manifest\.json cannot be used: learned\.{name}.* is .*; try `comm"):
        Bundle.open(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda info: info.update(until=-1), r"learned\.until in .* cannot be read \(it is -1"),
        (lambda info: info["serving"].pop("popular"), r"learned\.serving in .* \(it lacks 'popular'\)"),
        (lambda info: info["serving"].update(popularity=1.0), r"\(it names 'popularity'\)"),
        (lambda info: info["serving"].update(returning_share=1.0), r"\(it lacks 'returning_half_life', "),
        (lambda info: info["serving"].update(half_life=0), r"\(half_life is 0; expected a number of more than 0\)"),
        (lambda info: info["serving"].update(share=-0.5), r"\(share is -0\.5; expected a number from 0\)"),
        (lambda info: info.pop("config"), r"learned\.config in gen-.* \(FitConfig is None"),
        (lambda info: info["config"].update(strange=1), r"\(no such settings: \['strange'\]"),
        (lambda info: info["config"]["behaviour"].update(ease_dims="6"), r"\(behaviour\.ease_dims is '6'; give a"),
        (lambda info: info["config"]["user_model"].update(longest=0), r"\(longest is 0"),
        (
            lambda info: info["config"].update(adapter={"hard": 5}),
            r"\(adapter\.hard is 5, and there is no such setting",
        ),
        (
            lambda info: info["config"].update(reranker={"new_items": True}),
            r"\(reranker\.new_items is True, and there is no such setting",
        ),
    ],
)
def test_a_refresh_says_what_it_cannot_go_on_from(root: Path, change: Any, reason: str) -> None:  # noqa: ANN401
    tell(root, change)
    Retriever.load(root)  # which serves as before
    with pytest.raises(DamagedFileError, match=rf"{reason}.*; fit without refresh"):
        fit(root, clocked(), refresh=True)


def test_the_same_in_force_is_refreshed(root: Path) -> None:
    assert fit(root, clocked(), refresh=True).refused.startswith("only 0 users with a history liked something")


def test_a_fit_of_an_earlier_version_is_the_same_in_force(root: Path) -> None:
    def earlier(info: dict[str, Any]) -> None:
        for user_model in (info["user_model"], info["config"]["user_model"]):
            user_model["least"] = user_model.pop("min_relevance")

    tell(root, earlier)
    assert Retriever.load(root).users.min_relevance == 0.0
    report = fit(root, clocked(), replace(SMALL, adapter=None, reranker=None))
    assert report.refused == "the same parts are published already, bit for bit"


@pytest.mark.parametrize("head", ["neural", "both"])
def test_settings_of_an_earlier_version_are_read(root: Path, head: str) -> None:
    def earlier(info: dict[str, Any]) -> None:
        info["config"]["adapter"] = {"hidden": 8, "hard": 0, "margin": 0.2}
        stage = {"head": head, "each": 30, "moments": 2, "share": 0.2, "new_items": False}
        for older, name in (("way", "split"), ("users", "user_model"), ("head", "reranker")):
            info["config"][older] = info["config"].pop(name)
        del info["config"]["effort"]
        info["config"]["head"] = stage | {"trees": {"leaves": 7, "signs": []}}
        info["config"] |= {"depth": 200, "search_loss": 0.02, "exposure_growth": 3.0, "replay": 1.0}

    tell(root, earlier)
    config = PublishedModel.of(Bundle.open(root)).config
    assert (config.effort, config.split) == ("default", "both")
    assert config.adapter == AdapterConfig(hidden=8)
    assert config.reranker == StageConfig(candidates_per_source=30, trees=TreesConfig(num_leaves=7))
    assert fit(root, clocked(), refresh=True).refused.startswith("only 0 users with a history liked something")


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (NextItemsConfig, {"dropout": "x"}, "dropout is 'x'; give a number"),
        (NextItemsConfig, {"dropout": NAN}, "dropout is nan"),
        (PushLimits, {"window_days": [7.0, True]}, r"window_days\[1\] is True; give a number"),
        (StageConfig, {"new_users": "no"}, "new_users is 'no' of type str; give True or False"),
        (StageConfig, {"head": "deep"}, "head is 'deep'; give one of 'neural', 'trees'"),
        (StageConfig, [None], r"StageConfig is \[None\]"),
    ],
)
def test_switches_lists_and_texts_of_settings_are_checked(kind: type, values: Any, reason: str) -> None:  # noqa: ANN401
    from retrieval.training.settings import check_settings

    with pytest.raises(InputError, match=reason):
        check_settings(settings_of(kind, values))
