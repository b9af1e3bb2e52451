"""Calls that give hits: search, similar items, recommendations, reranking and users."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from indexing.errors import InputError
from indexing.runtime.arguments import check_list
from retrieval.interactions.parse_values import Moment
from retrieval.retriever.fallback.top_items import Order
from retrieval.retriever.related.items import By
from retrieval.serving.client.calls import Call, Files, per_call_of, posting, reading
from retrieval.serving.client.json_values import (
    AnyQuery,
    Picture,
    Sound,
    file_bytes,
    picture_bytes,
    queries_field,
)
from retrieval.serving.client.options import (
    Answering,
    RecommendOptions,
    RerankOptions,
    Retrieved,
    SearchOptions,
    UploadOptions,
    Versioned,
)
from retrieval.serving.schemas.answers import Answer, UsersAnswer


def search(queries: Sequence[AnyQuery], k: int = 10, **options: Unpack[SearchOptions]) -> Call[Answer]:
    """Find the k items that answer each text or `Query` best.

    A text is a text, as in `Retriever.search`; `retrieval.retriever.queries.parse_query` reads the syntax of the
    command line. Pictures and sounds of a query are sent along.
    """
    return posting("/search", Answer, {**queries_field(queries), "k": k}, options)


def search_texts(texts: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> Call[Answer]:
    """Find the k items nearest to each text."""
    check_list(texts, "texts")
    return posting("/search", Answer, {"texts": list(texts), "k": k}, options)


def search_images(images: Sequence[Picture], k: int = 10, **options: Unpack[UploadOptions]) -> Call[Answer]:
    """Find the k items nearest to each picture: a PIL image, the bytes of a file, or its path on this machine."""
    check_list(images, "images")
    files = [("image", (f"image-{place}", picture_bytes(image))) for place, image in enumerate(images)]
    return _uploading(files, k, options)


def search_image_urls(urls: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> Call[Answer]:
    """Find the k items nearest to the picture at each URL; the service fetches those of hosts that it allows."""
    check_list(urls, "urls")
    return posting("/search", Answer, {"image_urls": list(urls), "k": k}, options)


def search_audio(sounds: Sequence[Sound], k: int = 10, **options: Unpack[UploadOptions]) -> Call[Answer]:
    """Find the k items nearest to each sound: the bytes of a file, or its path on this machine."""
    check_list(sounds, "sounds")
    files = [("audio", (f"audio-{place}", file_bytes(sound, "a sound"))) for place, sound in enumerate(sounds)]
    return _uploading(files, k, options)


def _uploading(files: Files, k: int, options: Mapping[str, Any]) -> Call[Answer]:
    body = posting("/search/upload", Answer, {"k": k}, options).body
    return Call("POST", "/search/upload", reading(Answer), per_call_of(options), body=body, files=files)


def similar_items(
    item_ids: Sequence[str], k: int = 10, by: By = "content", **options: Unpack[Retrieved]
) -> Call[Answer]:
    """Find the k items nearest to each item, which is itself left out: by content, by behaviour, or by both."""
    return posting("/similar", Answer, {"item_ids": item_ids, "k": k, "by": by}, options)


def recommend(
    histories: Sequence[Sequence[str]] | None = None,
    k: int = 10,
    *,
    user_ids: Sequence[str] | None = None,
    session: str | None = None,
    **options: Unpack[RecommendOptions],
) -> Call[Answer]:
    """Recommend k items to each user: of histories, of the log of live events, or to the visitor of a session.

    Items of histories that the bundle lacks are left out with their weights, and counted in ``notes``; `Retriever`
    refuses them.
    """
    whom = {"histories": histories, "user_ids": user_ids, "session": session}
    given = {name: value for name, value in whom.items() if value is not None}
    if len(given) != 1:
        raise InputError(f"{' and '.join(given) or 'none'} of histories, user_ids and session is given; give one")
    return posting("/recommend", Answer, {**given, "k": k}, options)


def complements(baskets: Sequence[Sequence[str]], k: int = 10, **options: Unpack[Answering]) -> Call[Answer]:
    """Find items that users take with each basket, without items that are similar to it.

    Items of baskets that the bundle lacks are left out, and counted in ``notes``.
    """
    return posting("/complements", Answer, {"baskets": baskets, "k": k}, options)


def next_items(item_ids: Sequence[str], k: int = 10, **options: Unpack[Answering]) -> Call[Answer]:
    """Find the items that users take soon after each item."""
    return posting("/next-items", Answer, {"item_ids": item_ids, "k": k}, options)


def top_items(
    order: Order = "popular",
    k: int = 10,
    *,
    by: str | None = None,
    date: str | None = None,
    user_id: str | None = None,
    history: Sequence[str] | None = None,
    **options: Unpack[Answering],
) -> Call[Answer]:
    """Give the k items that are trending, popular or newest, of all or of each value of the attribute ``by``.

    What a user of the log of live events has seen, for which the client needs a token, or the items of a history, are
    left out.
    """
    fields = {"order": order, "k": k, "by": by, "date": date, "user_id": user_id, "history": history}
    return posting("/trending", Answer, fields, options)


def rerank(
    candidates: Sequence[Sequence[str]],
    k: int | None = None,
    *,
    texts: Sequence[str] | None = None,
    histories: Sequence[Sequence[str]] | None = None,
    **options: Unpack[RerankOptions],
) -> Call[Answer]:
    """Order lists of items, each for a text or for a history, and keep the best k of each (all when None).

    Candidates are items of the bundle; items of histories that it lacks are left out, and counted in ``notes``.
    """
    check_list(candidates, "candidates")
    if (texts is None) == (histories is None):
        raise InputError("texts and histories are both given, or neither is; give one of them")
    most = max((len(one) for one in candidates), default=1) if k is None else k
    asked = {"texts": texts} if texts is not None else {"histories": histories}
    return posting("/rerank", Answer, {"candidates": candidates, **asked, "k": most}, options)


def users_for(
    item_ids: Sequence[str],
    user_ids: Sequence[str],
    k: int = 10,
    *,
    times: Moment | None = None,
    **options: Unpack[Versioned],
) -> Call[UsersAnswer]:
    """Find for each item which k of some users of the log of live events it suits best, without those who have it.

    Users without an event with an item of the bundle are in no list, and counted in ``notes``.
    """
    fields = {"item_ids": item_ids, "user_ids": user_ids, "k": k, "times": times}
    return posting("/users-for", UsersAnswer, fields, options)
