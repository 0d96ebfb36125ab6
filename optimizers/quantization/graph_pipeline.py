"""From a float ONNX graph that a person brought to a quantized one, the same way for every engine. Imports torch.

The graph is simplified, its layers are named, and the engine's quantizer works on it as on an exported network. What
would need its layers one by one in float (sensitivities, corrections, a search, training) is refused beforehand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.bundle import ModelBundle, OnnxGraph
from core.data import Floats
from core.errors import BadInput
from core.onnx_macs import parameters_of_graph
from core.onnx_reference import reference
from core.progress import Note, Progress, Steps
from core.quantization import QuantizationReport
from optimizers.quantization.graph_inspection import inspect_graph, more_nonzero
from optimizers.quantization.graph_layers import layers_of_graph, prepared_graph
from optimizers.quantization.pipeline import (
    FAITHFUL,
    LEFT_BY_QUANTIZER,
    ONLY_LINEAR,
    Wishes,
    require_some,
    tell,
    wanted_bits,
)
from optimizers.quantization.quantizer import Quantizer, Source
from optimizers.quantization.search import served_answers
from optimizers.quantization.selection import kept_by_kind
from optimizers.technique import Context

_CHECKED = 500
_BATCH = 16


def quantized_graph(bundle: ModelBundle, context: Context, quantizer: Quantizer, wishes: Wishes) -> Steps[ModelBundle]:
    """The bundle, whose network is an ONNX graph, in few bits. Raises `BadInput` without images, and `NothingDone`."""
    assert isinstance(bundle.network, OnnxGraph), "check() lets nothing else here"
    images = bundle.data.calibrate.take(wishes.images).pixels
    if not len(images):
        raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")
    yield Progress(done=0, total=1, unit="networks", doing="preparing the graph")
    content = prepared_graph(bundle.network.content)
    every = layers_of_graph(content)
    kinds = {name: each.kind for name, each in every.items() if each.kind == "Linear" or not wishes.linear_only}
    kept = kept_by_kind(kinds, wishes.keep)
    bits = wanted_bits(kinds, kept, wishes)
    source = Source(
        OnnxGraph(content), tuple(kinds), bundle.contract, bundle.contract.prepare(images), bundle.family,
        context.folder, context.threads,
    )  # fmt: skip
    observed = yield from quantizer.observe(source)
    done = observed.quantize(bits)
    require_some(done, source.layers, wishes)
    reasons = dict.fromkeys(every, ONLY_LINEAR) | dict.fromkeys(kinds, LEFT_BY_QUANTIZER)
    reasons |= {name: f"Kept by the pattern {pattern}." for name, pattern in kept.items()}
    layers, looked_at = inspect_graph(content, every, done, source.x, why_float=reasons)
    parameters, nonzero = parameters_of_graph(content)
    report = QuantizationReport(
        quantizer=quantizer.title,
        images=looked_at,
        layers=layers,
        parameter_count=parameters,
        nonzero_count=nonzero + sum(more_nonzero(every[name].weight, grid) for name, grid in done.grids.items()),
    )
    applied = (*bundle.applied, wishes.key)
    result = replace(bundle, network=done.network, precision=done.precision, applied=applied, quantization=report)
    yield from tell(report)
    yield from _check(result, content, bundle, context)
    return result


def _check(result: ModelBundle, content: bytes, bundle: ModelBundle, context: Context) -> Steps[None]:
    """A warning where the served network no longer answers like the float one."""
    if context.serve is None:
        return
    pixels = bundle.data.calibrate.take(_CHECKED).pixels
    x = bundle.contract.prepare(pixels)
    yield Progress(done=0, total=len(x), unit="images", doing="comparing with the float network")
    answer = reference(content, threads=context.threads)
    parts: list[Floats] = [answer(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    wanted = np.concatenate(parts).argmax(1)
    with context.serve(result) as served:
        share = float((served_answers(served, x) == wanted).mean())
    if share < FAITHFUL:
        yield Note(
            text=f"Quantization broke this network: it answers like the float one on {100 * share:.1f} % of {len(x)} "
            "calibration images. Try a scale per channel, another calibration method, or keep its first and last "
            "layers in float.",
            warning=True,
        )
