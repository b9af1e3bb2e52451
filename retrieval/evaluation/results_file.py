"""Save evaluations as JSON with the values of every query, and load them for comparisons."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.media.files import no_file
from retrieval.evaluation.evaluate import Evaluation

FORMAT, VERSION = "commonspace evaluation", 2
WITHOUT_CHECKSUM = 1  # files of this version have no checksum
CHECKSUM = "checksum"
MAX_BYTES = 1 << 30  # bytes
# The fields that hold measures of all lists together, such as coverage.
OVERALL = tuple(f.name for f in fields(Evaluation) if f.name not in ("query_ids", "per_query", "skipped"))


@dataclass(frozen=True)
class SavedEvaluation:
    """A saved evaluation.

    Attributes:
        evaluation: The measures.
        about: What was evaluated and how: names and values.
    """

    evaluation: Evaluation
    about: Mapping[str, str] = field(default_factory=dict)


def overall(evaluation: Evaluation) -> dict[str, float]:
    """Return the measures of all lists together, such as coverage."""
    return {name: value for part in OVERALL for name, value in getattr(evaluation, part).items()}


def save(saved: SavedEvaluation, path: Path | str) -> None:
    """Write an evaluation with its values per query and a checksum; NaN becomes null."""
    evaluation = saved.evaluation
    content = {
        "format": FORMAT,
        "version": VERSION,
        "about": dict(saved.about),
        "query_ids": list(evaluation.query_ids),
        "per_query": {m: [_plain(v) for v in values.tolist()] for m, values in evaluation.per_query.items()},
        **{part: {name: _plain(v) for name, v in getattr(evaluation, part).items()} for part in OVERALL},
        "skipped": evaluation.skipped,
    }
    path = Path(path)
    fsops.make_folder(path.parent)
    fsops.write_bytes(path, with_checksum(content))


def with_checksum(content: Mapping[str, Any]) -> bytes:
    """Return JSON values as one line of text that contains its checksum."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return (json.dumps({CHECKSUM: digest, **content}) + "\n").encode()


def load(path: Path | str) -> SavedEvaluation:
    """Read a file that `save` wrote.

    Raises:
        InputError: If the file is missing, damaged, of another format or of a newer version.
    """
    path = Path(path)
    content = _content(path)
    if content.get("format") != FORMAT:
        raise InputError(f"{path} is no saved evaluation; write one with `commonspace evaluate … --save {path}`")
    if content.get("version") not in (WITHOUT_CHECKSUM, VERSION):
        raise InputError(
            f"{path} is of version {content.get('version')!r}, and this program reads {VERSION}; take the newer program"
        )
    try:
        query_ids = tuple(str(query_id) for query_id in content["query_ids"])
        per_query = {str(m): np.array(values, np.float64) for m, values in content["per_query"].items()}
        parts = {
            part: {str(name): float("nan" if v is None else v) for name, v in content.get(part, {}).items()}
            for part in OVERALL
        }
        about = {str(name): str(value) for name, value in content["about"].items()}
        evaluation = Evaluation(query_ids, per_query, skipped=int(content["skipped"]), **parts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}; evaluate and save again") from error
    if misshapen := [m for m, values in per_query.items() if values.shape != (len(query_ids),)]:
        raise InputError(f"{path} is damaged: not one value of {misshapen[0]} for each of {len(query_ids)} queries")
    if not per_query or not query_ids:
        raise InputError(f"{path} is damaged: it holds no query or no measure; evaluate and save again")
    return SavedEvaluation(evaluation, about)


def _plain(value: float) -> float | None:
    return None if isnan(value) else value


def _content(path: Path) -> dict[str, Any]:
    if problem := no_file(path, MAX_BYTES):
        raise InputError(problem)
    try:
        data = path.read_bytes()
        content = json.loads(data)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no saved evaluation: it is no JSON ({error})") from error
    if not isinstance(content, dict):
        return {}
    checksum = content.pop(CHECKSUM, None)
    if (checksum is not None or content.get("version") == VERSION) and with_checksum(content) != data:
        raise InputError(f"{path} is damaged: its bytes are not those that were written; evaluate and save again")
    return content
