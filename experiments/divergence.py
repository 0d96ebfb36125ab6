"""The first layer at which an artifact no longer computes what its source network computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from core.bundle import ModelBundle, OnnxGraph
from core.data import Floats, Inputs
from core.devices import Device
from core.divergence import Comparison, Divergence
from core.errors import RunFailed, Unavailable
from core.onnx_reference import graph_trace
from core.progress import Progress, Steps
from core.tflite_file import tflite_of
from core.tflite_reference import tflite_trace
from core.trace import Trace
from experiments.bisection import Bisection, Graph
from profiling.fidelity import relative_difference
from profiling.sweep import engine_errors
from runtimes.compiling import QUANTIZED
from runtimes.runtime import Artifact
from runtimes.torch_session import torch_threads

Probe = Callable[[str], tuple[Floats, Floats]]
"""A tensor as the engine computes it, and as it should be."""

IMAGES = 8
"""Test images that are compared: a layer that is wrong is wrong on any."""
_FOLLOW_UPS = 4
"""Answers beyond those that halving takes, as a rule."""


class Probing(Protocol):
    """A runtime that can show what it computes on the way to the logits."""

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate tensors that it can show, in order."""

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], computed as when serving."""


def find_divergence(
    source: ModelBundle, artifact: Artifact, runtime: Probing, device: Device, *, threads: int, tolerance: float
) -> Steps[Divergence]:
    """Where the artifact first differs from the bundle that it was exported or quantized from, on 8 test images.

    Each intermediate tensor that is asked for is computed by the engine itself. What quantizing changes on purpose is
    found as well: after training for it, every layer differs. Raises `Unavailable` where the engine shows no tensor
    that the source network has, too.
    """
    yield Progress(done=0, total=1, unit="tensors", doing="tracing the source network")
    trace = source_trace(source, artifact, threads=threads)
    x = source.contract.prepare(source.data.test.take(IMAGES).pixels)

    def probe(name: str) -> tuple[Floats, Floats]:
        given = runtime.probe(artifact, device, threads=threads, x=x, name=name)
        with torch_threads(threads) if source.form == "torch" else nullcontext():
            return given, trace.compute(name, x)

    shown = trace.shown_by(runtime.tensors(artifact))
    return (yield from first_divergence(trace, shown, probe, images=len(x), tolerance=tolerance))


def source_trace(source: ModelBundle, artifact: Artifact, *, threads: int = 1) -> Trace:
    """The source network as it was exported for the artifact, so that its results have the same names.

    What is quantized was prepared by merging each BatchNorm into the layer before it. ONNX graphs and `.tflite` files
    go by the names that they came with. Raises `Unavailable` for a torch module as a `.tflite` file.
    """
    if content := tflite_of(source.network):
        return tflite_trace(content, threads=threads)
    if isinstance(source.network, OnnxGraph):
        return graph_trace(source.network.content, threads=threads)
    if artifact.main_file.suffix == ".tflite":
        raise Unavailable("The .tflite file of a network of PyTorch has other names for its intermediate results")
    import torch

    from core.torch_trace import onnx_trace, program_trace
    from optimizers.quantization.folding import folded
    from runtimes.lowering import lowered

    trace = program_trace if artifact.main_file.suffix == ".pt2" else onnx_trace
    if artifact.precision in QUANTIZED:
        x = torch.from_numpy(source.contract.prepare(source.data.test.take(2).pixels))
        return trace(folded(source.module, x)[0], source.contract)
    # OpenVINO reduces precision on its own, from a graph in fp32.
    precision = "fp32" if artifact.runtime == "openvino" else artifact.precision
    network = lowered(source.module, precision)
    return trace(network, source.contract, None if precision == "fp32" else source.module)


def first_divergence(
    trace: Trace, shown: tuple[str, ...], probe: Probe, *, images: int, tolerance: float
) -> Steps[Divergence]:
    """Where the tensors `shown` of the trace, in its order, first differ by more than the tolerance.

    `probe` gives one of them as the engine computes it, and as it should be.
    """
    if not shown:
        raise Unavailable("This engine shows none of the intermediate results that the source network has")
    comparing = _Comparing(trace, probe, tolerance, expected=len(shown).bit_length() + _FOLLOW_UPS)
    search = Bisection(Graph(trace.sources), list(shown), comparing.is_wrong)
    first = yield from search.first_wrong()
    if not comparing.done:
        raise Unavailable("None of the intermediate results of this engine has the shape that the source network gives")
    found = Divergence(
        images=images,
        tolerance=tolerance,
        comparable=len(search.shown),
        probed=tuple(comparing.done[name] for name in shown if name in comparing.done),
    )
    if first is None:
        return found
    before = search.nearest_before(first)
    layers = trace.layers(search.graph.between(first, before))
    named = {"tensor": first, "op": trace.values[first].op, "layers": layers, "clean_before": before}
    return found.model_copy(update=named)


@dataclass
class _Comparing:
    """Compares tensors one by one, with progress."""

    trace: Trace
    probe: Probe
    tolerance: float
    expected: int
    """Comparisons that it will probably take."""
    done: dict[str, Comparison] = field(default_factory=dict)

    def is_wrong(self, name: str) -> Steps[bool | None]:
        """Whether the tensor differs by more than the tolerance; None where the engine has another in its place."""
        done = len(self.done)
        total = max(self.expected, done + 1)
        yield Progress(done=done, total=total, unit="tensors", doing=f"looking for the first that differs: {name}")
        failures: tuple[type[Exception], ...] = (RunFailed, *engine_errors())
        try:
            given, wanted = self.probe(name)
        except failures:  # not every engine can make every tensor an output
            return None
        if given.shape != wanted.shape:
            return None
        relative = relative_difference(given, wanted)
        diverges = relative is None or relative > self.tolerance
        module = self.trace.values[name].module
        self.done[name] = Comparison(tensor=name, module=module, relative=relative, diverges=diverges)
        return diverges
