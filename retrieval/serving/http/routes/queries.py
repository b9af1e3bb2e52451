"""Queries of a request, with pictures and sounds decoded within the limits of the service."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from indexing.encoders.base import Encoder, require, with_audio
from indexing.errors import InputError
from indexing.media.audio import AudioLimits, Sound
from indexing.media.files import Modality
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import task_for
from retrieval.retriever.queries import Query, parse_query
from retrieval.retriever.queries.compose import encoded_queries
from retrieval.retriever.queries.media import open_pictures, open_sounds
from retrieval.retriever.retriever import Retriever
from retrieval.serving.config import Limits
from retrieval.serving.engine.request import stage
from retrieval.serving.engine.service import Service
from retrieval.serving.schemas.queries import ComposedQuery, QueryPart, SearchRequest


def queries_of(service: Service, retriever: Retriever, body: SearchRequest) -> list[Query]:
    """Give the queries of a request, their parts encoded; a search for words alone encodes nothing.

    Raises:
        InputError: When one cannot be used.
    """
    queries = _given(service, retriever, body)
    return queries if body.mode == "words" else encoded_queries(retriever.state, queries)


def _given(service: Service, retriever: Retriever, body: SearchRequest) -> list[Query]:
    limits = service.config.limits
    if body.texts is not None:
        return [Query.text(text) for text in body.texts]
    if body.queries is not None:
        return [
            written(query) if isinstance(query, str) else composed(service, retriever, query) for query in body.queries
        ]
    if body.images is not None:
        return [Query.image(image) for image in pictures(retriever, body.images, limits)]
    if body.image_urls is not None:
        return [Query.image(image) for image in pictures_at(service, retriever, body.image_urls)]
    return [Query.audio(sound) for sound in sounds(retriever, body.sounds or (), limits)]


def written(text: str) -> Query:
    """Read a composed query in the syntax of the command line, of which no part is a file of this machine.

    Raises:
        InputError: When it cannot be read, or names a file.
    """
    query = parse_query(text)
    for part in query.parts:
        if isinstance(part.value, Path) or (part.kind in ("image", "audio") and isinstance(part.value, str)):
            raise InputError(
                f"a query names a file by {part.label[:60]!r}, and the service opens none; send its bytes as a part, "
                "or put the text into quotes"
            )
    return query


def composed(service: Service, retriever: Retriever, given: ComposedQuery) -> Query:
    """Make the weighted sum of parts."""
    first, *others = [part.weight * _part(service, retriever, part) for part in given.parts]
    return sum(others, start=first)


def _part(service: Service, retriever: Retriever, part: QueryPart) -> Query:
    limits = service.config.limits
    if part.text is not None:
        return Query.text(part.text)
    if part.image is not None:
        return Query.image(pictures(retriever, [part.image], limits)[0])
    if part.image_url is not None:
        return Query.image(pictures_at(service, retriever, [part.image_url])[0])
    if part.audio is not None:
        return Query.audio(sounds(retriever, [part.audio], limits)[0])
    return Query.item(part.item) if part.item is not None else Query.vector(part.vector)


def pictures(retriever: Retriever, files: Sequence[bytes], limits: Limits) -> list[Image.Image]:
    """Decode pictures in other processes.

    Raises:
        InputError: When one cannot be used.
        EncoderError: When the encoder takes no pictures.
    """
    encoder: Encoder = retriever.encoder
    require(encoder, Modality.IMAGE)
    allowed = ImageLimits(limits.image_pixels, limits.image_bytes)
    return open_pictures(files, encoder, replace(task_for(encoder), pictures=allowed))


def pictures_at(service: Service, retriever: Retriever, urls: Sequence[str]) -> list[Image.Image]:
    """Fetch and decode pictures of URLs, where this service does.

    Raises:
        InputError: When it fetches none, or one cannot be used.
        EncoderError: When the encoder takes no pictures.
    """
    if service.image_urls is None:
        raise InputError(
            "this service fetches no pictures of URLs; send the bytes of the file, or start it with --image-hosts HOST"
        )
    require(retriever.encoder, Modality.IMAGE)
    with stage("fetch"):
        fetched = service.image_urls.fetch(urls)
    return pictures(retriever, fetched, service.config.limits)


def sounds(retriever: Retriever, files: Sequence[bytes], limits: Limits) -> list[Sound]:
    """Decode sounds in other processes.

    Raises:
        InputError: When one cannot be used.
        EncoderError: When the encoder takes no sounds.
    """
    encoder = with_audio(retriever.encoder)
    allowed = AudioLimits(seconds=limits.audio_seconds, file_bytes=limits.audio_bytes)
    return open_sounds(files, encoder, replace(task_for(encoder), sounds=allowed))
