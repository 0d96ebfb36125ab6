from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from core.bundle import ModelBundle
from core.errors import BadInput, RunFailed
from core.progress import Event, Metric, Note, Progress, result_of
from core.quantization import TrainingPrecision
from optimizers.quantization.fake_quant import fake_quantized, stripped
from optimizers.state import torch_state
from optimizers.teaching.guidance import LabelsAlone
from optimizers.technique import Context
from optimizers.training.arithmetic import arithmetic
from optimizers.training.images import Batch, TrainingImages
from optimizers.training.loop import Plan, TrainedTogether, evaluate, train, train_together
from optimizers.training.settings import OptimizerName
from optimizers.training.trainer import Trainer
from tests.optimizers.conftest import CLASSES, DATA, TinyNet, bundle_of, elsewhere, events_and_result
from tests.optimizers.quantization.test_fake_quant import grids_of

PLAN = Plan(epochs=3, learning_rate=0.02, batch_size=16)


def run(bundle: ModelBundle, context: Context, plan: Plan) -> tuple[list[Event], torch.nn.Module]:
    """Every event and the trained network."""
    return events_and_result(train(bundle.module, bundle, context, plan))


def test_training_learns(bundle: ModelBundle, context: Context) -> None:
    events, trained = run(bundle, context, Plan(6, 0.02, batch_size=16))
    assert evaluate(trained, bundle) > max(0.9, evaluate(bundle.module, bundle) + 0.3)
    losses = [event.value for event in events if isinstance(event, Metric) and event.name == "loss"]
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(bundle: ModelBundle, context: Context) -> None:
    first, again = (run(bundle, elsewhere(context), PLAN)[1].state_dict() for _ in range(2))
    other_context = Context(context.device, 1, 1, context.folder, context.build_network)
    other = run(bundle, other_context, PLAN)[1].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_schedule_is_the_one_cycle_of_the_plan(bundle: ModelBundle, context: Context) -> None:
    events, _ = run(bundle, context, PLAN)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.done, last.total) == (24, 24)
    accuracy = [event for event in events if isinstance(event, Metric) and event.name == "accuracy"]
    assert [(point.step, point.series) for point in accuracy] == [
        (8, "validation"),
        (16, "validation"),
        (24, "validation"),
    ]


def test_the_first_metric_is_the_loss_of_the_first_step(bundle: ModelBundle, context: Context) -> None:
    steps = train(bundle.module, bundle, context, PLAN)
    progress, loss = next(steps), next(steps)
    steps.close()
    assert isinstance(progress, Progress)
    assert progress.done == 1
    assert isinstance(loss, Metric)
    assert (loss.name, loss.step, loss.series) == ("loss", 1, "train")
    assert math.log(4) / 2 < loss.value < 5


def test_accuracy_is_the_share_of_right_answers(bundle: ModelBundle) -> None:
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.calibrate.pixels))
    accuracy = evaluate(bundle.module, bundle)
    assert bundle.module.training
    right = bundle.module.eval()(x).argmax(1).numpy() == bundle.data.calibrate.labels[:, 0]
    assert accuracy == right.mean()


