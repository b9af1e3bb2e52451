"""Where torch computes, for encoders and for training: on the processor, or on a GPU that is there."""

from collections.abc import Iterator
from contextlib import contextmanager

from indexing.errors import DeviceError
from indexing.runtime.device import AUTO, CPU, gpu_number, ways_out


def torch_device(device: str) -> str:
    """Return the device as torch takes it; ``"auto"`` is a GPU where torch sees one, and else the processor.

    A GPU that was asked for is never replaced by the processor.

    Raises:
        DeviceError: When torch does not see the GPU that was asked for.
    """
    if device == CPU:
        return CPU
    import torch  # loaded only by those who compute with it

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == AUTO:
        return "cuda" if count else CPU
    if gpu_number(device) < count:
        return device
    if count:
        seen = "one GPU, 'cuda:0'" if count == 1 else f"{count} GPUs, 'cuda:0' to 'cuda:{count - 1}'"
    else:
        seen = "no GPU" if torch.version.cuda else "no GPU: it is built for processors alone"
    raise DeviceError(f"device={device!r} was asked for, but torch sees {seen}", **ways_out("--device"))


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """Let torch make new tensors of this thread on a device, and compute with them there.

    That holds for ``torch.as_tensor(array)`` too, not for ``torch.from_numpy(array)``. On the processor nothing is
    changed, and torch is not imported.

    Raises:
        DeviceError: For a GPU that is not there.
    """
    if (place := torch_device(device)) == CPU:
        yield
        return
    import torch  # loaded only by those who compute with it

    with torch.device(place):
        yield
