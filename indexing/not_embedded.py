"""Which columns of a source an encoder makes no vectors of, why, and which encoder would."""

from indexing.columns import VECTOR_NAMES, Columns
from indexing.encoders.base import EncoderInfo
from indexing.types import Modality


def not_embedded(columns: Columns, encoder: EncoderInfo) -> dict[str, str]:
    """Give the columns that were taken for something of which the encoder makes no vectors, each with the reason.

    >>> encoder = EncoderInfo("pocket", 2, (Modality.TEXT, Modality.IMAGE), "")
    >>> not_embedded(Columns("id", ("title",), "image", audio="sound"), encoder)
    {'sound': 'the encoder pocket embeds no audio: clap:NAME does, and pocket+clap:NAME does beside the rest'}
    """
    if encoder.precomputed:
        unread = [*columns.media, *(name for name in columns.vectors if VECTOR_NAMES[name] not in encoder.modalities)]
        return dict.fromkeys(unread, f"the encoder {encoder.name} takes vectors that are there already, and no files")
    told = {name: f"the encoder {encoder.name} takes no vectors: vectors: does" for name in columns.vectors}
    pictures = (*columns.images, *([columns.video] if columns.video else []))
    for modality, names, others in (
        (Modality.TEXT, columns.text, "pocket, open_clip:…, hf:… and st:… do"),
        (Modality.IMAGE, pictures, "pocket, open_clip:… and hf:… do"),
        (
            Modality.AUDIO,
            (columns.audio,) if columns.audio else (),
            f"clap:NAME does, and {encoder.name}+clap:NAME does beside the rest",
        ),
    ):
        if modality not in encoder.modalities:
            told |= dict.fromkeys(names, f"the encoder {encoder.name} embeds no {modality}: {others}")
    return told
