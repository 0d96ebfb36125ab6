"""A float32 network that rounds to another number format. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.errors import BadInput, NothingDone
from core.histograms import histogram
from core.progress import Note, Progress, Steps
from core.quantization import FLOAT_BITS, LayerQuantization, QuantizationReport
from optimizers.quantization.folding import folded
from optimizers.quantization.formats import (
    LARGEST_E4M3,
    NVFP4_BLOCK,
    fake_quantize,
    grouped,
    integer_ends,
    integer_grid,
    round_fp8,
    round_nvfp4,
    snr_db,
    ungrouped,
)
from optimizers.quantization.inspection import counts
from optimizers.quantization.selection import kept_layers, kind_of, layers_of
from optimizers.quantization.twin import outputs_of
from optimizers.state import torch_state
from optimizers.technique import Context

NumberFormat = Literal["integer", "fp8", "nvfp4"]
Granularity = Literal["tensor", "channel", "group"]

_INPUT = "rounds_input"
_CHUNK = 64
_LOOKED_AT = 32
"""Images behind what is said about layers."""
_SCALE_BITS, _GROUP_SCALE_BITS, _BLOCK_SCALE_BITS = 32, 16, 8
"""Of a scale for a tensor or channel, as engines store it; for a group, as INT4 files have it; for a block of NVFP4."""


@dataclass(frozen=True)
class Format:
    """How weights are rounded, and what comes into their layers. Weights are symmetric, so that 0 stays 0."""

    numbers: NumberFormat
    bits: int
    """Of a weight: any for integers, else 8 for FP8 and 4 for NVFP4."""
    granularity: Granularity
    """Of the scales of integers and FP8; NVFP4 has blocks of its own."""
    group_size: int
    input_bits: int | None
    """Of what comes into a layer; None leaves it in float."""

    def rounded(self, weight: Tensor) -> Tensor:
        """The weight[O, ...] moved to the values that the format has."""
        if self.numbers == "nvfp4":
            return round_nvfp4(weight.flatten(1)).reshape(weight.shape)
        rows = weight.reshape(1, -1) if self.granularity == "tensor" else weight
        size = self.group_size if self.granularity == "group" else rows[0].numel()
        groups = grouped(rows, size)
        moved = self._round(groups.reshape(-1, size)).reshape(groups.shape)
        return ungrouped(moved, rows).reshape(weight.shape)

    def _round(self, rows: Tensor) -> Tensor:
        """Values[R, size] with a scale for each row."""
        largest = rows.abs().amax(1)
        if self.numbers == "fp8":
            return round_fp8(rows, _fp8_scale(largest)[:, None])
        scale, zero_point = integer_grid(-largest, largest, bits=self.bits, symmetric=True, signed=True)
        low, high = integer_ends(bits=self.bits, signed=True, narrow=True)
        return fake_quantize(rows, scale, zero_point, low=low, high=high, axis=0)

    def input_rounding(self, layer: nn.Module, low: Tensor, high: Tensor) -> nn.Module:
        """What rounds the values between low and high that come into a layer."""
        largest = torch.maximum(-low, high)
        if self.numbers == "fp8":
            return _ToFp8(_fp8_scale(largest))
        if self.numbers == "nvfp4":
            return _ToNvfp4(largest, axis=-1 if isinstance(layer, nn.Linear) else 1)
        return _ToIntegers(low, high, bits=self.input_bits or 8)

    def stored_bits(self, shape: tuple[int, ...]) -> int:
        """Bits that a weight[O, ...] of this shape would take with its scales. Computed: no file holds it like this."""
        count, channels = prod(shape), shape[0]
        width = count // channels
        if self.numbers == "nvfp4":
            return 4 * count + _BLOCK_SCALE_BITS * channels * -(-width // NVFP4_BLOCK) + _SCALE_BITS
        scales = {
            "tensor": _SCALE_BITS,
            "channel": _SCALE_BITS * channels,
            "group": _GROUP_SCALE_BITS * channels * -(-width // self.group_size),
        }
        return self.bits * count + scales[self.granularity]


def _fp8_scale(largest: Tensor) -> Tensor:
    return torch.where(largest > 0, largest / LARGEST_E4M3, torch.ones_like(largest))


class _ToIntegers(nn.Module):
    """Rounds x to integers, with one scale and any zero point for all of it."""

    def __init__(self, low: Tensor, high: Tensor, *, bits: int) -> None:
        super().__init__()
        self.low, self.high = integer_ends(bits=bits, signed=False)
        scale, zero_point = integer_grid(low, high, bits=bits, symmetric=False, signed=False)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point.float())

    def forward(self, x: Tensor) -> Tensor:
        # Written out, because torch.export has no form for torch.fake_quantize_per_tensor_affine.
        scale: Any = self.scale
        zero_point: Any = self.zero_point
        integers = torch.clamp(torch.round(x / scale) + zero_point, self.low, self.high)
        moved: Tensor = (integers - zero_point) * scale
        return moved


class _ToFp8(nn.Module):
    """Rounds x to E4M3, with one scale for all of it."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        scale: Any = self.scale
        return round_fp8(x, scale)


