"""Models from a hub: what is cached loads offline, the hub is asked once and briefly, one message says what is wrong.

Left to themselves the libraries ask again and again, with growing pauses: 23 s for each file when no hub answers.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from indexing.errors import EncoderError

Loaded = TypeVar("Loaded")
PROBE_SECONDS = 3.0
HINT = "name a local folder, fill the cache on a machine with network, or use 'pocket'"
# The libraries read their offline switch from this process, so two loads at once would undo each other's.
_switch_lock = threading.RLock()


def load_from_hub(repo: str, load: Callable[[bool], Loaded]) -> Loaded:
    """Load a model from the cache, and only if that does not have all of it, from the hub.

    Args:
        repo: ``ORG/NAME``.
        load: Loads the model with the library's own means, given whether it must do without network.

    Raises:
        EncoderError: When the hub is needed but cannot be reached, or has no such repository, or not all of its files.
    """
    if _partly_cached(repo):
        try:
            with _offline_switch(offline=True):
                return load(True)
        except EncoderError:
            raise  # our own verdict on what was found: the hub would not change it
        except Exception as error:  # each library says in its own way that something is not in the cache
            try:
                ask_hub(repo)
            except EncoderError:
                reason = one_line(error)
                raise EncoderError(f"model {repo!r} is cached but cannot be loaded offline: {reason}") from error
    else:
        ask_hub(repo)
    try:
        with _offline_switch(offline=False):
            return load(False)
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(f"model {repo!r} cannot be loaded from the hub ({one_line(error)}): {HINT}") from error


def require_known(repo: str) -> None:
    """Check that a repository is worth loading a library for: something of it is cached, or the hub has it.

    Raises:
        EncoderError: When it is neither, or is not of the form ``ORG/NAME``.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise EncoderError(f"{repo!r} is neither a folder nor a model of the form ORG/REPO")
    if not _partly_cached(repo):
        ask_hub(repo)


def ask_hub(repo: str) -> None:
    """Ask the hub once whether it has a repository.

    Raises:
        EncoderError: When it does not, or does not answer within seconds.
    """
    if constants.HF_HUB_OFFLINE:
        raise EncoderError(f"model {repo!r} is not in the cache and HF_HUB_OFFLINE is set: {HINT}")
    error = _probe_hub(repo)
    if isinstance(error, RepositoryNotFoundError):
        raise EncoderError(f"the hub has no model {repo!r} that you may read: check its name, or {HINT}") from error
    if isinstance(error, HfHubHTTPError) and error.response is not None and error.response.status_code == 404:
        return  # the repository lacks only the file we asked for; which it has is for the library to find out
    if error is not None:
        reason = f"no answer in {PROBE_SECONDS:.0f} s" if isinstance(error, TimeoutError) else one_line(error)
        raise EncoderError(
            f"model {repo!r} is not in the cache and the hub cannot be reached ({reason}): {HINT}"
        ) from error


def check_embeds(name: str, content: str, embed: Callable[[], object]) -> None:
    """Embed something at once, so that a model and its preprocessing that do not fit are told before a build begins.

    Args:
        name: Of the encoder.
        content: What is embedded, in words.
        embed: Embeds it.

    Raises:
        EncoderError: When it cannot.
    """
    try:
        embed()
    except Exception as error:  # each library says in its own way that sizes differ
        raise EncoderError(
            f"the model of {name} cannot embed the {content} that its preprocessing gives: {one_line(error)}; take the "
            "model and its preprocessing from the same release"
        ) from error


def one_line(error: Exception, max_length: int = 300) -> str:
    """Return an error's message on one line, for use inside another message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _probe_hub(repo: str) -> Exception | None:
    """Send one HEAD request; None is success. Looking up a name may hang, so a thread does it, which nobody joins."""
    outcomes: list[Exception | None] = []

    def probe() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(repo, "config.json"), timeout=PROBE_SECONDS)
            outcomes.append(None)
        except Exception as error:  # the caller judges it
            outcomes.append(error)

    thread = threading.Thread(target=probe, name="hub-probe", daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 0.5)
    return outcomes[0] if outcomes else TimeoutError()


def _partly_cached(repo: str) -> bool:
    return (Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "snapshots").is_dir()


@contextmanager
def _offline_switch(*, offline: bool) -> Iterator[None]:
    """Keep the libraries off the network, or at least off the bot that converts pickles; undone at the end."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    with _switch_lock:
        was_offline, bot_setting = constants.HF_HUB_OFFLINE, os.environ.get(name)
        constants.HF_HUB_OFFLINE = offline or was_offline
        os.environ[name] = "1"
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = was_offline
            if bot_setting is None:
                del os.environ[name]
            else:
                os.environ[name] = bot_setting
