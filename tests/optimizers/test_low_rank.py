"""Low-rank factorisation against numpy, and on its way to every engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from core.bundle import ModelBundle, Situation
from core.data import DataSplits, Split
from core.errors import BadInput, CannotCompose, NothingDone
from core.low_rank import LowRankReport
from core.macs import count_macs
from core.progress import Note, result_of
from optimizers import TECHNIQUES
from optimizers.decomposing import decompose, pair_of, shrunk
from optimizers.factorising import factorisable, second_moments
from optimizers.low_rank import LowRank
from optimizers.technique import Context
from optimizers.training.loop import Plan, train
from runtimes import RUNTIMES
from tests.optimizers.conftest import BF16_CPU, CLASSES, DATA, bundle_of, events_and_result

Random = np.random.default_rng


class Mixed(nn.Module):
    """A strided pointwise convolution without bias, one with, a depthwise one, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.down = nn.Conv2d(16, 24, 1, stride=2, bias=False)
        self.depth = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.mix = nn.Conv2d(24, 32, 1)
        self.hidden, self.head = nn.Linear(32, 48), nn.Linear(48, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.mix(self.depth(torch.relu(self.down(self.stem(x))))))
        logits: torch.Tensor = self.head(torch.relu(self.hidden(x.mean((2, 3)))))
        return logits


@pytest.fixture
def mixed() -> ModelBundle:
    return bundle_of(Mixed().eval())


def factorised(bundle: ModelBundle, context: Context, **settings: Any) -> ModelBundle:
    return result_of(LowRank(**{"epochs": 0} | settings).apply(bundle, context))


def report_of(bundle: ModelBundle) -> LowRankReport:
    assert bundle.low_rank
    return bundle.low_rank


def weight_of(pair: nn.Module) -> np.ndarray:
    """The product of a pair, as numpy multiplies it."""
    first, second = (layer.weight.detach().flatten(1).double().numpy() for layer in (pair[0], pair[1]))  # type: ignore[index]
    return np.asarray(second @ first)


def test_ranks_energies_and_errors_are_those_of_numpys_decomposition(mixed: ModelBundle, context: Context) -> None:
    done = factorised(mixed, context, energy=0.6, activation_aware=False)
    report = report_of(done)
    assert [layer.name for layer in report.layers] == ["down", "mix", "hidden", "head"]
    assert len(report.factorised) >= 3
    for layer in report.factorised:
        weight = mixed.module.get_submodule(layer.name).weight.detach().flatten(1).double().numpy()
        singular = np.linalg.svd(weight, compute_uv=False)
        shares = np.cumsum(singular**2) / np.sum(singular**2)
        assert layer.rank == next(rank for rank, share in enumerate(shares, 1) if share >= 0.6)
        assert np.allclose(layer.spectrum.array, singular / singular[0], atol=1e-6)
        assert layer.energy == pytest.approx(shares[layer.rank - 1], abs=1e-5)
        error = np.sum((weight - weight_of(done.module.get_submodule(layer.name))) ** 2)
        assert error == pytest.approx(np.sum(singular[layer.rank :] ** 2), rel=1e-4)


