from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.layers import Layer
from core.progress import Event, Finished
from core.scan import Scan, ScanCell
from experiments import advice_facts, profile
from experiments import run as running
from experiments.advice import MOST, Advice, advise, left_out, why_none
from experiments.checking import check, why_refused
from experiments.profile import ProfileResult, run_profile
from experiments.promise import figures_of, figures_of_profile, outcome
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run
from experiments.scan import ScanResult
from optimizers import TECHNIQUES
from tests.experiments.profiled import (
    ANATOMY,
    CONDITIONS,
    PEAKS,
    latency,
    layer,
    layer_profile,
    module,
    other,
    profile_result,
)

ORT = Recipe(model="resnet_fmnist", runtime="onnxruntime")
EAGER = Recipe(model="resnet_fmnist", runtime="pytorch")
FASTER_INT8 = PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "int8": 400e9}})
INT8 = ORT.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})


def of_layers(*layers: Layer, beyond_ms: float = 0.0, **more: object) -> ProfileResult:
    """A profile whose call takes its layers and so much more."""
    call_ms = sum(each.time_ms for each in layers) + beyond_ms
    return profile_result(layers=layer_profile(layers), latency=latency(call_ms), **{"anatomy": None, **more})


def named(found: Sequence[Advice], key: str) -> Advice:
    """The advice of that key; every one of them can run here."""
    assert all(why_refused(each.recipe) == "" for each in found)
    return next(each for each in found if each.key == key)


def no_peaks(*_given: object, **_more: object) -> Iterator[Event]:
    """Instead of seconds of probing what this test does not need."""
    raise Unavailable("Not probed")


def keys(found: Sequence[Advice]) -> list[str]:
    return [each.key for each in found]


LAUNCH = other("reshape", 0.002, "Reshape")
"""The quickest operation: what becomes shorter than 0.01 ms gains nothing."""
CONVOLUTIONS = (
    layer("a", 0.3, macs=20_000_000),
    layer("b", 0.048, macs=4_000_000),
    layer("c", 0.03, macs=2_000_000),
    LAUNCH,
)


def test_int8_promises_half_of_what_the_probed_rates_allow() -> None:
    # At a fourfold rate the layers would take 0.075, 0.012 and 0.0075 ms: the last is too short to count.
    found = named(advise(of_layers(*CONVOLUTIONS, peaks=FASTER_INT8, beyond_ms=0.02), ORT), "int8")
    assert found.promise.measure == "p50_ms"
    assert found.promise.ratio == pytest.approx(1 - 0.5 * 0.75 * 0.348 / 0.4)
    assert found.recipe == INT8
    assert "87 % of a call is in 2 layers" in found.fact
    assert "4x as fast" in found.fact
    vit = ORT.model_copy(update={"model": "vit_fmnist"})
    assert "int8" not in keys(advise(of_layers(*CONVOLUTIONS, peaks=FASTER_INT8), vit))


def test_what_waits_for_memory_gains_by_its_bits() -> None:
    moving = layer("a", 0.298, macs=1, weight_bytes=0, input_bytes=10 * 2**20, output_bytes=0)
    found = named(advise(of_layers(moving, LAUNCH, peaks=FASTER_INT8), ORT), "int8")
    assert found.promise.ratio == pytest.approx(1 - 0.5 * 0.75 * 0.298 / 0.3)


def test_nothing_is_advised_that_is_done_or_gains_nothing() -> None:
    slower = PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "int8": 90e9}})
    assert "int8" not in keys(advise(of_layers(*CONVOLUTIONS, peaks=slower), ORT))
    done = of_layers(*CONVOLUTIONS, precision="int8", peaks=FASTER_INT8)
    assert not {"int8", "int8_file", "small_weights"} & set(keys(advise(done, INT8)))
    wide = of_layers(layer("a", 0.1, macs=8_000_000, channels=(64, 64)))
    pruned = ORT.model_copy(update={"techniques": (TECHNIQUES["structured_pruning"](),)})
    assert "wide_layers" in keys(advise(wide, ORT))
    assert "wide_layers" not in keys(advise(wide, pruned))


