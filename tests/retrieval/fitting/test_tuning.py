"""Settings of learning are written and read, and searched for in runs that go on."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError
from retrieval import FitConfig, Interactions
from retrieval.cli import main
from retrieval.fitting.tuning import _suggested, tune
from retrieval.training.config import AdapterConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.settings import read_settings, settings_of, write_settings
from tests.groups import COUNT, SMALL, catalogue, items, log

ONE_EPOCH = NextItemsConfig(dims=6, epochs=1, dropout=0.8)
BAD = replace(SMALL, behaviour=BehaviourConfig(ease_dims=6, regularisation=5000.0, next_items=ONE_EPOCH))


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    for settings in (FitConfig(), SMALL, BAD, replace(SMALL, adapter=AdapterConfig(epochs=3), prepare=None)):
        write_settings(settings, tmp_path / "settings.json")
        assert read_settings(FitConfig, tmp_path / "settings.json") == settings


def test_what_is_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such settings: \['behaviour.next_items.epoch'\]"):
        settings_of(FitConfig, {"behaviour": {"next_items": {"epoch": 2}}})
    stored = {"adapter": {"hidden": 8, "hard": 0, "margin": 0.2}}  # by an earlier version, without hard negatives
    assert settings_of(FitConfig, stored) == FitConfig(adapter=AdapterConfig(hidden=8))
    with pytest.raises(InputError, match=r"adapter\.hard is 5, and there is no such setting any more: leave it out"):
        settings_of(FitConfig, {"adapter": {"hard": 5}})
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="holds list"):
        read_settings(FitConfig, tmp_path / "list.json")
    with pytest.raises(InputError, match=r"none\.json: there is no such file"):
        read_settings(FitConfig, tmp_path / "none.json")


def test_a_search_finds_better_settings_and_continues(tmp_path: Path) -> None:
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    seen: list[tuple[int, float]] = []
    first = tune(
        tmp_path / "bundle",
        log(),
        tmp_path / "study.log",
        trials=2,
        config=BAD,
        progress=lambda done, best: seen.append((done, best)),
    )
    assert [done for done, _ in seen] == [1, 2]
    assert first.trials == 2
    pq.write_table(log().table, tmp_path / "log.parquet")
    write_settings(BAD, tmp_path / "bad.json")
    out = tmp_path / "best.json"
    arguments = ["tune", str(tmp_path / "bundle"), str(tmp_path / "log.parquet"), "--out", str(out), "--trials", "4"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--study", str(tmp_path / "study.log"), "--config", str(tmp_path / "bad.json"), "--json"])
    assert ended.value.code == 0
    best = read_settings(FitConfig, out)
    again = tune(tmp_path / "bundle", log(), tmp_path / "study.log", trials=4, config=BAD)  # nothing is left to do
    assert again.config == best
    assert (again.trials, again.start) == (4, first.start)
    assert again.value >= first.value >= first.start
    other = log().table.to_pydict()
    other["item_id"][300], other["item_id"][301] = other["item_id"][301], other["item_id"][300]  # amid the log
    with pytest.raises(InputError, match="another bundle or another log"):
        tune(
            tmp_path / "bundle", Interactions.from_arrow(pa.table(other)), tmp_path / "study.log", trials=4, config=BAD
        )
    anew = tune(tmp_path / "bundle", log(), tmp_path / "other.log", trials=1, config=best)
    assert anew.start == again.value
    assert best.behaviour is not None
    assert best.behaviour.next_items is not None
    assert best.behaviour.ease_dims + best.behaviour.next_items.dims == 12
    assert json.loads(out.read_text())["behaviour"]["ease_dims"] == best.behaviour.ease_dims


class MiddleTrial:
    """Suggests the middle of each range, on the scale that it is asked for."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return (low + high) // 2

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        return math.sqrt(low * high) if log else (low + high) / 2


def test_what_spans_orders_of_magnitude_is_searched_by_its_logarithm() -> None:
    middle = _suggested(MiddleTrial(), BehaviourConfig(ease_dims=24, next_items=NextItemsConfig(dims=40)))
    learned = middle.next_items
    assert learned is not None
    assert (middle.ease_dims, learned.dims) == (32, 32)
    assert middle.regularisation == pytest.approx(math.sqrt(5000))
    assert middle.decay_days == pytest.approx(math.sqrt(1000))
    assert middle.ridge == pytest.approx(math.sqrt(2.5))
    assert middle.shrinkage == pytest.approx(math.sqrt(2))
    assert learned.learning_rate == pytest.approx(math.sqrt(3e-6))
    assert (learned.epochs, learned.num_targets) == (20, 15)
    assert (learned.dropout, learned.id_dropout) == (0.4, 0.3)
