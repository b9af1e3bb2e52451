"""Cross-encoders: models of sentence-transformers that read a query and a text together. Needs the extra ``st``.

The library also scores pairs with pictures and sounds; a bundle keeps neither, only their vectors, so that models for
texts alone are taken. One that could see would take a text that looks like an address or a path for a picture.
"""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download

from indexing.arrays import Vectors
from indexing.encoders.base import TEXTS
from indexing.encoders.inference.batching import well_formed
from indexing.encoders.inference.checkpoints import load_checkpoint, quiet
from indexing.encoders.inference.hub import require_known
from indexing.encoders.sentence_transformers import FILES, LISTING, OTHER_RUNTIMES, check_parts
from indexing.errors import EncoderError, import_extra

CONFIG = "config.json"
# What is padded together: at most so many pairs, and about so many characters counting the padding.
MAX_PAIRS, MAX_CHARACTERS = 128, 32_768
Pair = tuple[str, str]


class CrossEncoder:
    """A cross-encoder for texts, with the scores that ``CrossEncoder.predict`` gives.

    Args:
        name: What it was loaded by, for messages.
        model: The model, on the CPU.

    Raises:
        EncoderError: When it takes more than texts, or gives a pair more than one number.
    """

    def __init__(self, name: str, model: Any) -> None:  # noqa: ANN401
        self.name = name
        if other_modalities := set(map(str, model.modalities)) - {"text", "message"}:
            raise EncoderError(
                f"{name} also reads {', '.join(sorted(other_modalities))}: name a cross-encoder for texts alone"
            )
        if model.num_labels != 1:
            raise EncoderError(f"{name} gives {model.num_labels} numbers a pair, a cross-encoder that ranks gives one")
        self._model = model.eval().requires_grad_(False)

    def score(self, pairs: Sequence[Pair]) -> Vectors:
        """Score N pairs, cut to the model's longest: (N,) float32.

        Raises:
            EncoderError: When a score is not a finite number.
        """
        cleaned = [(well_formed(query), well_formed(text)) for query, text in pairs]
        scores = np.empty(len(cleaned), np.float32)
        for positions in batches_by_length([len(query) + len(text) for query, text in cleaned]):
            batch = [cleaned[position] for position in positions]
            scores[positions] = self._model.predict(batch, batch_size=len(batch), show_progress_bar=False)
        if not np.isfinite(scores).all():
            position = int(np.argmin(np.isfinite(scores)))
            raise EncoderError(
                f"{self.name} gives {scores[position]} for {cleaned[position]!r:.100}: its weights are damaged"
            )
        return scores


def batches_by_length(
    lengths: Sequence[int], characters: int = MAX_CHARACTERS, max_pairs: int = MAX_PAIRS
) -> Iterator[list[int]]:
    """Return the places of texts in batches, the longest first, so that little is padded and memory is bounded.

    >>> list(batches_by_length([3, 9, 2, 4], characters=9))
    [[1], [3, 0], [2]]
    """
    order = np.argsort([-length for length in lengths], kind="stable").tolist()
    start = 0
    while start < len(order):
        count = min(max_pairs, max(1, characters // max(1, lengths[order[start]])))
        yield order[start : start + count]
        start += count


def load_cross_encoder(spec: str) -> CrossEncoder:
    """Load ``ORG/REPO`` or a local folder.

    Raises:
        MissingExtraError: When sentence-transformers is not installed.
        EncoderError: When there is no such model, it cannot be reached, has parts that are pickles or code, or is not
            complete: the head that scores is no part of a model that only embeds.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        import_extra("sentence_transformers", "st")
    if not Path(spec).is_dir():
        require_known(spec)  # importing the library takes seconds; a model that is not to be had should not cost them
    import_extra("sentence_transformers", "st")
    return load_checkpoint(spec, spec, lambda offline: _create(spec, offline=offline))


def _create(spec: str, *, offline: bool) -> CrossEncoder:
    folder = Path(spec) if Path(spec).is_dir() else _snapshot(spec, offline=offline)
    check_parts(spec, folder, _module_list(spec, folder))
    pairs = [(TEXTS[0], text) for text in TEXTS[1:]]
    first, second = (_load_model(spec, folder, seed) for seed in (0, 1))
    # Weights that its files lack are made up at random, silently.
    if not np.allclose(first.score(pairs), second.score(pairs), atol=1e-5):
        raise EncoderError(
            f"{spec} gives other scores at each load: its files lack weights, as of the head that scores"
        )
    return first


def _snapshot(repo: str, *, offline: bool) -> Path:
    """Return the cached folder of a hub's model, fetching what it lacks when the hub may be asked."""
    patterns, ignored = list(FILES), list(OTHER_RUNTIMES)
    folder = Path(snapshot_download(repo, local_files_only=offline, allow_patterns=patterns, ignore_patterns=ignored))
    if offline and not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{CONFIG} is not in the cache")  # no verdict on the model: the hub may have it
    return folder


def _module_list(spec: str, folder: Path) -> list[dict[str, Any]]:
    """Return the modules of a model; one of transformers, as cross-encoders used to be saved, is one by itself."""
    if (folder / LISTING).is_file():
        modules: list[dict[str, Any]] = json.loads((folder / LISTING).read_bytes())
        return modules
    if not (folder / CONFIG).is_file():
        raise EncoderError(f"{spec} is no cross-encoder: it has neither {LISTING} nor {CONFIG}")
    return [{"type": "sentence_transformers.Transformer", "path": ""}]


def _load_model(spec: str, folder: Path, seed: int) -> CrossEncoder:
    library = import_extra("sentence_transformers", "st")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = library.CrossEncoder(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    return CrossEncoder(spec, model)
