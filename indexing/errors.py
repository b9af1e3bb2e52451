"""Every error this project raises on purpose.

    CommonspaceError
    ├── InputError             what was handed in cannot be used (also a ValueError)
    │   ├── ShapeError         arrays whose shapes or lengths do not fit together
    │   ├── VectorError        NaN, infinite or zero vectors
    │   ├── CatalogueError     a source of items that cannot be read as one
    │   ├── InteractionsError  a log of interactions that cannot be read as one
    │   ├── DeviceError        a GPU that was asked for and is not there
    │   ├── FilterError        a filter naming an unknown attribute or an impossible comparison
    │   └── UnknownItemError   item ids that are not in the bundle
    ├── EncoderError           an encoder that cannot be loaded or cannot do what was asked
    │   ├── EncoderMismatchError   an encoder that is not the one that built the bundle
    │   └── SeparateSpacesError    modalities of different spaces that were to be compared
    ├── BundleError            a bundle that cannot be opened or written
    │   ├── DamagedFileError   a file whose size or checksum is not the recorded one
    │   ├── GenerationError    a generation that is not kept, or that cannot take a change that came after it
    │   ├── StateConflictError a push or pull that would lose what another bundle has
    │   └── BundleLockedError  another process is writing to the bundle
    ├── StorageError           object storage that cannot be reached, read or written
    │   └── MissingObjectError     an object that is not there
    ├── EventsError            a log of live events that cannot be opened, read or written
    │   └── EventsBusyError        more events than can be written are waiting
    ├── DecoderError           processes that decode files and do not start
    ├── EngineError            a cluster of Ray that cannot encode
    ├── ForkedProcessError     a process forked after its parent had computed, whose threads it lacks
    ├── TrainingError          learning that cannot start or must stop
    ├── LeakError              an evaluation in which the past knows something of the future
    └── MissingExtraError      an optional package that is not installed (also an ImportError)

A message says what is wrong, with which value (at most three examples), and what to do about it. A warning is a
`CommonspaceWarning`; the command line prints it as a note.
"""

import difflib
import importlib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

_MAX_COMPARED = 100  # characters of a name that may be another one


class CommonspaceError(Exception):
    """Base of all errors raised on purpose by ``indexing`` and ``retrieval``.

    A hint may differ between Python, the command line and the service. The message ends with the hint ``python``; the
    command line shows ``for_terminal``, which ends with ``cli``; the service ``for_service``, which ends with ``http``.

    Args:
        message: What is wrong, and with which value.
        python: What to do about it, in the words of the Python API.
        cli: The same in the options of the command line.
        http: The same in the fields of a request; as ``python`` where it is left out.

    >>> error = InputError("2 items are in the bundle already", python="use upsert()", cli="replace them with --upsert")
    >>> str(error)
    '2 items are in the bundle already; use upsert()'
    >>> error.for_terminal
    '2 items are in the bundle already; replace them with --upsert'
    """

    def __init__(self, message: str = "", *, python: str = "", cli: str = "", http: str = "") -> None:
        super().__init__(f"{message}; {python}" if python else message)
        self.for_terminal = f"{message}; {cli}" if cli else str(self)
        self.for_service = f"{message}; {http}" if http else str(self)


class CommonspaceWarning(UserWarning):
    """Base of all warnings of ``indexing`` and ``retrieval``."""

    @property
    def impersonal(self) -> str:
        """What it says to those who may not know what a user did."""
        return str(self)


class InputError(CommonspaceError, ValueError):
    """An argument or input that cannot be used."""


class ShapeError(InputError):
    """Arrays whose shapes or lengths do not fit together."""


class VectorError(InputError):
    """Vectors that contain NaN or infinity, or have no direction."""


class CatalogueError(InputError):
    """A source of items that cannot be read as a catalogue."""


class InteractionsError(InputError):
    """A log of interactions that cannot be read as one."""


class DeviceError(InputError):
    """A GPU that was asked for and is not there, or that has nothing to compute."""


class FilterError(InputError):
    """A filter that names an unknown attribute or compares what cannot be compared."""


class UnknownItemError(InputError):
    """Item ids that are not in the bundle."""


class EncoderError(CommonspaceError):
    """An encoder that cannot be loaded, or cannot embed an input."""


class UnknownEncoderError(EncoderError):
    """A name that no encoder has."""


class DecoderError(CommonspaceError):
    """Processes that decode files and do not start."""


class EngineError(CommonspaceError):
    """A cluster of Ray that cannot be reached, has no room or lost its actors, or whose nodes see something else."""


class EncoderMismatchError(EncoderError):
    """An encoder that is not the one that built the bundle."""


class SeparateSpacesError(EncoderError):
    """Modalities of different spaces that cannot be compared, or a vector of unknown modality."""


class BundleError(CommonspaceError):
    """A bundle that cannot be opened or written."""


class DamagedFileError(BundleError):
    """A file whose size or checksum is not the recorded one."""


class GenerationError(BundleError):
    """A generation that is not kept, or that cannot take a change that came after it."""


class StateConflictError(BundleError):
    """A push or pull that would lose what another bundle has."""


class BundleLockedError(BundleError):
    """Another process is writing to the bundle."""


class StorageError(CommonspaceError):
    """Object storage that cannot be reached, read or written."""


class MissingObjectError(StorageError):
    """An object that is not there."""


class EventsError(CommonspaceError):
    """A log of live events that cannot be opened, read or written."""


class EventsBusyError(EventsError):
    """A log of live events to which more is to be written than it can take."""


class ForkedProcessError(CommonspaceError):
    """A process that was forked after its parent had encoded or searched."""


class TrainingError(CommonspaceError):
    """Learning that cannot start, or had to stop."""


class LeakError(CommonspaceError):
    """An evaluation in which the past knows something of the future, or asks what cannot be answered."""


class MissingExtraError(CommonspaceError, ImportError):
    """An optional package that is not installed."""


def examples(values: Iterable[object], at_most: int = 3) -> str:
    """Show the first few values of a problem, for an error message.

    >>> examples(["a", "b", "c", "d"])
    "'a', 'b', 'c', …"
    """
    shown: list[str] = []
    for value in values:
        if len(shown) == at_most:
            return ", ".join([*shown, "…"])
        shown.append(repr(value))
    return ", ".join(shown)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Ask whether one of some names was meant that is spelled much alike; empty where none is.

    >>> did_you_mean("Hybird", ["vector", "words", "hybrid"]), did_you_mean("x", ["vector"])
    (", did you mean 'hybrid'?", '')
    """
    near = nearest(name, names)
    return "" if near is None else f", did you mean {near!r}?"


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Give the one of some names that is spelled most like another, None where none is near; see `difflib`."""
    folded = {one.casefold(): one for one in names}
    close = difflib.get_close_matches(name[:_MAX_COMPARED].casefold(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def import_extra(module: str, extra: str) -> Any:  # noqa: ANN401 - a module
    """Import a package that comes with an extra of this project.

    Raises:
        MissingExtraError: When it, or what it needs, is not installed.

    >>> import_extra("no_such_module", "audio")
    Traceback (most recent call last):
        ...
    indexing.errors.MissingExtraError: no_such_module cannot be imported: pip install ".[audio]" in a clone
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the package is there, but not its shared library
        raise _missing(module, extra) from error


def require_extra(module: str, extra: str) -> None:
    """Check that a package is there, before work whose last step needs it.

    Raises:
        MissingExtraError: When it is not.
    """
    if find_spec(module) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> MissingExtraError:
    return MissingExtraError(f'{module} cannot be imported: pip install ".[{extra}]" in a clone')
