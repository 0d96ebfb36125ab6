from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sample_models
from core.errors import BadInput, Unavailable
from core.progress import Event, Note, PhaseStarted
from experiments import profile
from experiments.peaks import Peaks
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.study import ProfileStudy
from experiments.worker import execute
from optimizers import TECHNIQUES
from runtimes import Artifact
from sample_models import card
from tests.experiments.profiled import profile_result

RECIPE = Recipe.model_validate(
    {"model": "student_cnn_fmnist", "runtime": "onnxruntime", "measurement": {"threads": 1, "batch_size": 4}}
)


def test_an_untouched_network_is_profiled_without_a_run_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "LATENCY_SECONDS", 0.5)
    monkeypatch.setattr(profile, "OTHERS", {})
    run_id = store.enqueue_study(ProfileStudy(), RECIPE)
    store.claim(run_id, os.getpid())
    execute(store, store.run(run_id))
    assert store.run(run_id).error is None
    found = store.profile_result(run_id)
    assert [record.id for record in store.profiles(RECIPE.model)] == [run_id]
    assert (found.precision, found.latency.batch_size, found.layers.batch_size) == ("fp32", 4, 4)
    assert found.layers.layers_ms + found.residual_ms == pytest.approx(found.latency.p50_ms)
    assert 0.05 < found.layers.layers_ms / found.latency.p50_ms < 20  # other work may disturb one and not the other
    assert found.conditions.threads == found.peaks.threads == 1
    assert found.anatomy.parameters == card(RECIPE.model).parameter_count
    assert found.layers.macs == pytest.approx(4 * found.anatomy.macs, rel=0.01)
    phases = [each.event for each in store.events(run_id, kinds=("phase",))]
    assert tuple(each.title for each in phases) == profile.PHASES
    assert [each.title for each in phases if each.timed] == ["Latency", "Layers", "What it attains"]


def test_a_network_of_keras_is_profiled_in_openvino_and_says_what_is_not_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_given: object, **_more: object) -> Iterator[Event]:
        raise Unavailable("not looked for here")
        yield

    monkeypatch.setattr(profile, "LATENCY_SECONDS", 0.1)
    monkeypatch.setattr(profile, "peaks_for", none)
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.05)
    recipe = Recipe.model_validate(
        {"model": "keras_cnn_fmnist", "runtime": "openvino", "measurement": {"threads": 1, "batch_size": 4}}
    )
    untouched = ProfileResult.model_validate(list(profile.run_profile(recipe, tmp_path, None))[-1].result)
    assert untouched.layers.of("compute")
    assert "graph.json" not in untouched.files
    served = Artifact("openvino", "fp32", tmp_path / "artifact", ("model.tflite",))
    of_a_run = ProfileResult.model_validate(list(profile.run_profile(recipe, tmp_path, served))[-1].result)
    for found in (untouched, of_a_run):
        assert found.anatomy is None
        assert "a model of Keras" in found.why_no_anatomy


def test_what_the_device_attains_is_probed_in_the_profile_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def probe(*_given: object, anew: bool, **_more: object) -> Peaks:
        asked.append(anew)
        return Peaks(runtime="x", device="x", threads=1, libraries={}, macs_per_s={}, bandwidth=())
        yield

    monkeypatch.setattr(profile, "peaks_for", probe)
    steps = profile._peaks(RECIPE, "fp32", 1)
    assert isinstance(next(steps), PhaseStarted)
    with pytest.raises(StopIteration):
        next(steps)
    assert asked == [True]


def test_a_network_that_cannot_be_followed_costs_nothing_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gives(value: object) -> Callable[..., Iterator[Event]]:
        def steps(*_given: object) -> Iterator[Event]:
            yield Note(text="at work")
            return value

        return steps

    bundle = sample_models.load(RECIPE.model)
    first = next(each for each in bundle.module.modules() if isinstance(each, nn.Conv2d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(first)  # computes its weight in a hook: no copy can be made of it afterwards
    first(torch.zeros(1, first.in_channels, 8, 8))
    measured = {name: getattr(profile_result(), name) for name in ("latency", "layers", "conditions", "peaks")}
    monkeypatch.setattr(sample_models, "load", lambda _key: bundle)
    monkeypatch.setattr(profile, "_export", gives(SimpleNamespace(precision="fp32")))
    monkeypatch.setattr(profile, "_measure", gives(measured))
    monkeypatch.setattr(profile, "write_files", gives(()))
    events = list(profile.run_profile(RECIPE, tmp_path, None))
    found = ProfileResult.model_validate(events[-1].result)
    assert found.latency == profile_result().latency
    assert found.anatomy is None
    assert "could not be followed: " in found.why_no_anatomy
    assert [each.text for each in events if isinstance(each, Note) and each.warning] == [found.why_no_anatomy]


def test_a_variant_that_was_never_made_is_refused(tmp_path: object) -> None:
    recipe = RECIPE.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})
    with pytest.raises(BadInput, match="has not been made"):
        next(profile.run_profile(recipe, tmp_path, None))
