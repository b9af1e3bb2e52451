"""The generations of a bundle: those that are kept, and the one that waits to be published."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from indexing.bundle.current import read_state
from indexing.bundle.generation import STAGED_ON, WORDS_SETTINGS, generations
from indexing.bundle.maintenance.staged import staged
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import may_follow
from indexing.errors import BundleError, CommonspaceError
from retrieval.serving.engine.messages import in_words_of_service, without_places


class UnknownGenerationError(CommonspaceError):
    """A generation that is to become current, and that is not kept."""


def check_kept(root: Path, generation: str) -> None:
    """Check that a generation that is named is kept.

    Raises:
        UnknownGenerationError: When it is not.
    """
    kept = generations(root)
    if generation not in kept:
        if (waiting := staged(root)) is not None and waiting.generation == generation:
            raise UnknownGenerationError(f"{generation} was never current: it is staged; publish it by /admin/publish")
        raise UnknownGenerationError(
            f"the bundle keeps no generation {generation!r}; it keeps {', '.join(reversed(kept))}"
        )


def described_generations(root: Path) -> list[dict[str, Any]]:
    """Describe the generations of a bundle, the newest first, and before them the one that is staged.

    Raises:
        DamagedFileError: When CURRENT cannot be read.
    """
    state = read_state(root)
    current = "" if state is None else state.generation
    kept = [_described(root, name, current) for name in reversed(generations(root))]
    if (waiting := staged(root)) is None:
        return kept
    base = waiting.learned.get(STAGED_ON)
    may_be_published = False
    with suppress(BundleError):  # `_described` says what is wrong with the current one
        may_be_published = may_follow(root, str(base))
    described = _of(waiting) | {"state": "staged", "made_on": base, "can_be_published": may_be_published}
    if base not in [one["generation"] for one in kept]:
        described["problem"] = f"{base}, which it was made on, is not kept any more; fit again"
    return [described, *kept]


def _described(root: Path, name: str, current: str) -> dict[str, Any]:
    state = "current" if name == current else "kept"
    try:
        return _of(Manifest.read(root / name / MANIFEST)) | {"state": state}
    except BundleError as error:
        problem = without_places(in_words_of_service(error), root)
        return {"generation": name, "state": state, "problem": problem}


def _of(manifest: Manifest) -> dict[str, Any]:
    measured = manifest.learned.get("measured", {})
    return {
        "generation": manifest.generation,
        "created": manifest.created,
        "items": manifest.items,
        "change": manifest.batches,
        "learned": list(manifest.features),
        "words": WORDS_SETTINGS in {file.name for file in manifest.files},
        "until": manifest.learned.get("until"),
        "ndcg@10": measured.get("ndcg@10"),
    }
