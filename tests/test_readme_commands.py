"""The README's command lines, run one after the other as a new user would, on a part of the sample."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import indexing.sample
from indexing.sample import interactions_path, items_path
from tests.cli_run import Run, runner
from tests.tiny_models import tiny_cross_encoder

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^ {4}commonspace (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
NAMED = ["mug", "croissant", "elephant"]
ITEMS = 400
HUB = "cross-encoder/ms-marco-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def smaller_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package whose sample has fewer drawings, and what users did with these."""
    items, log = pq.read_table(items_path()), pq.read_table(interactions_path())
    touched = pc.value_counts(log["item_id"])
    order = pc.sort_indices(touched.field("counts"), sort_keys=[("", "descending")])
    kept = pa.concat_arrays(
        [pa.array(NAMED, pa.string()), touched.field("values").take(order)[:ITEMS].cast(pa.string())]
    )
    package = tmp_path_factory.mktemp("package")
    folder = package / "data" / "sample"
    folder.mkdir(parents=True)
    pq.write_table(items.filter(pc.is_in(items["item_id"], kept)), folder / "items.parquet")
    pq.write_table(log.filter(pc.is_in(log["item_id"], kept)), folder / "interactions.parquet")
    return package


@pytest.fixture
def at_home(tmp_path: Path, smaller_sample: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names as one's own."""
    monkeypatch.setattr(indexing.sample, "files", lambda package: smaller_sample)
    monkeypatch.chdir(tmp_path)
    shutil.copy(smaller_sample / "data" / "sample" / "items.parquet", "items.parquet")
    Path("rules.json").write_text(json.dumps([{"rule": "pin", "item_ids": ["elephant"]}]))
    Path("new.jsonl").write_text('{"item_id": "teapot-new", "title": "a blue teapot"}\n')
    Path("categories.csv").write_text("item_id,category\nelephant,animals\n")
    tiny_cross_encoder(tmp_path / HUB)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.mark.slow
def test_each_command_runs_and_leaves_what_it_names(at_home: Path, run: Run) -> None:
    assert len(COMMANDS) >= 20
    for command in COMMANDS:
        code, _, error = run(*shlex.split(command))
        assert code == 0, f"commonspace {command}\n{error}"
        for option in re.findall(r"--(?:out|html|save|curve) (\S+)", command):
            assert (at_home / option).exists(), command
    code, out, _ = run("compare", "before.json", "after.json", "--json")
    assert code == 0
    assert out.startswith("{")
