from __future__ import annotations

import math

import pytest
import torch

from core.bundle import ModelBundle
from core.errors import RunFailed
from core.progress import Event, Metric, Progress
from optimizers.technique import Context
from optimizers.training import Plan, TrainingPrecision, evaluate, train
from tests.optimizers.conftest import events_and_result

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
    first, again = (run(bundle, context, PLAN)[1].state_dict() for _ in range(2))
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
