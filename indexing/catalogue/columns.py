"""Which columns of a source are the item_id, the text, the picture and the attributes."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from indexing.catalogue.attribute_types import (
    VECTOR,
    is_embedding,
    is_named_vector,
    is_plain,
    is_scalar,
    is_text,
    is_vector,
    plain_type,
    why_left_out,
)
from indexing.errors import CatalogueError, InputError
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind, check_names

__all__ = [
    "VECTOR",
    "VECTOR_NAMES",
    "Columns",
    "NamedColumns",
    "check_columns",
    "detect_columns",
    "is_embedding",
    "is_file",
    "is_plain",
    "is_text",
    "plain_type",
]

ITEM_ID_NAMES = ("item_id", "id", "sku", "product_id", "article_id", "movie_id", "book_id", "asin", "parent_asin")
TEXT_NAMES = ("title", "name", "caption", "text", "description", "keywords")
IMAGE_NAMES = ("image", "images", "image_bytes", "image_path", "picture", "file_name")
PATH = "path"  # of a picture where no other column is one of files
FILE_ID_NAMES = ("file_name", "image_path", PATH)  # are ids where there is no other column of them
AUDIO_NAMES = ("audio", "sound", "audio_bytes", "audio_path")
VIDEO_NAMES = ("video", "video_bytes", "video_path")
VECTOR_NAMES = {f"{modality}{VECTOR}": modality for modality in Modality}


@dataclass(frozen=True)
class Columns:
    """Names of the columns that matter.

    Attributes:
        item_id: The public id of an item.
        text: Text fields, joined in this order.
        image: Bytes of a picture, a path to it, or a struct of both as in Hugging Face datasets; or a list of these. Of
            several columns the pictures of an item are those of all, in this order.
        attributes: What filters can use; every other column of a plain type when None.
        audio: The same for sounds.
        video: The same for films.
        vectors: Precomputed embeddings for the ``vectors:`` encoder, among ``text_vector``, ``image_vector`` and
            ``audio_vector``.
        words: Columns whose words are indexed beside the vectors, for ``mode="words"`` and ``"hybrid"``. None leaves
            what the bundle had before, which is nothing in a new one; () indexes none.
    """

    item_id: str
    text: tuple[str, ...]
    image: str | tuple[str, ...] | None
    attributes: tuple[str, ...] | None = None
    audio: str | None = None
    video: str | None = None
    vectors: tuple[str, ...] = ()
    words: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_kind(self.item_id, str, "item_id", "give the name of a column")
        _check_names(self, ("text", "attributes", "vectors", "words"), ("attributes", "words"))

    @property
    def images(self) -> tuple[str, ...]:
        """The columns that hold pictures."""
        return as_tuple(self.image)

    @property
    def media(self) -> tuple[str, ...]:
        """The columns that hold files."""
        return (*self.images, *(name for name in (self.audio, self.video) if name))

    def in_words(self) -> dict[str, str]:
        """Say which columns were taken for what."""
        return describe_columns(asdict(self))

    def check(self, schema: pa.Schema, source: str) -> None:
        """Check that a source has these columns, and something to embed among them.

        Raises:
            CatalogueError: When it has not.
        """
        check_kind(schema, pa.Schema, "schema", "give that of a pyarrow.Table")
        check_kind(source, str, "source", "give what to call it")
        named = (self.item_id, *self.text, *self.media, *self.vectors, *(self.attributes or ()), *(self.words or ()))
        for name in named:
            if name not in schema.names:
                close = difflib.get_close_matches(name, schema.names) or schema.names
                raise CatalogueError(f"{source} has no column {name!r}; did you mean one of {close[:12]}?")
        counts = Counter(schema.names)
        if duplicates := sorted({name for name in named if counts[name] > 1}):
            raise CatalogueError(f"{source} has more than one column named {duplicates}; rename one of them")
        if unknown := [name for name in self.vectors if name not in VECTOR_NAMES]:
            raise CatalogueError(
                f"which modality the vectors in {unknown} embed cannot be told; rename such columns to one of "
                f"{list(VECTOR_NAMES)}"
            )
        if not (self.text or self.media or self.vectors):
            raise CatalogueError(
                f"{source} has neither text nor pictures among {schema.names}{_duplicates_hint(counts)}"
                f"{_vectors_hint(schema)}",
                python="name them with NamedColumns(text=…) or NamedColumns(image=…)",
                cli="name them with --text-column or --image-column",
                http="give the columns that the bundle was built from, or change attributes alone with "
                '"mode": "update"',
            )
        kinds = (
            (self.text, can_be_text, "text"),
            (self.words or (), can_be_text, "words"),
            (self.media, is_file, "files or their paths"),
            (self.vectors, is_vector, "lists of numbers"),
        )
        for names, fits, expected in kinds:
            if misfits := [
                f"{name} ({schema.field(name).type})" for name in names if not fits(schema.field(name).type)
            ]:
                raise CatalogueError(f"{source} holds no {expected} in {', '.join(misfits)}; name another column")

    def attribute_names(self, schema: pa.Schema) -> tuple[list[str], dict[str, str]]:
        """Return the columns to keep beside the item_id, text first, and why each of the others is none of them."""
        check_kind(schema, pa.Schema, "schema", "give that of a pyarrow.Table")
        used = {self.item_id, *self.media, *self.text, *self.vectors}
        others = dict.fromkeys(name for name in schema.names if name not in used)
        others_wanted = others if self.attributes is None else self.attributes
        words = (name for name in self.words or () if name != self.item_id)
        candidates = dict.fromkeys([*self.text, *others_wanted, *words])
        counts = Counter(schema.names)
        reasons = {name: self._why_not(name, counts[name], schema) for name in {**candidates, **others}}
        kept = [name for name in candidates if reasons[name] is None]
        unused = dict.fromkeys(others.keys() - candidates.keys(), "it is not among the attributes that were asked for")
        left_out = {name: reason or unused.get(name) for name, reason in reasons.items()}
        return kept, {name: reason for name, reason in left_out.items() if reason is not None}

    @staticmethod
    def _why_not(name: str, times: int, schema: pa.Schema) -> str | None:
        """Say why a column cannot be an attribute, or give None when it can."""
        if times > 1:
            return f"{times} columns have this name"
        if name == "item_id":
            return "item_id is the name of the ids themselves"
        kind = schema.field(name).type
        return None if is_plain(kind) or is_named_vector(name, kind) else why_left_out(kind)


def _vectors_hint(schema: pa.Schema) -> str:
    """Say how columns of vectors are called, where there is one of another name."""
    vectors = [field.name for field in schema if is_embedding(field.type) and field.name not in VECTOR_NAMES]
    return f"; to build from the vectors in {vectors[0]!r}, rename it to one of {list(VECTOR_NAMES)}" if vectors else ""


def _duplicates_hint(counts: Counter[str]) -> str:
    duplicates = sorted(name for name, count in counts.items() if count > 1)
    return (
        f", where several columns are named {' and '.join(map(repr, duplicates))} and none of them is taken"
        if duplicates
        else ""
    )


@dataclass(frozen=True)
class NamedColumns:
    """Names for some of the columns; those that are None are found by their usual names."""

    item_id: str | None = None
    text: tuple[str, ...] | None = None
    image: str | tuple[str, ...] | None = None
    audio: str | None = None
    video: str | None = None
    vectors: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.item_id is not None:
            check_kind(self.item_id, str, "item_id", "give the name of a column, or None")
        _check_names(self, ("text", "vectors", "words"), ("text", "vectors", "words"))


def _check_names(columns: object, lists: Sequence[str], optional: Sequence[str]) -> None:
    """Check names of columns, lists of them where several are meant, and hold the lists as tuples."""
    for name in lists:
        if (value := getattr(columns, name)) is not None or name not in optional:
            object.__setattr__(columns, name, tuple(check_names(value, name)))
    for name in ("image", "audio", "video"):
        value = getattr(columns, name)
        if isinstance(value, list | tuple) and name == "image":
            object.__setattr__(columns, name, tuple(check_names(value, name)))
        elif value is not None:
            check_kind(value, str, name, "give the name of a column, or None")


def check_columns(columns: object) -> None:
    """Check that columns are named in a way that is known.

    Raises:
        InputError: When they are not, as by a dict.
    """
    if columns is not None and not isinstance(columns, Columns | NamedColumns):
        raise InputError(
            f"columns are given as {type(columns).__name__}; give Columns('id', ('title',), 'image') or None to have "
            "them found by their usual names"
        )


def detect_columns(schema: pa.Schema, source: str = "the source", named: NamedColumns | None = None) -> Columns:
    """Find the columns by their usual names, but for those that are named.

    >>> detect_columns(  # doctest: +ELLIPSIS
    ...     pa.schema({"id": pa.string(), "description": pa.string(), "title": pa.string()})
    ... )
    Columns(item_id='id', text=('title', 'description'), image=None, attributes=None, audio=None, ...)

    Raises:
        CatalogueError: When there is no column for the item_id.
    """
    named = named or NamedColumns()
    item_id = named.item_id or id_name(schema)
    if item_id is None:
        raise CatalogueError(
            f"{source} has no column named item_id, id, sku or the like among {schema.names}",
            python="name it with NamedColumns(item_id=…)",
            cli="name it with --id-column",
            http="give each item an item_id",
        )
    text = tuple(name for name in _columns_named(TEXT_NAMES, schema) if is_text(schema.field(name).type))

    def files(names: tuple[str, ...]) -> str | None:
        return next((name for name in _columns_named(names, schema) if is_file(schema.field(name).type)), None)

    vectors = tuple(name for name in _columns_named(VECTOR_NAMES, schema) if is_vector(schema.field(name).type))
    audio, video = named.audio or files(AUDIO_NAMES), named.video or files(VIDEO_NAMES)
    image = as_tuple(named.image) or _image_columns(schema) or as_tuple(None if audio or video else files((PATH,)))
    return Columns(
        item_id,
        text if named.text is None else named.text,
        image if len(image) > 1 else next(iter(image), None),
        audio=audio,
        video=video,
        vectors=vectors if named.vectors is None else named.vectors,
        words=named.words,
    )


def id_name(schema: pa.Schema) -> str | None:
    """Find the column that usually holds the item_ids, or else the one that names files."""
    files = (name for name in _columns_named(FILE_ID_NAMES, schema) if is_scalar(schema.field(name).type))
    return next(iter(_columns_named(ITEM_ID_NAMES, schema)), None) or next(files, None)


def is_file_id(item_id: str) -> bool:
    """Whether a column is that of the item_ids only where there is no other."""
    return normalised_name(item_id) in map(normalised_name, FILE_ID_NAMES)


def _image_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Find the columns of pictures: that of a usual name, and the numbered ones of this name, as ``image1, image2``."""
    for base_name in IMAGE_NAMES:
        unnumbered = [name for name in _columns_named((base_name,), schema) if is_file(schema.field(name).type)]
        names_by_number = {
            int(m[1]): name
            for name in schema.names
            if (m := re.fullmatch(f"{normalised_name(base_name)}([0-9]{{1,4}})", normalised_name(name)))
        }
        numbered = [
            names_by_number[number]
            for number in sorted(names_by_number)
            if is_file(schema.field(names_by_number[number]).type)
        ]
        # Others are sizes, or whatever numbers can say: image_64, image_256.
        if numbered and sorted(names_by_number) != list(
            range(min(names_by_number), min(names_by_number) + len(names_by_number))
        ):
            numbered = []
        if numbered and min(names_by_number) <= (2 if unnumbered else 1):
            return (*unnumbered, *numbered)
        if unnumbered:
            return tuple(unnumbered)
    return ()


