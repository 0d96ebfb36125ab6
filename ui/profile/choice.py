"""What to profile: model, variant, runtime, device and batch size, all of it in the address."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.devices import Device
from experiments.models import FALLBACK, untouched_title
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.study import ProfileStudy
from experiments.why_format import listed
from runtimes import RUNTIMES
from ui import tables
from ui.profile.offer import (
    UNTOUCHED,
    batches_of,
    is_untouched,
    largest_batch,
    newest_alike,
    opens_tflite,
    runtimes_on,
    untouched,
    variants_of,
    why_alone,
    with_batch,
)
from ui.state import devices, store
from ui.state import models as offered_models
from ui.titles import distinct, of_models

STATE = st.session_state
USUAL_RUNTIME = "onnxruntime"
ADDRESS = ("model", "variant", "runtime", "device", "batch", "profile")
"""`profile` is the id of one that is there, and stands alone: the controls lead to any other."""


@dataclass(frozen=True)
class Choice:
    """What is to be profiled."""

    study: ProfileStudy
    recipe: Recipe
    device: Device


def restore() -> None:
    """Go to where the page was left, unless the address says where to go."""
    if not {"model", "variant", "profile"} & set(st.query_params):
        st.query_params.update(STATE.get("profile.address", {}))


def choose() -> Choice:
    """The row of controls; they begin as the address says."""
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
        recipe = record.recipe if record else untouched(model, _choose_runtime(device, model), device)
        if record:
            _draw_fixed("Runtime", RUNTIMES[record.recipe.runtime].title)
    with batch_column:
        recipe = with_batch(recipe, _choose_batch(recipe))
    _keep_address(recipe, record)
    return Choice(ProfileStudy(run=record.id if record else ""), recipe, device)


def open_profile(record: RunRecord) -> None:
    """Set every control to a profile that is there, or show it alone where the controls cannot be set to it."""
    _begin_at(address_of(record))


def begin_anew(model: str) -> None:
    """Set every control to the untouched network of a model, or of the first one."""
    _begin_at({"model": model} if model else {})


def _begin_at(address: Mapping[str, str]) -> None:
    for key in [key for key in STATE if str(key).startswith("profile.")]:
        del STATE[key]
    _set_address(address)


def address_of(record: RunRecord) -> dict[str, str]:
    """What leads the page to what a study found: its network or, where that cannot be chosen, the profile itself."""
    if not isinstance(record.study, ProfileStudy):
        return _address(record.recipe, UNTOUCHED)
    if why_alone(record, record.study):
        return {"profile": record.id}
    variant = newest_alike(record.recipe)
    return _address(record.recipe, variant.id if variant else UNTOUCHED)


def why_lost() -> str:
    """Why the variant that the address names cannot be profiled; empty where it can, or where it names none."""
    run_id = st.query_params.get("variant", "")
    named = store().run(run_id) if run_id else None
    if run_id and named is None:
        return f"The run {run_id}, which the address names, is not here; it may have been deleted."
    if named and not is_untouched(named.recipe) and newest_alike(named.recipe) is None:
        return f"The run {run_id}, which the address names, is none of the finished ones whose file can be profiled."
    return ""


def not_here() -> str:
    """What the address asks for and no control offers, in a sentence; empty where all of it is offered."""
    missing = [f"{what} “{wanted[:40]}”" for what, wanted, offered in _asked() if wanted and wanted not in offered]
    if not missing:
        return ""
    return f"The address asks for {listed(missing)}, not to be had here. What the controls say is shown instead."


def _asked() -> Iterator[tuple[str, str, Collection[str]]]:
    """What the address asks for of each kind, empty where it does not, and what is offered with the rest of it."""
    named = store().run(st.query_params.get("variant", ""))
    model, device_id, batch = (st.query_params.get(key, "") for key in ("model", "device", "batch"))
    yield "model", model, offered_models()
    if named and model and named.recipe.model != model:
        yield "variant", named.id, ()
        named = None
    record = newest_alike(named.recipe) if named else None
    here = {device.id: device for device in devices()}
    device = here.get(device_id, devices()[0])
    runtimes = [record.recipe.runtime] if record else runtimes_on(device, model or FALLBACK)
    yield "runtime", st.query_params.get("runtime", ""), runtimes
    yield "device", device_id, [record.recipe.device] if record else here
    recipe = record.recipe if record else untouched(FALLBACK, _runtime_among(runtimes), device)
    yield "batch size", batch, [str(size) for size in batches_of(recipe)]


def _choose_model() -> str:
    models = of_models(offered_models())
    named = store().run(st.query_params.get("variant", ""))
    wanted = st.query_params.get("model") or (named.recipe.model if named else "")
    start = list(models).index(wanted) if wanted in models else 0
    return st.selectbox("Model", list(models), start, format_func=models.__getitem__, key="profile.model")


def _choose_variant(model: str) -> RunRecord | None:
    """None for the untouched network."""
    records = variants_of(model)
    by_id = {record.id: record for record in records}
    unique = tables.unique_titles(records)
    shown = distinct({UNTOUCHED: f"Untouched, {untouched_title(model)}", **{each: unique[each] for each in by_id}})
    named = store().run(st.query_params.get("variant", ""))
    same = newest_alike(named.recipe, records) if named else None
    wanted = same.id if same else UNTOUCHED
    picked = st.selectbox(
        "Variant", list(shown), list(shown).index(wanted), format_func=shown.__getitem__,
        key=f"profile.variant.{model}",
        help="The untouched network, exported anew, or the file that a finished run left.",
    )  # fmt: skip
    return by_id.get(picked)


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


def _choose_runtime(device: Device, model: str) -> str:
    here = runtimes_on(device, model)
    start = here.index(_runtime_among(here))
    key = f"profile.runtime.{device.id}{'.tflite' * opens_tflite(model)}"
    return st.selectbox("Runtime", here, start, format_func=lambda each: RUNTIMES[each].title, key=key)


def _runtime_among(here: Sequence[str]) -> str:
    """The one that the address asks for, else the usual one, else the first."""
    return next(each for each in (st.query_params.get("runtime", ""), USUAL_RUNTIME, here[0]) if each in here)


def _choose_batch(recipe: Recipe) -> int:
    """Images at once."""
    own, most = recipe.measurement.batch_size, largest_batch(recipe)
    offered, wanted = batches_of(recipe), st.query_params.get("batch", "")
    start = int(wanted) if wanted in map(str, offered) else own
    return st.selectbox(
        "Batch size", offered, offered.index(start), key=f"profile.batch.{own}.{most}", help="Images per inference."
    )


def _draw_fixed(title: str, value: str) -> None:
    """What a variant has chosen already."""
    st.selectbox(title, [value], disabled=True, key=f"profile.fixed.{title}.{value}", help="As its run had it.")


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
