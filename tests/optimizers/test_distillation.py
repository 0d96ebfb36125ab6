from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

import sample_models
from core.bundle import ModelBundle, Situation
from core.data import DataSplits, Split
from core.errors import BadInput, CannotCompose, Unavailable
from core.progress import Metric, Note, Progress, result_of
from experiments.distillation_gain import gain_of
from optimizers.distillation import Distillation
from optimizers.sparsity.zeros import Selection, sparsify
from optimizers.teaching.lessons import worth_showing
from optimizers.technique import Context, Served
from optimizers.training.loop import Plan, evaluate, train
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, bundle_of, events_and_result, images


@pytest.fixture
def teacher(context: Context) -> ModelBundle:
    """A teacher that knows the classes, with training images whose labels are all wrong."""
    data = DataSplits(images(512, seed=3), DATA.calibrate, DATA.test)
    torch.manual_seed(0)
    bundle = bundle_of(TinyNet(), data=data)
    trained = result_of(train(bundle.module, bundle, context, Plan(12, 0.02, batch_size=32)))
    wrong = Split(data.train.pixels, (data.train.labels + 1) % 4)
    return bundle_of(trained, data=DataSplits(wrong, data.calibrate, data.test))


def quick(**settings: Any) -> Distillation:
    """One epoch, and no control unless it is asked for."""
    return Distillation(**{"epochs": 1, "control_seeds": 0} | settings)


def labelled_as(bundle: ModelBundle, labels: np.ndarray) -> ModelBundle:
    """The bundle with other labels of its training images."""
    return replace(bundle, data=replace(bundle.data, train=Split(bundle.data.train.pixels, labels)))


def test_alpha_1_learns_from_the_teacher_and_alpha_0_from_the_labels(teacher: ModelBundle, context: Context) -> None:
    accuracies = {
        alpha: evaluate(result_of(quick(alpha=alpha, epochs=20).apply(teacher, context)).module, teacher)
        for alpha in (0.0, 1.0)
    }
    assert accuracies[1.0] > 0.7
    assert accuracies[0.0] < 0.1


def test_the_student_takes_the_teachers_place(teacher: ModelBundle, context: Context) -> None:
    events, result = events_and_result(quick().apply(teacher, context))
    assert isinstance(result.module, TinyNet)
    assert len(result.module.head.weight[0]) == 8
    (note,) = [event for event in events if isinstance(event, Note)]
    counts = [sum(p.numel() for p in TinyNet(width).parameters()) for width in (16, 8)]
    assert note.text == f"The teacher has {counts[0]:,} parameters, the student {counts[1]:,}."
    assert not note.warning


def test_every_bundled_student_can_be_built() -> None:
    for key in sample_models.STUDENTS:
        assert Distillation(student=key).student_title
        assert sample_models.build_student(key)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_student_alone_asks_no_teacher_and_has_no_control(teacher: ModelBundle, context: Context) -> None:
    def asks(**settings: Any) -> bool:
        events, result = events_and_result(quick(control_seeds=2, **settings).apply(teacher, context))
        totals = {event.total for event in events if isinstance(event, Progress) and event.unit == "steps"}
        assert (result.distillation is None) == (totals == {16})
        return any(isinstance(event, Progress) and event.unit == "images" for event in events)

    assert (asks(alpha=0), asks(alpha=0.5), asks(alpha=0, hints="attention")) == (False, True, True)


def test_the_same_seed_gives_the_same_student_whatever_was_drawn_before(teacher: ModelBundle, context: Context) -> None:
    weights = []
    for seed, control_seeds in ((1, 0), (2, 1)):
        torch.manual_seed(seed)
        distilled = result_of(quick(control_seeds=control_seeds).apply(teacher, context))
        weights.append(distilled.module.head.weight.detach().numpy())
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("student", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(144, 9))])
def test_a_student_for_other_images_or_classes_is_refused(
    bundle: ModelBundle, context: Context, student: nn.Module
) -> None:
    other = Context(context.device, 1, 0, context.folder, lambda key: student)
    with pytest.raises(CannotCompose, match=f"to {len(CONTRACT.labels)} classes"):
        result_of(Distillation().apply(bundle, other))