def test_parameters_and_arithmetic_fall_as_reported(mixed: ModelBundle, context: Context) -> None:
    done = factorised(mixed, context, energy=0.6, activation_aware=False)
    report = report_of(done)
    for name, value in (("before", mixed.module), ("after", done.module)):
        assert getattr(report, f"macs_{name}") == count_macs(value, mixed.contract)
        assert getattr(report, f"parameters_{name}") == sum(each.numel() for each in value.parameters())
    saved = {
        what: getattr(report, f"{what}_before") - getattr(report, f"{what}_after") for what in ("macs", "parameters")
    }
    for what, total in saved.items():
        assert total > 0
        assert total == sum(
            getattr(layer, f"{what}_before") - getattr(layer, f"{what}_after") for layer in report.layers
        )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 7),
        nn.Conv2d(12, 7, 1, stride=(2, 3), padding=(1, 2)),
        nn.Conv2d(12, 7, 1, bias=False),
        nn.Conv2d(12, 7, 1, padding="same"),
    ],
    ids=["linear", "strided and padded", "no bias", "same"],
)
def test_a_pair_of_full_rank_answers_like_the_layer(layer: nn.Linear | nn.Conv2d) -> None:
    x = torch.randn(2, 12, 9, 10) if isinstance(layer, nn.Conv2d) else torch.randn(2, 5, 12)
    pair = pair_of(layer, decompose(layer.weight.detach().flatten(1)), 7)
    assert torch.allclose(pair(x), layer(x), atol=1e-5)
    moment = second_moment(np.random.default_rng(0).normal(size=(40, 12)) * np.arange(1, 13))
    pair = pair_of(layer, decompose(layer.weight.detach().flatten(1), moment), 7)
    assert torch.allclose(pair(x), layer(x), atol=1e-5)


