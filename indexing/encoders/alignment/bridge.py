"""A linear map from the space of one encoder to that of another, learned from texts that both embed.

So audio of one model and images of another can be searched together. Two maps are fitted, ridge regression and
orthogonal Procrustes; the one that finds more held-out texts is kept. Both are solved in closed form on centred sides.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

from indexing.arrays import Vectors, unit
from indexing.encoders.base import AudioEncoder, Encoder, EncoderInfo, PixelEncoder, require, with_audio
from indexing.errors import DamagedFileError, EncoderError, InputError, ShapeError, VectorError
from indexing.filesystem.checked_files import read_as
from indexing.media.audio import Sound
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.sample import items_path

Matrix: TypeAlias = NDArray[np.float64]
METHODS = ("ridge", "orthogonal")
PENALTIES = tuple(float(10.0**power) for power in range(-5, 3))  # in units of the mean variance of a source axis
MIN_TEXTS = 20
HELD_OUT_FRACTION, MAX_HELD_OUT = 0.15, 1_000  # share of the texts for choosing, and as many again for the report


@dataclass(frozen=True)
class BridgeScore:
    """How well a map took held-out texts to where the other encoder has them.

    Attributes:
        recall_at_1: Share of texts whose own vector is the nearest among those of all held-out texts.
        recall_at_10: Share of texts whose own vector is among the ten nearest.
        mean_cosine: Mean cosine between a mapped vector and the one that it should be.
    """

    recall_at_1: float
    recall_at_10: float
    mean_cosine: float


@dataclass(frozen=True)
class BridgeReport:
    """What was fitted, and on how much.

    Attributes:
        texts: Number of texts in all.
        held_out: Number of texts that the scores are over; neither fitting nor choosing saw them.
        method: ``"ridge"`` or ``"orthogonal"``: the one that is kept.
        penalty: That of the ridge, chosen on other held-out texts, in units of the mean variance of a source axis.
        scores: For each method that was fitted.
    """

    texts: int
    held_out: int
    method: str
    penalty: float
    scores: Mapping[str, BridgeScore]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BridgeReport":
        """Read what `to_json` gave."""
        scores = {method: BridgeScore(**score) for method, score in data["scores"].items()}
        return cls(**{**data, "scores": scores})


@dataclass(frozen=True, eq=False)
class Bridge:
    """A centred linear map from vectors of length S to unit vectors of length T.

    Attributes:
        matrix: (S, T) float32.
        source_mean: (S,) float32, taken away first.
        target_mean: (T,) float32, added last.
        report: How it was fitted.
        origin: Hash of what it was fitted on: another value means another map.

    >>> rng = np.random.default_rng(0)
    >>> source = unit(rng.normal(size=(200, 8)))
    >>> turned = source[:, ::-1]
    >>> bridge = Bridge.fit(source, turned)
    >>> bool(np.allclose(bridge.apply(source), turned, atol=1e-3))
    True
    """

    matrix: Vectors
    source_mean: Vectors
    target_mean: Vectors
    report: BridgeReport
    origin: str

    @classmethod
    def fit(
        cls, source_texts: Vectors, target_texts: Vectors, *, method: str = "best", seed: int = 0, origin: str = ""
    ) -> "Bridge":
        """Fit a bridge on the same texts in both spaces.

        Args:
            source_texts: (N, S) vectors of the texts in the space to leave.
            target_texts: (N, T) vectors of the same texts, in the same order, in the space to reach.
            method: ``"ridge"``, ``"orthogonal"``, or ``"best"`` for the one with the higher recall.
            seed: Draws the held-out texts.
            origin: Hash of the texts and both encoders; without it, of the vectors.

        Returns:
            The bridge, fitted on all texts by the method and penalty that held-out ones chose.

        Raises:
            InputError: For an unknown method, or fewer than 20 texts.
            ShapeError: When the arrays are not (N, S) and (N, T).
            VectorError: When a vector is not finite.
        """
        source, target = _check_texts(source_texts, target_texts)
        if method not in (*METHODS, "best"):
            raise InputError(f"there is no bridge method {method!r}; known are best, {', '.join(METHODS)}")
        fit_only, validation, test = _split(len(source), seed)

        def best_of(*fits: _Fit) -> tuple[_Fit, BridgeScore]:
            scored = [
                (fit, _score(fit(source[fit_only], target[fit_only]), source, target, validation)) for fit in fits
            ]
            return max(scored, key=lambda pair: (pair[1].recall_at_1, pair[1].recall_at_10, pair[1].mean_cosine))

        candidates: dict[str, tuple[_Fit, BridgeScore]] = {}
        if method != "orthogonal":
            candidates["ridge"] = best_of(*(_Ridge(penalty) for penalty in PENALTIES))
        if method != "ridge":
            candidates["orthogonal"] = best_of(_orthogonal)
        best = max(candidates, key=lambda name: (candidates[name][1].recall_at_1, candidates[name][1].mean_cosine))
        fit_rows = np.concatenate([fit_only, validation])
        scores = {
            name: _score(fit(source[fit_rows], target[fit_rows]), source, target, test)
            for name, (fit, _) in candidates.items()
        }
        fit = candidates[best][0]
        report = BridgeReport(len(source), len(test), best, getattr(fit, "penalty", 0.0), scores)
        matrix, source_mean, target_mean = (part.astype(np.float32) for part in fit(source, target))
        origin = origin or hashlib.sha256(source.tobytes() + target.tobytes()).hexdigest()
        return cls(matrix, source_mean, target_mean, report, origin)

    def apply(self, vectors: Vectors) -> Vectors:
        """Take (N, S) vectors to the other space: (N, T) float32, unit length.

        Raises:
            ShapeError: When they are not (N, S).
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.source_mean):
            raise ShapeError(f"vectors have shape {vectors.shape}, this bridge takes (N, {len(self.source_mean)})")
        return unit((np.asarray(vectors, np.float32) - self.source_mean) @ self.matrix + self.target_mean)

    def to_bytes(self) -> bytes:
        """Return the bridge as safetensors."""
        about = json.dumps({"report": self.report.to_json(), "origin": self.origin}, sort_keys=True)
        arrays = {"matrix": self.matrix, "source_mean": self.source_mean, "target_mean": self.target_mean}
        return save({**arrays, "about": np.frombuffer(about.encode(), np.uint8)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bridge":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is no bridge, or not all of one.
        """
        with read_as("the bridge", "fit it again"):
            arrays = load(data)
            about = json.loads(arrays.pop("about").tobytes())
            bridge = cls(**arrays, report=BridgeReport.from_json(about["report"]), origin=str(about["origin"]))
            fits = bridge.matrix.shape == (*bridge.source_mean.shape, *bridge.target_mean.shape)
        if not fits or not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
            raise DamagedFileError(f"bridge has parts that do not fit {bridge.matrix.shape}: fit it again")
        return bridge


Fitted: TypeAlias = tuple[Matrix, Matrix, Matrix]  # the matrix and both means
_Fit: TypeAlias = Callable[[Matrix, Matrix], Fitted]


@dataclass(frozen=True)
class _Ridge:
    """Least squares that shrinks, the more the larger the penalty."""

    penalty: float

    def __call__(self, source: Matrix, target: Matrix) -> Fitted:
        means = source.mean(axis=0), target.mean(axis=0)
        x, y = source - means[0], target - means[1]
        gram = x.T @ x
        size = np.trace(gram) / len(gram) or 1.0
        return np.linalg.solve(gram + self.penalty * size * np.eye(len(gram)), x.T @ y), *means


def _orthogonal(source: Matrix, target: Matrix) -> Fitted:
    """Turn, and scale everything alike (Schönemann 1966); between unequal lengths, turn what has a counterpart."""
    means = source.mean(axis=0), target.mean(axis=0)
    x, y = source - means[0], target - means[1]
    left, singular_values, right = np.linalg.svd(x.T @ y, full_matrices=False)
    variance = ((x @ left) ** 2).sum() or 1.0
    return left @ right * (singular_values.sum() / variance), *means


def _check_texts(source: Vectors, target: Vectors) -> tuple[Matrix, Matrix]:
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
        raise ShapeError(f"texts have shapes {source.shape} and {target.shape}, expected (N, S) and (N, T)")
    if len(source) < MIN_TEXTS:
        raise InputError(f"a bridge needs at least {MIN_TEXTS} texts, better thousands; there are {len(source)}")
    for side, vectors in (("source", source), ("target", target)):
        if not np.isfinite(vectors).all():
            raise VectorError(f"{side} texts have {int((~np.isfinite(vectors)).any(axis=1).sum())} vectors not finite")
    return source.astype(np.float64), target.astype(np.float64)


def _split(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split positions at random: for fitting, for choosing, for the report."""
    order = np.random.default_rng(seed).permutation(count)
    num_held_out = min(MAX_HELD_OUT, max(1, round(HELD_OUT_FRACTION * count)))
    return order[2 * num_held_out :], order[:num_held_out], order[num_held_out : 2 * num_held_out]


def _score(fitted: Fitted, source: Matrix, target: Matrix, rows: NDArray[np.int64]) -> BridgeScore:
    matrix, source_mean, target_mean = fitted
    mapped = unit((source[rows] - source_mean) @ matrix + target_mean)
    cosines = mapped @ unit(target[rows]).T
    own_cosines = np.diagonal(cosines)
    # Equal texts in the list are equally right; a strict comparison counts neither against the other.
    better = (cosines > own_cosines[:, None] + 1e-6).sum(axis=1)
    return BridgeScore(float((better < 1).mean()), float((better < 10).mean()), float(own_cosines.mean()))


FIT_VERSION = 1  # counts changes to how bridges are fitted, which make another space of the same texts


class BridgedEncoder:
    """An encoder that hears through another one.

    Its texts and pictures have exactly the vectors of the main encoder. `Bridge.to_bytes` of its bridge is all that
    must be kept to have the same encoder again from the two.

    Args:
        main: Embeds texts and pictures; its space is the space.
        audio: Embeds sounds, in a space that ``bridge`` leaves.
        bridge: From the space of ``audio`` to that of ``main``.

    Raises:
        EncoderError: When ``audio`` cannot embed sounds, or the bridge is between other lengths.
    """

    def __init__(self, main: Encoder, audio: Encoder, bridge: Bridge) -> None:
        audio_encoder: AudioEncoder = with_audio(audio)
        if bridge.matrix.shape != (audio.info.dim, main.info.dim):
            raise EncoderError(
                f"bridge maps {bridge.matrix.shape[0]} to {bridge.matrix.shape[1]} dimensions, but {audio.info.name!r} "
                f"has {audio.info.dim} and {main.info.name!r} has {main.info.dim}: fit it with bridge_audio"
            )
        self._main, self._audio, self.bridge = main, audio_encoder, bridge
        self.audio_rate = audio_encoder.audio_rate
        parts = [main.info.fingerprint, audio.info.fingerprint, bridge.origin, bridge.report.method]
        other_modalities = tuple(modality for modality in main.info.modalities if modality != Modality.AUDIO)
        self.info = EncoderInfo(
            name=f"{main.info.name}+{audio.info.name}",
            dim=main.info.dim,
            modalities=(*other_modalities, Modality.AUDIO),
            fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            precision=main.info.precision,
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts with the main encoder: (N, D) float32, unit length."""
        return self._main.encode_texts(texts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures with the main encoder: (N, D) float32, unit length."""
        return self._main.encode_images(images)

    def bridge_report(self) -> dict[str, Any]:
        """Return how the bridge was fitted, and its scores on held-out texts."""
        return self.bridge.report.to_json()

    def bridge_bytes(self) -> bytes:
        """Return the bridge as a file."""
        return self.bridge.to_bytes()

    @property
    def image_form(self) -> ImageForm | None:
        """What the main encoder's pictures must look like, where that is known."""
        return self._main.image_form if isinstance(self._main, PixelEncoder) else None

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N prepared pictures (N, side, side, 3) uint8 with the main encoder: (N, D) float32, unit length."""
        if not isinstance(self._main, PixelEncoder):
            return self.encode_images([Image.fromarray(array) for array in pixels])
        return self._main.encode_pixels(pixels)

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        """Embed N sounds, each (S,) float32 mono at `audio_rate`: (N, D) float32, unit length."""
        return self.bridge.apply(self._audio.encode_audio(sounds))


def bridge_audio(main: Encoder, audio: Encoder, texts: Sequence[str], *, seed: int = 0) -> BridgedEncoder:
    """Let one encoder hear through another, by a bridge learned from texts that both embed.

    Args:
        main: Embeds texts, and what else it can; its space is the space.
        audio: Embeds texts and sounds in one space of its own.
        texts: What the bridge is fitted on, at least 20 and better thousands, each once; what they speak of is what
            the bridge knows. `default_bridge_texts` gives some.
        seed: Draws the texts that are held out for choosing and for the report, ``.bridge.report``.

    Raises:
        EncoderError: When either embeds no texts, or ``audio`` no sounds.
        InputError: When there are too few texts, or some twice.
    """
    with_audio(audio)
    for encoder in (main, audio):
        require(encoder, Modality.TEXT)
    if len(set(texts)) < len(texts):
        raise InputError(f"{len(texts) - len(set(texts))} of {len(texts)} texts are there twice: give each once")
    parts = [main.info.fingerprint, audio.info.fingerprint, list(texts), seed, FIT_VERSION]
    origin = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    vectors = audio.encode_texts(texts), main.encode_texts(texts)
    return BridgedEncoder(main, audio, Bridge.fit(*vectors, seed=seed, origin=origin))


def default_bridge_texts() -> list[str]:
    """Return the titles and keywords of the shipped sample, each once, sorted.

    >>> len(default_bridge_texts()) > 1500
    True
    """
    table = pq.read_table(items_path(), columns=["title", "keywords"])
    titles, keywords = table["title"].to_pylist(), table["keywords"].to_pylist()
    return sorted({*titles, *(word for words in keywords for word in words or ())})
