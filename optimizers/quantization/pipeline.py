"""From a float bundle to a quantized one, the same way for every technique and engine. Imports torch.

The float network is prepared (BatchNorm merged, outliers smoothed), looked at by the engine's quantizer, trained or
corrected where that was asked for, searched for the layers that have to keep more bits, and quantized; then every
layer is inspected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.data import Split
from core.errors import BadInput, NothingDone
from core.judging import Judging
from core.progress import Note, Progress, Steps
from core.quantization import Path, QuantizationReport
from optimizers.quantization.corrections import corrected, smoothed
from optimizers.quantization.folding import folded
from optimizers.quantization.inspection import counts, inspect
from optimizers.quantization.quantizer import Bits, LayerGrid, Observed, Quantized, Quantizer, Source
from optimizers.quantization.search import Judge, bits_after, served_answers, walk
from optimizers.quantization.selection import kept_by_kind, kind_of, layers_of
from optimizers.quantization.sensitivity import sensitivities, upgrades
from optimizers.state import torch_state
from optimizers.technique import Context

Grids = Mapping[str, LayerGrid]
Train = Callable[[nn.Module, Grids], Steps[nn.Module]]

_INSPECTED = 64
_CORRECTED = 256
_CHECKED = 500
FAITHFUL = 0.9
"""Below this agreement with the float network something went wrong, and it is worth saying where."""
_NAMED = 3
_MOST_PIXELS = 3_000_000
"""Of all images that pass at once: 20 of 224 x 224 in colour."""
_A_TOKEN = 1500
"""Pixels that take a network about as long as a token: 15 texts of 128 tokens pass at once."""
LEFT_BY_QUANTIZER = "The quantizer left it in float."
ONLY_LINEAR = "Only linear layers are quantized here."


@dataclass(frozen=True)
class Wishes:
    """What was asked for, beyond the quantizer's own settings."""

    key: str
    title: str
    bits: int
    images: int
    keep: tuple[str, ...] = ()
    """Patterns of layers that stay in float."""
    keep_8bit: tuple[str, ...] = ()
    """Patterns of layers that get 8 bits where others get fewer."""
    linear_only: bool = False
    max_loss_points: float = 0.0
    """0 sets no limit."""
    smooth: float = 0.0
    correct_biases: bool = False
    renormalise: bool = False
    train: Train | None = None
    """Trains the prepared network to live with the given grids."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    reference: nn.Module
    """The float network that everything is compared with."""
    source: Source
    layers: tuple[str, ...]
    """Every layer, those that this technique does not touch too."""
    renormalisable: frozenset[str]
    x: Tensor


def quantized_bundle(bundle: ModelBundle, context: Context, quantizer: Quantizer, wishes: Wishes) -> Steps[ModelBundle]:
    """The bundle with its network in few bits. Raises `BadInput` without images, and `NothingDone`."""
    with torch_state(context):
        prepared = yield from _prepare(bundle, context, wishes)
        kinds = {name: kind_of(prepared.source.module.get_submodule(name)) for name in prepared.source.layers}
        kept = kept_by_kind(kinds, wishes.keep)
        start = wanted_bits(kinds, kept, wishes)
        prepared, observed = yield from _observe(prepared, bundle, context, quantizer, wishes, start)
        first = observed.quantize(start)
        require_some(first, prepared.source.layers, wishes)
        hurts = yield from sensitivities(prepared.source.module, first.grids, _few(prepared.x, _INSPECTED))
        start = {name: bits for name, bits in start.items() if name in first.grids}
        path = None
        if wishes.max_loss_points:
            path = yield from _search(prepared, observed, bundle, context, wishes, start, hurts)
        bits = bits_after(path.order, path.chosen, start=start) if path else start
        _require_left(bits, wishes)
        done = observed.quantize(bits)
        reasons = dict.fromkeys(prepared.layers, ONLY_LINEAR) if wishes.linear_only else {}
        reasons |= dict.fromkeys(prepared.source.layers, LEFT_BY_QUANTIZER)
        reasons |= {name: f"Kept by the pattern {pattern}." for name, pattern in kept.items()}
        if path:
            reasons |= {name: "Kept to stay within the accuracy limit." for name in start if name not in bits}
        layers, images = inspect(
            # What training changed is not rounding's fault.
            prepared.source.module if wishes.train else prepared.reference,
            prepared.source.module,
            done.grids,
            prepared.x[:_INSPECTED],
            why_float=reasons,
            sensitivity=hurts,
            names=prepared.layers,
        )
    parameters, nonzero = counts(prepared.source.module, done.grids)
    report = QuantizationReport(
        quantizer=quantizer.title,
        images=images,
        layers=layers,
        parameter_count=parameters,
        nonzero_count=nonzero,
        path=path,
    )
    result = replace(
        bundle,
        network=done.network,
        precision=done.precision,
        applied=(*bundle.applied, wishes.key),
        quantization=report,
    )
    yield from tell(report)
    yield from _check(result, prepared, bundle, context, hurts)
    return result


def _prepare(bundle: ModelBundle, context: Context, wishes: Wishes) -> Steps[_Prepared]:
    images = bundle.data.calibrate.take(wishes.images).pixels
    if not len(images):
        raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")
    prepared = bundle.contract.prepare(images)
    x = torch.from_numpy(prepared)
    reference, merged = folded(bundle.module, x[:2])
    network = reference
    if wishes.smooth:
        network, smooth = smoothed(reference, _few(x, _INSPECTED), alpha=wishes.smooth)
        if not smooth:
            raise NothingDone("SmoothQuant found no LayerNorm that feeds linear layers alone", action="Set it to 0")
        yield Note(text=f"SmoothQuant moved outliers into the weights of {len(smooth)} layers.")
    if wishes.renormalise and not merged:
        raise NothingDone(
            "BatchNorm re-estimation found no BatchNorm behind a layer", action="Switch BatchNorm re-estimation off"
        )
    layers = layers_of(network, x[:2])
    names = tuple(name for name, layer in layers.items() if isinstance(layer, nn.Linear) or not wishes.linear_only)
    source = Source(network, names, bundle.contract, prepared, bundle.family, context.folder, context.threads)
    return _Prepared(reference, source, tuple(layers), merged, x)


def _few(x: Tensor, most: int) -> Tensor:
    """As many of x[N, C, H, W], or x[N, 2, length], as a network can be asked about at once, at most `most`."""
    values = x[0].numel() if x.is_floating_point() else _A_TOKEN * x.shape[-1]
    return x[: max(1, min(most, _MOST_PIXELS // values))]


def wanted_bits(kinds: Mapping[str, str], kept: Mapping[str, str], wishes: Wishes) -> dict[str, int]:
    """The bits of every layer that is to be quantized, of layers by name with their kinds. Raises `NothingDone`."""
    in_8_bits = kept_by_kind(kinds, wishes.keep_8bit)
    bits = {name: 8 if name in in_8_bits else wishes.bits for name in kinds if name not in kept}
    if not bits:
        raise NothingDone(
            f"0 of {len(kinds)} layers quantized: none is left for {wishes.title}",
            action=f"Keep fewer layers, or leave {wishes.title} out" if kinds else f"Leave {wishes.title} out",
        )
    return bits


def require_some(quantized: Quantized, layers: tuple[str, ...], wishes: Wishes) -> None:
    """Raises `NothingDone` where not one of the layers could be quantized."""
    if not quantized.grids:
        raise NothingDone(
            f"0 of {len(layers)} layers quantized: {wishes.title} fits none of them", action=f"Leave out {wishes.title}"
        )


def _observe(
    prepared: _Prepared, bundle: ModelBundle, context: Context, quantizer: Quantizer, wishes: Wishes, start: Bits
) -> Steps[tuple[_Prepared, Observed]]:
    """The quantizer, having looked at the network after it was trained and corrected as wished."""
    observed = yield from quantizer.observe(prepared.source)
    if wishes.train:
        trained = yield from wishes.train(prepared.source.module, observed.quantize(start).grids)
        prepared = replace(prepared, source=replace(prepared.source, network=trained))
        observed = yield from quantizer.observe(prepared.source)
    if wishes.correct_biases or wishes.renormalise:
        yield Progress(done=0, total=1, unit="passes", doing="correcting what rounding shifts")
        network = corrected(
            prepared.source.module,
            observed.quantize(start).grids,
            _few(prepared.x, _CORRECTED),
            biases=wishes.correct_biases,
            renormalised=prepared.renormalisable if wishes.renormalise else (),
        )
        prepared = replace(prepared, source=replace(prepared.source, network=network))
        observed = yield from quantizer.observe(prepared.source)
    return prepared, observed


def _require_left(bits: Bits, wishes: Wishes) -> None:
    if not bits:
        raise NothingDone(
            f"No layer can be quantized within {wishes.max_loss_points:g} points of accuracy",
            action=f"Allow a larger loss, or leave out {wishes.title}",
        )


def _search(
    prepared: _Prepared,
    observed: Observed,
    bundle: ModelBundle,
    context: Context,
    wishes: Wishes,
    start: Bits,
    hurts: Mapping[str, float],
) -> Steps[Path]:
    """The path under the accuracy limit."""
    if context.serve is None:
        raise BadInput(
            "An accuracy limit, where nothing can be served",
            expected="an engine that runs on this machine, which judges the candidates",
            action="Set no limit, or build for the device at hand",
        )
    judge = _judge(prepared, bundle, len(bundle.data.calibrate))
    if wishes.max_loss_points < 100 / len(judge.x):
        raise BadInput(
            f"A limit of {wishes.max_loss_points:g} points",
            expected=f"{100 / len(judge.x):.2f} at least: one of {len(judge.x)} calibration images counts as much",
            action="Allow a larger loss, or set no limit",
        )
    by_bits = {wishes.bits: {name: hurts[name] for name, bits in start.items() if bits == wishes.bits}}
    if wishes.bits < 8:
        grids = observed.quantize(dict.fromkeys(start, 8)).grids
        by_bits[8] = yield from sensitivities(prepared.source.module, grids, _few(prepared.x, _INSPECTED))
    path = yield from walk(
        prepared.source,
        observed,
        upgrades(by_bits),
        start=start,
        bundle=bundle,
        judge=judge,
        limit_points=wishes.max_loss_points,
        serve=context.serve,
    )
    yield _chosen(path, bundle.judging)
    return path


def _chosen(path: Path, judging: Judging) -> Note:
    point = next(point for point in path.points if point.upgrades == path.chosen)
    lost = point.lost_points(path.float_correct)
    what = judging.noun if path.float_correct is not None else "agreement with the float network"
    return Note(
        text=f"{path.chosen} steps to more bits keep within {path.limit_points:g} points: on {point.images:,} "
        f"calibration {judging.unit} {lost:.2f} points of {what} are lost, give or take {point.margin_points:.2f}."
    )


def _judge(prepared: _Prepared, bundle: ModelBundle, count: int) -> Judge:
    split = bundle.data.calibrate.take(count)
    x = bundle.contract.prepare(split.pixels)
    with torch.inference_mode():
        parts = [prepared.reference(part).argmax(1) for part in torch.split(torch.from_numpy(x), _CORRECTED)]
    return Judge(x, Split(split.pixels, split.labels), torch.cat(parts).numpy().astype(np.int64))


def tell(report: QuantizationReport) -> Steps[None]:
    """A note on how many layers were quantized; a warning where not all were."""
    quantized, layers = len(report.quantized), len(report.layers)
    widths = sorted({layer.bits for layer in report.quantized})
    parts = [f"{sum(layer.bits == bits for layer in report.quantized)} in {bits} bits" for bits in widths]
    detail = f" ({', '.join(parts)})" if len(widths) > 1 else ""
    text = f"{quantized} of {layers} layers quantized by {report.quantizer}{detail}."
    yield Note(text=text, warning=quantized < layers)


def _check(
    result: ModelBundle, prepared: _Prepared, bundle: ModelBundle, context: Context, hurts: Mapping[str, float]
) -> Steps[None]:
    """A warning that names the layers where the served network no longer answers like the float one."""
    if context.serve is None:
        return
    judge = _judge(prepared, bundle, _CHECKED)
    yield Progress(done=0, total=len(judge.x), unit="images", doing="comparing with the float network")
    with context.serve(result) as served:
        agreed = judge.agreed(served_answers(served, judge.x))
    share = agreed / len(judge.x)
    if share < FAITHFUL:
        worst = sorted(hurts, key=lambda name: -hurts[name])[:_NAMED]
        yield Note(
            text=f"Quantization broke this network: it answers like the float one on {100 * share:.1f} % of "
            f"{len(judge.x)} calibration images. What hurts most when quantized alone: {', '.join(worst)}. Try a scale "
            "per channel, an accuracy limit, or quantization-aware training.",
            warning=True,
        )
