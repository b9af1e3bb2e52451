"""A cluster that the engine starts is this machine's alone and ends with its driver; and what needs no cluster."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.encoders.base import golden_vectors
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import EngineError, InputError, MissingExtraError
from indexing.media.decode import Task
from indexing.media.files import Kind
from indexing.runtime.ray_cluster import ALONE, import_ray
from indexing.runtime.ray_engine import RayEngine
from indexing.store.batch_encoder import File
from indexing.store.encode import EncodeConfig, embed
from indexing.store.ray_actor import DecodeLimits, EncodingActor, LoadedBy
from indexing.store.store import EmbeddingStore
from tests.cli_run import toy_runner
from tests.indexing.store.test_ray_engine import BATCH, alike, catalogue_in, counts, encoded
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

LIMITS = DecodeLimits(1, 10.0, 300_000_000)

DRIVER = """
import sys
import time
from pathlib import Path
from tests.indexing.store.test_ray_engine import ToyEncoder, catalogue_in, encoded
from indexing.runtime.ray_engine import RayEngine
folder = Path(sys.argv[1])
def note(items, seconds):
    import ray
    if len(list((folder / "store").glob("*.parquet"))) == 3:
        (folder / "address").write_text(ray.get_runtime_context().gcs_address)
        time.sleep(1000)  # further batches are encoded, and not stored
encoded(folder / "store", catalogue_in(folder / "shop"), RayEngine(actors=2), ToyEncoder(), note)
"""
STRANGER = """
import sys
from pathlib import Path
from indexing.catalogue.catalogue import Catalogue
from indexing.runtime.ray_engine import RayEngine
from tests.indexing.store.test_ray_engine import encoded
folder, store, address = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
encoded(store, Catalogue.from_parquet(folder / "shop" / "rows.parquet", image_dir=folder / "shop"), RayEngine(address))
"""


def started(code: str, *arguments: object, **more: str) -> "subprocess.Popen[str]":
    """Start a process which knows nothing of Ray but what is given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | more
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def servers(address: str) -> dict[int, str]:
    """Give the processes of Ray that serve at an address, and how each was called."""
    port, found = address.rpartition(":")[2], {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode()
            if f"gcs-address={address}" in command or f"gcs_server_port={port} " in command:
                found[int(path.parent.name)] = command
    return found


def listening(pid: int) -> Iterator[tuple[str, int]]:
    """Give the addresses and ports at which a process and all that it started listen."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1].split(":")
    for process in (pid, *descendants(pid)):
        for file in Path(f"/proc/{process}/fd").glob("*"):
            with contextlib.suppress(OSError):
                if (name := os.readlink(file)) in sockets:
                    address, port = sockets[name]
                    words = np.frombuffer(bytes.fromhex(address), ">u4").astype("<u4").tobytes()
                    yield socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words), int(port, 16)


def descendants(pid: int) -> Iterator[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    for child in [one for one, parent in parents.items() if parent == pid]:
        yield child
        yield from descendants(child)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_killed_driver_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Nor does it leave the cluster behind that it had started, which listens here alone and asks for a token."""
    driver = started(DRIVER, tmp_path)
    try:
        while not (address := (tmp_path / "address").read_text() if (tmp_path / "address").exists() else ""):
            assert driver.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
        reached = list(listening(driver.pid))
        assert len(reached) > 3
        assert {address for address, _ in reached} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        ours = servers(address)
        assert ours
        assert not [command for command in ours.values() if "--include-dashboard=true" in command.lower()]
        given: list[dict[str, str]] = [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "f" * 64}]
        strangers = [
            started(STRANGER, tmp_path, tmp_path / f"{number}", address, **more, **ALONE, RAY_NUM_REDIS_GET_RETRIES="2")
            for number, more in enumerate(given)
        ]
        for said in [stranger.communicate()[1] for stranger in strangers]:
            assert re.search(r"EngineError: the cluster of Ray at .* cannot be reached .* its token\?", said), said
        assert driver.poll() is None
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    while servers(address):
        time.sleep(0.1)
    catalogue = catalogue_in(tmp_path / "shop")
    local, expected = encoded(tmp_path / "local", catalogue, None)
    report, found = encoded(tmp_path / "store", catalogue, None)
    assert alike(found, expected)
    assert report.resumed > 3 * BATCH
    assert sum(counts(report)) == sum(counts(local))
    assert report.encoded < local.encoded


def test_ray_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import sys; from indexing import EncodeConfig, RayEngine, build_bundle; import retrieval.cli.commands.build; "
        "EncodeConfig(engine=RayEngine()); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'ray cannot be imported: pip install "\.\[ray\]"'):
        encoded(tmp_path / "ray", catalogue_in(tmp_path / "shop"), RayEngine())


