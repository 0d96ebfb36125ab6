from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.data import DataSplits
from core.errors import BadInput, NothingDone
from core.progress import Note, Progress, Steps, result_of
from core.quantization import FLOAT_BITS
from optimizers.quantization.pipeline import Grids, Wishes, quantized_bundle
from optimizers.technique import Context
from tests.optimizers.conftest import DATA, bundle_of, events_and_result
from tests.optimizers.quantization.plain import Plain, ServedModule, serve

WISHES = Wishes(key="int8", title="INT8 quantization", bits=8, images=48)
LAYERS = ["stem.0", "block.0", "head"]


@pytest.fixture
def serving(context: Context) -> Context:
    return replace(context, serve=serve)


def test_every_layer_is_quantized_and_told(bundle: ModelBundle, serving: Context) -> None:
    events, result = events_and_result(quantized_bundle(bundle, serving, Plain(), WISHES))
    report = result.quantization
    assert report is not None
    assert [layer.name for layer in report.layers] == LAYERS
    assert all(layer.bits == 8 and layer.sensitivity is not None for layer in report.layers)
    assert (result.precision, result.applied, report.path) == ("int8", ("int8",), None)
    notes = [event for event in events if isinstance(event, Note)]
    assert [note.text for note in notes] == ["3 of 3 layers quantized by a test's quantizer."]
    x = torch.from_numpy(bundle.contract.prepare(DATA.test.pixels))
    float_answer, answer = bundle.module.eval()(x), result.module(x)
    assert (answer - float_answer).abs().max() < 0.1 * float_answer.abs().max()


def test_layers_that_a_pattern_names_stay_in_float_with_the_reason(bundle: ModelBundle, serving: Context) -> None:
    wishes = replace(WISHES, keep=("head", "stem"))
    events, result = events_and_result(quantized_bundle(bundle, serving, Plain(), wishes))
    assert result.quantization is not None
    by_name = {layer.name: layer for layer in result.quantization.layers}
    assert (by_name["head"].bits, by_name["head"].why_float) == (FLOAT_BITS, "Kept by the pattern head.")
    assert by_name["block.0"].bits == 8
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.text.startswith("1 of 3 layers")
    assert note.warning


def test_keeping_everything_is_an_error(bundle: ModelBundle, serving: Context) -> None:
    with pytest.raises(NothingDone, match="0 of 3 layers"):
        result_of(quantized_bundle(bundle, serving, Plain(), replace(WISHES, keep=("*",))))


def test_a_quantizer_that_did_nothing_is_an_error(bundle: ModelBundle, serving: Context) -> None:
    class Idle(Plain):
        def quantize(self, bits: Any) -> Any:
            return super().quantize({})

    with pytest.raises(NothingDone, match="0 of 3 layers quantized: "):
        result_of(quantized_bundle(bundle, serving, Idle(), WISHES))


def test_a_layer_that_the_quantizer_left_out_is_reported(bundle: ModelBundle, serving: Context) -> None:
    class Forgetful(Plain):
        def quantize(self, bits: Any) -> Any:
            return super().quantize({name: width for name, width in bits.items() if name != "head"})

    events, result = events_and_result(quantized_bundle(bundle, serving, Forgetful(), WISHES))
    assert result.quantization is not None
    assert result.quantization.layers[-1].why_float == "The quantizer left it in float."
    assert any(isinstance(event, Note) and event.text.startswith("2 of 3 layers") for event in events)


def test_calibration_images_are_needed(bundle: ModelBundle, serving: Context) -> None:
    bare = replace(bundle, data=DataSplits(DATA.train, DATA.calibrate.take(0), DATA.test))
    with pytest.raises(BadInput, match="no calibration images"):
        result_of(quantized_bundle(bare, serving, Plain(), WISHES))


def test_only_linear_layers_are_touched_where_that_is_wished(bundle: ModelBundle, serving: Context) -> None:
    result = result_of(quantized_bundle(bundle, serving, Plain(inputs=False), replace(WISHES, linear_only=True)))
    assert result.quantization is not None
    bits = {layer.name: (layer.bits, layer.why_float) for layer in result.quantization.layers}
    only = (FLOAT_BITS, "Only linear layers are quantized here.")
    assert bits == {"stem.0": only, "block.0": only, "head": (8, "")}


