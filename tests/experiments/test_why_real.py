"""Explanations of real networks in real engines: what they name is what the engines' own profiles show.

Nothing here depends on how fast this machine is, only on what its engines execute.
"""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import pytest

import sample_models
from core.bundle import ModelBundle, Precision
from core.devices import Device, find_device
from core.layers import LayerKind
from core.macs import count_macs
from core.progress import result_of
from experiments.explanation import Explanation, Measured
from experiments.peaks import Peaks
from experiments.why import explain
from optimizers import TECHNIQUES, Context
from profiling.size import measure_size
from runtimes import RUNTIMES
from runtimes.layers_shared import time_ms
from tests.experiments.test_why import assert_sums

CPU = find_device("cpu")
LANES = 16
PEAKS = Peaks(
    runtime="any", device=CPU.name, threads=1, libraries={}, macs_per_s={"fp32": 5e10, "bf16": 1e11, "int8": 2e11},
    bandwidth=((2**18, 8e10), (2**26, 2e10)), lanes=(1, LANES),
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.3)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.05)


def applied(
    bundle: ModelBundle, key: str, folder: Path, *, runtime: str = "onnxruntime", **settings: object
) -> ModelBundle:
    (folder := folder / key).mkdir()
    context = Context(CPU, 1, 0, folder, sample_models.build_student, runtime=runtime)
    return result_of(TECHNIQUES[key](**settings).apply(bundle, context))


def measured(
    bundle: ModelBundle, title: str, runtime: str, folder: Path, *, macs: int | None = None, device: Device = CPU
) -> Measured:
    (folder := folder / f"{title} in {runtime}").mkdir()
    macs = macs or count_macs(bundle.module, bundle.contract)
    engine = RUNTIMES[runtime]
    artifact = engine.export(bundle, folder)
    x = bundle.contract.prepare(bundle.data.test.pixels[:1])
    with engine.open(artifact, device, threads=1) as session:
        infer = session.bind(x)
        infer()
        p50_ms = median(time_ms(infer) for _ in range(50))
    return Measured(
        title=title,
        runtime=engine.title,
        precision=artifact.precision,
        p50_ms=p50_ms,
        macs=macs,
        profile=engine.profile(artifact, device, threads=1, x=x),
        peaks=PEAKS,
        sparsity=measure_size(bundle, artifact, macs=macs).sparsity,
        techniques=bundle.applied,
    )


def assert_confirmed(explanation: Explanation, variant: Measured) -> None:
    """Every layer and operator that a sentence names is in the profile, among those of its kind."""
    kinds: dict[str, LayerKind] = {"conversions": "conversion", "others": "other"}
    kinds |= dict.fromkeys(("kernels", "memory", "misaligned", "stayed_in_float"), "compute")
    for cause in explanation.causes:
        if cause.key in kinds:
            layers = variant.profile.of(kinds[cause.key])
            known = {layer.op for layer in layers} | {layer.name for layer in layers}
            listed = re.findall(
                r"([\w./:]+(?: \w+)?)(?: ×\d+)? \([\d.e-]+ (?:ms|µs)", cause.sentence.partition(": ")[2]
            )
            assert listed, cause.sentence
            assert all(name in known or name.split()[-1] in known for name in listed), (listed, known)


@pytest.mark.parametrize("key", ["student_dw_fmnist", "resnet_fmnist"])
def test_int8_in_onnx_runtime(key: str, tmp_path: Path) -> None:
    bundle = sample_models.load(key)
    macs = count_macs(bundle.module, bundle.contract)
    reference = measured(bundle, "FP32", "onnxruntime", tmp_path)
    variant = measured(
        applied(bundle, "int8", tmp_path, calibration_images=16), "INT8", "onnxruntime", tmp_path, macs=macs
    )
    assert {layer.precision for layer in variant.profile.of("compute")} == {"int8"}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {layer.op for layer in variant.profile.of("conversion")}
    assert any(layer.precision == "fp32" for layer in variant.profile.of("other"))
    explanation = explain(reference, variant)
    assert explanation.ideal_ms == pytest.approx(reference.p50_ms / 4)
    assert_sums(explanation)
    assert_confirmed(explanation, variant)
    # No engine gains all of the 4x: whatever is lost is named.
    assert any(cause.ms > 0 for cause in explanation.causes)
    assert explanation.cause("stayed_in_float") is None
    assert explanation.cause("sparsity") is None


