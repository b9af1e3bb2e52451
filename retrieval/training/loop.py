"""The one loop of everything that learns: early stopping, the last good state, and going on after a kill.

Everything random comes from one numpy generator, whose state is in the checkpoint beside weights and optimizer: a
training that was killed and goes on gives the same bits as one that was not.
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
from safetensors.torch import load, save

from indexing.errors import DamagedFileError, TrainingError
from indexing.filesystem import fsops
from retrieval.features.item_texts import metadata_entry

_DIGEST = 32  # bytes of the checksum before a checkpoint
SMALL, SELDOM = 2**25, 4  # bytes of parameters that are written after each pass, and how seldom larger ones are


@dataclass(frozen=True)
class TrainingCurve:
    """The losses of one training.

    Attributes:
        train: Mean loss of the batches of each epoch, while it learned from them.
        valid: Loss on what was held out: before the first epoch, and after each; empty when nothing was.
        best: The epoch whose state was kept; 0 is the start.
        stopped: Why it ended before the last epoch, or "".
    """

    train: tuple[float, ...]
    valid: tuple[float, ...]
    best: int
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


class Learner(Protocol):
    """What learns: parameters in an optimizer, and losses."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What takes the steps; it holds all that is learned."""
        ...

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass: give the loss of one batch after another, each made from the weights of that moment."""
        ...

    def valid(self) -> float | None:
        """Give the loss on what is held out, the same for the same weights; None when nothing is."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long to learn.

    Attributes:
        epochs: Most passes.
        patience: Passes without a better loss on what is held out before it stops; 0 never stops early.
        checkpoint: Written after each pass, of what is large after each fourth and the last; where there is one,
            learning goes on from it. That it is of the same data and settings is for the caller to see to, by its name:
            `digest`.
    """

    epochs: int
    patience: int = 0
    checkpoint: Path | None = None


def learn(
    learner: Learner, rng: np.random.Generator, schedule: Schedule, on_epoch: Callable[[int], None] | None = None
) -> TrainingCurve:
    """Learn, and leave the learner with the state that was best on what is held out (the last one without).

    When a loss is no longer finite it stops, and keeps the best state so far: that after a whole epoch, or the start
    if that was measured.

    Args:
        learner: What learns.
        rng: All that is random.
        schedule: How long.
        on_epoch: Called after each epoch with its number, from 1.

    Raises:
        TrainingError: When a loss is not finite and there is no good state yet.
        DamagedFileError: When the checkpoint cannot be read.
    """
    run = _Run(learner, rng)
    if schedule.checkpoint is None or not schedule.checkpoint.exists():
        run.begin()
    else:
        run.load(schedule.checkpoint)
    stopped = ""
    while run.epoch < schedule.epochs and not stopped:
        if schedule.patience and run.epoch - run.best >= schedule.patience:
            stopped = f"no better on what is held out since epoch {run.best}"
        elif not run.advance():
            stopped = f"the loss was no longer finite in epoch {run.epoch + 1}; the state of epoch {run.best} is kept"
        else:
            if schedule.checkpoint is not None and (run.epoch == schedule.epochs or run.epoch % run.seldom == 0):
                run.save(schedule.checkpoint)
            if on_epoch is not None:
                on_epoch(run.epoch)
    run.restore(run.kept)
    return TrainingCurve(tuple(run.train), tuple(run.valid), run.best, stopped)


def digest(settings: object, *arrays: NDArray[Any]) -> str:
    """Name a training by what it learns from: sixteen hexadecimal digits.

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

    def __init__(self, learner: Learner, rng: np.random.Generator) -> None:
        self.learner, self.rng = learner, rng
        self.parameters = [part for group in learner.optimizer.param_groups for part in group["params"]]
        self.train, self.valid = list[float](), list[float]()
        self.best = 0
        self.kept = self.state()

    @property
    def epoch(self) -> int:
        return len(self.train)

    @property
    def seldom(self) -> int:
        """After so many epochs there is a checkpoint: what is large takes as long to write as some to learn."""
        size = sum(part.numel() * part.element_size() for part in self.parameters)
        return 1 if size <= SMALL else SELDOM

    def state(self) -> list[torch.Tensor]:
        return [part.detach().clone() for part in self.parameters]

    def restore(self, state: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for part, saved in zip(self.parameters, state, strict=True):
                part.copy_(saved)

    def begin(self) -> None:
        start = self.learner.valid()
        if start is not None:
            if not np.isfinite(start):
                raise self._hopeless("before learning")
            self.valid.append(start)

    def advance(self) -> bool:
        """Learn for one epoch; False when a loss is not finite."""
        batches = list[float]()
        for loss in self.learner.losses(self.rng):
            if not torch.isfinite(loss):
                return self._lost()
            self.learner.optimizer.zero_grad()
            loss.backward()
            self.learner.optimizer.step()
            batches.append(loss.item())
        valid_loss = self.learner.valid()
        if not all(torch.isfinite(part).all() for part in self.parameters) or not np.isfinite(valid_loss or 0.0):
            return self._lost()
        better = valid_loss is None or valid_loss < self.valid[self.best]
        self.train.append(float(np.mean(batches)) if batches else 0.0)
        if valid_loss is not None:
            self.valid.append(valid_loss)
        if better:
            self.best, self.kept = self.epoch, self.state()
        return True

    def _lost(self) -> bool:
        if not self.epoch and not self.valid:
            raise self._hopeless("in the first epoch")
        return False

    @staticmethod
    def _hopeless(when: str) -> TrainingError:
        return TrainingError(
            f"the loss is not finite {when}; lower the learning rate, or look for broken vectors or weights"
        )

    def save(self, path: Path) -> None:
        """Write the checkpoint, in one file: it is whole or not there."""
        # Tables of all items are large: none is copied but into the file, and none written twice.
        tensors = {f"now.{n}": part.detach() for n, part in enumerate(self.parameters)}
        if self.best != self.epoch:
            tensors |= {f"best.{n}": part for n, part in enumerate(self.kept)}
        for n, values in self.learner.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{n}.{name}": value for name, value in values.items()}
        metadata = {"train": self.train, "valid": self.valid, "best": self.best, "rng": self.rng.bit_generator.state}
        fsops.make_folder(path.parent)
        data = save(tensors, {"state": json.dumps(metadata)})

        def produce(write: Callable[[bytes | memoryview], None]) -> None:
            write(hashlib.sha256(data).digest())
            write(data)

        fsops.write_stream(path, produce)

    def load(self, path: Path) -> None:
        try:
            content = path.read_bytes()
            data = content[_DIGEST:]
            if hashlib.sha256(data).digest() != content[:_DIGEST]:
                raise ValueError("its bytes are not those that were written")
            tensors, metadata = load(data), metadata_entry(data, "state")
            self.restore([tensors[f"now.{n}"] for n in range(len(self.parameters))])
            last = metadata["best"] == len(metadata["train"])
            self.kept = self.state() if last else [tensors[f"best.{n}"] for n in range(len(self.parameters))]
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise DamagedFileError(f"{path} is no checkpoint of this training ({error}); delete it") from error
        state = dict[int, dict[str, torch.Tensor]]()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, field = name.split(".")
                state.setdefault(int(number), {})[field] = value
        groups = self.learner.optimizer.state_dict()["param_groups"]
        self.learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.train, self.valid, self.best = metadata["train"], metadata["valid"], metadata["best"]
        self.rng.bit_generator.state = metadata["rng"]