def test_a_network_broken_by_rounding_is_called_so_with_the_layers_that_did_it(
    bundle: ModelBundle, context: Context
) -> None:
    @contextmanager
    def broken(_bundle: ModelBundle) -> Iterator[ServedModule]:
        class Constant(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.eye(4)[0].expand(len(x), -1)

        yield ServedModule(Constant())

    events, _ = events_and_result(quantized_bundle(bundle, replace(context, serve=broken), Plain(), WISHES))
    (warning,) = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert "answers like the float one on" in warning
    assert all(name in warning for name in LAYERS)


def test_training_starts_on_the_quantizers_grids_and_its_outcome_is_quantized(
    bundle: ModelBundle, serving: Context
) -> None:
    given: dict[str, Grids] = {}

    def train(network: nn.Module, grids: Grids) -> Steps[nn.Module]:
        yield Progress(done=1, total=1, unit="steps")
        given["grids"] = grids
        trained = copy.deepcopy(network)
        with torch.no_grad():
            trained.get_submodule("head").weight.mul_(3)  # type: ignore[operator,union-attr]
        return trained

    quantizer = Plain()
    plain = result_of(quantized_bundle(bundle, serving, Plain(), WISHES))
    trained = result_of(quantized_bundle(bundle, serving, quantizer, replace(WISHES, train=train)))
    assert sorted(given["grids"]) == sorted(LAYERS)
    assert quantizer.observations == 2
    before, after = (result.module.get_submodule("head").weight for result in (plain, trained))
    torch.testing.assert_close(after, 3 * before, rtol=0.02, atol=0.02)  # type: ignore[operator]


def test_corrections_are_observed_anew(bundle: ModelBundle, serving: Context) -> None:
    quantizer = Plain(per_channel=False)
    result = result_of(quantized_bundle(bundle, serving, quantizer, replace(WISHES, correct_biases=True)))
    assert quantizer.observations == 2
    assert result.quantization is not None


@pytest.mark.parametrize("bits", [8, 4])
def test_a_limit_gives_layers_more_bits_until_it_holds(bundle: ModelBundle, serving: Context, bits: int) -> None:
    """In 2 or 3 bits this network loses, so that the search has something to win back."""

    class Coarse(Plain):
        def grid(self, name: str, width: int) -> Any:
            return super().grid(name, {8: 5, 4: 2}[width])

    wishes = replace(WISHES, bits=bits, max_loss_points=5)
    result = result_of(quantized_bundle(bundle, serving, Coarse(inputs=False), wishes))
    report = result.quantization
    assert report is not None
    assert report.path is not None
    path = report.path
    chosen = next(point for point in path.points if point.upgrades == path.chosen)
    assert path.float_correct is not None
    assert chosen.correct is not None
    assert 100 * (path.float_correct - chosen.correct) / chosen.images + chosen.margin_points <= 5
    assert len(path.order) == (3 if bits == 8 else 6)
    kept = {layer.name for layer in report.layers if layer.bits == FLOAT_BITS}
    assert kept == {step.layer for step in path.order[: path.chosen] if step.to_bits == FLOAT_BITS}
    reasons = {layer.why_float for layer in report.layers if layer.bits == FLOAT_BITS}
    assert reasons <= {"Kept to stay within the accuracy limit."}


def test_a_limit_that_only_float_keeps_is_an_error(bundle: ModelBundle, context: Context) -> None:
    @contextmanager
    def wrong_unless_float(candidate: ModelBundle) -> Iterator[Any]:
        with serve(candidate) as served:
            if candidate.precision != "fp32":
                served.run = lambda x: np.eye(4)[(np.arange(len(x)) + 1) % 4]  # type: ignore[method-assign]
            yield served

    wishes = replace(WISHES, max_loss_points=2)
    with pytest.raises(NothingDone, match="within 2 points"):
        result_of(quantized_bundle(bundle, replace(context, serve=wrong_unless_float), Plain(), wishes))


def test_the_given_bundle_stays_as_it_was(bundle: ModelBundle, serving: Context) -> None:
    before = copy.deepcopy(bundle.module.state_dict())
    result_of(quantized_bundle(bundle, serving, Plain(), replace(WISHES, correct_biases=True, renormalise=True)))
    assert bundle.module.training
    assert all(torch.equal(value, before[name]) for name, value in bundle.module.state_dict().items())


def test_smoothing_is_done_before_the_quantizer_looks(transformer: ModelBundle, serving: Context) -> None:
    quantizer = Plain()
    result_of(quantized_bundle(transformer, serving, quantizer, replace(WISHES, smooth=0.5)))
    smooth = quantizer.source.module.get_submodule("blocks.0.attn.qkv").weight
    assert not torch.equal(smooth, transformer.module.get_submodule("blocks.0.attn.qkv").weight)  # type: ignore[arg-type]
    assert bundle_of(quantizer.source.module).form == "torch"


def test_a_limit_finer_than_one_image_is_refused(bundle: ModelBundle, serving: Context) -> None:
    with pytest.raises(BadInput, match=r"1\.56 at least: one of 64 calibration images"):
        result_of(quantized_bundle(bundle, serving, Plain(), replace(WISHES, max_loss_points=0.5)))


def test_what_found_nothing_to_do_is_an_error(bundle: ModelBundle, transformer: ModelBundle, serving: Context) -> None:
    with pytest.raises(NothingDone, match="SmoothQuant found no LayerNorm"):
        result_of(quantized_bundle(bundle, serving, Plain(), replace(WISHES, smooth=0.5)))
    with pytest.raises(NothingDone, match="found no BatchNorm"):
        result_of(quantized_bundle(transformer, serving, Plain(), replace(WISHES, renormalise=True)))
