from __future__ import annotations

from dataclasses import replace

import pytest

from core.layers import FUSED, LayerProfile
from core.quantization import LayerQuantization, QuantizationReport
from core.scan import Scan, ScanCell
from experiments.assignment import (
    Ledger,
    base_of,
    boundaries,
    farthest_off,
    is_int8,
    is_untouched,
    ledger,
    outcome,
    recipe_for,
)
from experiments.int8_layers import in_int8, times_by_layer, unasked
from experiments.recipe import Recipe
from experiments.result import RunResult
from optimizers import TECHNIQUES
from profiling.fidelity import Fidelity
from tests.experiments.profiled import PEAKS, latency, layer, layer_profile, other
from tests.pages.left_behind import measured

RECIPE = Recipe(model="resnet_fmnist", runtime="onnxruntime")
NAMES = ("a", "b", "c", "d")
FLOAT_MS = {"a": 0.4, f"b{FUSED}bn": 0.3, "c": 0.2}
FLOAT = layer_profile([*(layer(name, ms) for name, ms in FLOAT_MS.items()), other("add", 0.1, "Add")])


def scan() -> Scan:
    agreed = {"a": 90, "b": 99, "c": 100, "d": 100}
    cells = [
        ScanCell(layer=name, change="int8", correct=agreed[name] - 10, agreed=agreed[name],
                 divergence=(100 - agreed[name]) / 100, output_error=0.1)
        for name in NAMES
    ]  # fmt: skip
    kinds, parameters = ("Conv2d",) * 4, (10, 20, 30, 40)
    return Scan(
        images=100, correct=90, layers=NAMES, kinds=kinds, parameters=parameters, changes=("int8",), cells=tuple(cells)
    )


def int8_profile(*names: str) -> LayerProfile:
    """0.1 ms for each of these layers in INT8, the others as before; 0.06 ms of conversions."""
    return layer_profile(
        [
            other("in", 0.02, "QuantizeLinear", kind="conversion"),
            *(
                layer(name, 0.1, precision="int8") if name.split(FUSED)[0] in names else layer(name, ms)
                for name, ms in FLOAT_MS.items()
            ),
            other("out", 0.04, "DequantizeLinear", kind="conversion"),
        ]
    )


def run(*names: str, p50_ms: float = 0.5, **facts: object) -> RunResult:
    """A run that computed these layers in INT8."""
    layers = tuple(
        LayerQuantization(name=each, kind="Conv2d", parameters=1, bits=8 if each in names else 32) for each in NAMES
    )
    report = QuantizationReport(quantizer="x", images=1, layers=layers, parameter_count=1, nonzero_count=1)
    result = measured(recipe_for(RECIPE, names, NAMES), wrong=100, p50_ms=1, size_bytes=1)
    return result.model_copy(
        update={"latency": latency(p50_ms), "layers": int8_profile(*names), "quantization": report, **facts}
    )


def known() -> Ledger:
    found = ledger(FLOAT, 1.1, scan(), int8=run("a", "b", "c"))
    assert found
    return found


def test_times_go_to_the_layers_that_the_engine_fused() -> None:
    fused = [layer(f"a{FUSED}b", 0.4), layer("a", 0.1), other("add", 0.2, "Add")]
    assert times_by_layer(fused, NAMES) == pytest.approx({"a": 0.3, "b": 0.2})


def test_the_savings_of_layers_that_really_were_in_int8_are_known() -> None:
    found = known()
    assert found.names == ("a", "b", "c")  # the engine says nothing of d, which stayed in float
    assert [gain.saved_ms for gain in found.gains] == pytest.approx([0.3, 0.2, 0.1])
    assert [gain.lost_points for gain in found.gains] == [10, 1, 0]
    assert [gain.changed_share for gain in found.gains] == [0.1, 0.01, 0]
    assert found.conversion_ms == pytest.approx(0.03)  # 0.06 ms where the network begins and ends
    assert found.predict(found.names).estimated == 0


def test_what_no_run_computed_in_int8_is_estimated_from_the_probed_rates() -> None:
    rates = PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "int8": 400e9}})
    found = ledger(FLOAT, 1.1, scan(), peaks=rates)
    assert [gain.saved_ms for gain in found.gains] == pytest.approx([0.3, 0.225, 0.15])
    assert found.predict(found.names).ms == pytest.approx(1.1 - 0.675)
    assert found.predict(found.names).estimated == 3
    mixed = ledger(FLOAT, 1.1, scan(), int8=run("a", p50_ms=0.9), peaks=rates)
    assert [gain.is_measured for gain in mixed.gains] == [True, False, False]
    assert mixed.predict(("a",)).ms == pytest.approx(0.9)  # the run itself
    assert mixed.predict(("a", "b")).ms == pytest.approx(0.9 - 0.225)  # as many conversions as before
    assert mixed.predict(("a", "c")).ms == pytest.approx(0.9 - 0.15 + 2 * 0.03)
    assert ledger(FLOAT, 1.1, scan(), peaks=PEAKS) is None  # INT8 was not probed


