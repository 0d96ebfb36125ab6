from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Situation
from core.errors import BadInput, CannotCompose, NothingDone
from core.progress import Note
from optimizers.quantization.folding import folded
from optimizers.quantization.formats import round_nvfp4
from optimizers.quantization.simulation import Format
from optimizers.quantization.twin import outputs_of
from optimizers.simulated import Simulated
from optimizers.technique import Context
from tests.optimizers.conftest import events_and_result

NAMES = ("stem.0", "block.0", "head")


def simulated(bundle: ModelBundle, context: Context, **settings: Any) -> ModelBundle:
    return events_and_result(Simulated(**settings).apply(bundle, context))[1]


def images(bundle: ModelBundle, count: int = 16) -> torch.Tensor:
    return torch.from_numpy(bundle.contract.prepare(bundle.data.calibrate.pixels[:count]))


def float_weight(bundle: ModelBundle, name: str) -> np.ndarray:
    network, merged = folded(bundle.module, images(bundle, 2))
    assert merged
    return network.get_submodule(name).weight.detach().numpy()  # type: ignore[union-attr,operator,no-any-return]


def weight_of(bundle: ModelBundle, name: str) -> np.ndarray:
    return bundle.module.get_submodule(name).weight.detach().numpy()  # type: ignore[union-attr,operator,no-any-return]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_integer_weights_are_those_of_the_formula(
    granularity: str, bits: int, bundle: ModelBundle, context: Context
) -> None:
    result = simulated(bundle, context, bits=bits, granularity=granularity, group_size=16)
    top = 2 ** (bits - 1) - 1
    for name in NAMES:
        weight = float_weight(bundle, name)
        flat = weight.reshape(len(weight), -1)
        width = {"tensor": weight.size, "channel": flat.shape[1], "group": 16}[granularity]
        rows = weight.reshape(1, -1) if granularity == "tensor" else flat
        expected = np.empty_like(rows)
        for start in range(0, rows.shape[1], width):
            part = rows[:, start : start + width]
            scale = np.abs(part).max(1, keepdims=True) / np.float32(top)
            expected[:, start : start + width] = np.clip(np.rint(part / scale), -top, top) * scale
        np.testing.assert_allclose(weight_of(result, name).reshape(rows.shape), expected, rtol=1e-5, atol=1e-7)


