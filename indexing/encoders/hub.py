"""Models from a hub: use what is cached, ask the hub once and briefly, and say in one message what is wrong.

Left to themselves the libraries retry for the better part of a minute when no hub answers.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from contextlib import contextmanager

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from indexing.errors import EncoderError

PROBE_SECONDS = 3.0


@contextmanager
def hub_access(repo: str, config: str, weights: Sequence[str]) -> Iterator[None]:
    """Load a repository inside this block: offline if it is cached, online if the hub has it.

    Args:
        repo: ``ORG/NAME``.
        config: A file that every such repository has.
        weights: Names its weights may have.

    Raises:
        EncoderError: When it is neither cached nor to be had.
    """
    cached = _is_cached(repo, config) and any(_is_cached(repo, name) for name in weights)
    if not cached:
        _probe(repo, config)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = cached or before
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_cached(repo: str, name: str) -> bool:
    return isinstance(try_to_load_from_cache(repo, name), str)


def _probe(repo: str, config: str) -> None:
    """Ask the hub once whether it has a repository; looking up its name may hang, so a thread does it."""
    way_out = "name a local folder, fill the cache on a machine with network, or use 'pocket'"
    if constants.HF_HUB_OFFLINE:
        raise EncoderError(f"model {repo!r} is not in the cache and HF_HUB_OFFLINE is set: {way_out}")
    pool = ThreadPoolExecutor(1, thread_name_prefix="hub-probe")
    asked: Future[object] = pool.submit(get_hf_file_metadata, hf_hub_url(repo, config), timeout=PROBE_SECONDS)
    pool.shutdown(wait=False)
    try:
        asked.result(timeout=PROBE_SECONDS + 0.5)
    except (EntryNotFoundError, HfHubHTTPError) as error:
        raise EncoderError(
            f"the hub does not give {config!r} of model {repo!r} ({type(error).__name__}): {way_out}"
        ) from error
    except (TooSlow, Exception) as error:
        reason = f"no answer in {PROBE_SECONDS:.0f} s" if isinstance(error, TooSlow) else type(error).__name__
        raise EncoderError(
            f"model {repo!r} is not in the cache and the hub cannot be reached ({reason}): {way_out}"
        ) from error