def as_tuple(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the name of a column, of several or of none as a tuple.

    >>> as_tuple("front"), as_tuple(["front", "back"]), as_tuple(None)
    (('front',), ('front', 'back'), ())
    """
    return (names,) if isinstance(names, str) else tuple(names or ())


def describe_columns(columns: Mapping[str, Any]) -> dict[str, str]:
    """Say which columns were taken for what, as they are written in a manifest.

    >>> describe_columns({"item_id": "sku", "text": ["title"], "image": ["front", "back"], "audio": None})
    {'item_id': 'sku', 'texts': 'title', 'pictures': 'front, back'}
    """
    kinds = {"item_id": "item_id", "text": "texts", "image": "pictures", "audio": "sounds", "video": "films"}
    kinds |= {"vectors": "vectors", "words": "words"}
    names_by_kind = {words: ", ".join(as_tuple(columns.get(kind))) for kind, words in kinds.items()}
    return {words: names for words, names in names_by_kind.items() if names}


def normalised_name(name: str) -> str:
    """Return a name without case, spaces and signs: those of other writers are found by it.

    >>> normalised_name("itemId"), normalised_name("Item ID"), normalised_name("ITEM_ID")
    ('itemid', 'itemid', 'itemid')
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _columns_named(names: Iterable[str], schema: pa.Schema) -> list[str]:
    """Return the columns of these names as the schema writes them; case, spaces and signs do not count."""
    counts = Counter(schema.names)
    spellings: dict[str, list[str]] = {}
    for name in counts:
        spellings.setdefault(normalised_name(name), []).append(name)
    matches = [name if counts[name] else next(iter(spellings.get(normalised_name(name), [])), name) for name in names]
    return [name for name in dict.fromkeys(matches) if counts[name] == 1]


def is_file(kind: pa.DataType) -> bool:
    """Whether a type can hold files: bytes, paths, a struct of both, or lists of these."""
    if pa.types.is_struct(kind):
        return any(field.name in ("bytes", "path") for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return is_file(kind.value_type)
    return is_text(kind) or bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def can_be_text(kind: pa.DataType) -> bool:
    """Whether values of a type can be embedded as text: texts, lists of them, and single values of whatever kind."""
    return is_text(kind) or is_scalar(kind)
