from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from core.progress import Progress, result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.nncf_static import NncfStatic, why_refused
from optimizers.quantization.quantizer import Observed, Quantized, StaticGrid, TensorGrid
from optimizers.quantization.twin import outputs_of, twin
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, events_and_result
from tests.optimizers.quantization.openvino_models import logits_of, model_of, stored_weights
from tests.optimizers.quantization.sources import TEST_X, X, float_logits, source_of


class Plain(nn.Module):
    """A convolution, a depthwise one whose channels differ widely, a pool and a linear layer; no sums."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(1, 8, 3)
        self.b = nn.Conv2d(8, 8, 3, groups=8)
        self.c = nn.Linear(8, CLASSES)
        with torch.no_grad():
            self.b.weight *= torch.logspace(-1, 1, 8).view(-1, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(nn.functional.max_pool2d(self.b(torch.tanh(self.a(x))), 8).flatten(1))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    network = TinyNet()
    for _ in range(5):
        network(torch.randn(16, 1, 12, 12) * 2 + 1)
    merged, _ = folded(network, torch.from_numpy(X[:2]))
    return merged


def observed(network: nn.Module, folder: Path, family: str = "cnn", **grid: object) -> Observed:
    """Remembered by the kind of network, all of which are seeded: exporting takes most of the time."""
    return _observed(type(network), folder.parent, family, StaticGrid(**grid))  # type: ignore[arg-type]


@cache
def _observed(kind: type[nn.Module], folder: Path, family: str, grid: StaticGrid) -> Observed:
    return result_of(NncfStatic(grid).observe(source_of(made(kind), folder, family)))


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return tiny() if kind is TinyNet else kind()


def quantized(network: nn.Module, folder: Path, family: str = "cnn", **grid: object) -> Quantized:
    layers = source_of(network, folder).layers
    return observed(network, folder, family, **grid).quantize(dict.fromkeys(layers, 8))


def entering_plain() -> dict[str, NDArray[np.float32]]:
    """What comes into each layer; into the last one, before the pool, where NNCF looks."""
    inputs, outputs = outputs_of(Plain(), ("a", "b", "c"), torch.from_numpy(X))
    return {"a": X, "b": inputs["b"].numpy(), "c": outputs["b"].numpy()}


def weight_of(network: nn.Module, name: str) -> NDArray[np.float32]:
    return network.get_submodule(name).weight.detach().numpy()  # type: ignore[operator,union-attr]


def whole_steps(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of 256 values from low to high, the range stretched until zero is one of them."""
    zero_point = round(-low * 255 / (high - low))
    below = -low / zero_point if zero_point else 0.0
    return max(below, high / (255 - zero_point)), zero_point


def test_activations_lie_between_the_smallest_and_the_largest_value_seen(tmp_path: Path) -> None:
    grids = quantized(Plain(), tmp_path).grids
    for name, values in entering_plain().items():
        grid = grids[name].input
        assert grid
        scale, zero_point = whole_steps(min(0.0, float(values.min())), float(values.max()))
        assert (grid.bits, grid.low, grid.high) in {(8, 0, 255), (8, -128, 127)}
        assert float(grid.scale) == pytest.approx(scale, rel=1e-4), name
        assert int(grid.zero_point) - grid.low == zero_point, name


def test_percentile_takes_the_mean_of_the_quantiles_of_16_images_each(tmp_path: Path) -> None:
    grids = quantized(Plain(), tmp_path, method="percentile").grids
    values = entering_plain()["c"]
    low, high = (float(np.quantile(values.reshape(4, -1), q, axis=1).mean()) for q in (0.0001, 0.9999))
    assert grids["c"].input
    assert float(grids["c"].input.scale) == pytest.approx(whole_steps(low, high)[0], rel=1e-3)


def test_mse_clips_where_that_makes_the_error_smaller(tmp_path: Path) -> None:
    network = Plain()
    x = np.random.default_rng(0).standard_t(3, X.shape).astype(np.float32)

    def error(method: str) -> float:
        observed = result_of(NncfStatic(StaticGrid(method)).observe(source_of(network, tmp_path, x=x)))  # type: ignore[arg-type]
        grid = observed.quantize({"a": 8}).grids["a"].input
        assert grid
        return float(np.square(rounded_by_hand(x, grid) - x).mean())

    assert error("mse") < error("minmax")


def rounded_by_hand(x: NDArray[np.float32], grid: TensorGrid) -> NDArray[np.float32]:
    return (np.clip(np.round(x / grid.scale) + grid.zero_point, grid.low, grid.high) - grid.zero_point) * grid.scale


@pytest.mark.parametrize(("per_channel", "seven"), [(True, False), (False, False), (True, True)])
def test_weights_are_the_nearest_integers_on_a_grid_up_to_the_largest(
    tmp_path: Path, per_channel: bool, seven: bool
) -> None:
    done = quantized(Plain(), tmp_path, per_channel=per_channel, seven_bit_weights=seven)
    stored = stored_weights(done)
    assert set(done.grids) == set(stored) == {"a", "b", "c"}
    for name, (kind, integers) in stored.items():
        weight, grid = weight_of(Plain(), name), done.grids[name].weight
        axes = tuple(range(1, weight.ndim)) if per_channel else None
        # Half of the range, so that two products fit in 16 bits; the few of a depthwise channel do anyway.
        halved = seven and name != "b"
        scale = np.abs(weight).max(axes) / (63.5 if halved else 127)
        assert kind == "i8"
        assert (grid.low, grid.high) == ((-64, 64) if halved else (-127, 127))
        np.testing.assert_allclose(grid.scale, scale, rtol=1e-5)
        assert not grid.zero_point.any()
        exact = weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))
        expected = np.clip(np.round(exact), grid.low, grid.high)
        near_half = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 1e-3
        np.testing.assert_array_equal(integers.reshape(weight.shape)[~near_half], expected[~near_half])


