"""Devices by name: the processor, or a GPU."""

import re

from indexing.errors import InputError

AUTO, CPU = "auto", "cpu"
_NAME = re.compile(r"cpu|cuda(:[0-9]{1,3})?")


def check_device(device: object, *, auto: bool = False) -> str:
    """Return the name of a device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``, and ``"auto"`` where that is one.

    It need not be there.

    >>> check_device("cuda:1")
    'cuda:1'

    Raises:
        InputError: When it is no such name.
    """
    if isinstance(device, str) and (_NAME.fullmatch(device) or (auto and device == AUTO)):
        return device
    names = "'auto', 'cpu', 'cuda' or 'cuda:1'" if auto else "'cpu', 'cuda' or 'cuda:1'"
    raise InputError(f"device is {device!r:.60}; give {names}")


def gpu_number(device: str) -> int:
    """Return which GPU a name means, from 0.

    >>> gpu_number("cuda"), gpu_number("cuda:2")
    (0, 2)
    """
    return int(device.partition(":")[2] or 0)


def ways_out(option: str) -> dict[str, str]:
    """Return what to do about a GPU that is not there, in the words of Python and of the command line."""
    end = "or mend driver, packages and CUDA_VISIBLE_DEVICES, so that the GPU is seen"
    return {"python": f"give device='cpu', {end}", "cli": f"give {option} cpu, {end}"}
