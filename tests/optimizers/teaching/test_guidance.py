from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.bundle import ModelBundle
from core.progress import result_of
from optimizers.teaching.guidance import Guidance, ask_teacher
from optimizers.teaching.losses import Objective
from optimizers.technique import Context
from optimizers.training.images import Batch, TrainingImages


def a_batch(bundle: ModelBundle, *, mirrored: int | None) -> Batch:
    """The last eight training images, as stored or mirrored; None if nobody knows what was done to them."""
    images = TrainingImages(bundle.data.train, bundle.contract, torch.device("cpu"))
    rows = torch.arange(len(images) - 8, len(images))
    x = images.normalised(images.pixels[rows])
    flips = None if mirrored is None else torch.full((8,), mirrored)
    return Batch(x.flip(3) if mirrored else x, images.targets[rows], rows, flips)


def test_a_teacher_is_asked_about_every_image_and_its_mirror_image(bundle: ModelBundle, context: Context) -> None:
    guidance = result_of(ask_teacher(bundle.module, bundle, context, weight=1, temperature=1))
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels))
    network = bundle.module.eval()
    with torch.no_grad():
        expected = torch.stack([network(x), network(x.flip(3))])
    assert guidance.logits is not None
    torch.testing.assert_close(guidance.logits, expected)


@pytest.mark.parametrize("mirrored", [0, 1, None])
def test_what_is_known_and_what_is_asked_on_the_way_are_the_same(
    bundle: ModelBundle, context: Context, mirrored: int | None
) -> None:
    known, asking = (
        result_of(ask_teacher(bundle.module, bundle, context, weight=0.5, temperature=2, augmentation=augmentation))
        for augmentation in ("mirror", "shift")
    )
    assert asking.logits is None
    logits, batch = torch.randn(8, 4), a_batch(bundle, mirrored=mirrored)
    torch.testing.assert_close(known.loss(logits, batch), asking.loss(logits, batch))


def test_whatever_changes_what_is_learned_changes_the_fingerprint(bundle: ModelBundle, context: Context) -> None:
    guidance = result_of(ask_teacher(bundle.module, bundle, context, weight=0.5, temperature=2))
    assert guidance.logits is not None
    others = [
        replace(guidance, objective=Objective(0.6, 2)),
        replace(guidance, objective=Objective(0.5, 2, "dkd")),
        replace(guidance, logits=guidance.logits + 1),
        replace(guidance, logits=None),
        replace(guidance, logits=None, teacher=replace(guidance.teacher, identity="another")),
    ]
    again = Guidance(guidance.teacher, guidance.objective, guidance.logits.clone())
    assert again.fingerprint() == guidance.fingerprint()
    assert len({each.fingerprint() for each in [guidance, *others]}) == 6
