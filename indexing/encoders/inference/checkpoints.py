"""Checkpoints as transformers saves them: safetensors only, complete, silent while they load, and no foreign code.

Code that a model brings is never run, and nobody is asked whether to run it. Left to itself transformers asks on the
terminal and reads standard input. Every call of ours says no beforehand; where a library calls transformers for us, the
time that it waits for an answer is set to none, and it refuses.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers import dynamic_module_utils

from indexing.arrays import Vectors
from indexing.encoders.inference.batching import checked_texts, well_formed
from indexing.encoders.inference.hub import load_from_hub, one_line
from indexing.errors import EncoderError, examples

# What each call of from_pretrained gets.
REFUSED = {"trust_remote_code": False}

_timeout_lock = threading.Lock()
_saved_timeouts: list[int] = []  # one waiting time to go back to, for as long as any load is under way


@contextmanager
def no_remote_code(name: str) -> Iterator[None]:
    """Load something without running code that it brings.

    Args:
        name: The whole spec, for messages.

    Raises:
        EncoderError: When it needs code of its own.
    """
    with _timeout_lock:
        _saved_timeouts.append(dynamic_module_utils.TIME_OUT_REMOTE_CODE)
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
        with _timeout_lock:
            previous = _saved_timeouts.pop()
            if not _saved_timeouts:
                dynamic_module_utils.TIME_OUT_REMOTE_CODE = previous


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


Loaded = TypeVar("Loaded")
# These scale the similarity in training; vectors do not depend on them, so a checkpoint may lack them.
NOT_IN_VECTORS = {"logit_scale", "logit_bias", "logit_scale_a", "logit_scale_t", "temperature"}


def load_checkpoint(name: str, rest: str, create: Callable[[bool], Loaded]) -> Loaded:
    """Load a folder, or a hub's model from the cache or the hub.

    Args:
        name: The whole spec, for messages.
        rest: ``ORG/REPO`` or a local folder.
        create: Makes the encoder, given whether it must do without network.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, cannot be loaded or needs code of its own.
    """

    def without_code(offline: bool) -> Loaded:
        with no_remote_code(name):
            return create(offline)

    try:
        return without_code(True) if Path(rest).is_dir() else load_from_hub(rest, without_code)
    except EncoderError:
        raise
    except Exception as error:  # transformers and safetensors raise OSError, ValueError, RuntimeError, their own, …
        raise EncoderError(f"transformers cannot load {name}: {one_line(error)}") from error


def checked_config(name: str, rest: str, families: Collection[str], *, offline: bool) -> dict[str, Any]:
    """Read a model's configuration.

    Raises:
        EncoderError: When the model is of none of the families, or its configuration would have code run.
    """
    config: dict[str, Any]
    config, _ = transformers.PretrainedConfig.get_config_dict(rest, local_files_only=offline)
    if (family := config.get("model_type")) not in families:
        raise EncoderError(f"{name} is a {family!r} model; supported are {', '.join(families)}")
    check_settings(name, config)
    return config


def complete_model(name: str, rest: str, *, offline: bool) -> Any:  # noqa: ANN401
    """Load a model in float32, frozen, with every weight that its vectors depend on.

    Raises:
        EncoderError: When some have no fitting value in its files.
    """
    with quiet():
        model, report = transformers.AutoModel.from_pretrained(
            rest,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=offline,
            **REFUSED,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed; they are refused below
        )
    # transformers only warns of these and fills the gaps with random numbers, others at each load.
    misshapen = {key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]}
    if unfit := sorted((set(report["missing_keys"]) | misshapen) - NOT_IN_VECTORS):
        raise EncoderError(
            f"{name} has no fitting weights for {examples(unfit)}: its files are not complete or not of one model"
        )
    return model.eval().requires_grad_(False)


def tokens(tokenizer: Any, texts: Sequence[str], padding: str, length: int) -> Any:  # noqa: ANN401
    """Return B texts as tensors of token ids, cut to a length: texts, whatever they look like."""
    cleaned = [well_formed(text) for text in checked_texts(texts)]
    return tokenizer(cleaned, padding=padding, truncation=True, max_length=length, return_tensors="pt")


def pooled(features: Any) -> Vectors:  # noqa: ANN401
    """Return features as (B, D) float32: a tensor in transformers 4, an output with ``pooler_output`` in 5."""
    vectors: Vectors = pooled_tensor(features).float().cpu().numpy()
    return vectors


def pooled_tensor(features: Any) -> torch.Tensor:  # noqa: ANN401
    """Return features as the tensor that `pooled` makes an array of."""
    tensor: torch.Tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    return tensor


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers prints while it loads: its report on missing weights becomes our error."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