def test_attention_that_openvino_keeps_in_float_is_named(tmp_path: Path) -> None:
    bundle = sample_models.load("vit_fmnist")
    macs = count_macs(bundle.module, bundle.contract)
    variant = measured(
        applied(bundle, "int8", tmp_path, runtime="openvino", calibration_images=16),
        "INT8",
        "openvino",
        tmp_path,
        macs=macs,
    )
    wide = [layer.name for layer in variant.profile.of("compute") if layer.precision == "fp32"]
    if not wide:
        pytest.skip("This OpenVINO computes every product in 8 bits")
    reference = measured(bundle, "FP32", "openvino", tmp_path)
    explanation = explain(reference, variant)
    assert_sums(explanation)
    cause = explanation.cause("stayed_in_float")
    if cause:
        assert f"{len(wide)} of the {len(variant.profile.of('compute'))} layers" in cause.sentence
        assert_confirmed(explanation, variant)
    else:
        assert "stayed in a wider precision" in explanation.causes[-1].sentence


def test_channels_pruned_to_odd_widths_in_onnx_runtime(tmp_path: Path) -> None:
    bundle = sample_models.load("student_cnn_fmnist")
    pruned = applied(bundle, "structured_pruning", tmp_path, ratio=0.3, epochs=0, round_to=1)
    reference = measured(bundle, "FP32", "onnxruntime", tmp_path)
    variant = measured(pruned, "Pruned 30 %", "onnxruntime", tmp_path)
    explanation = explain(reference, variant)
    assert explanation.ideal_speedup == pytest.approx(reference.macs / variant.macs)
    assert_sums(explanation)
    assert_confirmed(explanation, variant)
    odd = [layer for layer in variant.profile.of("compute") if layer.channels and layer.channels[1] % LANES]
    assert odd
    cause = explanation.cause("misaligned")
    assert cause is not None
    assert cause.ms > 0
    assert any(layer.name in cause.sentence for layer in odd)
    fallen = {layer.op for layer in variant.profile.of("compute")} - {
        layer.op for layer in reference.profile.of("compute")
    }
    assert bool(fallen) is ("fell back" in cause.sentence)


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime"])
def test_zeros_gain_no_time(runtime: str, tmp_path: Path) -> None:
    bundle = sample_models.load("student_cnn_fmnist")
    sparse = applied(bundle, "magnitude_pruning", tmp_path, sparsity=0.7, epochs=0)
    reference = measured(bundle, "FP32", runtime, tmp_path)
    variant = measured(sparse, "70 % zeros", runtime, tmp_path)
    assert variant.profile.macs == reference.profile.macs
    explanation = explain(reference, variant)
    assert_sums(explanation)
    zeros = explanation.causes[0]
    assert zeros.key == "sparsity"
    assert re.match(r"6\d % of the weights are zero, and this engine multiplies by zero as fast as", zeros.sentence)
    # What was hoped for is taken back to the last bit: no gain is claimed that the clock did not show.
    assert explanation.ideal_ms + zeros.ms == pytest.approx(reference.p50_ms)
    assert explanation.cause("hardware") is None
    assert explanation.cause("uneven") is None


def test_a_runtime_in_between_is_told_apart(tmp_path: Path) -> None:
    bundle = sample_models.load("student_cnn_fmnist")
    macs = count_macs(bundle.module, bundle.contract)
    eager, bridge = (measured(bundle, "FP32", runtime, tmp_path) for runtime in ("pytorch", "onnxruntime"))
    quantized = applied(bundle, "int8", tmp_path, calibration_images=16)
    variant = measured(quantized, "INT8", "onnxruntime", tmp_path, macs=macs)
    explanation = explain(eager, variant, same_runtime=bridge)
    assert explanation.baseline_ms == eager.p50_ms
    assert explanation.runtime.ms == pytest.approx(bridge.p50_ms - eager.p50_ms)
    assert_sums(explanation)
    names = [{layer.name for layer in each.profile.of("compute")} for each in (eager, bridge, variant)]
    assert names[0] == names[1] == names[2] == {"features.0", "features.3", "features.6", "head"}


def test_bf16_in_eager_pytorch_names_its_casts(tmp_path: Path) -> None:
    precision: Precision = "bf16"
    if not CPU.cpu_flags & {"avx512_bf16", "amx_bf16"}:
        pytest.skip("This CPU has no bf16 instructions")
    bundle = sample_models.load("student_cnn_fmnist")
    half = applied(bundle, "mixed_precision", tmp_path, precision=precision)
    reference = measured(bundle, "FP32", "pytorch", tmp_path)
    variant = measured(half, "BF16", "pytorch", tmp_path)
    explanation = explain(reference, variant)
    assert explanation.ideal_speedup == pytest.approx(2.0)
    assert_sums(explanation)
    assert [layer.op for layer in variant.profile.of("conversion")] == ["aten.to.dtype"] * 2
    assert explanation.cause("stayed_in_float") is None
