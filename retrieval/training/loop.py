"""The training loop of all models: early stopping, the best state, and checkpoints.

All random numbers come from one numpy generator, whose state is in the checkpoint beside weights and optimizer. So a
training that was killed and continues gives the same bits as one that was not killed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from indexing.errors import DamagedFileError, TrainingError
from indexing.filesystem import fsops
from retrieval.models.features.item_texts import metadata_entry

_DIGEST_BYTES = 32  # of the checksum at the start of a checkpoint
# Parameters up to this size are written after each epoch, larger ones after every fourth.
SMALL_BYTES, LARGE_EVERY = 2**25, 4


@dataclass(frozen=True)
class TrainingCurve:
    """The losses of one training.

    Attributes:
        train: Mean loss of the batches of each epoch, before each update.
        valid: Loss on held-out data, before the first epoch and after each; empty without held-out data.
        best: The epoch whose state is kept; 0 is the initial state.
        stopped: Why training ended before the last epoch, or "".
    """

    train: tuple[float, ...]
    valid: tuple[float, ...]
    best: int
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


class Trainable(Protocol):
    """A model in training: its parameters in an optimizer, and its losses."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of all parameters."""
        ...

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass: yield the loss of each batch, computed with the current weights."""
        ...

    def valid(self) -> float | None:
        """Give the loss on held-out data, deterministic for given weights; None without such data."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes:
        epochs: Maximum number of passes.
        patience: Passes without a better loss on held-out data before training stops; 0 never stops early.
        checkpoint: Written after each pass, that of a large model after every fourth and the last. Training continues
            from an existing one. The caller names it by its data and settings; see `digest`.
    """

    epochs: int
    patience: int = 0
    checkpoint: Path | None = None


def train(
    task: Trainable, rng: np.random.Generator, schedule: Schedule, on_epoch: Callable[[int], None] | None = None
) -> TrainingCurve:
    """Train, and restore the state with the best loss on held-out data; without such data the last state.

    Training stops when a loss is no longer finite, and keeps the best state so far: that after a whole epoch, or the
    initial one if its loss was computed.

    Args:
        task: The model to train.
        rng: Generator of all random numbers.
        schedule: How long to train.
        on_epoch: Called after each epoch with its number, from 1.

    Raises:
        TrainingError: When a loss is not finite and there is no good state yet.
        DamagedFileError: When the checkpoint cannot be read.
    """
    run = _Run(task, rng)
    if schedule.checkpoint is None or not schedule.checkpoint.exists():
        run.begin()
    else:
        run.load(schedule.checkpoint)
    stopped = ""
    while run.epoch < schedule.epochs and not stopped:
        if schedule.patience and run.epoch - run.best >= schedule.patience:
            stopped = f"no better on held-out data since epoch {run.best}"
        elif not run.advance():
            stopped = f"the loss was no longer finite in epoch {run.epoch + 1}; the state of epoch {run.best} is kept"
        else:
            if schedule.checkpoint is not None and (
                run.epoch == schedule.epochs or run.epoch % run.checkpoint_every == 0
            ):
                run.save(schedule.checkpoint)
            if on_epoch is not None:
                on_epoch(run.epoch)
    run.restore(run.best_state)
    return TrainingCurve(tuple(run.train), tuple(run.valid), run.best, stopped)


def digest(settings: object, *arrays: NDArray[Any]) -> str:
    """Name a training by its settings and data: sixteen hexadecimal digits.

    >>> digest({"seed": 0}, np.arange(3)) == digest({"seed": 0}, np.arange(3))
    True
    """
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()[:16]


class _Run:
    """The state of one training between two epochs."""

    def __init__(self, task: Trainable, rng: np.random.Generator) -> None:
        self.task, self.rng = task, rng
        self.parameters = [part for group in task.optimizer.param_groups for part in group["params"]]
        self.train, self.valid = list[float](), list[float]()
        self.best = 0
        self.best_state = self.state()

    @property
    def epoch(self) -> int:
        return len(self.train)

    @property
    def checkpoint_every(self) -> int:
        """Number of epochs between checkpoints."""
        size = sum(part.numel() * part.element_size() for part in self.parameters)
        return 1 if size <= SMALL_BYTES else LARGE_EVERY

    def state(self) -> list[torch.Tensor]:
        return [part.detach().clone() for part in self.parameters]

    def restore(self, state: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for part, saved in zip(self.parameters, state, strict=True):
                part.copy_(saved)

    def begin(self) -> None:
        start = self.task.valid()
        if start is not None:
            if not np.isfinite(start):
                raise self._not_finite("before the first epoch")
            self.valid.append(start)

    def advance(self) -> bool:
        """Train for one epoch; False when a loss is not finite."""
        batches = list[float]()
        for loss in self.task.losses(self.rng):
            if not torch.isfinite(loss):
                return self._diverged()
            self.task.optimizer.zero_grad()
            loss.backward()
            self.task.optimizer.step()
            batches.append(loss.item())
        valid_loss = self.task.valid()
        if not all(torch.isfinite(part).all() for part in self.parameters) or not np.isfinite(valid_loss or 0.0):
            return self._diverged()
        better = valid_loss is None or valid_loss < self.valid[self.best]
        self.train.append(float(np.mean(batches)) if batches else 0.0)
        if valid_loss is not None:
            self.valid.append(valid_loss)
        if better:
            self.best = self.epoch
            for kept, part in zip(self.best_state, self.parameters, strict=True):
                kept.copy_(part.detach())  # in its place: tables of all items are large
        return True

    def _diverged(self) -> bool:
        if not self.epoch and not self.valid:
            raise self._not_finite("in the first epoch")
        return False

    @staticmethod
    def _not_finite(when: str) -> TrainingError:
        return TrainingError(f"the loss is not finite {when}; lower the learning rate, or check vectors and weights")

    def save(self, path: Path) -> None:
        """Write the checkpoint, in one file and atomically."""
        # Tables of all items are large: they are copied once, into the file, and written once.
        tensors = {f"now.{n}": part.detach() for n, part in enumerate(self.parameters)}
        if self.best != self.epoch:
            tensors |= {f"best.{n}": part for n, part in enumerate(self.best_state)}
        for n, values in self.task.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{n}.{name}": value for name, value in values.items()}
        metadata = {"train": self.train, "valid": self.valid, "best": self.best, "rng": self.rng.bit_generator.state}
        fsops.make_folder(path.parent)
        pieces, checksum = _pieces(tensors, {"state": json.dumps(metadata)}), hashlib.sha256()
        for piece in pieces:
            checksum.update(piece)

        def produce(write: Callable[[bytes | memoryview], None]) -> None:
            for piece in (checksum.digest(), *pieces):
                write(piece)

        fsops.write_stream(path, produce)

    def load(self, path: Path) -> None:
        try:
            content = path.read_bytes()
            data = content[_DIGEST_BYTES:]
            if hashlib.sha256(data).digest() != content[:_DIGEST_BYTES]:
                raise ValueError("its checksum is wrong")
            tensors, metadata = load(data), metadata_entry(data, "state")
            self.restore([tensors[f"now.{n}"] for n in range(len(self.parameters))])
            last = metadata["best"] == len(metadata["train"])
            self.best_state = (
                self.state() if last else [tensors[f"best.{n}"].clone() for n in range(len(self.parameters))]
            )
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise DamagedFileError(f"{path} is no checkpoint of this training ({error}); delete it") from error
        state = dict[int, dict[str, torch.Tensor]]()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, field = name.split(".")
                state.setdefault(int(number), {})[field] = value
        groups = self.task.optimizer.state_dict()["param_groups"]
        self.task.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.train, self.valid, self.best = metadata["train"], metadata["valid"], metadata["best"]
        self.rng.bit_generator.state = metadata["rng"]


def _pieces(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> list[bytes | memoryview]:
    """Give the pieces of a safetensors file of float32 tensors: a header, and their memory, which is not copied."""
    header, pieces, end = dict[str, Any](__metadata__=metadata), list[bytes | memoryview](), 0
    for name, tensor in tensors.items():
        values = tensor.float().contiguous().cpu().numpy()
        pieces.append(values.reshape(-1).view(np.uint8).data)
        start, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *pieces]
