from __future__ import annotations

import pytest

from core.devices import Device
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from runtimes import RUNTIMES
from tests.pages.left_behind import finished
from ui.profile.offer import variants_of, why_unprofiled

MODEL = "student_cnn_fmnist"
UNTOUCHED = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = UNTOUCHED.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})
CPU, GPU = Device("cpu", "cpu", "A CPU", 0), Device("cuda:0", "cuda", "A GPU", 0, (9, 0))


def in_batches(recipe: Recipe, size: int) -> Recipe:
    return recipe.model_copy(update={"measurement": recipe.measurement.model_copy(update={"batch_size": size})})


def test_variants_are_offered_once_however_they_were_measured(store: Store) -> None:
    finished(store, UNTOUCHED)
    finished(store, INT8)
    newer = finished(store, in_batches(INT8, 8))
    basic = UNTOUCHED.engine.model_copy(update={"rewriting": "basic"})
    unusual = finished(store, UNTOUCHED.model_copy(update={"engine": basic}))
    finished(store, INT8.model_copy(update={"model": "resnet_fmnist"}))
    assert [record.id for record in variants_of(MODEL)] == [unusual, newer]


@pytest.mark.parametrize(
    ("runtime", "device", "told"),
    [
        ("aotinductor", CPU, "one compiled library"),
        ("litert", CPU, ""),
        ("onnxruntime", GPU, "only the time that launching each kernel took"),
        ("onnxruntime", CPU, ""),
        ("openvino", CPU, ""),
        ("pytorch", GPU, ""),
    ],
)
def test_engines_that_cannot_tell_are_known_beforehand(runtime: str, device: Device, told: str) -> None:
    recipe = Recipe(model=MODEL, runtime=runtime, device=device.id)
    reason = why_unprofiled(recipe, device)
    assert bool(reason) == bool(told)
    assert told in reason


def test_litert_with_reference_kernels_is_known_beforehand() -> None:
    engine = RUNTIMES["litert"].settings.model_copy(update={"kernels": "reference"})
    assert "reference kernels" in why_unprofiled(Recipe(model=MODEL, runtime="litert", engine=engine), CPU)


def test_openvino_beside_the_cpu_is_known_beforehand() -> None:
    engine = RUNTIMES["openvino"].settings.model_copy(update={"place": "GPU"})
    assert "beside the CPU" in why_unprofiled(Recipe(model=MODEL, runtime="openvino", engine=engine), CPU)