class _ToNvfp4(nn.Module):
    """Rounds x to NVFP4 in blocks along its channels: what a matrix product adds up."""

    def __init__(self, largest: Tensor, *, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("largest", largest)

    def forward(self, x: Tensor) -> Tensor:
        largest: Any = self.largest
        return round_nvfp4(x, axis=self.axis, largest=largest)


def simulate(network: nn.Module, names: Sequence[str], form: Format, x: Tensor) -> Steps[nn.Module]:
    """A copy whose named layers have rounded weights and, where the format says so, round what comes in.

    Rounding steps are modules inside their layers, so that names stay and the copy can be exported. The ranges of what
    comes in are the smallest and largest values seen on x[N, C, H, W].
    """
    ranges = (yield from _observe(network, names, x)) if form.input_bits else {}
    copied = copy.deepcopy(network)
    for name in names:
        layer = copied.get_submodule(name)
        with torch.no_grad():
            layer.weight.copy_(form.rounded(layer.weight))  # type: ignore[operator,arg-type]
        if name in ranges:
            layer.add_module(_INPUT, form.input_rounding(layer, *ranges[name]))
            layer.register_forward_pre_hook(_round_input)
    return copied


def _round_input(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (layer.get_submodule(_INPUT)(args[0]), *args[1:])


def _observe(network: nn.Module, names: Sequence[str], x: Tensor) -> Steps[dict[str, tuple[Tensor, Tensor]]]:
    """The smallest and the largest value that comes into each layer."""
    ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            low, high = args[0].aminmax()
            before = ranges.get(name, (low, high))
            ranges[name] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

        return hook

    handles = [network.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        for start in range(0, len(x), _CHUNK):
            with torch.no_grad():
                network(x[start : start + _CHUNK])
            done = min(start + _CHUNK, len(x))
            yield Progress(done=done, total=len(x), unit="images", doing="observing ranges")
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def simulated_bundle(
    bundle: ModelBundle, context: Context, form: Format, *, key: str, images: int, keep: Sequence[str]
) -> Steps[ModelBundle]:
    """The bundle with its network simulated, BatchNorm merged into the layers that are rounded.

    Raises `BadInput` without calibration images, and `NothingDone` where no layer is left to round.
    """
    pixels = bundle.data.calibrate.take(images).pixels
    if not len(pixels):
        raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")
    x = torch.from_numpy(bundle.contract.prepare(pixels))
    with torch_state(context):
        network, _ = folded(bundle.module, x[:2])
        layers = layers_of(network, x[:2])
        kept = kept_layers(layers, keep)
        chosen = [name for name in layers if name not in kept]
        if not chosen:
            raise NothingDone(
                f"0 of {len(layers)} layers are left to round", action="Keep fewer layers, or leave this step out"
            )
        simulated = yield from simulate(network, chosen, form, x)
        found = _layers(network, simulated, layers, kept, x[:_LOOKED_AT], bits=form.bits)
    parameters, nonzero = counts(simulated, {})
    report = QuantizationReport(
        quantizer="PyTorch, rounding in float32",
        images=len(x[:_LOOKED_AT]),
        layers=found,
        parameter_count=parameters,
        nonzero_count=nonzero,
    )
    yield Note(text=f"{len(chosen)} of {len(layers)} layers are rounded.")
    return replace(bundle, network=simulated, applied=(*bundle.applied, key), quantization=report)


def _layers(
    network: nn.Module,
    simulated: nn.Module,
    layers: Mapping[str, nn.Module],
    kept: Mapping[str, str],
    x: Tensor,
    *,
    bits: int,
) -> tuple[LayerQuantization, ...]:
    """What rounding did to each layer, in the order of execution, seen on x[N, C, H, W]."""
    inputs, wanted = outputs_of(network, tuple(layers), x)
    _, given = outputs_of(simulated, tuple(layers), x)
    found = []
    for name, layer in layers.items():
        twin: Any = simulated.get_submodule(name)
        enters = dict(twin.named_children()).get(_INPUT)
        weight: Tensor = layer.weight.detach()  # type: ignore[operator]
        found.append(
            LayerQuantization(
                name=name,
                kind=kind_of(layer),
                parameters=sum(each.numel() for each in layer.parameters()),
                bits=FLOAT_BITS if name in kept else bits,
                why_float=f"Kept by the pattern {kept[name]}." if name in kept else "",
                weight_snr_db=None if name in kept else snr_db(weight, twin.weight.detach()),
                input_snr_db=snr_db(inputs[name], enters(inputs[name])) if enters else None,
                output_snr_db=snr_db(wanted[name], given[name]),
                weights=histogram(weight),
                inputs=histogram(inputs[name]),
            )
        )
    return tuple(found)
