"""Tools over standard input and output: a process of its own, whose standard output has the protocol alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import Retriever
from retrieval.serving import ServiceConfig
from tests.cli_run import runner
from tests.paths import ROOT
from tests.retrieval.serving.mcp.conftest import called, hits_in, text_of
from tests.retrieval.serving.test_search_routes import hits_of
from tests.toy import toy_file

NOISY = """
import os, subprocess, sys, warnings
from retrieval.serving import ServiceConfig
from retrieval.serving.app import service_for
from retrieval.serving.mcp.server import serve_stdio
from tests.toy import ToyEncoder

def noise():
    print("noise of Python")
    os.write(1, b"noise of C\\n")
    subprocess.run(["echo", "noise of a child"], check=True)
    sys.stdout.write("half a line")
    warnings.warn("noise of a warning")

class Noisy(ToyEncoder):
    def encode_texts(self, texts):
        noise()
        return super().encode_texts(texts)

def opened():
    noise()
    return service_for(ServiceConfig(sys.argv[1]), Noisy())

serve_stdio(opened)
print("after the end")
"""


def test_standard_output_has_the_protocol_alone(shop: Path, tmp_path: Path) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked = {"name": "search", "arguments": {"text": "red mug", "k": 1}}
    heard = tmp_path / "stderr"
    with heard.open("w") as errors, subprocess.Popen(
        [sys.executable, "-c", NOISY, str(shop)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        sending, receiving = process.stdin, process.stdout

        def send(**message: object) -> None:
            sending.write(f"{json.dumps({'jsonrpc': '2.0', **message})}\n")
            sending.flush()

        send(id=1, method="initialize", params=hello)
        greeting = json.loads(receiving.readline())
        send(method="notifications/initialized")
        send(id=2, method="tools/call", params=asked)
        answer = json.loads(receiving.readline())
        sending.close()
        assert receiving.read() == "after the end\n"
    assert process.returncode == 0
    assert greeting["result"]["serverInfo"]["name"] == "commonspace"
    assert answer["result"]["structuredContent"]["hits"][0]["item_id"] == "red-mug"
    for noise in ("noise of Python", "noise of C", "noise of a child", "half a line", "noise of a warning"):
        assert noise in heard.read_text()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), load_encoder("pocket"), folder / "bundle")
    return folder / "bundle"


def test_the_command_answers_the_official_client(bundle: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "retrieval.cli", "mcp", str(bundle)], cwd=ROOT, env={"OMP_NUM_THREADS": "1"}
    )

    async def work() -> Any:  # noqa: ANN401
        async with Client(command) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            return tools, await called(
                client,
                ("search", {"text": "red mug", "k": 4, "where": "price < 30"}),
                ("similar", {"item_id": "red-mug", "k": 4}),
                ("recommend", {"history": ["red-mug", "blue-mug"], "k": 4}),
                ("explain", {"item_ids": ["red-mug"], "history": ["red-shoe"]}),
                ("catalogue", {}),
                ("search", {"text": "red", "k": 0}),
            )

    tools, (*answers, explained, catalogue, wrong) = anyio.run(work)
    assert tools == ["catalogue", "search", "similar", "recommend", "explain"]
    retriever = Retriever.open(bundle)
    found = [retriever.search_texts(["red mug"], 4, where="price < 30"), retriever.similar_items(["red-mug"], 4)]
    expected = [hits_of(one)[0] for one in (*found, retriever.recommend([["red-mug", "blue-mug"]], 4))]
    assert [hits_in(answer.structured_content) for answer in answers] == expected
    assert explained.structured_content["hits"][0]["why"]["history"][0]["item_id"] == "red-shoe"
    assert catalogue.structured_content["items"] == 20
    assert (wrong.is_error, "k: " in text_of(wrong)) == (True, True)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retrieval.cli", "mcp", str(tmp_path / "nowhere")]
    ended = subprocess.run(command, input="", capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "nowhere" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--port", "8080"], 2, "give --http too"),
        (["--host", "127.0.0.1"], 2, "give --http too"),
        (["--http", "--host", "0.0.0.0"], 1, "COMMONSPACE_READ_TOKEN"),  # noqa: S104
        (["--http", "--image-hosts", "*"], 1, "give names of hosts"),
    ],
)
def test_options_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], options: list[str], code: int, said: str
) -> None:
    found, out, err = runner(capsys)("mcp", "nowhere", *options)
    assert (found, out) == (code, "")
    assert said in err


@pytest.mark.parametrize(
    ("command", "mcp", "port"),
    [
        (["mcp", "shop", "--http", "--port", "0", "--image-hosts", "a.example, b.example"], "alone", 0),
        (["serve", "shop", "--mcp", "--image-hosts", "a.example,b.example"], "beside", 8080),
        (["serve", "shop", "--image-hosts", "a.example,b.example"], "off", 8080),
    ],
)
def test_commands_serve_as_they_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str], mcp: str, port: int
) -> None:
    served = list[ServiceConfig]()

    def serve(config: ServiceConfig, *_: object, ready: Callable[[str, str | None], None], log: object) -> None:
        served.append(config)
        ready("http://127.0.0.1:80", None)

    monkeypatch.setattr("retrieval.serving.server.uvicorn_server.serve", serve)
    code, out, _ = runner(capsys)(*command)
    assert (code, "http://127.0.0.1:80" in out) == (0, True)
    (config,) = served
    assert (config.mcp, config.host, config.port) == (mcp, "127.0.0.1", port)
    assert config.image_hosts == ("a.example", "b.example")
