from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.progress import Failed
from core.scan import Scan
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.study import ProfileStudy, ScanStudy, study_digest
from experiments.worker import execute
from tests.experiments.profiled import profiled, scanned
from tests.pages.left_behind import finished

RECIPE = Recipe(model="student_cnn_fmnist", runtime="onnxruntime")


def test_studies_share_a_digest_exactly_when_they_ask_the_same_of_the_same_network() -> None:
    profile = study_digest(ProfileStudy(), RECIPE)
    assert profile == study_digest(ProfileStudy(run="abc"), RECIPE.model_copy(update={"name": "mine"}))
    assert profile != study_digest(ProfileStudy(), RECIPE.model_copy(update={"runtime": "pytorch"}))
    assert profile != RECIPE.digest
    scan = study_digest(ScanStudy(), RECIPE)
    assert scan == study_digest(ScanStudy(), Recipe(model=RECIPE.model))  # no runtime serves it
    assert scan != study_digest(ScanStudy(changes=("w4",)), RECIPE)


@pytest.mark.parametrize("wrong", [{"changes": ()}, {"changes": ("int7",)}, {"images": 0}, {"layers": 3}])
def test_a_scan_that_asks_for_nothing_known_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScanStudy.model_validate(wrong)


def test_a_study_is_kept_apart_from_the_variants(store: Store) -> None:
    variant = finished(store, RECIPE)
    profile = store.enqueue_study(ProfileStudy(), RECIPE)
    scan = store.enqueue_study(ScanStudy(), RECIPE)
    record = store.run(profile)
    assert (record.study, record.makes_variant, record.title) == (
        ProfileStudy(), False, "Profile: FP32 · ONNX Runtime",
    )  # fmt: skip
    assert record.slot == store.run(variant).slot
    assert [each.id for each in store.studies(ProfileStudy(), RECIPE)] == [profile]
    assert [each.id for each in store.studies(ScanStudy(), RECIPE)] == [scan]
    assert [each.id for each in store.variants(RECIPE.model, RECIPE.settings, limit=9)] == [variant]
    assert store.finished_before(RECIPE).id == variant
    assert store.simulated(RECIPE.model) == []
    assert store.profiles(RECIPE.model) == []  # it has not finished


def test_as_many_profiles_and_scans_are_found_as_were_asked_for(store: Store) -> None:
    scan = Scan(
        images=16, correct=None, layers=(), kinds=(), parameters=(), changes=("int8",), cells=(), why_missing={}
    )
    profile = profiled(store, RECIPE)
    scans = [scanned(store, RECIPE.model, scan) for _ in range(3)]
    assert [each.id for each in store.profiles(RECIPE.model, limit=1)] == [profile]
    newer = [profiled(store, RECIPE) for _ in range(6)]
    assert [each.id for each in store.scans(RECIPE.model, limit=1)] == [scans[-1]]
    assert [each.id for each in store.profiles(RECIPE.model)] == [*reversed(newer), profile]
    assert (store.scan_result(profile), store.profile_result(scans[0])) == (None, None)
    assert store.scan_result(scans[0]).scan == scan


def test_a_study_of_a_network_that_never_ran_takes_no_colour_from_the_variants(store: Store) -> None:
    store.enqueue_study(ProfileStudy(), RECIPE)
    assert store.run(store.enqueue(RECIPE)).slot == 1


def test_a_profile_of_a_deleted_run_says_so(store: Store) -> None:
    run_id = store.enqueue_study(ProfileStudy(run="gone"), RECIPE)
    store.claim(run_id, 1)
    last = execute(store, store.run(run_id))
    assert isinstance(last, Failed)
    assert "was deleted" in last.sentence
    assert store.run(run_id).state == "failed"
