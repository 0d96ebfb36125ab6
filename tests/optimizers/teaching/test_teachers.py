from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from core.bundle import ModelBundle
from core.data import Floats
from core.errors import CannotCompose, Unavailable
from core.progress import Note, Progress
from optimizers.teaching import teachers
from optimizers.teaching.teachers import BOTH_VIEWS, Teacher, answers, ensemble, network_teacher
from optimizers.technique import Context, Served
from tests.optimizers.conftest import TinyNet, events_and_result


class Variant:
    """A finished variant whose logits are the mean brightness times its own numbers."""

    size_bytes = 1

    def __init__(self, *numbers: float) -> None:
        self._numbers = np.asarray(numbers, np.float32)
        self.is_open = False

    def run(self, x: Floats) -> Floats:
        assert self.is_open
        return (x.mean((1, 2, 3))[:, None] * self._numbers).astype(np.float32)

    def p50_ms(self) -> float:
        return 1.0


def reaching(context: Context, variants: dict[str, Variant]) -> Context:
    @contextmanager
    def finished(digest: str) -> Iterator[Served]:
        variants[digest].is_open = True
        yield variants[digest]
        variants[digest].is_open = False

    return replace(context, finished=finished)


def ask(teacher: Teacher, bundle: ModelBundle, context: Context) -> tuple[bool, torch.Tensor]:
    """Whether images were looked at, and the answers to the training images."""
    steps = answers(teacher, bundle.data.train, bundle, context, views=BOTH_VIEWS, doing="asking")
    events, found = events_and_result(steps)
    looked = any(isinstance(event, Progress) for event in events)
    assert looked != any(isinstance(event, Note) and "earlier run" in event.text for event in events)
    return looked, found


def test_an_ensemble_answers_with_its_mean_probabilities(bundle: ModelBundle, context: Context) -> None:
    variants = {"one": Variant(1, -2, 0, 3), "two": Variant(-4, 1, 1, 0)}
    x = bundle.contract.prepare(bundle.data.test.pixels[:9])
    with ensemble(("one", "two"), bundle, reaching(context, variants)) as teacher:
        logits = teacher.ask(torch.from_numpy(x))
        expected = np.mean([softmax(variant.run(x), 1) for variant in variants.values()], axis=0)
    np.testing.assert_allclose(softmax(logits.numpy(), 1), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(logits.numpy()).sum(1), 1, rtol=1e-5)
    assert teacher.title == "Ensemble of 2 variants"
    assert teacher.network is None
    assert not any(variant.is_open for variant in variants.values())


def test_variants_that_cannot_teach_are_refused(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(Unavailable), ensemble(("one",), bundle, context):
        pass
    odd = ensemble(("one",), bundle, reaching(context, {"one": Variant(1, 2, 3)}))
    with pytest.raises(CannotCompose, match="3 classes"), odd:
        pass


def test_answers_are_kept_for_as_long_as_nothing_changes(bundle: ModelBundle, context: Context, tmp_path: Path) -> None:
    context = replace(context, cache=tmp_path)
    teacher = network_teacher(bundle.module, context, title="")
    first, again = ask(teacher, bundle, context), ask(teacher, bundle, context)
    assert (first[0], again[0]) == (True, False)
    assert torch.equal(first[1], again[1])
    torch.manual_seed(5)
    assert ask(network_teacher(TinyNet(), context, title=""), bundle, context)[0]
    assert ask(teacher, replace(bundle, contract=replace(bundle.contract, mean=(61.0,))), context)[0]
    brighter = replace(bundle.data, train=replace(bundle.data.train, pixels=bundle.data.train.pixels + 1))
    assert ask(teacher, replace(bundle, data=brighter), context)[0]
    assert ask(teacher, bundle, replace(context, cache=None))[0]


def test_kept_answers_that_are_damaged_are_asked_for_again(
    bundle: ModelBundle, context: Context, tmp_path: Path
) -> None:
    context = replace(context, cache=tmp_path)
    teacher = network_teacher(bundle.module, context, title="")
    _, expected = ask(teacher, bundle, context)
    (kept,) = tmp_path.iterdir()
    for damage in (b"", kept.read_bytes()[:-40], os.urandom(200)):
        kept.write_bytes(damage)
        looked, found = ask(teacher, bundle, context)
        assert looked
        assert torch.equal(found, expected)
        assert not ask(teacher, bundle, context)[0]


def test_what_was_used_longest_ago_makes_room(
    bundle: ModelBundle, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(context, cache=tmp_path)
    teaching = []
    for seed in range(3):
        torch.manual_seed(seed)
        teaching.append(network_teacher(TinyNet(), context, title=""))
    for age, teacher in zip((300, 200), teaching, strict=False):
        ask(teacher, bundle, context)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (newest.stat().st_atime, newest.stat().st_mtime - age))
    assert not ask(teaching[0], bundle, context)[0]
    monkeypatch.setattr(teachers, "_MOST_BYTES", 2 * newest.stat().st_size + 1)
    ask(teaching[2], bundle, context)
    assert [ask(teacher, bundle, context)[0] for teacher in (teaching[0], teaching[2])] == [False, False]
    assert ask(teaching[1], bundle, context)[0]