def test_without_a_measured_fact_nothing_is_said() -> None:
    unknown = profile_result(peaks=None, why_no_peaks="-", anatomy=None)
    assert advise(unknown, ORT) == ()
    assert "not known" in why_none(unknown, ORT)
    idle = profile_result(anatomy=None)
    assert advise(idle, ORT) == ()
    assert why_none(idle, ORT).startswith("Of a call 57 % is bound by arithmetic and 34 % is overhead")


def test_eager_launches_are_saved_by_an_engine_that_reads_the_graph() -> None:
    small = [
        other(f"{op}.{place}", 0.05, f"aten.{op}") for place, op in enumerate(("batch_norm", "relu", "add.Tensor"))
    ]
    result = of_layers(layer("conv", 0.5), *small, other("pool", 0.1, "aten.max_pool2d"), beyond_ms=0.25)
    found = named(advise(result, EAGER), "another_engine")
    assert found.promise.ratio == pytest.approx(1 - 0.5 * (0.25 + 0.15))
    assert (found.recipe.runtime, found.recipe.techniques) == ("onnxruntime", ())
    assert "40 % of a call" in found.fact
    assert "another_engine" not in keys(advise(result, ORT))


def test_overhead_is_shared_by_more_images() -> None:
    # Beyond the 0.005 ms of their arithmetic the layers take 0.015 and 0.035 ms: launching takes the smaller.
    layers = (layer("a", 0.02, macs=500_000), layer("b", 0.04, macs=500_000))
    result = of_layers(*layers, beyond_ms=0.04)
    found = named(advise(result, ORT), "larger_batch")
    possible = 8 * 0.1 / (0.07 + 8 * 0.03)
    assert found.promise.ratio == pytest.approx(1 + 0.5 * (possible - 1))
    assert found.recipe.measurement.batch_size == 8
    quick = of_layers(*layers, layer("c", 0.001, macs=100_000))
    assert "larger_batch" not in keys(advise(quick, ORT))
    disturbed = result.model_copy(update={"latency": result.latency.model_copy(update={"contended_share": 0.3})})
    assert not {"larger_batch", "another_engine"} & set(keys(advise(disturbed, EAGER)))
    assert "launches" in left_out(disturbed)


def test_a_cuda_graph_takes_the_place_of_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = EAGER.model_copy(update={"device": "cuda:0"})
    result = of_layers(layer("a", 0.1), beyond_ms=0.1, peaks=None)
    assert advise(result, on_gpu) == ()  # there is no such device
    monkeypatch.setattr(advice_facts, "why_refused", lambda recipe: "")
    found = next(each for each in advise(result, on_gpu) if each.key == "cuda_graph")
    assert found.promise.ratio == pytest.approx(0.75)
    assert found.recipe.measurement.cuda_graph


def test_the_block_that_holds_the_parameters_is_pruned_alone() -> None:
    heavy = (module("stem", parameters=100_000), module("body.0", parameters=300_000), module("fc", kind="Linear"))
    anatomy = ANATOMY.model_copy(update={"modules": (*heavy, module("tail.0", parameters=197_440))})
    layers = (layer("stem", 0.3), layer("body.0", 0.1), layer("tail.0", 0.1))
    found = named(advise(of_layers(*layers, anatomy=anatomy), ORT), "heavy_block")
    assert found.title == "Prune body"
    assert "50 % of the 0.6 million parameters are in body, which takes 20 % of a call" in found.fact
    assert found.promise.measure == "parameter_count"
    assert found.promise.ratio == pytest.approx(1 - 0.5 * 0.5 * 0.5)
    (pruning,) = found.recipe.techniques
    assert pruning.keep == ("fc", "stem", "tail")
    # The planted network has 98 % of its parameters in the layer that gives the classes, which keeps its outputs.
    assert "heavy_block" not in keys(advise(profile_result(), ORT))


def test_a_pruned_network_is_rounded_to_whole_vectors() -> None:
    pruned = ORT.model_copy(
        update={"techniques": (TECHNIQUES["structured_pruning"](ratio=0.3, round_to=1), *INT8.techniques)}
    )
    result = of_layers(layer("a", 0.2, precision="int8", padding=0.4), precision="int8", peaks=None)
    found = named(advise(result, pruned), "odd_widths")
    assert found.promise.ratio == pytest.approx(1 - 0.5 * 0.4)
    assert found.recipe.techniques[0] == TECHNIQUES["structured_pruning"](ratio=0.3, round_to=16)
    assert found.recipe.techniques[1:] == INT8.techniques


