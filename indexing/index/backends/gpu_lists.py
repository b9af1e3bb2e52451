"""Training of inverted lists, and the assignment of vectors to them, on a GPU. What is built is served without one.

To find the list of each vector, among all centres, is nearly all of the work of a build; codes take little of it. FAISS
has no codes of four bits on a GPU. So the centres are there while vectors are assigned, codes are made on the
processor, and nothing of the GPU is left in the index.
"""

from typing import Any

import faiss

from indexing.arrays import Vectors
from indexing.errors import DeviceError
from indexing.runtime.device import CPU, gpu_number, ways_out


class ListFiller:
    """Trains and fills the inverted lists of a FAISS index, with their centres on a device.

    Args:
        codes: A FAISS IVF index over a flat quantiser, which keeps the centres in the end.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        DeviceError: When FAISS does not see the GPU that was asked for.
    """

    def __init__(self, codes: Any, device: str = CPU) -> None:  # noqa: ANN401 - FAISS ships no types
        require_faiss_gpu(device)
        self._codes, self._on_gpu = codes, None
        if device != CPU:
            self._centres = faiss.downcast_index(codes.quantizer)
            self._resources = faiss.StandardGpuResources()  # which must live as long as what is on the GPU
            self._on_gpu = faiss.index_cpu_to_gpu(self._resources, gpu_number(device), self._centres)

    def train(self, sample: Vectors) -> None:
        """Train centres and codes on (S, D) vectors."""
        if self._on_gpu is None:
            self._codes.train(sample)
            return
        self._codes.quantizer = self._on_gpu
        try:
            self._codes.train(sample)
        finally:
            self._codes.quantizer = self._centres
        trained = faiss.index_gpu_to_cpu(self._on_gpu)
        self._centres.add(trained.reconstruct_n(0, trained.ntotal))

    def add(self, vectors: Vectors) -> None:
        """Add (N, D) vectors."""
        if self._on_gpu is None:
            self._codes.add(vectors)
        elif self._codes.by_residual:  # a code needs the centre of its list, which is at hand on the processor
            from faiss.contrib.ivf_tools import add_preassigned  # loaded only by those who build on a GPU

            add_preassigned(self._codes, vectors, self._on_gpu.search(vectors, 1)[1].ravel())
        else:
            self._codes.quantizer = self._on_gpu
            try:
                self._codes.add(vectors)
            finally:
                self._codes.quantizer = self._centres


def require_faiss_gpu(device: str) -> None:
    """Check that FAISS sees the GPU that was asked for; of the processor there is nothing to check.

    Raises:
        DeviceError: When it does not.
    """
    if device == CPU:
        return
    hint = ways_out("--index-device")
    if not hasattr(faiss, "StandardGpuResources"):
        raise DeviceError(
            f"device={device!r} was asked for, but this FAISS is built for processors alone: install faiss-gpu-cuvs "
            "in place of faiss-cpu",
            **hint,
        )
    if gpu_number(device) >= (count := faiss.get_num_gpus()):
        raise DeviceError(f"device={device!r} was asked for, but FAISS sees {count or 'no'} GPUs", **hint)
