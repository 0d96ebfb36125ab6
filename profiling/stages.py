"""Where the time of one inference on a GPU goes: there, computing, and back."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.data import Inputs
from core.packed import Packed, PackedField
from profiling.subject import Staged, Subject

ENQUEUE_SHARE = 0.8
"""Of the device's time: from there on launching is what limits, by trtexec's own rule for its warning."""
WARMUP_SECONDS = 0.3
FEWEST_CALLS = 20
_DTYPE, _PER_MS = "<u4", 10_000

_Samples = Annotated[Packed, PackedField(_DTYPE, _PER_MS)]


class Stages(BaseModel):
    """Timed calls on one batch, each call's stages apart, by the GPU's own clock."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    h2d_samples: _Samples
    """From pinned host memory to the device, in ms to 0.1 microseconds."""
    compute_samples: _Samples
    """On the device; gaps in which it waited for the host's next launch included."""
    d2h_samples: _Samples
    """From the device to pinned host memory."""
    launch_samples: _Samples
    """What the host took, by its own clock, to launch the computing."""

    @property
    def h2d_ms(self) -> float:
        """Median time to the device."""
        return float(np.median(self.h2d_samples.array))

    @property
    def compute_ms(self) -> float:
        """Median time computing."""
        return float(np.median(self.compute_samples.array))

    @property
    def d2h_ms(self) -> float:
        """Median time back."""
        return float(np.median(self.d2h_samples.array))

    @property
    def launch_ms(self) -> float:
        """Median time the host took to launch."""
        return float(np.median(self.launch_samples.array))

    @property
    def enqueue_bound(self) -> bool:
        """Whether the GPU waits for the host to launch work: a CUDA graph or a larger batch helps then."""
        return self.launch_ms > ENQUEUE_SHARE * self.compute_ms


def measure_stages(session: Subject, x: Inputs, *, seconds: float = 1.0) -> Stages | None:
    """Repeat inference on x[N, C, H, W] for `seconds`; None on a CPU, or when the engine does not tell them apart."""
    run = session.stages(x) if isinstance(session, Staged) else None
    if run is None:
        return None
    warm = time.perf_counter() + WARMUP_SECONDS
    while time.perf_counter() < warm:
        run()
    end, calls = time.perf_counter() + seconds, [run()]
    while time.perf_counter() < end or len(calls) < FEWEST_CALLS:
        calls.append(run())
    to_device, compute, back, launch = (Packed.of(stage, _DTYPE, _PER_MS) for stage in zip(*calls, strict=True))
    return Stages(
        batch_size=len(x), h2d_samples=to_device, compute_samples=compute, d2h_samples=back, launch_samples=launch
    )