def test_a_loss_that_is_not_finite_ends_the_run(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(RunFailed, match="Lower the learning rate"):
        run(bundle, context, Plan(3, 1e30, batch_size=16))


def test_global_state_is_restored_when_training_is_abandoned(bundle: ModelBundle, context: Context) -> None:
    torch.manual_seed(7)
    before = (torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.get_rng_state())
    steps = train(bundle.module, bundle, context, PLAN)
    next(steps)
    steps.close()
    assert before[:2] == (torch.get_num_threads(), torch.backends.cudnn.deterministic)
    assert torch.equal(before[2], torch.get_rng_state())


def test_a_split_smaller_than_a_batch_is_one_batch(bundle: ModelBundle, context: Context) -> None:
    events, _ = run(bundle, context, Plan(2, 0.01, batch_size=1000))
    assert [event.total for event in events if isinstance(event, Progress)][-1] == 2


def test_bf16_training_runs_the_convolutions_in_bf16(bundle: ModelBundle, context: Context) -> None:
    seen = set()
    hook = lambda module, inputs, output: seen.add(output.dtype)  # noqa: E731
    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        _, trained = run(bundle, context, Plan(1, 0.01, batch_size=64, precision="bf16"))
    finally:
        handle.remove()
    assert torch.bfloat16 in seen
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("keep_zeros", [True, False])
def test_zeros_stay_where_that_is_asked_for_and_only_there(
    bundle: ModelBundle, context: Context, keep_zeros: bool, precision: TrainingPrecision
) -> None:
    with torch.no_grad():
        bundle.module.block[0].weight[:, ::2] = 0
    _, trained = run(bundle, context, Plan(4, 0.01, batch_size=32, precision=precision, keep_zeros=keep_zeros))
    after = trained.block[0].weight
    assert bool((after[:, ::2] == 0).all()) is keep_zeros
    assert (after[:, 1::2] != bundle.module.block[0].weight[:, 1::2]).float().mean() > 0.99
    assert (trained.block[1].bias != 0).all()


def test_zeros_are_held_in_every_step_of_the_way(bundle: ModelBundle, context: Context) -> None:
    """A weight that is put back only at the end would have taken part until then."""
    with torch.no_grad():
        bundle.module.stem[0].weight[0] = 0
    seen = []
    hook = lambda module, inputs: seen.append(module.weight[0].abs().max().item())  # noqa: E731
    bundle.module.stem[0].register_forward_pre_hook(hook)
    run(bundle, context, Plan(2, 0.01, batch_size=32, keep_zeros=True))
    assert len(seen) > 8
    assert max(seen) == 0


class Anchored(TinyNet):
    """Adds something that starts at zero, as class tokens and embeddings of positions do."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 12, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.token)


def test_what_starts_at_zero_and_was_not_pruned_learns(context: Context) -> None:
    torch.manual_seed(0)
    network = Anchored()
    with torch.no_grad():
        network.head.weight[:, ::2] = 0
    _, trained = run(bundle_of(network), context, Plan(1, 0.01, batch_size=32, keep_zeros=True))
    assert (trained.token != 0).all()
    assert (trained.head.weight[:, ::2] == 0).all()


def test_zeros_are_held_behind_rounded_weights(bundle: ModelBundle, context: Context) -> None:
    with torch.no_grad():
        bundle.module.block[0].weight[:, ::2] = 0
    rounding = fake_quantized(bundle.module, grids_of(bundle.module.eval(), per_channel=True))
    steps = train(rounding, bundle, context, Plan(2, 0.01, batch_size=32, keep_zeros=True))
    weight = stripped(result_of(steps)).get_parameter("block.0.weight")
    assert (weight[:, ::2] == 0).all()
    assert (weight[:, 1::2] != bundle.module.block[0].weight[:, 1::2]).any()


def with_labels(labels: np.ndarray[Any, Any]) -> ModelBundle:
    """The same training images in the same order, with these labels[N, 1]."""
    torch.manual_seed(0)
    return bundle_of(TinyNet(), data=replace(DATA, train=replace(DATA.train, labels=labels)))


def test_images_without_a_label_count_for_nothing(context: Context) -> None:
    labels = np.where(np.arange(len(DATA.train))[:, None] % 2, DATA.train.labels, -1)
    bundle = with_labels(labels)
    plan = Plan(1, 1e-6, batch_size=128, augmentation="none")
    events, _ = run(bundle, context, plan)
    (loss,) = (event.value for event in events if isinstance(event, Metric) and event.name == "loss")
    with torch.no_grad():
        logits = bundle.module.train()(torch.from_numpy(bundle.contract.prepare(DATA.train.pixels))).double()
    known = labels[:, 0] >= 0
    shares = logits.log_softmax(1).numpy()[known, labels[known, 0]]
    assert loss == pytest.approx(-shares.mean(), rel=1e-4)


def test_no_label_at_all_and_no_teacher_is_an_error(context: Context) -> None:
    bundle = with_labels(np.full_like(DATA.train.labels, -1))
    with pytest.raises(BadInput, match="none of them with a label"):
        run(bundle, context, PLAN)


class JustBelow(LabelsAlone):
    """A loss that is 0 but for rounding."""

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return logits.sum() * 0 - 1e-3


def test_a_loss_just_below_zero_is_kept_as_zero(bundle: ModelBundle, context: Context) -> None:
    with torch_state(context):
        images = TrainingImages(DATA.train, bundle.contract, torch.device("cpu"))
        trainer = Trainer(bundle.module, images, Plan(1, 0.01), guidance=JustBelow())
        list(trainer.turn(2, among=[trainer]))
    assert trainer.losses == pytest.approx([-1e-3] * 2)
    trainer.settle()
    trainer.right = np.zeros(1, bool)
    assert trainer.finished().run.losses.array.tolist() == [0, 0]


def together(bundle: ModelBundle, context: Context, *plans: Plan) -> tuple[list[Event], TrainedTogether]:
    return events_and_result(train_together(bundle.module, bundle, context, plans))


class Restless(TinyNet):
    """Draws random numbers while it trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(x, 0.2, self.training))


