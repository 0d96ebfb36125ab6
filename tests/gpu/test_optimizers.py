from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle
from core.data import DataSplits
from core.devices import find_device
from core.progress import Metric, result_of
from core.quantization import TrainingPrecision
from optimizers import TECHNIQUES, Context
from optimizers.overflow import find_overflows, repaired
from optimizers.training.arithmetic import arithmetic
from optimizers.training.loop import Plan, evaluate, train, train_together
from runtimes import RUNTIMES
from tests.optimizers.conftest import DATA, TinyNet, build_network, bundle_of, elsewhere, events_and_result, images
from tests.optimizers.overflowing import Overflowing

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
PLAN = Plan(12, 0.02, batch_size=32)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(find_device("cuda:0"), 1, 0, tmp_path, build_network)


@pytest.fixture
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(TinyNet(), data=DataSplits(images(512, seed=3), DATA.calibrate, DATA.test))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_training_learns_and_gives_float32_weights_on_the_cpu(
    bundle: ModelBundle, context: Context, precision: TrainingPrecision
) -> None:
    plan = Plan(PLAN.epochs, PLAN.learning_rate, batch_size=PLAN.batch_size, precision=precision)
    events, trained = events_and_result(train(bundle.module, bundle, context, plan))
    assert {(parameter.dtype, parameter.device.type) for parameter in trained.parameters()} == {(torch.float32, "cpu")}
    assert evaluate(trained, bundle) > 0.9
    scales = [event.value for event in events if isinstance(event, Metric) and event.name == "loss_scale"]
    assert bool(scales) is (precision == "fp16")
    assert all(scale >= 1 for scale in scales)


def test_the_same_seed_gives_the_same_weights(bundle: ModelBundle, context: Context) -> None:
    first, again = (result_of(train(bundle.module, bundle, elsewhere(context), PLAN)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("key", ["distillation", "structured_pruning", "magnitude_pruning", "mixed_precision"])
def test_a_technique_leaves_its_network_on_the_cpu(bundle: ModelBundle, context: Context, key: str) -> None:
    settings = {"mixed_precision": {"precision": "fp16", "fine_tune_epochs": 1}}.get(key, {"epochs": 1})
    result = result_of(TECHNIQUES[key](**settings).apply(bundle, context))  # type: ignore[arg-type]
    assert {parameter.device.type for parameter in result.module.parameters()} == {"cpu"}
    assert {parameter.device.type for parameter in bundle.module.parameters()} == {"cpu"}


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_two_that_take_turns_become_what_each_becomes_alone(
    bundle: ModelBundle, context: Context, precision: TrainingPrecision
) -> None:
    plans = (replace(PLAN, precision=precision), PLAN)
    done = result_of(train_together(bundle.module, bundle, context, plans))
    for trained, plan in zip(done.each, plans, strict=True):
        alone = result_of(train(bundle.module, bundle, elsewhere(context), plan)).state_dict()
        assert all(torch.equal(alone[name], tensor) for name, tensor in trained.network.state_dict().items())
        assert len(trained.run.step_ms) == sum(done.turns)
        assert (trained.run.step_ms.array > 0).all()
        assert trained.run.memory_bytes > 4 * 4 * sum(weight.numel() for weight in bundle.module.parameters())
    assert not np.array_equal(done.each[0].run.losses.array, done.each[1].run.losses.array)


def test_tf32_rounds_the_inputs_of_products_inside_only() -> None:
    a, b = (torch.randn(256, 256, device="cuda:0", generator=torch.Generator("cuda:0").manual_seed(n)) for n in (0, 1))
    exact = a.double() @ b.double()
    with arithmetic(torch.device("cuda:0"), "fp32"):
        plain = (a @ b - exact).abs().max()
    with arithmetic(torch.device("cuda:0"), "tf32"):
        rounded = (a @ b - exact).abs().max()
    assert rounded > 20 * plain
    assert (a @ b - exact).abs().max() == plain


def test_overflow_is_found_and_mended_on_the_gpu() -> None:
    torch.manual_seed(0)
    network, x = Overflowing().eval().cuda(), torch.randn(16, 1, 12, 12).cuda()
    mended, found = repaired(network, x, torch.float16)
    assert [(each.module, each.operation) for each in found] == [("norm", "pow"), ("soft", "exp")]
    assert find_overflows(mended, x, torch.float16) == ()


def test_a_module_kept_in_float32_stays_so_in_the_exported_program(context: Context, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(Overflowing().eval())
    mended = result_of(TECHNIQUES["mixed_precision"](precision="fp16").apply(bundle, context))  # type: ignore[call-arg]
    runtime, x = RUNTIMES["pytorch"], bundle.contract.prepare(bundle.data.test.pixels)
    with runtime.open(runtime.export(mended, tmp_path), context.device, threads=1) as session:
        logits = session.run(x)
    with torch.inference_mode():
        exact = bundle.module(torch.from_numpy(x)).numpy()
    assert np.allclose(logits, exact, atol=0.02)
