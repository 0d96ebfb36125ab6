"""What to profile: model, variant, runtime, device and batch size, all of it in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.devices import Device
from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import RunRecord
from experiments.study import ProfileStudy
from runtimes import RUNTIMES, Runtime, with_settings
from sample_models import MODELS
from ui import tables
from ui.state import devices, store

STATE = st.session_state
UNTOUCHED = ""
"""Stands for the network as it was loaded, in the place of a run's id."""
BATCHES = (1, 8, 32, 128)
USUAL_RUNTIME = "onnxruntime"
MOST_VARIANTS = 100
"""Of one model and one way of measuring, the newest."""
ADDRESS = ("model", "variant", "runtime", "device", "batch")


@dataclass(frozen=True)
class Choice:
    """What is to be profiled."""

    study: ProfileStudy
    recipe: Recipe
    device: Device


def choose() -> Choice:
    """The row of controls; they begin as the address says, or as they were left."""
    if "model" not in st.query_params and "variant" not in st.query_params:
        st.query_params.update(STATE.get("profile.address", {}))
    model_column, variant_column, runtime_column, *more, batch_column = st.columns(
        [5, 5, 3, *([3] if len(devices()) > 1 else []), 2]
    )
    with model_column:
        model = _choose_model()
    with variant_column:
        record = _choose_variant(model)
    with more[0] if more else st.empty():
        device = _choose_device(record)
    with runtime_column:
        recipe = record.recipe if record else _untouched(model, _choose_runtime(device), device)
        if record:
            _draw_fixed("Runtime", RUNTIMES[record.recipe.runtime].title)
    with batch_column:
        recipe = _with_batch(recipe, _choose_batch(recipe))
    _keep_address(recipe, record)
    return Choice(ProfileStudy(run=record.id if record else ""), recipe, device)


def open_profile(record: RunRecord) -> None:
    """Set every control to a profile that is there."""
    for key in [key for key in STATE if str(key).startswith("profile.")]:
        del STATE[key]
    _set_address(address_of(record))


def address_of(record: RunRecord) -> dict[str, str]:
    """What leads the page to the network that a study looked at."""
    return _address(record.recipe, record.study.run if isinstance(record.study, ProfileStudy) else "")


def variants_of(model: str) -> list[RunRecord]:
    """The newest finished run of each variant of a model, however it was measured, the newest first.

    The untouched network is none, unless its engine is set in an unusual way.
    """
    ways = [settings for each, settings in store().measured() if each == model]
    found = [record for way in ways for record in store().variants(model, way, limit=MOST_VARIANTS)]
    newest_last = sorted((each for each in found if not _is_untouched(each.recipe)), key=lambda each: each.created_at)
    newest = {_identity(each.recipe): each for each in newest_last}
    return sorted(newest.values(), key=lambda each: -each.created_at)