def test_numbers_change_their_format_where_chosen_layers_begin_and_end() -> None:
    assert [boundaries("abcd", chosen) for chosen in ("", "abcd", "ab", "ac", "bd")] == [0, 2, 2, 4, 4]


def test_both_ends_are_as_measured_and_between_them_savings_and_conversions_add_up() -> None:
    found = known()
    assert found.predict(()).ms == pytest.approx(1.1)
    assert found.predict(found.names).ms == pytest.approx(0.5)
    # All three save 0.6 ms, pay 2 x 0.03 ms for conversions, and 0.06 ms were saved beside the layers.
    only_a = 1.1 - 0.3 - 0.06 * 0.3 / 0.6 + 2 * 0.03
    assert found.predict(("a",)).ms == pytest.approx(only_a)
    ends = 1.1 - 0.4 - 0.06 * 0.4 / 0.6 + 4 * 0.03
    assert found.predict(("a", "c")).ms == pytest.approx(ends)
    both = found.predict(("a", "b"))
    assert (both.chosen, both.changed_share, both.lost_points, both.divergence) == pytest.approx((2, 0.11, 11, 0.11))


def test_the_frontier_adds_first_what_saves_most_for_the_least_loss() -> None:
    found = known()
    for loss, scale in (("changed_share", 1), ("divergence", 1), ("lost_points", 100)):
        assert found.frontier(loss) == ((), ("c",), ("c", "b"), ("c", "b", "a"))
        assert found.best_within(loss, 0.02 * scale) == ("c", "b")
        assert set(found.best_within(loss, scale)) == {"a", "b", "c"}
        assert "a" not in found.best_within(loss, 0.09 * scale)


def test_the_frontier_ends_with_the_fastest_choice() -> None:
    slower = replace(known().gains[0], int8_ms=0.6)  # 0.2 ms longer than in float
    found = replace(known(), gains=(slower, *known().gains[1:]), int8_ms=None)
    assert found.frontier("divergence") == ((), ("c",), ("c", "b"))


def test_a_choice_is_a_recipe_that_keeps_the_rest_in_float() -> None:
    recipe = recipe_for(RECIPE, {"a", "c"}, NAMES)
    assert recipe.techniques[0].keep == ("b", "d")
    assert is_int8(recipe, RECIPE)
    assert not is_int8(RECIPE, RECIPE)
    assert is_untouched(RECIPE, recipe)
    assert not is_untouched(recipe, RECIPE)
    assert not is_int8(recipe.model_copy(update={"runtime": "openvino"}), RECIPE)
    both = recipe.model_copy(update={"techniques": (TECHNIQUES["magnitude_pruning"](), *recipe.techniques)})
    assert not is_int8(both, RECIPE)


def test_savings_come_from_the_run_with_most_layers_in_int8() -> None:
    assert base_of({"few": run("a"), "most": run("a", "b", "c"), "other": run("b", "c")}) == "most"
    assert base_of({"unprofiled": run("a").model_copy(update={"layers": None})}) is None
    assert base_of({"none": run()}) is None
    assert ledger(FLOAT, 1.1, scan(), int8=run("a").model_copy(update={"layers": None})) is None


def test_what_came_of_a_run_stands_beside_what_was_expected_of_it() -> None:
    fidelity = Fidelity(images=200, agreeing=190, largest_difference=1, mean_difference=0.1, relative=0.1,
                        largest_logit=9)  # fmt: skip
    kept_a = run("b", "c", p50_ms=0.9, fidelity=fidelity)
    kept_a = kept_a.model_copy(update={"latency": kept_a.latency.model_copy(update={"contended_share": 0.5})})
    reference = measured(RECIPE, wrong=80, p50_ms=1, size_bytes=1)
    found = outcome("id", "INT8 1 kept", kept_a, known(), reference=reference, is_base=False)
    assert in_int8(kept_a) == {"b", "c"}
    assert found.expected == known().predict({"b", "c"})
    assert (found.ms, found.changed_share, found.lost_points) == pytest.approx((0.9, 0.05, 1.0))
    assert found.is_disturbed
    assert found.off == pytest.approx(0.9 / found.expected.ms - 1)
    shorter = replace(found, ms=0.5 * found.expected.ms)
    assert farthest_off([found, shorter]) == pytest.approx(0.5)
    assert farthest_off([replace(found, is_base=True)]) is None  # agrees by construction


def test_what_the_engine_really_did_counts_more_than_what_was_asked_for() -> None:
    result = run("a").model_copy(update={"layers": int8_profile("a", "b")})
    assert (in_int8(result), unasked(result)) == ({"a", "b"}, {"b"})
    silent = run("a").model_copy(update={"layers": None})
    assert (in_int8(silent), unasked(silent)) == ({"a"}, frozenset())
