"""A model brings weights and settings; code that it brings is never run, and nobody is asked whether to run it.

Left to itself transformers asks on the terminal, "Do you wish to run the custom code? [y/N]", and reads standard input.
Every call of ours says no beforehand; where a library calls transformers for us, the time that it waits for an answer
is set to none, and it refuses.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from transformers import dynamic_module_utils

from indexing.errors import EncoderError

# What each call of from_pretrained gets.
REFUSED = {"trust_remote_code": False}

_counting = threading.Lock()
_inside: list[int] = []  # one waiting time to go back to, for as long as any load is under way


@contextmanager
def no_remote_code(name: str) -> Iterator[None]:
    """Load something without running code that it brings.

    Args:
        name: The whole spec, for messages.

    Raises:
        EncoderError: When it needs code of its own.
    """
    with _counting:
        _inside.append(dynamic_module_utils.TIME_OUT_REMOTE_CODE)
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:
        if "trust_remote_code" not in str(error):
            raise
        raise _needs_code(name) from error
    finally:
        with _counting:
            before = _inside.pop()
            if not _inside:
                dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def check_settings(name: str, settings: object) -> None:
    """Check settings that a model brings, as parsed from its JSON, for those that would have code run.

    Raises:
        EncoderError: When they ask for it.

    >>> check_settings("hf:x", {"text_cfg": {"width": 32}})
    """
    if isinstance(settings, Mapping):
        if settings.get("trust_remote_code"):
            raise _needs_code(name)
        if "/" in str(settings.get("attn_implementation")):  # a repository of compiled code
            raise _needs_code(name)
    if isinstance(settings, Mapping | list):
        for value in settings.values() if isinstance(settings, Mapping) else settings:
            check_settings(name, value)


def _needs_code(name: str) -> EncoderError:
    return EncoderError(f"{name} needs code of its own, which is never run: choose a model without")
