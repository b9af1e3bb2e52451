"""The Python of docs/how-to/ray.md runs, in a process of its own, and prints what it says; its options exist."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer.main

from retrieval.cli import app
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "ray.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_the_example_runs_and_prints_what_the_page_says(smaller_sample: Path) -> None:
    ((example, printed),) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    pq.write_table(pq.read_table(smaller_sample).slice(0, 30), "items.parquet")
    command = [sys.executable, "-c", f"items = 'items.parquet'\n{example}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == printed


def test_options_and_fields_are_there() -> None:
    parameters = typer.main.get_command(app).commands["build"].params  # type: ignore[attr-defined]
    options = {option for parameter in parameters for option in parameter.opts}
    named = set(re.findall(r"[` ](--[a-z-]+)", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    assert {"--engine", "--address", "--actors", "--actor-cpus", "--actor-gpus"} <= named <= options
