"""What to optimise and where it runs: model, device, runtime and its settings."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.bundle import form_title
from core.catalogue import ModelEntry
from core.devices import Device
from core.errors import BadInput, CannotCompose, StudioError
from experiments.fitting import untouched
from experiments.models import baseline_runtime, find
from runtimes import EXTRAS, RUNTIMES, EngineSettings, Runtime, with_settings
from ui.optimise.opening import key_of, show_model_in_address, start
from ui.state import devices, models
from ui.titles import of_models
from ui.widgets import controls


@dataclass(frozen=True)
class Place:
    """A model and where it runs."""

    model: ModelEntry
    device: Device
    runtime: Runtime
    """With its settings as they are set on screen."""
    misfit: str = ""
    """Why what is set on screen does not fit, so that the runtime has the settings it began with; else empty."""


def choose_place() -> Place:
    """The controls, and what is chosen with them."""
    model_column, device_column = st.columns(2)
    with model_column:
        model = _pick_model()
    with device_column:
        device = _pick_device()
    key = _pick_runtime(model, device)
    engine, misfit = _set_engine(key, device)
    return Place(model, device, with_settings(RUNTIMES[key], engine), misfit)


def serves(runtime: str, model: ModelEntry, device: Device) -> bool:
    """Whether a runtime could serve the model at all; networks of PyTorch may become what it serves."""
    if model.form == "torch":
        return True
    usual = _as_usual(runtime, device)
    try:
        usual.check(untouched(model.key, runtime, usual.settings.target(device)))
    except CannotCompose:
        return False
    except StudioError:
        return True
    return True


def _as_usual(runtime: str, device: Device) -> Runtime:
    """A runtime with the settings to begin with on that device."""
    return with_settings(RUNTIMES[runtime], RUNTIMES[runtime].settings.usual(device))


def _pick_model() -> ModelEntry:
    titles = of_models(models())
    chosen = st.selectbox(
        "Model", list(titles), format_func=titles.__getitem__, key="model", on_change=show_model_in_address,
        persist_state="session",
    )  # fmt: skip
    return find(chosen)


def _pick_device() -> Device:
    found = {device.id: device for device in devices()}
    begin = start().device
    chosen = st.selectbox(
        "Device",
        list(found),
        list(found).index(begin) if begin in found else 0,
        format_func=lambda key: f"{key} · {found[key].name}",
        key=key_of("device"),
        persist_state="session",
    )
    return found[chosen]


def _pick_runtime(model: ModelEntry, device: Device) -> str:
    """The runtime to export for; what is not here is shown with its reason, and what never takes such a model named."""
    able = [key for key in RUNTIMES if serves(key, model, device)]
    reasons = {key: _as_usual(key, device).why_unavailable(device) for key in able}
    here = [key for key, reason in reasons.items() if reason is None] or able
    is_torch, usual = model.form == "torch", baseline_runtime(model.key)
    wanted = start().runtime if is_torch or start().model == model.key else usual
    chosen = st.segmented_control(
        "Runtime",
        here,
        default=next(key for key in (wanted, usual, *here) if key in here),
        required=True,
        format_func=lambda key: RUNTIMES[key].title,
        help="The engine that serves the exported file. Everything is measured in it.",
        key=key_of(".".join(["runtime", *([] if is_torch else able)])),
        persist_state="session",
    )
    st.caption(RUNTIMES[chosen].summary)
    if others := [RUNTIMES[key].title for key in RUNTIMES if key not in able]:
        st.caption(f"Not for a model {form_title(model.form)}: {', '.join(others)}.")
    _draw_absent({RUNTIMES[key].title: reason for key, reason in reasons.items() if reason})
    return chosen


def _draw_absent(reasons: dict[str, str]) -> None:
    """Runtimes that cannot be chosen, each with its sentence."""
    extras = [extra for extra in EXTRAS.values() if extra.is_engine and not extra.is_installed]
    reasons = reasons | {extra.title: f"{extra.adds} Install: `{extra.command}`" for extra in extras}
    if reasons:
        st.segmented_control("Not available here", list(reasons), disabled=True)
        st.caption("  \n".join(f"**{title}** · {reason}" for title, reason in reasons.items()))


def _set_engine(runtime: str, device: Device) -> tuple[EngineSettings, str]:
    """The runtime's settings as they are set on screen; where those do not fit, as they were, and the reason."""
    begun = start().runtime == runtime and start().device == device.id
    begin = start().engine if begun else RUNTIMES[runtime].settings.usual(device)
    with st.expander("Engine settings", key=f"engine-{runtime}"):
        try:
            return controls(begin, key=key_of(f"engine.{runtime}.{device.kind}")), ""
        except BadInput as error:
            return begin, f"Engine settings: {error}"
