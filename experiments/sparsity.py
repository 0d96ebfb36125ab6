"""Whether an engine skips the zeros of a network, and why: what is known of engines and hardware, measured nowhere."""

from __future__ import annotations

from core.devices import Device
from core.sparsity import SparseLayer, SparsityReport, can_be_packed, skips_fours
from runtimes import RUNTIMES

_PYTORCH = ("pytorch", "torch_compile")


def pays(runtime: str, device: Device, report: SparsityReport) -> tuple[bool, str]:
    """Whether the runtime can skip these zeros on the device, and one sentence that says why."""
    title, fours = RUNTIMES[runtime].title, [layer for layer in report.layers if layer.has_pattern]
    if report.pattern == "scattered":
        return False, f"{title} stores and multiplies scattered zeros like any other weight."
    if not fours:
        return False, "No layer has two zeros in every four neighbouring weights."
    if device.kind == "cpu":
        return False, f"{title}, as used here, has no kernels for a CPU that skip the 2:4 pattern."
    if not skips_fours(device):
        return False, f"{device.name} has no sparse tensor cores: they came with compute capability 8.0 (Ampere)."
    if runtime == "tensorrt":
        return True, _in_tensorrt(fours, report)
    if runtime in _PYTORCH:
        return _in_pytorch(title, fours)
    return False, f"{title} has no kernels for the 2:4 pattern: it multiplies the zeros."


def may_skip(runtime: str, device_id: str, report: SparsityReport | None) -> bool:
    """Whether an engine on a device of that name has kernels for such zeros at all, whatever GPU it is."""
    is_on_gpu = device_id.startswith("cuda") and runtime in (*_PYTORCH, "tensorrt")
    return is_on_gpu and report is not None and report.pattern == "2:4"


def _in_tensorrt(fours: list[SparseLayer], report: SparsityReport) -> str:
    return (
        f"TensorRT may take sparse kernels for {len(fours)} of {len(report.layers)} layers, in FP16 and INT8, and does "
        "where they prove faster when it builds the engine: in wide layers, at large batches."
    )


def _in_pytorch(title: str, fours: list[SparseLayer]) -> tuple[bool, str]:
    packed = sum(layer.kind == "Linear" and can_be_packed(layer.shape) for layer in fours)
    if not packed:
        return False, (
            f"{title} has semi-structured products for linear layers of whole 16 x 16 tiles only: no 2:4 layer is one."
        )
    rest = "; in the others it multiplies the zeros" if packed < len(fours) else ""
    return True, (
        f"{title} packs the weights of {packed} linear {'layer' if packed == 1 else 'layers'} (semi-structured "
        f"tensors) once the network is in FP16 or BF16{rest}."
    )