def why_unprofiled(recipe: Recipe, device: Device) -> str:
    """Why the engine cannot tell where its time goes; empty where it can, or where that only shows in the attempt."""
    if recipe.runtime == "aotinductor":
        return (
            "AOTInductor's file is one compiled library, which does not say what its kernels take. Choose "
            "torch.compile, which makes the same kernels, to see a time for each."
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


def _choose_model() -> str:
    models = list(MODELS)
    named = store().run(st.query_params.get("variant", ""))
    wanted = st.query_params.get("model") or (named.recipe.model if named else "")
    start = models.index(wanted) if wanted in models else 0
    return st.selectbox("Model", models, start, format_func=tables.model_title, key="profile.model")


def _choose_variant(model: str) -> RunRecord | None:
    """None for the untouched network."""
    records = variants_of(model)
    by_id = {record.id: record for record in records}
    titles = {UNTOUCHED: "Untouched, FP32", **{each: tables.unique_titles(records)[each] for each in by_id}}
    wanted = _same_variant(st.query_params.get("variant", ""), records)
    picked = st.selectbox(
        "Variant", list(titles), list(titles).index(wanted), format_func=titles.__getitem__,
        key=f"profile.variant.{model}",
        help="The untouched network, exported anew, or the file that a finished run left.",
    )  # fmt: skip
    return by_id.get(picked)


def _same_variant(run_id: str, records: Sequence[RunRecord]) -> str:
    """The id of the newest run of the variant that a run made; that of the untouched network where there is none."""
    named = store().run(run_id) if run_id else None
    if named is None:
        return UNTOUCHED
    identity = _identity(named.recipe)
    return next((each.id for each in records if _identity(each.recipe) == identity), UNTOUCHED)


def _choose_device(record: RunRecord | None) -> Device:
    """The device of the variant, or one of those here; without a control where there is only one."""
    found = {device.id: device for device in devices()}
    if record:
        device = found.get(record.recipe.device, devices()[0])
        if len(found) > 1:
            _draw_fixed("Device", device.name)
        return device
    if len(found) == 1:
        return devices()[0]
    ids, wanted = list(found), st.query_params.get("device")
    start = ids.index(wanted) if wanted in ids else 0
    return found[st.selectbox("Device", ids, start, format_func=lambda key: found[key].name, key="profile.device")]


def _choose_runtime(device: Device) -> str:
    here = [key for key in RUNTIMES if _is_here(_as_usual(key, device), device)]
    wanted = st.query_params.get("runtime", USUAL_RUNTIME)
    start = here.index(wanted) if wanted in here else here.index(USUAL_RUNTIME) if USUAL_RUNTIME in here else 0
    return st.selectbox(
        "Runtime", here, start, format_func=lambda key: RUNTIMES[key].title, key=f"profile.runtime.{device.id}"
    )


def _choose_batch(recipe: Recipe) -> int:
    """Images at once: the usual numbers and the variant's own, as far as its engine takes them."""
    own, most = recipe.measurement.batch_size, getattr(recipe.engine, "largest_batch", max(BATCHES))
    offered = sorted({own, *(size for size in BATCHES if size <= most)})
    wanted = st.query_params.get("batch", "")
    start = int(wanted) if wanted.isdecimal() and int(wanted) in offered else own
    return st.selectbox(
        "Batch size", offered, offered.index(start), key=f"profile.batch.{own}.{most}", help="Images per inference."
    )


def _draw_fixed(title: str, value: str) -> None:
    """What a variant has chosen already."""
    st.selectbox(title, [value], disabled=True, key=f"profile.fixed.{title}.{value}", help="As its run had it.")


def _untouched(model: str, runtime: str, device: Device) -> Recipe:
    engine = _as_usual(runtime, device).settings
    return Recipe(model=model, runtime=runtime, engine=engine, device=device.id)


def _is_untouched(recipe: Recipe) -> bool:
    usual = {RUNTIMES[recipe.runtime].settings, *(_as_usual(recipe.runtime, each).settings for each in devices())}
    return not recipe.techniques and recipe.engine in usual


def _as_usual(key: str, device: Device) -> Runtime:
    runtime = RUNTIMES[key]
    return with_settings(runtime, runtime.settings.usual(device))


def _is_here(runtime: Runtime, device: Device) -> bool:
    return not runtime.settings.builds_ahead and runtime.why_unavailable(device) is None


def _with_batch(recipe: Recipe, batch_size: int) -> Recipe:
    """The same, measured in batches of that size."""
    return recipe.model_copy(update={"measurement": recipe.measurement.model_copy(update={"batch_size": batch_size})})


def _identity(recipe: Recipe) -> str:
    """What two recipes share exactly when they make the same file and serve it in the same way."""
    return recipe.model_copy(update={"measurement": MeasurementSettings(threads=recipe.measurement.threads)}).digest


def _address(recipe: Recipe, run: str) -> dict[str, str]:
    found = {
        "model": recipe.model,
        "variant": run,
        "runtime": recipe.runtime,
        "device": recipe.device,
        "batch": str(recipe.measurement.batch_size),
    }
    return {key: value for key, value in found.items() if value}


def _keep_address(recipe: Recipe, record: RunRecord | None) -> None:
    """Make the address lead back to what is chosen."""
    STATE["profile.address"] = _address(recipe, record.id if record else "")
    _set_address(STATE["profile.address"])


def _set_address(address: Mapping[str, str]) -> None:
    """Only what is ours in it: the section is its tabs'."""
    for key in ADDRESS:
        if key in address:
            st.query_params[key] = address[key]
        elif key in st.query_params:
            del st.query_params[key]
