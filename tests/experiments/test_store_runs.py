from __future__ import annotations

from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store
from tests.pages.left_behind import finished

RECIPE = Recipe(model="resnet_fmnist", seed=3)
VARIANT = Recipe(model="resnet_fmnist", seed=3, runtime="onnxruntime")


def test_the_queue_is_first_in_first_out(store: Store) -> None:
    ids = [store.enqueue(RECIPE) for _ in range(3)]
    assert [record.id for record in store.queue()] == ids


def test_variants_are_the_newest_of_each_recipe_measured_alike_the_baseline_first(store: Store) -> None:
    finished(store, VARIANT)
    newest = finished(store, VARIANT)
    other = finished(store, VARIANT.model_copy(update={"seed": 9}))
    baseline = finished(store, RECIPE)
    later = finished(store, VARIANT.model_copy(update={"seed": 10}))
    finished(store, RECIPE.model_copy(update={"measurement": MeasurementSettings(batch_size=8)}))
    finished(store, Recipe(model="vit_fmnist"))
    found = store.variants("resnet_fmnist", RECIPE.settings, limit=9)
    assert [record.id for record in found] == [baseline, later, other, newest]
    assert [record.id for record in store.variants("resnet_fmnist", RECIPE.settings, limit=2)] == [baseline, later]
    assert store.measured()[0] == ("vit_fmnist", RECIPE.settings)
    assert len(store.measured()) == 3


def test_runs_are_found_by_state_model_recipe_and_time_the_newest_first(store: Store) -> None:
    done, queued = finished(store, RECIPE), store.enqueue(VARIANT)
    other = store.enqueue(Recipe(model="vit_fmnist"))
    newest_first = [other, queued, done]
    began = [record.created_at for record in map(store.run, newest_first) if record]
    assert [each.id for each in store.runs()] == newest_first
    assert [each.id for each in store.runs(limit=1, offset=1)] == [queued]
    assert [each.id for each in store.runs(states=("queued",))] == [other, queued]
    assert [each.id for each in store.runs(model="resnet_fmnist")] == [queued, done]
    assert [each.id for each in store.runs(digest=VARIANT.digest)] == [queued]
    assert [each.id for each in store.runs(between=(began[1], began[0]))] == [other, queued]
    assert [each.id for each in store.ended(limit=5)] == [done]
    assert (store.count(), store.count(states=("queued", "running"))) == (3, 2)


def test_a_run_waits_for_those_before_it_on_its_device(store: Store) -> None:
    first, second = store.enqueue(RECIPE), store.enqueue(VARIANT)
    elsewhere = store.enqueue(RECIPE.model_copy(update={"device": "cuda:0"}))
    last = store.begin_here(RECIPE)
    titles = {run_id: store.waits_for(record) for run_id in (first, second, elsewhere) if (record := store.run(run_id))}
    at_work = store.run(last)
    assert at_work
    assert titles == {first: [at_work.title], second: [at_work.title, RECIPE.title], elsewhere: []}