def test_every_seed_is_trained_with_and_without_the_teacher(teacher: ModelBundle, context: Context) -> None:
    settings = Distillation(epochs=3, control_seeds=2)
    events, result = events_and_result(settings.apply(teacher, replace(context, seed=5)))
    report = result.distillation
    assert report is not None
    for outcome in report.seeds:
        own = replace(context, seed=outcome.seed, folder=context.folder / str(outcome.seed))
        own.folder.mkdir()
        taught, alone = (
            result_of(quick(epochs=3, alpha=alpha).apply(teacher, own)).module for alpha in (settings.alpha, 0.0)
        )
        right = [_right(network, teacher) for network in (taught, alone)]
        assert (outcome.taught_correct, outcome.alone_correct) == tuple(each.sum() for each in right)
        assert outcome.only_taught_right == (right[0] & ~right[1]).sum()
        assert outcome.only_alone_right == (right[1] & ~right[0]).sum()
    assert [outcome.seed for outcome in report.seeds] == [5, 6]
    assert gain_of(report).seeds == 2
    _assert_one_bar(events, steps=3 * 16 * 4)
    drawn = {(event.name, event.series) for event in events if isinstance(event, Metric)}
    assert drawn == {(name, series) for name in ("loss", "accuracy") for series in ("student", "alone")}


def _right(network: nn.Module, bundle: ModelBundle) -> np.ndarray:
    test = bundle.data.test
    with torch.no_grad():
        logits = network(torch.from_numpy(bundle.contract.prepare(test.pixels)))
    return np.asarray(logits.argmax(1).numpy() == test.targets)


def _assert_one_bar(events: list[Any], *, steps: int) -> None:
    bar = [event for event in events if isinstance(event, Progress) and event.unit == "steps"]
    assert {event.total for event in bar} == {steps}
    done = [event.done for event in bar]
    assert done == sorted(done)
    assert done[-1] == steps
    assert len({event.doing.partition(":")[0] for event in bar}) == 4


def test_the_report_holds_what_both_answer(teacher: ModelBundle, context: Context) -> None:
    result = result_of(quick(temperature=3, loss="dkd", beta=4).apply(teacher, context))
    report, test = result.distillation, teacher.data.test
    assert report is not None
    x = torch.from_numpy(teacher.contract.prepare(test.pixels))
    with torch.no_grad():
        logits = [network(x).numpy() for network in (teacher.module, result.module)]
    for known, expected in zip((report.teacher_classes, report.student_classes), logits, strict=True):
        np.testing.assert_array_equal(known.integers, expected.argmax(1))
    rows = report.shown.integers
    assert len(rows) == len(set(rows.tolist())) == 60
    for kept, expected in zip((report.teacher_logits, report.student_logits), logits, strict=True):
        np.testing.assert_allclose(kept.array.reshape(60, 4), expected[rows], atol=1e-4)
    assert report.loss == "Decoupled with beta 4 at temperature 3, alpha 0.9"
    assert (report.student, report.test_images, report.labels_used, report.seeds) == ("Small CNN", 64, True, ())


def test_images_on_which_the_two_differ_are_shown_first_and_then_the_least_certain() -> None:
    teacher = np.random.default_rng(0).normal(0, 2, (200, 5)).astype(np.float32)
    student = teacher.copy()
    student[10:40, 0] = 99
    differ = np.flatnonzero(student.argmax(1) != teacher.argmax(1))
    certainty = softmax(teacher, 1).max(1)
    rows = worth_showing(teacher, student, 60)
    rest = np.setdiff1d(rows, differ)
    assert set(differ) < set(rows.tolist())
    assert len(rows) == 60
    assert certainty[rest].max() < np.delete(certainty, rows).min()
    student[:, 0] = 99
    many = worth_showing(teacher, student, 60)
    assert len(set(many.tolist())) == 60


def test_alpha_1_needs_no_labels_and_less_does(teacher: ModelBundle, context: Context) -> None:
    none = labelled_as(teacher, np.full_like(teacher.data.train.labels, -1))
    events, result = events_and_result(Distillation(alpha=1, epochs=20).apply(none, context))
    assert evaluate(result.module, teacher) > 0.7
    assert result.distillation
    assert not result.distillation.labels_used
    assert result.distillation.seeds == ()
    assert any(isinstance(event, Note) and "No control" in event.text for event in events)
    for settings in ({"alpha": 0.9}, {"alpha": 0.0}):
        with pytest.raises(BadInput, match="none has a label"):
            result_of(quick(**settings).apply(none, context))


def test_half_of_the_labels_are_enough_for_both(teacher: ModelBundle, context: Context) -> None:
    """The labels that are left are right here, so that the student alone learns too."""
    labels = np.where(np.arange(512)[:, None] % 8 < 4, (teacher.data.train.labels - 1) % 4, -1)
    half = labelled_as(teacher, labels)
    report = result_of(Distillation(alpha=0.5, epochs=8, control_seeds=1).apply(half, context)).distillation
    assert report
    assert report.labels_used
    assert min(report.seeds[0].taught_correct, report.seeds[0].alone_correct) > 0.7 * 64


