"""Which of NVIDIA's GPUs a process means by `cuda:N`, once CUDA_VISIBLE_DEVICES hides some or orders them anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, takewhile
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable."""


def nvml_index(cuda_index: int, visible: str | None) -> int | None:
    """NVML's number of `cuda:N` under that value of CUDA_VISIBLE_DEVICES; None where it is hidden or not known.

    The library has to be open for a value that names GPUs or MIG instances by UUID, whole or abbreviated. Source:
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables
    """
    if visible is None:
        return cuda_index
    return next(islice(_indices(visible), cuda_index, None), None)


def visible_indices(visible: str | None, count: int) -> list[int]:
    """NVML's numbers of `cuda:0`, `cuda:1` and so on, of `count` GPUs that the driver shows; NVML has to be open."""
    indices = range(count) if visible is None else _indices(visible)
    return list(takewhile(lambda index: index < count, indices))


def why_hidden(cuda_index: int, visible: str) -> str:
    """One sentence for a GPU that is hidden or not known."""
    return f"{VISIBLE} is {visible!r}, in which cuda:{cuda_index} is no GPU that the driver shows"


def _indices(visible: str) -> Iterator[int]:
    """NVML's numbers in the order of `cuda:N`; CUDA reads no further than to the first name that leads nowhere."""
    for name in visible.split(","):
        index = _index_of(name.strip())
        if index is None:
            return
        yield index


def _index_of(name: str) -> int | None:
    if name.isdecimal():
        return int(name)
    if not name.startswith(("GPU-", "MIG-")):
        return None
    wanted = name.removeprefix("MIG-").partition("/")[0] if name.startswith("MIG-GPU-") else name
    return next((index for index, uuid in _uuids() if uuid.startswith(wanted)), None)


def _uuids() -> Iterator[tuple[int, str]]:
    """NVML's number and UUID of each GPU that answers, and of each instance of a divided one."""
    import pynvml

    with suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # one that is lost hides none of the others
                gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
                yield index, str(pynvml.nvmlDeviceGetUUID(gpu))
                yield from ((index, uuid) for uuid in _instances(gpu))


def _instances(gpu: Any) -> Iterator[str]:
    import pynvml

    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with suppress(pynvml.NVMLError):  # this place is empty, or another container's
            yield str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)))
