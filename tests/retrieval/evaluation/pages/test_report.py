"""The report says what the evaluation says, leaves the machine alone, and lets no title do anything."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from retrieval.evaluation import Evaluation, SliceRow
from retrieval.evaluation.compare import Difference
from retrieval.evaluation.report.figures import curves
from retrieval.evaluation.report.gather import gather
from retrieval.evaluation.report.item_map import Map
from retrieval.evaluation.report.report import Report, Side, comparison_page, report_page
from tests.retrieval.evaluation.shop import HOSTILE, RIGHT_TO_LEFT, Row, Shop

TEXT = {"h1", "h2", "h3", "section", "article", "p", "div", "bdi", "span", "b", "i", "em", "ul", "li"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
DRAWN = {"svg", "g", "path", "text", "circle", "polyline", "title", "figure", "figcaption", "img"}
TAGS = {"html", "head", "meta", "link", "style", "body", *TEXT, *TABLE, *DRAWN}
VOID = {"meta", "link", "img"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Page(HTMLParser):
    """What a browser makes of a page: elements with their attributes, texts with what they stand in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def text(self) -> str:
        return "".join(text for _, text in self.texts)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def html(shop: Shop) -> str:
    nan = (float("nan"), float("nan"))
    light, heavy = {"recall@10": 0.25, "ndcg@10": 0.5}, {"recall@10": 0.75, "ndcg@10": nan[0]}
    sliced = [
        Row("history", HOSTILE[0], 7, light, {"recall@10": (0.1, 0.4), "ndcg@10": (0, 1)}),
        Row("history", "heavy", 1, heavy, {"recall@10": nan, "ndcg@10": nan}),
        Row("item", "cold", 3, {"recall@10": 0.125}, {"recall@10": (0, 0.25)}),
    ]
    report = gather(
        shop.retriever,
        shop.found(),
        shop.relevant,
        shop.measured(),
        title=f"The shop {HOSTILE[3]}",
        about={"asked": HOSTILE[1]},
        catalogue=shop.catalogue,
        slices=sliced,
        colour_by="price",
        warm=set(shop.retriever.items),
    )
    return report_page(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_values_are_those_of_the_evaluation(page: Page, shop: Shop) -> None:
    measured = shop.measured()
    expected = [[row.measure, *(f"{value:.4f}" for value in row[1:])] for row in measured.table()]
    expected += [[name, f"{share:.4f}", "", ""] for name, share in measured.coverage.items()]
    start = page.rows.index(["measure", "mean", "low", "high"]) + 1
    assert page.rows[start : start + len(expected)] == expected
    assert f"Means over {len(measured.query_ids)} queries." in page.text()


def test_slices_stand_in_their_table(page: Page) -> None:
    start = page.rows.index(["slice", "value", "queries", "recall@10", "ndcg@10"]) + 1
    assert page.rows[start : start + 3] == [
        ["history", HOSTILE[0], "7", "0.2500\n0.1000 to 0.4000", "0.5000\n0.0000 to 1.0000"],
        ["history", "heavy", "1", "0.7500\n- to -", "-\n- to -"],
        ["item", "cold", "3", "0.1250\n0.0000 to 0.2500", ""],
    ]


def test_the_index_is_shown_as_it_was_measured(page: Page, html: str, shop: Shop) -> None:
    index = shop.retriever.bundle.manifest.index
    assert set(curves(index)) == set(index["recall"])
    start = page.rows.index(["kind of query", "recall@10", "queries/s in one batch", "ms of one query"]) + 1
    (trial,) = index["tried"]
    assert page.rows[start : start + len(index["recall"])] == [
        [kind, f"{recall:.4f}", f"{trial['queries_per_second'][kind]:,.0f}", f"{trial['latency_ms'][kind]:.3f}"]
        for kind, recall in index["recall"].items()
    ]
    assert html.count("class='curve used'") == len(index["recall"])


def test_examples_show_history_list_and_reasons(page: Page, html: str, shop: Shop) -> None:
    measured = shop.measured()
    values = measured.per_query["recall@10"]
    articles = html.split("<article>")[1:]
    assert len(articles) == 10
    worst = re.search(r"recall@10 ([\d.]+)", articles[0])
    assert worst
    assert float(worst[1]) == pytest.approx(values.min(), abs=1e-4)
    assert sum("relevant items" in article for article in articles) == 10
    relevant = html.count("<em>relevant</em>")
    in_lists = sum(
        sum(hit.item_id in wanted for hit in hits[:10])
        for hits, wanted in zip(shop.found(), shop.relevant, strict=True)
    )
    assert relevant == in_lists > 0
    assert sum(tag == "article" for tag, _ in page.elements) == 10


def test_pictures_are_those_of_the_items(page: Page) -> None:
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) > 50
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in pictures)
    assert not any(one["alt"].startswith("white") for one in pictures)  # which have none


