"""What the reference pages name is there: fields and options of configuration, and the files of a bundle."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from indexing import Catalogue, IndexConfig, RayEngine, build_bundle
from retrieval import FitConfig
from retrieval.cli import app
from retrieval.training.config import AdapterConfig, AttentionConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import StageConfig
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

REFERENCE = ROOT / "docs" / "reference"
CONFIGURATION = (REFERENCE / "configuration.md").read_text()
FILES = (REFERENCE / "files.md").read_text()


def rows(section: str) -> list[tuple[str, str]]:
    """The first two cells of each line of a section's first table, without its head."""
    (part,) = re.findall(rf"^## {re.escape(section)}$(.*?)(?=^## |^\*\*|\Z)", CONFIGURATION, re.DOTALL | re.MULTILINE)
    found: list[tuple[str, str]] = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", part, re.MULTILINE)
    return found


@pytest.mark.parametrize(
    ("section", "config"),
    [
        ("The index: `IndexConfig`", IndexConfig),
        ("Working with Ray: `RayEngine`", RayEngine),
        ("Learning: `FitConfig`", FitConfig),
        ("Content: `AdapterConfig`", AdapterConfig),
        ("Behaviour: `BehaviourConfig`", BehaviourConfig),
        ("The trained tower: `NextItemsConfig`", NextItemsConfig),
        ("Attention: `AttentionConfig`", AttentionConfig),
        ("The second stage: `StageConfig`", StageConfig),
    ],
)
def test_fields_exist(section: str, config: Any) -> None:  # noqa: ANN401
    named = [name for cell, _ in rows(section) for name in re.findall(r"`(\w+)`", cell)]
    fields = [field.name for field in dataclasses.fields(config)]
    assert len(named) >= 4
    assert set(named) <= set(fields)
    assert named[0] == fields[0]
    assert len(fields) <= 8


@pytest.mark.parametrize(
    ("command", "section", "least"),
    [
        ("build", "The index: `IndexConfig`", 4),
        ("build", "Working with Ray: `RayEngine`", 4),
        ("fit", "Learning: `FitConfig`", 2),
    ],
)
def test_options_exist(command: str, section: str, least: int) -> None:
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    named = {option for _, cell in rows(section) for option in re.findall(r"`(--[a-z-]+)`", cell)}
    assert len(named) >= least
    assert named <= {option for parameter in parameters for option in parameter.opts}


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_print_what_the_page_says(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    example, said = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", CONFIGURATION, re.DOTALL)[number]
    exec(compile(example, "configuration.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out == said


def test_every_file_of_a_bundle_is_on_the_page(tmp_path: Path) -> None:
    bundle = tmp_path / "shop"
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), bundle)
    (generation,) = bundle.glob("gen-*")
    names = {path.name for folder in (bundle, generation) for path in folder.iterdir()} - {generation.name}
    assert {"CURRENT", "manifest.json", "index.bin", "store"} <= names
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", FILES)} == set()