def test_a_layer_between_conversions_is_kept_in_float() -> None:
    converts = other("q", 0.06, "QuantizeLinear", kind="conversion"), other("dq", 0.04, "Dequantize", kind="conversion")
    layers = (layer("a", 0.3, precision="int8"), converts[0], layer("b.0", 0.01, precision="int8"), converts[1])
    found = named(advise(of_layers(*layers, precision="int8", peaks=FASTER_INT8), INT8), "isolated_layers")
    # 0.1 ms of conversions fall away, and 0.01 ms become 0.04
    assert found.promise.ratio == pytest.approx(1 - 0.5 * 0.07 / 0.41)
    assert found.recipe.techniques == (TECHNIQUES["int8"](keep=("b.0",)),)


def test_layers_that_lose_most_stay_in_float_where_the_loss_is_more_than_chance() -> None:
    def scan(**agreed: int) -> ScanResult:
        cells = [
            ScanCell(layer=name, change="int8", correct=number - 100, agreed=number, divergence=0, output_error=0)
            for name, number in agreed.items()
        ]
        found = Scan(
            images=1000, correct=900, layers=tuple(agreed), kinds=("Conv2d",) * len(agreed),
            parameters=(1,) * len(agreed), changes=("int8",), cells=tuple(cells),
        )  # fmt: skip
        return ScanResult(scan=found, conditions=CONDITIONS)

    # 40 of 40 changed answers are lost: 6 standard errors. 3 of 3: 1.7, which chance explains.
    found = named(advise(profile_result(), ORT, scan=scan(stem=960, body=997)), "sensitive_layers")
    assert found.recipe.techniques == (TECHNIQUES["int8"](keep=("stem",)),)
    assert found.reference == INT8
    assert found.promise.ratio == pytest.approx(1 + 0.5 * 0.04 / 0.9)
    assert found.worth == pytest.approx(0.4)
    assert "4.00" in found.fact
    assert "sensitive_layers" not in keys(advise(profile_result(), ORT, scan=scan(stem=997, body=998)))


def test_what_is_worth_most_comes_first_and_no_recipe_twice() -> None:
    rich = of_layers(
        layer("conv", 0.5, macs=40_000_000, channels=(64, 64)),
        other("relu", 0.2, "aten.relu"),
        beyond_ms=0.3,
        peaks=PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "bf16": 200e9}}),
        anatomy=ANATOMY,
    )
    found = advise(rich, EAGER)
    worth = [each.worth for each in found]
    assert len(found) >= 3
    assert worth == sorted(worth, reverse=True)
    assert len({each.recipe.digest for each in found}) == len(found) <= MOST
    for each in found:
        check(each.recipe)


def test_a_promise_is_kept_by_the_run_of_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(profile, "LATENCY_SECONDS", 0.5)
    for place in (profile, running):
        monkeypatch.setattr(place, "peaks_for", no_peaks)
    quick = MeasurementSettings(threads=1, latency_seconds=1, sweep_seconds=0)
    recipe = Recipe(model="student_cnn_fmnist", runtime="pytorch", measurement=quick)
    for folder in ("profile", "run"):
        (tmp_path / folder).mkdir()
    last = list(run_profile(recipe, tmp_path / "profile", None))[-1]
    assert isinstance(last, Finished)
    measured = ProfileResult.model_validate(last.result)
    # Whatever else this machine does meanwhile, the promise has to hold.
    result = measured.model_copy(update={"latency": measured.latency.model_copy(update={"contended_share": None})})
    advice = named(advise(result, recipe), "another_engine")
    ran = list(run(advice.recipe, tmp_path / "run"))[-1]
    assert isinstance(ran, Finished)
    after = figures_of(RunResult.model_validate(ran.result).summary())
    found = outcome(advice.promise, figures_of_profile(result), after)
    assert found.verdict == "kept", found.sentence
