"""Composed queries: their sums, how they are written as text, and what a search by them gives."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError, UnknownItemError
from retrieval import Query, Retriever
from retrieval.retriever.queries import parse_query, parse_words
from retrieval.retriever.queries.compose import encoded_queries
from tests.toy import COLOURS, SHAPES, ToyEncoder, picture, toy_file

RED, BLUE, RETRIEVER = Query.text("red"), Query.text("blue"), 2 * Query.text("golden retriever")


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("toy")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    return Retriever.open(folder / "bundle", ToyEncoder())


def test_weights_follow_arithmetic() -> None:
    query = 2 * (RED - BLUE / 4) + np.float64(0.5) * -Query.item("i1")
    assert [(part.kind, part.value, part.weight) for part in query.parts] == [
        ("text", "red", 2.0),
        ("text", "blue", -0.5),
        ("item", "i1", -0.5),
    ]
    assert repr(query) == "2 * Query.text('red') - 0.5 * Query.text('blue') - 0.5 * Query.item('i1')"
    assert eval(repr(query)) == query  # noqa: S307 - our own text


def test_queries_are_equal_by_their_parts() -> None:
    assert Query.vector([1, 2]) == Query.vector(np.array([1.0, 2.0]))
    assert Query.vector([1, 2]) != Query.vector([1, 3])
    assert RED + BLUE != BLUE + RED
    assert Query.image(b"x") != Query.image("x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RED * float("nan"), "weight is nan"),
        (lambda: RED / 0, "divisor is 0"),
        (lambda: Query(()), "no parts"),
        (lambda: Query.text(3), "text"),  # type: ignore[arg-type]
        (lambda: Query.image(3), "image is 3"),  # type: ignore[arg-type]
        (lambda: Query.vector([[1.0]]), re.escape("(1, 1)")),
    ],
)
def test_wrong_parts_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("fruit", Query.text("fruit")),
        ("2:golden retriever + ./pool.jpg - fruit", RETRIEVER + Query.image("./pool.jpg") - Query.text("fruit")),
        ("- .5:t-shirt", -0.5 * Query.text("t-shirt")),
        ("C++ - item:mug-3", Query.text("C++") - Query.item("mug-3")),
        ("'salt + pepper' + x", Query.text("salt + pepper") + Query.text("x")),
        ("salt \\+ pepper", Query.text("salt + pepper")),
        ('image:"my pool.jpg"', Query.image("my pool.jpg")),
        ("text:item:3", Query.text("item:3")),
        ("'item:3'", Query.text("item:3")),
        ("'3:1' ratio", Query.text("3:1 ratio")),
        ("'./x'", Query.text("./x")),
        ("men's shoe", Query.text("men's shoe")),
        ("audio:a.wav + 3:../b.png", Query.audio("a.wav") + 3 * Query.image("../b.png")),
    ],
)
def test_the_syntax_is_read(text: str, query: Query) -> None:
    assert parse_query(text) == query


def test_the_words_of_a_shell_are_terms() -> None:
    query = parse_words(["2:golden retriever", "+", "./my pool.jpg", "-", "it's"])
    assert query == RETRIEVER + Query.image("./my pool.jpg") - Query.text("it's")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to search for"),
        ("red +", "nothing follows the sign at position 5"),
        ("red + - blue", "two signs follow each other at position 7"),
        ("red -blue", "'-blue' at position 5"),
        ("red + 2:", "nothing stands at position 9"),
        ("red + item:", "nothing stands at position 12"),
        ("red + 'blue", "the quote at position 7 .* is not closed"),
        ("red\\", "nothing follows the backslash at position 4"),
    ],
)
def test_errors_name_the_position(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_query(text)


def test_words_without_a_sign_between_are_refused() -> None:
    with pytest.raises(InputError, match="a sign is missing before 'b' at position 7"):
        parse_words(["a", "+", "x", "b"])


@pytest.mark.parametrize("other", [Query.image("no such file.png"), BLUE, Query.item("no such item")])
def test_weights_of_one_and_zero_are_the_single_query_to_the_last_digit(retriever: Retriever, other: Query) -> None:
    found = retriever.search([Query.text("red shoe") + 0 * other], k=5)
    single = retriever.search_texts(["red shoe"], k=5)
    np.testing.assert_array_equal(found.queries, single.queries)
    np.testing.assert_array_equal(found.rows, single.rows)
    np.testing.assert_array_equal(found.scores, single.scores)


def test_the_weight_of_a_single_picture_changes_nothing(retriever: Retriever) -> None:
    image = picture("blue")
    found, single = retriever.search([3 * Query.image(image)], k=5), retriever.search_images([image], k=5)
    np.testing.assert_array_equal(found.rows, single.rows)
    np.testing.assert_array_equal(found.scores, single.scores)


def test_a_picture_in_another_colour_is_found(retriever: Retriever) -> None:
    query = Query.item("blue-shoe") - BLUE + RED
    assert retriever.search([query], k=1)[0][0].item_id == "red-shoe"
    assert retriever.search([Query.item("blue-shoe")], k=1)[0][0].item_id == "blue-shoe"


class Counting(ToyEncoder):
    """Notes the texts of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        return super().encode_texts(texts)


