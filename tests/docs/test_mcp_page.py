"""What docs/how-to/mcp.md says of the tools, and its example."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval.serving import ServiceConfig
from retrieval.serving.app import service_for
from retrieval.serving.mcp.schemas import MAX_EXPLAINED, MAX_HISTORY, MAX_HITS
from retrieval.serving.mcp.tools import TOOLS
from tests.cli_run import runner
from tests.docs.conftest import NAMED
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "mcp.md").read_text()
START = 'StdioServerParameters(command="commonspace", args=["mcp", "bundles/sample"])'


def test_the_table_has_the_tools_and_what_they_take() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
    common = {"k", "where", "attributes"}
    assert [name for name, _ in rows] == [tool.name for tool in TOOLS]
    for (_, takes), tool in zip(rows, TOOLS, strict=True):
        fields = set(tool.arguments.model_fields) - common
        assert set(re.findall(r"`(\w+)`", takes)) == fields, tool.name
    assert f"`k` (10, at most {MAX_HITS})" in PAGE
    assert f"at\nmost {MAX_HISTORY} items, and `explain` takes {MAX_EXPLAINED}" in PAGE


def test_settings_are_json_and_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    servers = [json.loads(text)["mcpServers"]["shop"] for text in re.findall(r"```json\n(.*?)\n```", PAGE)]
    assert [set(server) for server in servers] == [{"command", "args"}, {"type", "url", "headers"}]
    run = runner(capsys)
    for command in ("mcp", "serve"):
        (line,) = re.findall(rf"^commonspace {command} (.*?) *#", PAGE, re.MULTILINE)
        for option in re.findall(r"--[\w-]+", line):
            assert option in run(command, "--help")[1]
    for option in re.findall(r"`(--[\w-]+)`", PAGE):
        assert option in run("mcp", "--help")[1]


def test_the_example_prints_what_the_page_says(smaller_sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from retrieval.serving.mcp.server import server_of

    items = pq.read_table(smaller_sample)
    pq.write_table(items.filter(pc.is_in(items["item_id"], pa.array(NAMED))), "few.parquet")
    build_bundle(Catalogue.from_parquet("few.parquet"), load_encoder("pocket"), "bundles/sample")
    service = service_for(ServiceConfig("bundles/sample"))
    (example, said) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)[0]
    assert START in example
    exec(compile(example.replace(START, "server"), "mcp.md", "exec"), {"server": server_of(service)})  # noqa: S102
    service.admission.close()
    service.served.close()
    assert capsys.readouterr().out == said