def test_nothing_is_fetched_and_nothing_runs(page: Page, html: str) -> None:
    assert {tag for tag, _ in page.elements} <= TAGS
    for _tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
        assert "url(" not in attributes.get("style", "")
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert not re.search(r"url\(|@import|expression", style)


def test_titles_that_mean_harm_are_shown_as_they_are(page: Page) -> None:
    shown = page.text()
    for title in (HOSTILE[0], HOSTILE[1], HOSTILE[3]):
        assert title in shown
    said = {attribute for _, attributes in page.elements for attribute in attributes.values()}
    assert any(HOSTILE[5] in one for one in said)  # of a point of the map
    turned = [inside for inside, text in page.texts if RIGHT_TO_LEFT in text]
    assert turned
    assert all({"bdi", "title"} & set(inside) for inside in turned)


def test_without_a_catalogue_there_are_titles(shop: Shop) -> None:
    report = gather(shop.retriever, shop.found(), shop.relevant, shop.measured())
    html = report_page(report)
    assert "<img" not in html
    assert "thing10" in html
    assert html == report_page(gather(shop.retriever, shop.found(), shop.relevant, shop.measured()))


def test_a_comparison_says_what_was_compared() -> None:
    row = Difference("recall@10", 0.25, 0.5, 0.25, 0.1, 0.4, 0.00001, 0.03, 12)
    html = comparison_page([row], Side("a<b>.json", {"asked": HOSTILE[0]}), Side("b.json"), 12)
    page = Page(html)
    assert page.rows[1] == ["recall@10", "0.2500", "0.5000", "0.2500", "0.1000", "0.4000", "< 0.0001", "0.0300"]
    assert "A is a<b>.json, B is b.json, on the same 12 queries" in page.text()
    assert {tag for tag, _ in page.elements} <= TAGS


def test_measures_of_other_scales_are_in_the_table_alone() -> None:

    values = {"recall@10": np.array([0.5, 0.5]), "novelty@10": np.array([12.0, 12.0])}
    html = report_page(Report("x", {}, Evaluation(("a", "b"), values, {}, 0)))
    assert html.count("<circle") == 1
    assert ["novelty@10", "12.0000", "12.0000", "12.0000"] in Page(html).rows


def test_the_map_counts_its_points_and_slices_have_their_words_explained() -> None:
    points = Map(np.zeros((3, 2)), ["a", "b", "c"], ["text", "image", "text"], "modality", 0.5)
    rows = [SliceRow("history", "heavy", 2, {"recall@10": 0.5}, {"recall@10": (0.0, 1.0)})]
    found = Evaluation(("a", "b"), {"recall@10": np.array([0.0, 1.0])}, {}, 0)
    html = report_page(Report("x", {}, found, slices=rows, map=points))
    assert "3 frozen vectors in all (1 image, 2 text), by principal components, coloured by modality." in html
    assert "heavy users have more different items in their past than the median user" in html
    html = report_page(Report("x", {}, found, map=Map(points.points, points.names, list("xyx"), "kind", None)))
    assert "3 item vectors, by principal components, coloured by kind." in html