@pytest.mark.parametrize(("mode", "expected"), [("", "RAY_AUTH_MODE was set"), ("token", "that other machines reach")])
def test_a_cluster_that_others_would_reach_is_not_started(
    mode: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.5")
    ray = SimpleNamespace(__version__="2.60.0", is_initialized=lambda: False, util=util)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(EngineError, match=f"Ray was imported before.*{expected}"):
        encoded(tmp_path / "ray", catalogue_in(tmp_path / "shop"), RayEngine())


@pytest.mark.parametrize("mode", ["foo", "TOKEN", "tokens"])
def test_a_mode_in_which_ray_asks_for_no_token_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(EngineError, match=f"RAY_AUTH_MODE is '{mode}'; set it to 'token', to 'disabled' where whoever"):
        import_ray(None)


def test_an_empty_mode_is_none_and_an_empty_token_is_drawn(tmp_path: Path) -> None:
    code = (
        "import os; from indexing.runtime import ray_cluster\n"
        "class Ray:\n"
        "    __version__ = '2.60.0'\n"
        "    def init(self, *_, **__): pass\n"
        "    class util: get_node_ip_address = staticmethod(lambda: '127.0.0.1')\n"
        "ray_cluster.import_extra = lambda *_: Ray()\n"
        "ray_cluster._connect(ray_cluster.import_ray(None), None)\n"
        "assert os.environ['RAY_AUTH_MODE'] == 'token' and len(os.environ['RAY_AUTH_TOKEN']) == 64\n"
    )
    given = {**os.environ, "RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=given, check=False).returncode == 0


def test_an_old_release_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__="2.51.1"))
    with pytest.raises(EngineError, match=r"Ray 2\.51\.1 is older than 2\.52"):
        encoded(tmp_path / "ray", catalogue_in(tmp_path / "shop"), RayEngine())


def test_an_actor_says_what_its_node_lacks(tmp_path: Path) -> None:
    encoder = ToyEncoder()
    loaded = LoadedBy("toy", "float32", "cpu", None, encoder.info.fingerprint, golden_vectors(encoder), encoder)
    actor = EncodingActor((loaded, Task(), LIMITS))
    actor.ready()
    np.testing.assert_array_equal(actor.encode(["red mug"], []).texts, encoder.encode_texts(["red mug"]))
    with pytest.raises(
        EngineError, match=r"cannot read .*gone\.png, which the driver has read .*keep files on a file system that all"
    ):
        actor.encode([], [File(Kind.IMAGE, tmp_path / "gone.png")])
    other = EncodingActor((loaded._replace(fingerprint="another"), Task(), LIMITS))
    with pytest.raises(EngineError, match=r"has other weights or packages for toy: .*that of the driver another"):
        other.ready()
    turned = EncodingActor((loaded._replace(golden=loaded.golden[::-1]), Task(), LIMITS))
    with pytest.raises(EngineError, match="encoder toy gives other vectors than for the driver"):
        turned.ready()
    gone = EncodingActor((loaded._replace(name="hf:gone/folder/of/a/model", itself=None), Task(), LIMITS))
    with pytest.raises(EngineError, match=r"the node .* cannot load the encoder hf:gone/folder/of/a/model: .*gone"):
        gone.ready()


@pytest.mark.parametrize("address", ["", "local", "10.0.0.5", "ray://10.0.0.5:10001", "head:port", "a b:6379"])
def test_addresses_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"address is {address!r}: give that of the cluster's head")):
        RayEngine(address)


@pytest.mark.parametrize("address", ["auto", "10.0.0.5:6379", "head.cluster:6379", "[fe80::1]:6379"])
def test_addresses_are_taken(address: str) -> None:
    assert RayEngine(address).address == address


def test_values_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="actors"):
        RayEngine(actors=0)
    with pytest.raises(InputError, match="cpus"):
        RayEngine(cpus=0)
    with pytest.raises(InputError, match="engine"):
        EncodeConfig(engine="ray")  # type: ignore[arg-type]
    vectors, store = VectorsEncoder(2), EmbeddingStore(tmp_path, 2)
    table = Catalogue.from_arrow(pa.table({"item_id": ["a"], "text_vector": [[1.0, 0.0]]}))
    with pytest.raises(InputError, match=r"vectors:2 takes vectors as they are, .*leave out engine"):
        embed(table, vectors, store, EncodeConfig(engine=RayEngine()), shown=False)


def test_options_of_ray_without_ray_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, source = toy_runner(capsys, monkeypatch), toy_file(tmp_path)
    for option, value in (("--address", "auto"), ("--actors", 2), ("--actor-cpus", 2), ("--actor-gpus", 1)):
        code, _, said = run("build", source, "--out", tmp_path / "out", option, value)
        assert (code, "are of --engine ray: give that too" in said) == (2, True), said
    for more in (("--device", "cuda"), ("--compile",)):
        code, _, said = run("build", source, "--out", tmp_path / "out", "--engine", "ray", *more)
        assert (code, "give --actor-gpus for actors with a GPU" in said) == (2, True), said
    code, _, said = run("build", source, "--out", tmp_path / "out", "--engine", "ray", "--address", "local")
    assert (code, "address is 'local'" in said) == (2, True), said
    assert not (tmp_path / "out").exists()