def second_moment(vectors: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(vectors.T @ vectors / len(vectors))


def test_correlated_inputs_are_answered_better_by_a_decomposition_that_knows_them() -> None:
    random = Random(0)
    inputs = random.normal(size=(500, 4)) @ random.normal(size=(4, 20)) + 0.1 * random.normal(size=(500, 20))
    weight = random.normal(size=(15, 20))
    moment = second_moment(inputs)
    layer = nn.Linear(20, 15, bias=False)
    errors = {}
    for name, factors in (
        ("plain", decompose(torch.from_numpy(weight))),
        ("aware", decompose(torch.from_numpy(weight), moment)),
    ):
        errors[name] = np.mean(np.sum((inputs @ (weight - weight_of(pair_of(layer, factors, 4))).T) ** 2, axis=1))
    values, vectors = np.linalg.eigh(moment.numpy())
    whitened = np.linalg.svd(weight @ (vectors * np.sqrt(values)) @ vectors.T, compute_uv=False)
    assert errors["aware"] == pytest.approx(np.sum(whitened[4:] ** 2), rel=1e-4)
    assert errors["aware"] < 0.2 * errors["plain"]


def test_white_inputs_change_nothing() -> None:
    weight = torch.from_numpy(Random(0).normal(size=(9, 14)))
    plain, aware = decompose(weight), decompose(weight, 3 * torch.eye(14, dtype=torch.float64))
    layer = nn.Linear(14, 9, bias=False)
    assert np.allclose(weight_of(pair_of(layer, plain, 5)), weight_of(pair_of(layer, aware, 5)), atol=1e-6)
    assert np.allclose(plain.spectrum.array, aware.spectrum.array, atol=2e-6)


def test_moments_are_those_of_the_vectors_that_layers_multiply(mixed: ModelBundle) -> None:
    x = torch.randn(12, 1, 12, 12)
    layers = {name: mixed.module.get_submodule(name) for name in ("down", "hidden")}
    found = result_of(second_moments(mixed.module, layers, x))  # type: ignore[arg-type]
    with torch.no_grad():
        seen = mixed.module.stem(x).numpy()[:, :, ::2, ::2]  # type: ignore[operator]
    vectors = seen.transpose(0, 2, 3, 1).reshape(-1, 16).astype(np.float64)
    expected = by_the_paper(vectors.T @ vectors / len(vectors), samples=12)
    assert np.allclose(found["down"].numpy(), expected, rtol=1e-4)
    assert found["hidden"].shape == (32, 32)


def by_the_paper(moment: np.ndarray, *, samples: int) -> np.ndarray:
    """Chen et al. 2010, equation 23."""
    p, trace, square = len(moment), np.trace(moment), np.trace(moment @ moment)
    rho = ((1 - 2 / p) * square + trace**2) / ((samples + 1 - 2 / p) * (square - trace**2 / p))
    rho = min(1, rho)
    return np.asarray((1 - rho) * moment + rho * trace / p * np.eye(p))


def test_few_images_are_not_believed_blindly() -> None:
    vectors = Random(0).normal(size=(3, 30))
    moment = second_moment(vectors)
    assert np.linalg.matrix_rank(moment.numpy()) == 3
    assert np.linalg.eigvalsh(shrunk(moment, samples=3).numpy())[0] > 0.05
    many = second_moment(Random(0).normal(size=(5000, 4)) * [1, 2, 3, 4])
    assert np.allclose(shrunk(many, samples=5000).numpy(), many.numpy(), atol=0.02)


def test_what_saves_nothing_stays_as_it_was_and_says_so(mixed: ModelBundle, context: Context) -> None:
    done = factorised(mixed, context, energy=0.8, activation_aware=False, keep=("mix",), what="linear")
    reasons = {layer.name: layer.why_kept for layer in report_of(done).layers}
    assert reasons["mix"] == reasons["down"] == "Only linear layers are factorised here."
    done = factorised(mixed, context, energy=0.8, activation_aware=False, keep=("mix",))
    report = report_of(done)
    reasons = {layer.name: layer.why_kept for layer in report.layers}
    assert reasons["mix"] == "Kept by the pattern mix."
    assert reasons["hidden"] == ""
    assert isinstance(done.module.hidden, nn.Sequential)
    assert torch.equal(done.module.mix.weight, mixed.module.mix.weight)  # type: ignore[union-attr]
    high = report_of(factorised(mixed, context, energy=0.89, activation_aware=False))
    whole = next(layer for layer in high.layers if layer.why_kept)
    assert whole.rank == whole.full_rank
    assert "It takes rank" in whole.why_kept
    assert whole.macs_after == whole.macs_before


def test_where_nothing_saves_the_energy_that_would_is_named(mixed: ModelBundle, context: Context) -> None:
    with pytest.raises(NothingDone, match=r"Lower the energy to 0\.\d{3}.*or switch activation-aware on") as refusal:
        factorised(mixed, context, energy=0.999, activation_aware=False)
    named = float(str(refusal.value).partition("Lower the energy to ")[2][:5])
    assert len(report_of(factorised(mixed, context, energy=named, activation_aware=False)).factorised) == 1
    with pytest.raises(NothingDone, match="no linear layer"):
        factorised(mixed, context, keep=("Linear", "Conv2d"))


def test_ranks_become_multiples_and_keep_more(mixed: ModelBundle, context: Context) -> None:
    plain, rounded = (
        report_of(factorised(mixed, context, energy=0.5, activation_aware=False, round_to=multiple))
        for multiple in (1, 4)
    )
    for before, after in zip(plain.factorised, rounded.factorised, strict=False):
        assert after.rank == -(-before.rank // 4) * 4
        assert after.energy >= before.energy


class Reading(nn.Module):
    """Attention and an encoder layer of PyTorch's own, which read weights, and a subclass that does more."""

    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(1, 16, 4, stride=4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.doubled, self.plain = self.Doubled(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = self.encoder(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        logits: torch.Tensor = self.head(self.plain(self.doubled(tokens)).mean(1))
        return logits


def test_layers_whose_weights_are_read_stay_whole(context: Context) -> None:
    bundle = bundle_of(Reading().eval(), "transformer")
    events, done = events_and_result(LowRank(energy=0.5, epochs=0, activation_aware=False).apply(bundle, context))
    reasons = {layer.name: layer.why_kept for layer in report_of(done).layers}
    assert reasons["attention.out_proj"] == "MultiheadAttention reads its weights without calling it."
    assert reasons["encoder.linear1"] == "TransformerEncoderLayer reads its weights without calling it."
    assert reasons["doubled"] == "It computes more than a product with its weights."
    assert reasons["plain"] == ""
    assert any("attention.in_proj_weight" in event.text for event in events if isinstance(event, Note))
    with torch.inference_mode():
        assert done.module(torch.randn(2, 1, 12, 12)).shape == (2, CLASSES)


def test_without_calibration_images_only_the_weights_can_be_looked_at(mixed: ModelBundle, context: Context) -> None:
    empty = Split(DATA.calibrate.pixels[:0], DATA.calibrate.labels[:0])
    bundle = replace(mixed, data=DataSplits(DATA.train, empty, DATA.test))
    with pytest.raises(BadInput, match="switch activation-aware off"):
        factorised(bundle, context)
    assert report_of(factorised(bundle, context, energy=0.5, activation_aware=False)).images == 0


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_engines_answer_like_the_factorised_module(
    runtime: str, transformer: ModelBundle, context: Context, tmp_path: Path
) -> None:
    done = factorised(transformer, context, energy=0.9)
    assert isinstance(done.module.blocks[0].mlp.fc1, nn.Sequential)  # type: ignore[index,union-attr]
    x = done.contract.prepare(done.data.test.pixels[:8])
    engine = RUNTIMES[runtime]
    artifact = engine.export(done, tmp_path)
    with engine.open(artifact, context.device, threads=1) as session, torch.inference_mode():
        assert np.allclose(session.run(x), done.module(torch.from_numpy(x)).numpy(), atol=1e-4)


def test_int8_quantizes_the_thinner_layers_by_their_names(transformer: ModelBundle, context: Context) -> None:
    done = factorised(transformer, context, energy=0.9)
    quantized = result_of(
        TECHNIQUES["int8"](calibration_images=16).apply(done, replace(context, runtime="onnxruntime"))
    )
    assert quantized.quantization
    assert "blocks.0.mlp.fc1.1" in {layer.name for layer in quantized.quantization.quantized}
    assert quantized.low_rank == done.low_rank


def test_training_recovers_what_factorising_cost(mixed: ModelBundle, context: Context) -> None:
    taught = result_of(train(mixed.module, mixed, context, Plan(20, 0.02)))
    bundle = bundle_of(taught)
    alone, trained = (factorised(bundle, context, energy=0.8, epochs=epochs, learning_rate=0.005) for epochs in (0, 4))
    x, targets = bundle.contract.prepare(bundle.data.test.pixels), torch.from_numpy(bundle.data.test.targets)
    with torch.inference_mode():
        original, before, after = (
            float(cross_entropy(each.module(torch.from_numpy(x)), targets)) for each in (bundle, alone, trained)
        )
    assert original < after < 0.6 * before
    assert report_of(trained) == report_of(alone)


def test_zeros_come_after_and_slow_arithmetic_is_refused(situation: Situation) -> None:
    with pytest.raises(CannotCompose, match="factorised first"):
        LowRank().check(replace(situation, applied=("magnitude_pruning",)))
    with pytest.raises(CannotCompose, match="fp16 on a CPU"):
        LowRank(train_in="fp16").check(replace(situation, device=BF16_CPU))
    assert LowRank().check(replace(situation, applied=("structured_pruning",))).applied[-1] == "low_rank"


class Asking(nn.Module):
    """Wants to know where one of its layers lies."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LazyLinear(64), nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.second(self.first(x.flatten(1).to(self.first.weight.device)))
        return logits


def test_a_layer_that_the_network_looks_at_stays_whole(context: Context) -> None:
    network = Asking().eval()
    network(torch.from_numpy(bundle_of(network).contract.example(1)))  # now its width is known
    bundle = bundle_of(network)
    done = factorised(bundle, context, energy=0.5)
    whole = {layer.name: layer.why_kept for layer in report_of(done).layers if layer.why_kept}
    assert list(whole) == ["first"]
    assert "looks at the layer itself" in whole["first"]
    assert list(factorisable(bundle)) == ["second"]
    assert isinstance(network.second, nn.Linear)
    assert done.module(torch.from_numpy(bundle.contract.example(2))).shape == (2, CLASSES)
