"""Is the artifact still the model it was made from? Where it is not, since which layer?"""

from __future__ import annotations

from contextlib import nullcontext

from core.bundle import ModelBundle
from core.devices import Device
from core.errors import StudioError
from core.progress import Note, PhaseStarted, Steps
from experiments.divergence import find_divergence
from profiling.fidelity import MOST_IMAGES, Fidelity, measure_fidelity, source_logits
from profiling.size import macs_of
from profiling.sweep import engine_errors
from runtimes import Artifact, Session, runtime_of
from runtimes.torch_session import torch_threads

PHASE = "Same model?"
_QUICK = ("pytorch", "onnxruntime", "openvino", "litert")
"""Engines that open in moments, so that the first layer that differs is looked for where any image does."""

_FEWEST_IMAGES, _MOST_MACS = 100, 400_000_000_000


def compare_with_source(
    session: Session,
    source: ModelBundle,
    artifact: Artifact,
    device: Device,
    *,
    threads: int,
    retrained: bool = False,
) -> Steps[Fidelity]:
    """How the session answers beside its source network, and where a difference begins.

    Not where it was `retrained` after the source: then every layer differs. Nor in a `.tflite` file of a torch module.
    """
    yield PhaseStarted(title=PHASE)
    pixels = source.data.test.take(_images(source)).pixels
    with torch_threads(threads) if source.form == "torch" else nullcontext():
        expected = yield from source_logits(source.network, pixels, source.contract, threads=threads)
    found = yield from measure_fidelity(session, expected, pixels, source.contract)
    found = found.model_copy(update={"judged_as": rounding_of(artifact, device), "retrained": retrained})
    if retrained or (not found.differs and (found.agreeing == found.images or artifact.runtime not in _QUICK)):
        return found
    if found.differs:
        yield Note(text=found.verdict, warning=True)
    if source.form == "torch" and artifact.main_file.suffix == ".tflite":
        return found  # LiteRT Torch gives intermediate results other names
    failures: tuple[type[Exception], ...] = (StudioError, *engine_errors())
    try:
        divergence = yield from find_divergence(
            source, artifact, runtime_of(artifact), device, threads=threads, tolerance=found.tolerance
        )
    except failures as reason:
        yield Note(text=f"The first layer that differs was not found: {reason}")
        return found
    return found.model_copy(update={"divergence": divergence})


def _images(source: ModelBundle) -> int:
    """LiteRT's own kernels take a second for some ten billion multiplications, and large networks get fewer images."""
    if source.form not in ("keras", "tflite"):
        return MOST_IMAGES
    return min(MOST_IMAGES, max(_FEWEST_IMAGES, _MOST_MACS // max(1, macs_of(source))))


def rounding_of(artifact: Artifact, device: Device) -> str:
    """What the artifact's numbers are rounded to, as `Fidelity.judged_as` wants it."""
    if artifact.precision != "fp32":
        return artifact.precision
    if artifact.engine.rounds_weights:
        return "fp16"
    # PyTorch's convolutions and TensorRT's products use TF32 on GPUs unless they are told otherwise.
    return "tf32" if device.kind == "cuda" else "fp32"
