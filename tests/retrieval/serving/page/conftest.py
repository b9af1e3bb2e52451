"""The page in Debian's Chromium, over a service in a thread, some of whose items have hostile titles."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import index_words
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval import FitConfig, Interactions, fit
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.serving import ServiceConfig
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig
from tests.retrieval.batch.shop import shop_log
from tests.retrieval.serving.conftest import WRITE
from tests.retrieval.serving.listening import listening
from tests.toy import ToyEncoder, toy_table

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
HOSTILE = (
    "<img src=x onerror='window.__pwned=1'>",
    "<script>window.__pwned=1</script> red",
    "</title><svg onload=window.__pwned=1> red mug",
    "javascript:window.__pwned=1",
)


@dataclass
class Watched:
    """A page of the browser with what went wrong on it.

    Attributes:
        page: The page.
        size: "desktop" or "phone".
        problems: Errors of the console, and of scripts.
        foreign: Addresses of other hosts that it asked for.
    """

    page: "Page"
    size: str
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy catalogue, and items whose titles are markup."""
    table = toy_table()
    rows = [
        {"item_id": f"hostile-{number}/é", "title": title, "image": None, "price": 7, "tags": ["red", title[:20]]}
        for number, title in enumerate(HOSTILE)
    ]
    path = tmp_path_factory.mktemp("page") / "items.parquet"
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(rows, table.schema)]), path)
    return path


@pytest.fixture(scope="session")
def page_bundle(catalogue_file: Path) -> Path:
    """A bundle of it that has learned from a log and has an index of words."""
    root = catalogue_file.parent / "bundle"
    build_bundle(Catalogue.from_parquet(catalogue_file), ToyEncoder(), root)
    behaviour = BehaviourConfig(ease_dims=4, next_items=NextItemsConfig(dims=4, epochs=2))
    config = FitConfig(adapter=None, behaviour=behaviour, reranker=StageConfig(neural=HeadConfig(epochs=3)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
        fit(root, Interactions.from_arrow(shop_log()), config)
    index_words(root)
    return root


@pytest.fixture(scope="session")
def address(page_bundle: Path, catalogue_file: Path) -> Iterator[str]:
    """The address of a service of the bundle."""
    with listening(ServiceConfig(page_bundle, catalogue=catalogue_file)) as (found, _):
        yield found


@pytest.fixture(scope="module")  # while it is open, its loop of events runs, and no test can start another
def browser() -> Iterator["Browser"]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextlib.contextmanager
def watching(browser: "Browser", address: str, size: str, *, hash: str = "") -> Iterator[Watched]:
    """Open the page; at the end nothing has gone wrong on it, and no text of an item has become code."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=size == "phone", reduced_motion="reduce"
    )
    context.set_default_timeout(20_000)
    found = Watched(context.new_page(), size)
    found.page.on("console", lambda one: found.problems.append(one.text) if one.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.problems.append(str(error)))
    context.on(
        "request",
        lambda one: None if one.url.startswith((address, "blob:", "data:")) else found.foreign.append(one.url),
    )
    found.page.goto(address + hash)
    if not hash:
        found.page.locator("#pane-search .card").first.wait_for()
    yield found
    assert found.problems == []
    assert found.foreign == []
    assert found.page.evaluate("window.__pwned") is None
    assert found.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "the page is wider than the screen"
    )
    context.close()


@pytest.fixture(params=SIZES)
def watched(request: pytest.FixtureRequest, browser: "Browser", address: str) -> Iterator[Watched]:
    """The page, opened."""
    with watching(browser, address, request.param) as found:
        yield found


@pytest.fixture
def live_address(page_bundle: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a service with an empty log of live events, and a scenario that all users have."""
    scenarios = tmp_path / "scenarios.json"
    varied = {"diversify": {"strength": 0.4}, "num_candidates": 24}
    scenarios.write_text(json.dumps({"scenarios": {"plain": {}, "varied": varied}, "shares": {"varied": 1}}))
    events = f"sqlite:///{tmp_path / 'events.db'}"
    config = ServiceConfig(page_bundle, events=events, write_token=WRITE, scenarios=scenarios)
    with listening(config) as (found, _):
        yield found


@pytest.fixture(params=SIZES)
def live(request: pytest.FixtureRequest, browser: "Browser", live_address: str) -> Iterator[Watched]:
    """The page of a service that takes live events."""
    with watching(browser, live_address, request.param) as found:
        yield found


@pytest.fixture
def has_no_violations() -> Callable[["Page"], None]:
    """Assert that axe finds nothing that keeps people from using the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

    def check(page: "Page") -> None:
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    return check