def test_two_that_take_turns_become_what_each_becomes_alone(context: Context) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(Restless())
    reduced = replace(PLAN, precision="bf16")
    _, done = together(bundle, context, reduced, PLAN)
    for trained, plan in zip(done.each, (reduced, PLAN), strict=True):
        alone = run(bundle, elsewhere(context), plan)[1].state_dict()
        assert all(torch.equal(alone[name], tensor) for name, tensor in trained.network.state_dict().items())
    assert [len(trained.run.losses) for trained in done.each] == [24, 24]
    first, second = (trained.run.losses.array for trained in done.each)
    assert first[0] == pytest.approx(second[0], rel=0.02)


def test_turns_end_with_the_epoch_and_leave_out_no_step(bundle: ModelBundle, context: Context) -> None:
    events, done = together(bundle, context, Plan(3, 0.01, batch_size=5), Plan(3, 0.01, batch_size=5))
    assert sum(done.turns) == len(done.each[0].run.step_ms) == 3 * 25
    ends = np.cumsum(done.turns)
    assert {25, 50, 75} <= set(ends.tolist())
    assert 30 <= len(done.turns) <= 60
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.done, last.total) == (150, 150)


def test_memory_is_what_stays_and_what_the_backward_pass_needs(context: Context) -> None:
    """Counted by hand: linear layers keep their inputs, ReLU its output, the loss the log-probabilities."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    bundle, batch = bundle_of(network), 16
    _, done = together(bundle, context, Plan(1, 0.01, batch_size=batch), Plan(1, 0.01, batch_size=batch))
    weights = 144 * 32 + 32 + 32 * CLASSES + CLASSES
    resident = 4 * (4 * weights + 4)  # weights, gradients and AdamW's two moments, and its step count for 4 tensors
    kept = 4 * batch * (144 + 32 + CLASSES)  # ReLU's output is the next layer's input
    known = resident + kept + 8 * batch  # the targets are int64
    assert done.each[0].run.memory_bytes == pytest.approx(known, abs=16)


def test_bf16_keeps_less_for_the_backward_pass(bundle: ModelBundle, context: Context) -> None:
    _, done = together(bundle, context, replace(PLAN, precision="bf16"), PLAN)
    reduced, full = (trained.run.memory_bytes for trained in done.each)
    assert 0.4 * full < reduced < 0.95 * full


def test_a_network_with_parametrized_weights_is_trained(bundle: ModelBundle, context: Context) -> None:
    class Halves(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight / 2

    network = bundle.module
    parametrize.register_parametrization(network.head, "weight", Halves())
    trained = run(bundle, context, PLAN)[1]
    original = trained.head.parametrizations.weight.original
    assert parametrize.is_parametrized(trained.head, "weight")
    assert torch.equal(trained.head.weight, original / 2)
    assert not torch.equal(original, network.head.parametrizations.weight.original)


def test_before_each_epoch_the_trainee_is_shown_with_the_share_done(bundle: ModelBundle, context: Context) -> None:
    shown: list[tuple[nn.Module, float, torch.Tensor]] = []

    def note(trainee: nn.Module, share: float) -> None:
        shown.append((trainee, share, trainee.head.weight.detach().clone()))

    plan = replace(PLAN, epochs=4)
    trained = result_of(train(bundle.module, bundle, context, plan, on_epoch=note))
    assert [share for _, share, _ in shown] == [0, 0.25, 0.5, 0.75]
    assert all(trainee is trained for trainee, _, _ in shown)
    assert torch.equal(shown[0][2], bundle.module.head.weight)
    assert not torch.equal(shown[1][2], shown[2][2])


def test_fp16_that_never_gets_through_is_an_error(bundle: ModelBundle, context: Context) -> None:
    """A scale of 65,536 overflows gradients this large in each of two steps."""
    with torch.no_grad():
        bundle.module.head.weight.mul_(2000)
    with pytest.raises(RunFailed, match="every one of 2 steps"):
        run(bundle, context, Plan(1, 1e-5, batch_size=64, precision="fp16"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_accumulated_batches_are_one_large_batch(context: Context, optimizer: OptimizerName) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Tanh(), nn.Linear(16, CLASSES)))
    plan = Plan(3, 0.02, batch_size=48, optimizer=optimizer)
    large = run(bundle, context, plan)[1].state_dict()
    small = run(bundle, context, replace(plan, batch_size=12, accumulate=4))[1].state_dict()
    single = run(bundle, context, replace(plan, batch_size=12))[1].state_dict()
    for name in large:
        torch.testing.assert_close(small[name], large[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(single["1.weight"], large["1.weight"], atol=1e-3)


def judged(events: list[Event]) -> list[float]:
    """The accuracy after each epoch."""
    return [event.value for event in events if isinstance(event, Metric) and event.name == "accuracy"]


UNSTEADY = Plan(8, 0.3, batch_size=16, optimizer="sgd", schedule="constant", warm_up=0)


@pytest.mark.parametrize("settled_after", [0, 0.8])
def test_the_best_epoch_is_kept_and_ties_keep_the_earlier(
    bundle: ModelBundle, context: Context, settled_after: float
) -> None:
    events, last = run(bundle, context, UNSTEADY)
    accuracies = judged(events)
    first = math.ceil(settled_after * 8)  # epochs 7 and 8 end after 0.8 of the training
    best = max(range(max(0, first - 1), 8), key=lambda epoch: accuracies[epoch])
    assert best < 7, "otherwise it is the last one that is kept"
    plan = replace(UNSTEADY, keep="best", settled_after=settled_after)
    shown: list[dict[str, torch.Tensor]] = []
    note = lambda trainee, share: shown.append({name: each.clone() for name, each in trainee.state_dict().items()})  # noqa: E731
    again, kept = events_and_result(train(bundle.module, bundle, context, plan, on_epoch=note))
    assert judged(again) == accuracies
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, shown[best + 1][name])  # what epoch `best + 2` began with
    assert evaluate(kept, bundle) == accuracies[best] > evaluate(last, bundle)
    assert any(f"The weights of epoch {best + 1} were kept" in each.text for each in again if isinstance(each, Note))


def test_it_ends_once_so_many_epochs_brought_nothing(bundle: ModelBundle, context: Context) -> None:
    accuracies = judged(run(bundle, context, UNSTEADY)[0])
    events, _ = run(bundle, context, replace(UNSTEADY, patience=2))
    best = np.maximum.accumulate(accuracies)
    ends = next(epoch for epoch in range(2, 8) if best[epoch] == best[epoch - 2])
    assert ends < 7, "otherwise nothing ended early"
    assert judged(events) == accuracies[: ends + 1]
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total == 8 * (ends + 1)
    assert [f"ended after epoch {ends + 1} of 8" in event.text for event in events if isinstance(event, Note)] == [True]


def test_those_trained_together_end_together(bundle: ModelBundle, context: Context) -> None:
    plan = replace(UNSTEADY, patience=2)
    _, done = together(bundle, context, replace(plan, precision="bf16"), plan)
    steps = [len(trained.run.losses) for trained in done.each]
    assert steps[0] == steps[1] == sum(done.turns) < 8 * 8


def test_without_labels_no_epoch_is_the_best_and_it_says_so(bundle: ModelBundle, context: Context) -> None:
    unlabelled = replace(DATA.calibrate, labels=np.full_like(DATA.calibrate.labels, -1))
    blind = replace(bundle, data=replace(DATA, calibrate=unlabelled))
    events, network = run(blind, context, replace(PLAN, keep="best", patience=1))
    assert [event.warning for event in events if isinstance(event, Note)] == [True]
    last = run(bundle, context, PLAN)[1].state_dict()
    assert all(torch.equal(last[name], tensor) for name, tensor in network.state_dict().items())


class Watch:
    """Masks that hold nothing and note what they see."""

    def __init__(self) -> None:
        self.gradients: list[float] = []
        self.shares: list[float] = []

    def attach(self, network: nn.Module) -> None:
        self.weight = network.get_parameter("head.weight")

    def after_backward(self) -> None:
        assert self.weight.grad is not None
        self.gradients.append(float(self.weight.grad.norm()))

    def after_step(self, share_done: float) -> None:
        self.shares.append(share_done)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def test_masks_see_true_gradients_and_the_share_that_is_done(bundle: ModelBundle, context: Context) -> None:
    seen = {}
    for precision in ("fp32", "fp16"):
        seen[precision] = Watch()
        plan = Plan(1, 1e-4, batch_size=32, precision=precision)  # type: ignore[arg-type]
        result_of(train(bundle.module, bundle, context, plan, masks=seen[precision]))
    assert seen["fp32"].shares == seen["fp16"].shares == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(seen["fp16"].gradients, seen["fp32"].gradients, rtol=0.05)


def test_gradients_that_overflowed_are_kept_from_masks(bundle: ModelBundle, context: Context) -> None:
    with torch.no_grad():
        bundle.module.head.weight.mul_(20)
    watch = Watch()
    plan = Plan(4, 1e-5, batch_size=32, precision="fp16")
    result_of(train(bundle.module, bundle, context, plan, masks=watch))
    assert len(watch.shares) == 16
    assert 0 < len(watch.gradients) < 16
    assert np.isfinite(watch.gradients).all()


def test_tf32_is_on_inside_only() -> None:
    before = _flags()
    with arithmetic(torch.device("cpu"), "tf32"):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.cudnn.allow_tf32
    assert _flags() == before
    with arithmetic(torch.device("cpu"), "fp32"):
        assert _flags() == before


def test_tf32_inside_exact_state_leaves_it_exact(context: Context) -> None:
    with torch_state(context):
        before = _flags()
        with arithmetic(torch.device("cpu"), "tf32"):
            assert torch.backends.cudnn.deterministic
        assert _flags() == before


def _flags() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        cudnn.enabled,
        cudnn.benchmark,
        cudnn.deterministic,
        cudnn.allow_tf32,
        torch.backends.cuda.matmul.fp32_precision,
    )