def test_symmetric_activations_have_zero_point_0(tmp_path: Path) -> None:
    grid = quantized(Plain(), tmp_path, symmetric=True).grids["a"].input
    assert grid
    assert (grid.low, grid.high, int(grid.zero_point)) == (-128, 127, 0)
    assert float(grid.scale) == pytest.approx(float(np.abs(X).max()) / 127, rel=1e-4)


def test_the_engine_computes_what_the_grids_say(tmp_path: Path) -> None:
    done = quantized(Plain(), tmp_path)
    said = float_logits(twin(Plain(), done.grids))
    plain = float_logits(Plain())
    answer = logits_of(done)
    assert np.abs(answer - said).mean() < 0.2 * np.abs(answer - plain).mean()


@pytest.mark.parametrize("family", ["cnn", "transformer"])
def test_all_layers_are_quantized_and_the_answers_stay_close(tmp_path: Path, family: str) -> None:
    network = made(TinyNet if family == "cnn" else TinyTransformer)
    done = quantized(network, tmp_path, family)
    assert set(done.grids) == set(source_of(network, tmp_path).layers)
    assert done.precision == "int8"
    expected, answer = float_logits(network), logits_of(done)
    assert 0 < np.abs(answer - expected).max() < 0.1 * np.abs(expected).max()


def test_layernorm_and_softmax_of_a_transformer_take_floats(tmp_path: Path) -> None:
    done = quantized(made(TinyTransformer), tmp_path, "transformer")
    operations = [each for each in model_of(done).get_ordered_ops() if each.get_type_name() in ("MVN", "Softmax")]
    assert len(operations) == 2 * 2 + 1 + 2
    makers = {each.input_value(0).get_node().get_type_name() for each in operations}
    assert "FakeQuantize" not in makers


def test_kept_layers_and_what_lies_between_them_are_float(tmp_path: Path) -> None:
    network = tiny()
    layers = source_of(network, tmp_path).layers
    seen = observed(network, tmp_path)
    done = seen.quantize({layers[0]: 8})
    assert set(done.grids) == {layers[0]}
    assert {name: kind for name, (kind, _) in stored_weights(done).items()} == {
        layers[0]: "i8",
        layers[1]: "f32",
        layers[2]: "f32",
    }
    nothing = seen.quantize({})
    assert not nothing.grids
    assert not [each for each in model_of(nothing).get_ordered_ops() if each.get_type_name() == "FakeQuantize"]
    np.testing.assert_allclose(logits_of(nothing), float_logits(network), atol=1e-5)


def test_products_of_attention_are_float_when_all_layers_of_their_module_are(tmp_path: Path) -> None:
    network = made(TinyTransformer)
    layers = source_of(network, tmp_path).layers
    done = observed(network, tmp_path, "transformer").quantize(
        {name: 8 for name in layers if not name.startswith("blocks.0.attn.")}
    )
    by_name = {each.get_friendly_name(): each for each in model_of(done).get_ordered_ops()}
    before = {name: by_name[name].input_value(0).get_node().get_type_name() for name in by_name if name.endswith("n/0")}
    assert before == {"blocks.0.attn/0": "Multiply", "blocks.1.attn/0": "FakeQuantize"}


def test_quantizing_again_gives_the_same_whatever_came_between(tmp_path: Path) -> None:
    network = tiny()
    layers = source_of(network, tmp_path).layers
    seen = observed(network, tmp_path)
    first = seen.quantize(dict.fromkeys(layers, 8))
    seen.quantize({layers[2]: 8})
    second = seen.quantize(dict.fromkeys(layers, 8))
    assert first.network.weights == second.network.weights  # type: ignore[union-attr]
    np.testing.assert_array_equal(logits_of(first), logits_of(second))
    anew = result_of(NncfStatic(StaticGrid()).observe(source_of(network, tmp_path)))
    again = anew.quantize(dict.fromkeys(layers, 8))
    assert again.network.weights == first.network.weights  # type: ignore[union-attr]


def test_what_was_seen_in_parts_is_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quantized(tiny(), tmp_path)
    monkeypatch.setattr("optimizers.quantization.nncf_static._PART", 16)
    events, seen = events_and_result(NncfStatic(StaticGrid()).observe(source_of(tiny(), tmp_path)))
    assert [event.done for event in events if isinstance(event, Progress)] == [0, 16, 32, 48, 64]
    parts = seen.quantize(dict.fromkeys(whole.grids, 8))
    for name, grid in whole.grids.items():
        np.testing.assert_array_equal(grid.input.scale, parts.grids[name].input.scale)  # type: ignore[union-attr]


def test_nothing_is_printed_and_the_network_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = tiny()
    capfd.readouterr()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen = result_of(NncfStatic(StaticGrid()).observe(source_of(network, tmp_path)))
    seen.quantize({"head": 8})
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_batch_of_any_size_passes(tmp_path: Path) -> None:
    done = quantized(tiny(), tmp_path)
    np.testing.assert_allclose(logits_of(done, TEST_X[:1]), logits_of(done)[:1], atol=1e-5)


def test_entropy_is_refused_with_the_reason() -> None:
    assert why_refused(StaticGrid("minmax")) is None
    assert "no entropy" in str(why_refused(StaticGrid("entropy")))
