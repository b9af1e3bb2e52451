"""The report in a real browser: quiet console, nothing asked of anybody, every picture visible."""

from pathlib import Path

import pytest

from retrieval.evaluation.report.gather import gather
from retrieval.evaluation.report.report import report_page
from tests.browser import CHROMIUM, Browser
from tests.retrieval.evaluation.shop import HOSTILE, Row, Shop

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, as .ci/run does")

PICTURES = "[...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width, i.complete])"
FRAMES = "[...document.querySelectorAll('figure.relevant')].map(f => getComputedStyle(f).outlineStyle)"
DOTS = "[...document.querySelectorAll('.map circle')].map(c => getComputedStyle(c).fill)"
# Words may go to several lines, but are never broken into letters: nobody reads downwards.
NARROW = "[...document.querySelectorAll('td, th')].filter(c => c.innerText && c.getBoundingClientRect().width < 40)"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    shop = Shop(folder)
    measured = shop.measured()
    means, intervals = measured.means, {row.measure: (row.low, row.high) for row in measured.table()}
    report = gather(
        shop.retriever,
        shop.found(),
        shop.relevant,
        measured,
        title=HOSTILE[3],
        about={"asked": HOSTILE[1]},
        catalogue=shop.catalogue,
        slices=[Row("popularity", value, 10, means, intervals) for value in ("popular", "tail", HOSTILE[3])],
        colour_by="colour",
    )
    (folder / "report.html").write_text(report_page(report))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Browser":  # type: ignore[misc]
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.mark.parametrize("dark", [False, True])
def test_a_report_is_quiet_and_whole(dark: bool, path: Path, browser: Browser) -> None:
    browser.requests.clear()
    browser.open(path, dark=dark)
    assert browser.requests[0] == path.as_uri()
    assert all(url.startswith("data:") for url in browser.requests[1:])
    assert len([url for url in browser.requests if url.startswith("data:image/jpeg")]) > 0
    pictures = browser.evaluate(PICTURES)
    assert len(pictures) > 50
    assert all(natural > 0 and wide > 0 and complete for natural, wide, complete in pictures)
    assert browser.evaluate("window.pwned") is None
    assert set(browser.evaluate(FRAMES)) == {"solid"}
    assert len(set(browser.evaluate(DOTS))) == 4  # colours
    assert browser.evaluate(f"{NARROW}.map(c => c.innerText)") == []
    scroll, client = browser.evaluate(WIDTHS)
    assert scroll <= client
    assert browser.complaints == []


def test_the_watch_sees_what_it_watches_for(browser: Browser, tmp_path: Path) -> None:
    """A page that asks for a file, breaks its policy and throws: were this silent, the test above would say nothing."""
    policy = "<meta http-equiv='Content-Security-Policy' content=\"style-src 'none'\">"
    bad = "<img src='missing.png'><style>p { color: red }</style><script>throw Error('thrown')</script>"
    (tmp_path / "bad.html").write_text(f"<!doctype html>{policy}{bad}")
    browser.requests.clear()
    before = len(browser.complaints)
    browser.open(tmp_path / "bad.html")
    said = "".join(browser.complaints[before:])
    del browser.complaints[before:]
    assert browser.requests[1] == (tmp_path / "missing.png").as_uri()
    assert "thrown" in said
    assert "Content Security Policy" in said
    assert browser.evaluate(PICTURES)[0][0] == 0
