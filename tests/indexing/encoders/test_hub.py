"""Models from a hub: a cached one needs no network, a missing one fails within seconds, a present one is fetched."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import open_clip
import pytest
import transformers.utils.hub
from huggingface_hub import constants, hf_api

from indexing.encoders import load_encoder
from indexing.encoders.inference import hub
from indexing.errors import EncoderError
from tests.tiny_models import tiny_clip, tiny_open_clip

UNREACHABLE = "http://127.0.0.1:9"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def put_into_cache(cache: Path, repo: str, made: Path) -> None:
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "snapshots").mkdir(parents=True)
    made.rename(folder / "snapshots" / REVISION)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(REVISION)


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(hf_api.api, "endpoint", endpoint)
    # transformers makes one of its own, with the endpoint of that moment
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a hub that nobody can reach, and no HF_HUB_OFFLINE, whatever is set around the tests."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 300.0)  # a busy machine answers late, and is reachable
    use_endpoint(monkeypatch, UNREACHABLE)
    return tmp_path / "hub"


@pytest.mark.parametrize("spec", ["hf:nobody/none", "open_clip:hf-hub:nobody/none", "open_clip:ViT-B-32/laion2b_e16"])
def test_an_unreachable_hub_is_one_message(spec: str, tmp_path: Path) -> None:
    code = "import sys; from retrieval.cli import main; main(sys.argv[1:])"
    arguments = ["build", str(tmp_path / "items.csv"), "--out", str(tmp_path / "out"), "--encoder", spec]
    (tmp_path / "items.csv").write_text("item_id,title\na,red mug\n")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"HF_ENDPOINT": UNREACHABLE, "HF_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not in the cache and the hub cannot be reached" in done.stderr
    assert "use 'pocket'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_name_server_that_hangs_holds_up_neither_the_message_nor_the_exit(tmp_path: Path) -> None:
    code = """