def test_the_network_itself_learns_from_the_model_as_loaded(teacher: ModelBundle, context: Context) -> None:
    """And its zeros stay zero."""
    sparse = replace(
        teacher, network=sparsify(teacher.module, Selection(0.5, True, True)), applied=("magnitude_pruning",)
    )
    zeros = {name: weight == 0 for name, weight in sparse.module.state_dict().items() if weight.ndim > 1}
    settings = quick(student="itself", alpha=1, epochs=6, control_seeds=1)
    with pytest.raises(Unavailable, match="as loaded"):
        result_of(settings.apply(sparse, context))
    result = result_of(settings.apply(sparse, replace(context, original=lambda: teacher)))
    assert result.applied == ("magnitude_pruning", "distillation")
    for name, mask in zeros.items():
        assert torch.equal(result.module.state_dict()[name] == 0, mask)
        assert not torch.equal(result.module.state_dict()[name], sparse.module.state_dict()[name])
    assert result.distillation
    np.testing.assert_array_equal(
        result.distillation.teacher_classes.integers, _classes(teacher.module, teacher.data.test)
    )
    assert result.distillation.seeds[0].taught_correct > result.distillation.seeds[0].alone_correct


def _classes(network: nn.Module, split: Split) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(CONTRACT.prepare(split.pixels))).argmax(1).numpy())


class Oracle:
    """A finished variant that sees where the band is."""

    size_bytes = 1

    def run(self, x: np.ndarray) -> np.ndarray:
        bands = x.mean((1, 3)).reshape(-1, 3, 4).mean(2)
        top, middle, bottom = bands.T
        return np.float32(8) * np.stack([top, bottom, middle, 0.5 + 0 * top], 1).astype(np.float32)

    def p50_ms(self) -> float:
        return 1.0


def test_finished_variants_teach_together(teacher: ModelBundle, context: Context) -> None:
    @contextmanager
    def finished(digest: str) -> Iterator[Served]:
        yield Oracle()

    settings = quick(teachers=("one", "two"), alpha=1, epochs=16)
    events, result = events_and_result(settings.apply(teacher, replace(context, finished=finished)))
    assert evaluate(result.module, teacher) > 0.7
    assert result.distillation
    assert result.distillation.teacher == "Ensemble of 2 variants"
    assert result.distillation.teacher_parameters is None
    assert any(isinstance(event, Note) and event.text.startswith("The student has") for event in events)


@pytest.mark.parametrize(
    ("settings", "applied", "family"),
    [
        ({"student": "itself"}, ("structured_pruning",), "transformer"),
        ({"student": "itself"}, ("low_rank", "magnitude_pruning"), "transformer"),
        ({"student": "width"}, (), "transformer"),
        ({"student": "named", "architecture": "vit_b_16"}, (), "transformer"),
        ({"student": "named", "architecture": "maxvit_t"}, (), "transformer"),
        ({"student": "named", "architecture": "resnet18"}, (), "cnn"),
        ({"student": "student_dw_fmnist"}, (), "cnn"),
        ({"teachers": ("one",), "augmentation": "none"}, (), "cnn"),
        ({"hints": "features", "augmentation": "erase"}, (), "cnn"),
    ],
)
def test_the_family_is_the_students(
    settings: dict[str, Any], applied: tuple[str, ...], family: str, situation: Situation
) -> None:
    given = replace(situation, family="transformer", applied=applied)
    foretold = Distillation(**settings).check(given)
    assert (foretold.family, foretold.applied) == (family, (*applied, "distillation"))


@pytest.mark.parametrize(
    ("settings", "applied", "reason"),
    [
        ({"student": "width"}, ("structured_pruning",), "Move pruning after distillation"),
        ({"student": "named"}, ("two_four",), "Move pruning after distillation"),
        ({}, ("low_rank",), "Move pruning after distillation"),
        ({"teachers": ("one",), "hints": "features"}, (), "layers can be read"),
        ({"teachers": ("one",), "augmentation": "shift"}, (), "shifted or erased"),
        ({"train_in": "fp16"}, (), "fp16 on a CPU"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    settings: dict[str, Any], applied: tuple[str, ...], reason: str, situation: Situation
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        Distillation(**settings).check(replace(situation, applied=applied))


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "Distilled α 0.9"),
        ({"loss": "dkd"}, "Distilled (DKD)"),
        ({"student": "itself"}, "Distilled itself"),
        ({"student": "named", "architecture": "resnet18", "hints": "attention"}, "Distilled to resnet18 (attention)"),
        ({"alpha": 0}, "Student alone"),
        ({"alpha": 0, "hints": "features"}, "Distilled (features)"),
    ],
)
def test_labels_tell_variants_apart(settings: dict[str, Any], label: str) -> None:
    assert Distillation(**settings).label() == label
