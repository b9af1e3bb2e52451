"""The server as a process: it drains at SIGTERM, gives up slow and endless headers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import BundleError, CommonspaceError, InputError
from retrieval.serving import ServiceConfig
from retrieval.serving.server import uvicorn_server as module
from retrieval.serving.server.uvicorn_server import serve
from tests.toy import toy_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), load_encoder("pocket"), folder / "bundle")
    return folder / "bundle"


@contextlib.contextmanager
def running(bundle: Path, *options: str, log: int | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server; what it writes to standard error goes to a file by its number."""
    command = [sys.executable, "-m", "retrieval.cli", "serve", str(bundle), "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split(";")[0]
        until_answered(f"{url}/live")
        yield process, url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        if process.stdout is not None:
            process.stdout.close()


def until_answered(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30):  # noqa: S310
            return
        time.sleep(0.1)
    raise AssertionError("the service does not answer")


def asked(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/search", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        read: dict[str, Any] = json.loads(answer.read())
        return read


def opened(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.mark.slow
def test_requests_that_have_begun_are_answered_at_sigterm(bundle: Path) -> None:
    with running(bundle) as (process, url):
        answers, faults = [], list[Exception]()
        texts = [f"red mug {at}" for at in range(200)]

        def ask() -> None:
            try:
                answers.append(asked(url, {"texts": texts, "k": 20}))
            except Exception as error:
                faults.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(15) == 0
        assert not faults
        assert all(len(answer["results"]) == 200 for answer in answers)


def test_one_worker_ends_with_0_after_sigterm_and_with_130_after_ctrl_c(bundle: Path) -> None:
    """Supervisors take another code for a failure. `test_workers.py` has several workers."""
    for sent, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with running(bundle) as (process, _):
            process.send_signal(sent)
            assert process.wait(30) == code


@pytest.mark.slow
def test_slow_and_endless_headers(bundle: Path) -> None:
    with running(bundle) as (_, url), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(opened(url)) for _ in range(100)]
        for one in slow:
            one.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\n")
        assert len(asked(url, {"texts": ["red mug"], "k": 1})["results"][0]["hits"]) == 1
        endless = stack.enter_context(opened(url))
        endless.sendall(b"GET /live HTTP/1.1\r\nX: ")
        with contextlib.suppress(OSError):
            for _ in range(100):
                endless.sendall(b"a" * 10_000)
        with contextlib.suppress(ConnectionError):
            assert endless.recv(1_000).startswith(b"HTTP/1.1 400") or not endless.recv(1)
        flood = stack.enter_context(opened(url))
        flood.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: aaaaaaaaaaaaaaaa\r\n" * 5_000 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert flood.recv(1_000).startswith(b"HTTP/1.1 400")
        for one in slow:  # given up after ten seconds
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""


def test_a_port_that_is_taken(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "create_app", lambda _: pytest.fail("the bundle was opened first"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = ServiceConfig(bundle, port=taken.getsockname()[1])
        with pytest.raises(InputError, match="cannot listen on"):
            serve(config)


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_said_to_be_served_that_cannot_be(workers: int, tmp_path: Path) -> None:
    config = ServiceConfig(tmp_path / "nothing", port=0)
    with pytest.raises(BundleError, match="nothing"):
        serve(config, workers, ready=lambda *_: pytest.fail("it was said to be served"))


UNKNOWN: dict[str, Any] = {"kk": 3}
NOT_KEPT = {"generation": "gen-20260102t030405000000z-0123abcd"}


@pytest.mark.parametrize(
    ("workers", "scenario", "said"),
    [
        (1, UNKNOWN, "scenario 'plain': kk: there is no such field"),
        (1, NOT_KEPT, "keeps no generation"),
        (2, NOT_KEPT, "keeps no generation"),
    ],
)
def test_scenarios_that_cannot_be_used_are_said_before(
    bundle: Path, workers: int, scenario: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Also what is found only when the bundle is open, as a generation that it does not keep."""
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps({"scenarios": {"plain": scenario}, "default": "plain", "seed": "a"}))
    config = ServiceConfig(bundle, port=0, scenarios=path)
    with pytest.raises(CommonspaceError, match=said):
        serve(config, workers, ready=lambda *_: pytest.fail("it was said to be served"))