def test_fp8_weights_are_multiples_of_e4m3_values(bundle: ModelBundle, context: Context) -> None:
    result = simulated(bundle, context, number_format="fp8")
    weight = float_weight(bundle, "block.0").reshape(16, -1)
    scale = np.abs(weight).max(1, keepdims=True) / np.float32(448)
    expected = (weight / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale
    np.testing.assert_allclose(weight_of(result, "block.0").reshape(16, -1), expected, rtol=1e-6)


def test_nvfp4_weights_have_blocks_along_the_inputs(bundle: ModelBundle, context: Context) -> None:
    result = simulated(bundle, context, number_format="nvfp4")
    weight = torch.from_numpy(float_weight(bundle, "block.0"))
    expected = round_nvfp4(weight.reshape(16, -1)).reshape(weight.shape).numpy()
    np.testing.assert_array_equal(weight_of(result, "block.0"), expected)


def test_what_comes_in_is_rounded_on_the_range_that_was_seen(bundle: ModelBundle, context: Context) -> None:
    result = simulated(bundle, context, bits=8, activations=True, activation_bits=4, calibration_images=32)
    network, _ = folded(bundle.module, images(bundle, 2))
    seen = outputs_of(network, ("block.0",), images(bundle, 32))[0]["block.0"].numpy()
    low, high = min(0.0, float(seen.min())), float(seen.max())
    scale = np.float32((high - low) / 15)
    zero = round(-low / scale)
    entry = result.module.get_submodule("block.0.rounds_input")
    x = np.linspace(low - 1, high + 1, 997, dtype=np.float32)
    expected = (np.clip(np.rint(x / scale) + zero, 0, 15) - zero) * scale
    moved = entry(torch.from_numpy(x)).numpy()
    assert np.isclose(moved, expected, atol=1e-5).mean() > 0.995  # a tie may fall either way
    assert len(np.unique(moved)) == 16


@pytest.mark.parametrize("number_format", ["fp8", "nvfp4"])
def test_float_formats_round_what_comes_in_too(number_format: str, bundle: ModelBundle, context: Context) -> None:
    result = simulated(bundle, context, number_format=number_format, activations=True, calibration_images=16)
    inputs = outputs_of(folded(bundle.module, images(bundle, 2))[0], NAMES, images(bundle))[0]
    for name in NAMES:
        entry = result.module.get_submodule(f"{name}.rounds_input")
        once = entry(inputs[name])
        assert (once != inputs[name]).any()
        torch.testing.assert_close(entry(once), once, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("number_format", ["integer", "fp8", "nvfp4"])
def test_it_can_be_exported_and_answers_the_same(
    number_format: str, bundle: ModelBundle, context: Context, tmp_path: Path
) -> None:
    result = simulated(bundle, context, number_format=number_format, activations=True, calibration_images=16)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(result.module, (images(bundle, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    opened = torch.export.load(tmp_path / "model.pt2").module()
    x = images(bundle, 5)
    with torch.inference_mode():
        torch.testing.assert_close(opened(x), result.module(x))


def test_more_bits_come_closer_to_the_float_network(bundle: ModelBundle, context: Context) -> None:
    network, x = folded(bundle.module, images(bundle, 2))[0], images(bundle, 64)
    errors = []
    for bits in (2, 4, 8):
        given = simulated(bundle, context, bits=bits).module
        with torch.inference_mode():
            errors.append(float((given(x) - network(x)).abs().mean()))
    assert errors[0] > 3 * errors[1] > 30 * errors[2]


def test_the_report_tells_each_layer_s_bits_and_noise(bundle: ModelBundle, context: Context) -> None:
    result = simulated(bundle, context, bits=4, activations=True, keep=("head",), calibration_images=16)
    assert result.quantization
    by_name = {layer.name: layer for layer in result.quantization.layers}
    assert list(by_name) == list(NAMES)
    assert [layer.bits for layer in by_name.values()] == [4, 4, 32]
    assert "head" in by_name["head"].why_float
    assert by_name["head"].weight_snr_db is None
    weight, moved = float_weight(bundle, "stem.0"), weight_of(result, "stem.0")
    expected = 10 * np.log10((weight.astype(float) ** 2).sum() / ((moved - weight).astype(float) ** 2).sum())
    assert by_name["stem.0"].weight_snr_db == pytest.approx(expected)
    assert by_name["stem.0"].input_snr_db
    assert by_name["stem.0"].output_snr_db
    np.testing.assert_array_equal(weight_of(result, "head"), weight_of(bundle, "head"))


def test_pruned_weights_stay_zero(bundle: ModelBundle, context: Context) -> None:
    layer = bundle.module.get_submodule("block.0")
    with torch.no_grad():
        layer.weight[:, ::2] = 0  # type: ignore[operator,index]
    for number_format in ("integer", "fp8", "nvfp4"):
        moved = weight_of(simulated(bundle, context, number_format=number_format), "block.0")
        assert not moved[:, ::2].any()
        assert moved[:, 1::2].any()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Format("integer", 8, "tensor", 32, None), 64 * 9 * 8 + 32),
        (Format("integer", 4, "channel", 32, None), 64 * 9 * 4 + 8 * 32),
        (Format("integer", 4, "group", 32, None), 64 * 9 * 4 + 8 * 3 * 16),
        (Format("fp8", 8, "channel", 32, None), 64 * 9 * 8 + 8 * 32),
        (Format("nvfp4", 4, "channel", 32, None), 64 * 9 * 4 + 8 * 5 * 8 + 32),
    ],
)
def test_scales_are_counted_in_what_a_weight_would_take(form: Format, expected: int) -> None:
    assert form.stored_bits((8, 8, 3, 3)) == expected


def test_a_group_of_32_takes_half_a_bit_more_for_its_scale() -> None:
    assert Format("integer", 4, "group", 32, None).stored_bits((64, 1024)) / (64 * 1024) == 4.5
    assert Format("nvfp4", 4, "channel", 32, None).stored_bits((64, 1024)) / (64 * 1024) == pytest.approx(4.5, abs=1e-3)


def test_it_says_that_it_is_simulated(bundle: ModelBundle, context: Context) -> None:
    events, result = events_and_result(Simulated(activations=True).apply(bundle, context))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(
        "Simulated: computed in float32 with values rounded to INT4 per channel + INT8 activations" in note
        for note in notes
    )
    assert (result.precision, result.form, result.applied) == ("fp32", "torch", ("simulated",))


def test_no_layer_left_is_an_error(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(NothingDone, match="0 of 3"):
        simulated(bundle, context, keep=("Conv2d", "head"))
    with pytest.raises(NothingDone):
        simulated(replace(bundle, network=nn.Flatten()), context)


def test_without_images_there_is_one_sentence(bundle: ModelBundle, context: Context) -> None:
    empty = replace(bundle, data=replace(bundle.data, calibrate=bundle.data.calibrate.take(0)))
    with pytest.raises(BadInput, match="calibration images"):
        simulated(empty, context)


def test_only_pytorch_and_only_a_float_network_are_taken(situation: Situation) -> None:
    with pytest.raises(CannotCompose, match="computes in float"):
        Simulated().check(situation)
    here = replace(situation, runtime="pytorch")
    assert Simulated().check(here).precision == "fp32"
    with pytest.raises(CannotCompose, match="a second time"):
        Simulated().check(Simulated().check(here))
    with pytest.raises(CannotCompose, match="float"):
        Simulated().check(replace(here, precision="bf16"))


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "Simulated INT4 per channel"),
        ({"bits": 3, "granularity": "group", "group_size": 64}, "Simulated INT3 /64"),
        (
            {"number_format": "fp8", "granularity": "tensor", "activations": True},
            "Simulated FP8 per tensor + FP8 activations",
        ),
        ({"number_format": "nvfp4", "activations": True}, "Simulated NVFP4 + NVFP4 activations"),
    ],
)
def test_the_label_names_what_matters(settings: dict[str, Any], label: str) -> None:
    assert Simulated(**settings).label() == label