import socket, time
socket.getaddrinfo = lambda *_, **__: time.sleep(10**6)
from indexing.encoders import load_encoder
load_encoder("hf:nobody/none")
"""
    done = subprocess.run(  # which ends: who waited for the answer, or for the thread that asks, would wait for days
        [sys.executable, "-c", code],
        env={"HF_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the hub cannot be reached (no answer in 3 s)" in done.stderr


def test_offline_by_choice_asks_nobody(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="not in the cache and HF_HUB_OFFLINE is set: name a local folder"):
        load_encoder("hf:nobody/none")
    assert constants.HF_HUB_OFFLINE


def test_a_cached_transformers_model_needs_no_network(cache: Path, tmp_path: Path) -> None:
    put_into_cache(cache, "someone/tiny", tiny_clip(tmp_path / "made"))
    encoder = load_encoder("hf:someone/tiny")
    assert encoder.info.name == "hf:someone/tiny"
    assert encoder.encode_texts(["a red mug"]).shape == (1, 24)
    assert not constants.HF_HUB_OFFLINE
    local = load_encoder(f"hf:{tiny_clip(tmp_path / 'again')}")
    assert encoder.info.fingerprint == local.info.fingerprint


def test_a_cached_open_clip_model_needs_no_network(cache: Path, tmp_path: Path) -> None:
    put_into_cache(cache, "someone/tiny", tiny_open_clip(tmp_path / "made"))
    encoder = load_encoder("open_clip:hf-hub:someone/tiny", precision="float32")
    local = load_encoder(f"open_clip:local-dir:{tiny_open_clip(tmp_path / 'again')}", precision="float32")
    assert encoder.info.fingerprint == local.info.fingerprint
    np.testing.assert_array_equal(encoder.encode_texts(["a red mug"]), local.encode_texts(["a red mug"]))


def test_a_cached_open_clip_tag_needs_no_network(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_open_clip(tmp_path / "made")
    config = json.loads((made / "open_clip_config.json").read_text())
    (made / "open_clip_config.json").unlink()  # a tag's configuration is in open_clip, so the cache never has it
    put_into_cache(cache, "someone/tiny", made)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config["model_cfg"])
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"web": {"hf_hub": "someone/tiny/"}})
    assert load_encoder("open_clip:tiny/web").encode_texts(["a red mug"]).shape == (1, 24)


def test_a_cached_model_that_is_not_whole_says_so(cache: Path, tmp_path: Path) -> None:
    made = tiny_open_clip(tmp_path / "made")
    (made / "open_clip_model.safetensors").unlink()
    put_into_cache(cache, "someone/tiny", made)
    with pytest.raises(
        EncoderError, match=r"'someone/tiny' is cached but cannot be loaded offline: .*pretrained weights"
    ):
        load_encoder("open_clip:hf-hub:someone/tiny")


def test_two_loads_at_once_leave_the_switch_as_it_was(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    put_into_cache(cache, "someone/tiny", tmp_path / "made")

    def slowly(_: bool) -> None:
        time.sleep(0.05)

    threads = [threading.Thread(target=hub.load_from_hub, args=("someone/tiny", slowly)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not constants.HF_HUB_OFFLINE
    assert "DISABLE_SAFETENSORS_CONVERSION" not in os.environ


class FakeHub(BaseHTTPRequestHandler):
    """Enough of a hub for one repository, ``someone/tiny``."""

    def __init__(self, folder: Path, status: int, asked: list[str], *arguments: object) -> None:
        self.folder, self.status, self.asked = folder, status, asked
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        file = self.folder / Path(path).name
        found = self.status == 200 and path.startswith("/someone/tiny/resolve/") and file.is_file()
        self.send_response(200 if found else self.status if self.status != 200 else 404)
        body = file.read_bytes() if found else b""
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{file.name}"')
        if not found and self.status == 200:
            self.send_header("X-Error-Code", "EntryNotFound" if "/someone/tiny" in path else "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, status: int = 200, asked: list[str] | None = None) -> Iterator[str]:
    """Run a hub whose address is given; ``asked`` receives each path that it is asked for."""
    heard = [] if asked is None else asked
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(FakeHub, folder, status, heard)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("prefix", ["hf:", "open_clip:hf-hub:"])
def test_a_model_is_fetched_once_and_then_needs_no_hub(
    prefix: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (tiny_clip if prefix == "hf:" else tiny_open_clip)(tmp_path / "made")
    with serving(made) as endpoint:
        use_endpoint(monkeypatch, endpoint)
        first = load_encoder(f"{prefix}someone/tiny")
        with pytest.raises(EncoderError, match="the hub has no model 'nobody/none' that you may read: check its name"):
            load_encoder(f"{prefix}nobody/none")
    assert load_encoder(f"{prefix}someone/tiny").info == first.info


@pytest.mark.parametrize("status", [403, 407, 429, 503])
def test_a_hub_that_is_down_or_blocked_counts_as_unreachable(
    status: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with serving(tmp_path, status, asked) as endpoint:
        use_endpoint(monkeypatch, endpoint)
        with pytest.raises(EncoderError, match=rf"hub cannot be reached \(.*{status}.*use 'pocket'"):
            load_encoder("hf:someone/tiny")
    asked = [path for path in asked if not path.startswith("/api/")]  # the library may ask the hub about itself
    assert asked == ["/someone/tiny/resolve/main/config.json"]  # once: no library tries again, after ever longer pauses


def test_offline_by_choice_around_a_load_stays(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_cache(cache, "someone/tiny", tiny_clip(tmp_path / "made"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder("hf:someone/tiny").encode_texts(["a red mug"]).shape == (1, 24)
    assert constants.HF_HUB_OFFLINE


def test_what_fails_while_it_is_fetched_names_the_model_and_the_way_out(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as endpoint:  # the hub has the repository, but it is empty
        use_endpoint(monkeypatch, endpoint)
        with pytest.raises(EncoderError, match=r"'someone/tiny' cannot be loaded from the hub \(.*use 'pocket'"):
            load_encoder("open_clip:hf-hub:someone/tiny")
