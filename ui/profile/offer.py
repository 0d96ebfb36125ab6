"""What can be profiled here, and which of it a profile that is there was made of."""

from __future__ import annotations

from collections.abc import Sequence

from core.devices import Device
from experiments.models import baseline_runtime
from experiments.recipe import MeasurementSettings, Recipe
from experiments.run_record import RunRecord
from experiments.study import ProfileStudy, study_digest
from runtimes import RUNTIMES, Runtime, with_settings
from ui.state import devices, store

UNTOUCHED = ""
"""Stands for the network as it was loaded, in the place of a run's id."""
BATCHES = (1, 8, 32, 128)
LITERT = "litert"
OF_TFLITE = (LITERT, "openvino")
"""Runtimes that open a `.tflite` file, which a network of Keras becomes."""
MOST_VARIANTS = 100
"""Of one model and one way of measuring, the newest."""


def variants_of(model: str) -> list[RunRecord]:
    """The newest finished run of each variant of a model, however it was measured, the newest first.

    The untouched network is none, unless its engine is set in an unusual way.
    """
    ways = [settings for each, settings in store().measured() if each == model]
    found = [record for way in ways for record in store().variants(model, way, limit=MOST_VARIANTS)]
    newest_last = sorted((each for each in found if not is_untouched(each.recipe)), key=lambda each: each.created_at)
    newest = {_identity(each.recipe): each for each in newest_last}
    return sorted(newest.values(), key=lambda each: -each.created_at)


def newest_alike(recipe: Recipe, records: Sequence[RunRecord] | None = None) -> RunRecord | None:
    """The newest run of the same variant, however it was measured, among those given or those of the model."""
    among = variants_of(recipe.model) if records is None else records
    return next((each for each in among if _identity(each.recipe) == _identity(recipe)), None)


def why_unprofiled(recipe: Recipe, device: Device) -> str:
    """Why the engine cannot tell where its time goes; empty where it can, or where that only shows in the attempt."""
    if recipe.runtime == "aotinductor":
        return (
            "AOTInductor's file is one compiled library, which does not say what its kernels take. Choose "
            "torch.compile, which makes the same kernels, to see a time for each."
        )
    if getattr(recipe.engine, "kernels", "") == "reference":
        return (
            "LiteRT's profiler does not reach its reference kernels. Choose other kernels to see a time for each layer."
        )
    if recipe.runtime == "onnxruntime" and device.kind == "cuda":
        return (
            "ONNX Runtime's profile of a GPU session holds only the time that launching each kernel took. Choose "
            "PyTorch or TensorRT to see a time for each layer."
        )
    if getattr(recipe.engine, "place", "CPU") != "CPU":
        return (
            "What OpenVINO calls its operations beside the CPU is not known to this studio. Choose the CPU as the "
            "place it runs on to see a time for each layer."
        )
    return ""


def why_alone(record: RunRecord, study: ProfileStudy) -> str:
    """Why the controls do not lead to a finished profile, in a sentence; empty where they do."""
    variant = newest_alike(record.recipe)
    offered = variant.recipe if variant else _offered(record.recipe)
    if offered is None or not _leads_to(offered, study, record.recipe):
        why = "Its variant was deleted" if was_deleted(study) else "What it was made of cannot be chosen here any more"
        return f"{why}: what was measured is kept, but cannot be measured again."
    shown = profile_of(ProfileStudy(run=variant.id if variant else UNTOUCHED), record.recipe)
    return "The same network was profiled once more; the controls show that profile." if shown != record else ""


def profile_of(study: ProfileStudy, recipe: Recipe) -> RunRecord | None:
    """The newest finished profile of what is chosen, one of the very file first."""
    finished = [run for run in store().studies(study, recipe) if run.state == "finished"]
    return min(finished, key=lambda run: run.study != study, default=None)


def was_deleted(study: ProfileStudy) -> bool:
    """Whether the run whose file was profiled is no longer there."""
    return bool(study.run) and store().run(study.run) is None


def runtimes_on(device: Device, model: str) -> list[str]:
    """The keys of those that can serve on a device of this machine.

    Of a network of Keras or a `.tflite` file those that open one, LiteRT in any case: why it cannot is then said.
    """
    found = [key for key in RUNTIMES if _is_here(_as_usual(key, device), device)]
    return [key for key in OF_TFLITE if key in found] or [LITERT] if opens_tflite(model) else found


def opens_tflite(model: str) -> bool:
    """Whether what is served of a model is a `.tflite` file, whatever the runtime."""
    return baseline_runtime(model) == LITERT


def untouched(model: str, runtime: str, device: Device) -> Recipe:
    """The network of a model as it was loaded, in a runtime that is set as usual."""
    engine = _as_usual(runtime, device).settings
    return Recipe(model=model, runtime=runtime, engine=engine, device=device.id)


def is_untouched(recipe: Recipe) -> bool:
    """Whether nothing was done to the network, and its engine is set as usual."""
    usual = {RUNTIMES[recipe.runtime].settings, *(_as_usual(recipe.runtime, each).settings for each in devices())}
    return not recipe.techniques and recipe.engine in usual


def batches_of(recipe: Recipe) -> list[int]:
    """Images at once: the usual numbers and the recipe's own, as far as its engine takes them."""
    return sorted({recipe.measurement.batch_size, *(size for size in BATCHES if size <= largest_batch(recipe))})


def largest_batch(recipe: Recipe) -> int:
    """The most images at once that the engine takes, as far as it matters here."""
    return int(getattr(recipe.engine, "largest_batch", max(BATCHES)))


def with_batch(recipe: Recipe, batch_size: int) -> Recipe:
    """The same, measured in batches of that size."""
    return recipe.model_copy(update={"measurement": recipe.measurement.model_copy(update={"batch_size": batch_size})})


def _offered(recipe: Recipe) -> Recipe | None:
    """The untouched network as the controls offer it, in the recipe's runtime on its device; None where they do not."""
    device = next((each for each in devices() if each.id == recipe.device), None)
    if device is None or recipe.runtime not in runtimes_on(device, recipe.model):
        return None
    return untouched(recipe.model, recipe.runtime, device)


def _leads_to(offered: Recipe, study: ProfileStudy, recipe: Recipe) -> bool:
    """Whether what is offered becomes what was profiled by choosing a batch size."""
    size = recipe.measurement.batch_size
    is_same = study_digest(study, with_batch(offered, size)) == study_digest(study, recipe)
    return is_same and size in batches_of(offered)


def _identity(recipe: Recipe) -> str:
    """What two recipes share exactly when they make the same file and serve it in the same way."""
    return recipe.model_copy(update={"measurement": MeasurementSettings(threads=recipe.measurement.threads)}).digest


def _as_usual(key: str, device: Device) -> Runtime:
    runtime = RUNTIMES[key]
    return with_settings(runtime, runtime.settings.usual(device))


def _is_here(runtime: Runtime, device: Device) -> bool:
    return not runtime.settings.builds_ahead and runtime.why_unavailable(device) is None
