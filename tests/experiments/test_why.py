"""Each cause is planted alone in a synthetic profile, with its ms worked out by hand, and has to be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import BadInput
from core.layers import FUSED, Layer
from experiments.explanation import Cause, Explanation, Measured
from experiments.recipe import MeasurementSettings, Recipe
from experiments.why import explain
from optimizers import TECHNIQUES
from tests.experiments.profiles import MACS, conversion, int8, measured, other, peaks, product

IN_8_BITS = {"precision": "int8", "op": "QLinearConv"}


def found(explanation: Explanation) -> dict[str, float]:
    """Every cause and the residual, without those that are zero."""
    every = (*explanation.causes, explanation.residual)
    return {cause.key: pytest.approx(cause.ms, abs=1e-9) for cause in every if abs(cause.ms) > 1e-9}


def assert_sums(explanation: Explanation) -> None:
    total = explanation.ideal_ms + sum(cause.ms for cause in explanation.causes) + explanation.residual_ms
    assert total == pytest.approx(explanation.measured_ms, rel=1e-9, abs=1e-9)


def sentence(explanation: Explanation, key: str) -> str:
    cause = explanation.cause(key)
    assert cause is not None, explanation.causes
    return cause.sentence


def test_a_variant_as_fast_as_promised_has_no_causes() -> None:
    explanation = explain(measured([product("a", 4.0)]), int8([product("a", 1.0, **IN_8_BITS)]))
    assert (explanation.ideal_ms, explanation.ideal_speedup, explanation.measured_speedup) == (1.0, 4.0, 4.0)
    assert found(explanation) == {}
    assert explanation.verdict == "INT8 is 4x faster than FP32 in ONNX Runtime, just what arithmetic promises (4x)."


def test_hardware_that_gains_less_than_the_bits_promise() -> None:
    """4 ms at twice the speed are 2 ms, not 1."""
    slow = {"peaks": peaks(int8=2.0)}
    explanation = explain(measured([product("a", 4.0)], **slow), int8([product("a", 2.0, **IN_8_BITS)], **slow))
    assert found(explanation) == {"hardware": 1.0}
    assert "only 2x as fast as FP32" in sentence(explanation, "hardware")
    assert "the bits promise 4x" in sentence(explanation, "hardware")
    assert explanation.verdict == (
        "INT8 is 2x faster than FP32 in ONNX Runtime, of 4x by arithmetic: most of the gap is "
        "“INT8 gains less here than its bits promise” (1 ms)."
    )


def test_what_convolves_in_tf32_is_set_against_the_rate_of_tf32() -> None:
    """4 ms in TF32, of which INT8 is multiplied twice as fast, are 2 ms; float32 without TF32 has no part in it."""
    rates = {"fp32": 1e14, "tf32": 1e15, "int8": 2e15}
    both = {"peaks": peaks().model_copy(update={"macs_per_s": rates})}
    reference = measured([product("a", 4.0, precision="tf32")], **both)
    explanation = explain(reference, int8([product("a", 2.0, **IN_8_BITS)], **both))
    assert found(explanation) == {"hardware": 1.0}
    assert "only 2x as fast as FP32" in sentence(explanation, "hardware")


def test_hardware_that_gains_more_is_a_gain() -> None:
    fast = {"peaks": peaks(int8=8.0)}
    explanation = explain(measured([product("a", 4.0)], **fast), int8([product("a", 0.5, **IN_8_BITS)], **fast))
    assert found(explanation) == {"hardware": -0.5}
    assert "gained" in sentence(explanation, "hardware")
    assert "what it gained beyond that" in explanation.verdict


def test_a_peak_below_what_the_network_itself_reaches_is_raised_to_that() -> None:
    """The probe was disturbed: it says 1 MAC per second. Then the reference's own rate counts, and INT8's."""
    disturbed = peaks().model_copy(update={"macs_per_s": {"fp32": 1.0, "int8": 1.0}})
    explanation = explain(
        measured([product("a", 4.0)], peaks=disturbed), int8([product("a", 2.0, **IN_8_BITS)], peaks=disturbed)
    )
    assert found(explanation) == {"hardware": 1.0}


def test_layers_that_stayed_in_float() -> None:
    """b took 2 ms and still does, where 2 / 4 were due."""
    reference = measured([product("a", 2.0), product("b", 2.0)])
    variant = int8([product("a", 0.5, **IN_8_BITS), product("b", 2.0)])
    explanation = explain(reference, variant)
    assert found(explanation) == {"stayed_in_float": 1.5}
    assert "1 of the 2 layers that multiply ran in FP32, not in INT8: b (2 ms)" in sentence(
        explanation, "stayed_in_float"
    )


def test_layers_limited_by_memory() -> None:
    """1.5 MB at 1 GB/s need 1.5 ms, 0.5 more than the 1 ms that was due; the other 0.3 ms have no such excuse."""
    slow = {"peaks": peaks(bandwidth=1e9)}
    bytes_of = {"weight_bytes": 1_000_000, "input_bytes": 400_000, "output_bytes": 100_000}
    variant = int8([product("a", 1.8, **IN_8_BITS, **bytes_of)], **slow)
    explanation = explain(measured([product("a", 4.0)], **slow), variant)
    assert found(explanation) == {"memory": 0.5, "kernels": 0.3}
    assert "1 GB/s" in sentence(explanation, "memory")
    assert explanation.cause("memory").setting == "measurement.batch_size"
    activations = {"weight_bytes": 100_000, "input_bytes": 1_300_000, "output_bytes": 100_000}
    variant = int8([product("a", 1.8, **IN_8_BITS, **activations)], **slow)
    assert explain(measured([product("a", 4.0)], **slow), variant).cause("memory").setting == "runtime"


def test_widths_that_leave_vectors_partly_empty() -> None:
    """24 of 32 lanes are used: a quarter of the 3 ms is padding, exactly what is lost to the 2.25 ms that were due."""
    lanes = {"peaks": peaks(lanes=(1, 16))}
    reference = measured([product("a", 4.0, macs=32 * 32, channels=(32, 32))], **lanes)
    variant = measured([product("a", 3.0, macs=24 * 24, channels=(24, 24))], **lanes)
    explanation = explain(reference, variant)
    assert explanation.ideal_ms == pytest.approx(2.25)
    assert found(explanation) == {"misaligned": 0.75}
    assert "a (3 ms, 24 → 24)" in sentence(explanation, "misaligned")
    assert explanation.cause("misaligned").setting == "structured_pruning.round_to"


def test_padding_that_the_engine_shows_counts_instead_of_the_estimate() -> None:
    """The engine fills inputs too: (24 x 24) of (32 x 32) is 44 % padding, of 4 ms 1.75 ms."""
    lanes = {"peaks": peaks(lanes=(1, 16))}
    reference = measured([product("a", 4.0, macs=32 * 32, channels=(32, 32))], **lanes)
    shown = 1 - (24 * 24) / (32 * 32)
    variant = measured([product("a", 4.0, macs=24 * 24, channels=(24, 24), padding=shown)], **lanes)
    assert found(explain(reference, variant)) == {"misaligned": 1.75}


def test_padding_that_the_reference_had_too_is_no_cause() -> None:
    lanes = {"peaks": peaks(lanes=(1, 16))}
    odd = {"channels": (24, 24)}
    explanation = explain(
        measured([product("a", 4.0, **odd)], **lanes), int8([product("a", 1.2, **IN_8_BITS, **odd)], **lanes)
    )
    assert found(explanation) == {"misaligned": 0.25 * 1.2 - 0.25 * 1.0, "kernels": 0.2 - 0.05}


def test_a_narrower_layer_that_makes_the_engine_change_kernels_loses_all_to_its_width() -> None:
    lanes = {"peaks": peaks(lanes=(1, 16))}
    reference = measured([product("a", 4.0, macs=32 * 32, channels=(32, 32))], **lanes)
    variant = measured([product("a", 4.0, macs=24 * 24, channels=(24, 24), op="FusedConv")], **lanes)
    explanation = explain(reference, variant)
    assert found(explanation) == {"misaligned": 1.75}
    assert "For 1 of them the engine fell back to FusedConv instead of Conv" in sentence(explanation, "misaligned")


def test_the_kernels_of_another_engine_have_other_names_and_that_is_no_fall_back() -> None:
    lanes = {"peaks": peaks(lanes=(1, 16))}
    reference = measured([product("a", 4.0, macs=32 * 32, channels=(32, 32))], runtime="PyTorch", **lanes)
    variant = measured([product("a", 4.0, macs=24 * 24, channels=(24, 24), op="FusedConv")], **lanes)
    explanation = explain(reference, variant)
    assert found(explanation) == {"misaligned": 1.0, "kernels": 0.75}
    assert "fell back" not in sentence(explanation, "misaligned")


def test_multiplications_removed_where_they_took_little_time() -> None:
    """Of 200 MACs 80 went, all from b, which took a quarter of the time: 3.2 ms are left, where 2.4 were hoped for."""
    reference = measured([product("a", 3.0, macs=100), product("b", 1.0, macs=100)])
    variant = measured([product("a", 3.0, macs=100), product("b", 0.2, macs=20)])
    explanation = explain(reference, variant)
    assert explanation.ideal_ms == pytest.approx(2.4)
    assert found(explanation) == {"uneven": 0.8}
    assert "takes 3.2 ms instead of 2.4 ms" in sentence(explanation, "uneven")


def test_smaller_layers_that_fill_the_processor_less() -> None:
    reference = measured([product("a", 4.0, macs=400)])
    explanation = explain(reference, measured([product("a", 1.6, macs=100)]))
    assert found(explanation) == {"kernels": 0.6}
    assert explanation.cause("kernels").title == "Layers too small to fill the processor"
    assert explanation.cause("kernels").setting == "measurement.batch_size"


def test_conversions_other_operations_and_overhead_do_not_shrink() -> None:
    reference = measured(
        [product("a", 4.0), conversion("q", 0.4), other("sum", 0.8), other("pool", 0.4, "MaxPool")], overhead_ms=0.4
    )
    variant = int8(
        [product("a", 1.0, **IN_8_BITS), conversion("q", 0.4), conversion("dq", 0.5),
         other("sum", 0.8), other("pool", 0.4, "MaxPool"), other("s", 0.3, "QLinearSoftmax")],
        overhead_ms=0.5,
    )  # fmt: skip
    explanation = explain(reference, variant)
    assert found(explanation) == {"conversions": 0.9 - 0.1, "others": 1.5 - 0.3, "overhead": 0.5 - 0.1}
    assert "2 conversions take 0.9 ms: QuantizeLinear ×2 (0.9 ms)" in sentence(explanation, "conversions")
    assert "Add (0.8 ms)" in sentence(explanation, "others")
    assert "QLinearSoftmax is not in the reference" in sentence(explanation, "others")
    assert "0.5 ms beside the 3.4 ms of the layers" in sentence(explanation, "overhead")
    assert [cause.key for cause in explanation.causes] == ["others", "conversions", "overhead"]
    assert "operations that do not multiply” (1.2 ms)" in explanation.verdict


def test_zeros_are_hoped_for_and_taken_back_in_words() -> None:
    """70 % zeros: the hope is 30 % of the time, and all of it comes back as one cause."""
    layers = [product("a", 4.0), other("sum", 0.4)]
    sparse = measured(layers, overhead_ms=0.2, title="70 % zeros", sparsity=0.7, techniques=("magnitude_pruning",))
    explanation = explain(measured(layers, overhead_ms=0.2), sparse)
    assert explanation.ideal_speedup == pytest.approx(1 / 0.3)
    assert found(explanation) == {"sparsity": 0.7 * 4.6}
    assert sentence(explanation, "sparsity").startswith(
        "70 % of the weights are zero, and this engine multiplies by zero as fast as by anything else: the same "
    )
    assert explanation.verdict == (
        "70 % zeros is not measurably faster or slower than FP32 in ONNX Runtime, where arithmetic promises 3.33x "
        "faster: most of the gap is “zeros that are still multiplied” (3.22 ms)."
    )


def test_zeros_that_an_engine_may_skip_are_not_called_lost_time() -> None:
    layers = [product("a", 4.0)]
    sparse = measured(layers, overhead_ms=0.2, title="2:4", sparsity=0.5, techniques=("two_four",))
    skipping = sparse.model_copy(update={"may_skip_zeros": True})
    reference = measured(layers, overhead_ms=0.2)
    assert explain(reference, sparse).cause("sparsity") is not None
    assert explain(reference, skipping).cause("sparsity") is None
    assert explain(reference, skipping).ideal_ms == reference.p50_ms


def test_zeros_on_top_of_int8_are_taken_back_before_anything_else() -> None:
    explanation = explain(
        measured([product("a", 4.0)]), int8([product("a", 1.5, **IN_8_BITS)], sparsity=0.5, techniques=("x", "int8"))
    )
    assert explanation.ideal_ms == pytest.approx(0.5)
    assert found(explanation) == {"sparsity": 0.5, "kernels": 0.5}
    assert explanation.causes[0].key == "sparsity"


@pytest.mark.parametrize("facts", [{"sparsity": 0.05}, {"sparsity": 0.2, "precision": "int8", "title": "INT8"}])
def test_few_zeros_or_those_of_rounding_are_no_hope(facts: dict[str, Any]) -> None:
    explanation = explain(measured([product("a", 4.0)]), measured([product("a", 4.0)], **facts))
    assert explanation.cause("sparsity") is None


def test_the_residual_is_between_the_timed_and_the_profiled_call() -> None:
    reference = measured([product("a", 4.0)], residual_ms=0.8)
    variant = int8([product("a", 1.0, **IN_8_BITS)], residual_ms=0.5)
    explanation = explain(reference, variant)
    assert explanation.ideal_ms == pytest.approx(1.2)
    assert found(explanation) == {"residual": 0.3}
    assert "Timed calls took 1.5 ms, profiled ones 1 ms (reference: 4.8 ms and 4 ms)" in explanation.residual.sentence
    assert "measure both again" in explanation.residual.sentence
    assert "within the difference between timed and profiled calls" in explanation.verdict


def test_small_causes_are_told_together() -> None:
    reference = measured([product("a", 4.0), other("sum", 0.03)])
    variant = int8([product("a", 2.0, **IN_8_BITS), conversion("q", 0.02), other("sum", 0.03)])
    explanation = explain(reference, variant)
    assert [cause.key for cause in explanation.causes] == ["kernels", "everything_else"]
    assert explanation.causes[-1].ms == pytest.approx(0.02 + 0.03 - 0.03 / 4)
    assert "conversions between formats and layouts (+20.0 µs)" in explanation.causes[-1].sentence
    assert_sums(explanation)


def test_a_change_of_runtime_is_told_apart_where_its_fp32_is_known() -> None:
    eager = measured([product("a", 8.0)], runtime="PyTorch")
    bridge, variant = measured([product("a", 4.0)]), int8([product("a", 2.0, **IN_8_BITS)])
    explanation = explain(eager, variant, same_runtime=bridge)
    assert (explanation.baseline_ms, explanation.reference_ms, explanation.ideal_ms) == (8.0, 4.0, 1.0)
    assert explanation.runtime.ms == -4.0
    assert "FP32 takes 4 ms in ONNX Runtime and 8 ms in PyTorch: 2x faster" in explanation.runtime.sentence
    assert found(explanation) == {"kernels": 1.0}
    assert explanation.verdict.endswith("The runtime alone, ONNX Runtime in place of PyTorch, made it 2x faster.")
    assert explain(bridge, variant, same_runtime=bridge).runtime is None


def test_a_change_of_runtime_that_cannot_be_told_apart_is_said() -> None:
    eager = measured([product("a", 8.0)], runtime="PyTorch")
    explanation = explain(eager, int8([product("a", 2.0, **IN_8_BITS)]))
    assert explanation.causes[0].key == "runtime"
    assert explanation.causes[0].ms == 0
    assert "Run the untouched model in ONNX Runtime too" in explanation.causes[0].sentence
    assert explanation.verdict.startswith("INT8 · ONNX Runtime is 4x faster than FP32 · PyTorch")


def test_a_runtime_alone_promises_nothing_and_explains_what_it_changed() -> None:
    eager = measured([product("a", 4.0), other("bn", 2.0, "batch_norm")], overhead_ms=1.0, runtime="PyTorch")
    explanation = explain(eager, measured([product("a", 3.0)]))
    assert explanation.promise.endswith("arithmetic promises nothing.")
    assert found(explanation) == {"others": -2.0, "kernels": -1.0, "overhead": -1.0}
    assert "runtime" not in {cause.key for cause in explanation.causes}
    assert "where arithmetic promises no gain: the largest part of what it gained" in explanation.verdict


def test_layers_that_one_side_fused_are_compared_together() -> None:
    """Attention is one layer of 4 ms on one side, and two products on the other, one of them in float."""
    reference = measured([product(f"q{FUSED}v", 4.0, macs=300)])
    variant = int8([product("q", 1.0, macs=200), product("v", 0.5, macs=100, **IN_8_BITS)])
    explanation = explain(reference, variant)
    assert found(explanation) == {"stayed_in_float": 1.0 - 4 * 2 / 3 / 4, "kernels": 0.5 - 4 / 3 / 4}


def test_layers_without_common_names_are_compared_in_order_if_there_are_as_many() -> None:
    reference = measured([product("a", 3.0), product("b", 1.0)], runtime="PyTorch")
    variant = int8([product("convolution [0]", 0.75, **IN_8_BITS), product("convolution [1]", 1.0)])
    assert found(explain(reference, variant)) == {"stayed_in_float": 0.75}


def test_another_architecture_is_compared_as_a_whole() -> None:
    """A student has a tenth of the MACs; its one layer stands for all, though one shares its name with the teacher."""
    reference = measured([product("stem", 0.1, macs=100), product("b", 4.9, macs=900)])
    student = measured([product("stem", 0.8, macs=100)], title="Distilled", techniques=("distillation",))
    assert found(explain(reference, student)) == {"kernels": 0.3}


def test_layers_whose_arithmetic_the_engine_hides_share_the_reference_alike() -> None:
    reference = measured([product("a", 4.0, macs=0)], macs=MACS)
    explanation = explain(reference, int8([product("a", 1.5, macs=0, **IN_8_BITS)], macs=MACS))
    assert found(explanation) == {"kernels": 0.5}


def test_without_peaks_nothing_is_said_about_hardware_memory_or_vectors() -> None:
    blind = {"peaks": None}
    explanation = explain(
        measured([product("a", 4.0)], **blind),
        int8([product("a", 1.5, **IN_8_BITS, channels=(5, 5), weight_bytes=10**9)], **blind),
    )
    assert found(explanation) == {"kernels": 0.5}


def test_statistics_decide_on_faster() -> None:
    def verdict(low: float, high: float) -> str:
        interval = {"p50_interval_ms": (3.9, 4.1)}
        other = {"p50_interval_ms": (low, high)}
        return explain(measured([product("a", 4.0)], **interval), int8([product("a", 3.5)], **other)).verdict

    assert verdict(3.4, 3.6).startswith("INT8 is 1.14x faster than FP32")
    assert verdict(2.0, 5.0).startswith("INT8 is not measurably faster or slower than FP32")
    slower = explain(measured([product("a", 4.0)]), int8([product("a", 5.0)])).verdict
    assert slower.startswith("INT8 is 1.25x slower than FP32 in ONNX Runtime, where arithmetic promises 4x faster: ")


def test_times_of_different_batches_are_not_compared() -> None:
    other = measured([product("a", 1.0)])
    other = other.model_copy(update={"profile": other.profile.model_copy(update={"batch_size": 8})})
    with pytest.raises(BadInput, match="8 images"):
        explain(measured([product("a", 4.0)]), other)


def random_variant(random: np.random.Generator, names: list[str], **facts: Any) -> Measured:
    def layer(name: str) -> Layer:
        return product(
            name,
            random.exponential(),
            macs=int(random.integers(0, 1000)),
            precision=str(random.choice(["fp32", "bf16", "int8"])),
            op=str(random.choice(["Conv", "FusedConv"])),
            channels=tuple(random.integers(1, 100, 2).tolist()) if random.random() < 0.7 else None,
            groups=int(random.choice([1, 4])),
            weight_bytes=int(random.integers(0, 10**6)),
            padding=float(random.choice([0, 0.3])),
        )

    layers = [layer(name) for name in names]
    layers += [conversion(f"c{i}", random.exponential()) for i in range(random.integers(0, 3))]
    layers += [other(f"o{i}", random.exponential()) for i in range(random.integers(0, 3))]
    settings = {"overhead_ms": random.normal(), "residual_ms": random.exponential(), "sparsity": random.random() * 0.9}
    limits = peaks(int8=random.uniform(1, 6), bandwidth=10 ** random.uniform(6, 12), lanes=(8, 16))
    given = {**settings, "peaks": limits if random.random() < 0.8 else None, "macs": int(random.integers(1, 10**6))}
    return measured(layers, **{**given, "p50_ms": random.exponential() + 0.01, **facts})


@pytest.mark.parametrize("seed", range(150))
def test_causes_and_residual_always_sum_to_the_gap(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["a", "b", f"a{FUSED}b", "c", "d", "e", f"d{FUSED}f"]

    def some() -> list[str]:
        return random.permutation(names)[: random.integers(0, 7)].tolist()

    reference = random_variant(random, some(), runtime=str(random.choice(["PyTorch", "ONNX Runtime"])))
    variant = random_variant(random, some(), precision=str(random.choice(["fp32", "bf16", "int8"])))
    bridge = random_variant(random, some()) if random.random() < 0.5 else None
    explanation = explain(reference, variant, same_runtime=bridge)
    assert_sums(explanation)
    if explanation.runtime:
        assert explanation.baseline_ms + explanation.runtime.ms == pytest.approx(explanation.reference_ms)
    assert Explanation.model_validate_json(explanation.model_dump_json()) == explanation
    for cause in (*explanation.causes, explanation.residual):
        assert cause.sentence.endswith(".")
        assert "nan" not in cause.sentence
        assert exists(cause.setting), cause


def exists(setting: str) -> bool:
    """Whether a person can change it: a technique's field, a measurement setting, a field of the recipe, or nothing."""
    owner, _, name = setting.rpartition(".")
    fields = TECHNIQUES[owner].model_fields if owner in TECHNIQUES else MeasurementSettings.model_fields
    return not setting or name in (fields if owner else Recipe.model_fields)


def test_a_cause_is_found_by_its_key() -> None:
    explanation = explain(measured([product("a", 4.0)]), int8([product("a", 2.0, **IN_8_BITS)]))
    assert isinstance(explanation.cause("kernels"), Cause)
    assert explanation.cause("sparsity") is None