def test_all_texts_of_all_queries_are_encoded_at_once(retriever: Retriever) -> None:
    encoder = Counting()
    own = Retriever.open(retriever.bundle.root, encoder)
    encoder.calls.clear()  # of the proof that it is the same encoder
    own.search([RED - BLUE, "mug", Query.image(picture("red")) + RED], k=1)
    assert encoder.calls == [["red", "blue", "mug", "red"]]


def test_a_search_that_is_explained_encodes_once(retriever: Retriever) -> None:
    queries: list[str | Query] = [
        "red mug",
        2 * RED - 0.5 * Query.image(picture("blue")) + 0.0 * Query.text("lamp"),
        Query.item("red-mug"),
    ]
    plain = retriever.search(queries, 5)
    explanations = retriever.explain_queries(queries, plain)
    encoder = retriever.state.encoder
    assert isinstance(encoder, ToyEncoder)
    texts, pictures = len(encoder.encoded), encoder.pictures
    encoded = encoded_queries(retriever.state, queries)
    found = retriever.search(encoded, 5)
    assert found.rows.tolist() == plain.rows.tolist()
    np.testing.assert_array_equal(found.scores, plain.scores)
    assert retriever.explain_queries(encoded, found) == explanations
    assert encoder.encoded[texts:] == ["red mug", "red"]
    assert encoder.pictures == pictures + 1


def test_contributions_sum_to_the_score(retriever: Retriever) -> None:
    queries: list[str | Query] = [2 * RED - 0.5 * Query.item("red-mug") + 0 * BLUE, "white lamp"]
    found = retriever.search(queries, k=3)
    explanations = retriever.explain_queries(queries, found)
    assert [(given.part.kind, given.part.weight) for given in explanations[0][0]] == [("text", 2.0), ("item", -0.5)]
    for query in (0, 1):
        sums = [sum(given.score for given in hit) for hit in explanations[query]]
        np.testing.assert_allclose(sums, found.scores[query], rtol=1e-4, atol=1e-6)  # sums of float32 in another order


@pytest.mark.parametrize(
    ("added", "surplus"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (2.0, 0.0)], ids=lambda number: f"{number:g}"
)
def test_the_scale_of_a_modality_and_the_surplus_of_its_mean_are_taken_out(
    retriever: Retriever, added: float, surplus: float
) -> None:
    """Against the definition: the parts by the scale of their scores, without the mean that is subtracted too much."""
    encoder = ToyEncoder()
    texts = encoder.encode_texts([f"{colour} {shape}" for shape in SHAPES for colour in COLOURS])
    text_scale = (texts @ retriever.vectors.T).std(axis=1).mean()
    item_scale = (retriever.vectors @ retriever.vectors.T).std(axis=1).mean()
    red, blue = encoder.encode_texts(["red", "blue"])
    row = retriever.items.rows(["blue-shoe"])[0]
    expected = retriever.vectors[row] / item_scale
    expected = expected + (added * red - (blue - surplus * texts.mean(axis=0))) / text_scale
    found = retriever.search([Query.item("blue-shoe") - BLUE + added * RED], k=1)
    np.testing.assert_allclose(found.queries[0], expected / np.linalg.norm(expected), atol=2e-3)  # stored as float16


@pytest.mark.parametrize("scale", [1e-7, 1e-30, 1e20, 1e300])
def test_weights_matter_against_each_other_alone(retriever: Retriever, scale: float) -> None:
    plain, scaled = retriever.search([2 * RED - BLUE, scale * (2 * RED - BLUE)], k=5).queries
    np.testing.assert_allclose(scaled, plain, atol=1e-5)  # float32
    with pytest.raises(InputError, match="cancels out"):
        retriever.search([scale * RED - scale * RED], k=1)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (RED * 0, InputError, "no part of weight other than 0"),
        (RED + Query.item("no such item"), UnknownItemError, "no such item"),
        (RED + Query.image("no such file.png"), InputError, "no such file.png"),
        (RED + Query.vector([1.0, 2.0]), InputError, "expected"),
    ],
)
def test_a_search_refuses_what_it_cannot_compose(
    retriever: Retriever, query: Query, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        retriever.search([query], k=1)


def test_queries_that_are_neither_texts_nor_queries_are_refused(retriever: Retriever) -> None:
    with pytest.raises(InputError, match=re.escape("queries[1] is 3")):
        retriever.search([RED, 3], k=1)  # type: ignore[list-item]
