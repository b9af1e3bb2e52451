"""Queries of a request, with pictures and sounds decoded within the limits of the service."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from indexing.encoders.base import Encoder, require, with_audio
from indexing.errors import InputError
from indexing.media.audio import AudioLimits
from indexing.media.decode import Unusable
from indexing.media.files import Kind, Modality
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import decode_all, task_for
from retrieval.retriever.queries import Query, parse_query
from retrieval.retriever.queries.compose import encoded_queries
from retrieval.retriever.retriever import Retriever
from retrieval.serving.config import Limits
from retrieval.serving.schemas.queries import ComposedQuery, QueryPart, SearchRequest


def queries_of(retriever: Retriever, body: SearchRequest, limits: Limits) -> list[Query]:
    """Give the queries of a request, their parts encoded; a search for words alone encodes nothing.

    Raises:
        InputError: When one cannot be used.
    """
    queries = _given(retriever, body, limits)
    return queries if body.mode == "words" else encoded_queries(retriever.state, queries)


def _given(retriever: Retriever, body: SearchRequest, limits: Limits) -> list[Query]:
    if body.texts is not None:
        return [Query.text(text) for text in body.texts]
    if body.queries is not None:
        return [
            written(query) if isinstance(query, str) else composed(retriever, query, limits) for query in body.queries
        ]
    if body.images is not None:
        return [Query.image(image) for image in pictures(retriever, body.images, limits)]
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


def composed(retriever: Retriever, given: ComposedQuery, limits: Limits) -> Query:
    """Make the weighted sum of parts."""
    first, *others = [part.weight * _part(retriever, part, limits) for part in given.parts]
    return sum(others, start=first)


def _part(retriever: Retriever, part: QueryPart, limits: Limits) -> Query:
    if part.text is not None:
        return Query.text(part.text)
    if part.image is not None:
        return Query.image(pictures(retriever, [part.image], limits)[0])
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
    _check_sizes("picture", files, limits.image_bytes)
    task = replace(task_for(encoder), pictures=ImageLimits(limits.image_pixels, limits.image_bytes))
    return [Image.fromarray(array) for array in _decoded("picture", decode_all(Kind.IMAGE, files, task))]


def sounds(retriever: Retriever, files: Sequence[bytes], limits: Limits) -> list[Any]:
    """Decode sounds in other processes.

    Raises:
        InputError: When one cannot be used.
        EncoderError: When the encoder takes no sounds.
    """
    encoder = with_audio(retriever.encoder)
    _check_sizes("sound", files, limits.audio_bytes)
    task = task_for(encoder)
    allowed = replace(AudioLimits(), file_bytes=limits.audio_bytes, seconds=limits.audio_seconds)
    return _decoded("sound", decode_all(Kind.AUDIO, files, replace(task, sounds=allowed)))


def _check_sizes(what: str, files: Sequence[bytes], most: int) -> None:
    for place, data in enumerate(files):
        if len(data) > most:
            raise InputError(f"{what} {place} has {len(data)} bytes; give files of at most {most}")


def _decoded(what: str, outcomes: Sequence[Any]) -> list[Any]:
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Unusable):
            raise InputError(f"{what} {place} cannot be used: {outcome.reason}")
    return [outcome.arrays[0] for outcome in outcomes]
