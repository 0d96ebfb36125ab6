"""Which techniques are offered for a model, which of them are on, and in which order they apply."""

from __future__ import annotations

import streamlit as st

from core.bundle import Form
from optimizers import TECHNIQUES
from ui.optimise.opening import key_of, order, set_order, start

FEWER_BITS = (
    "mixed_precision", "int8", "qat", "weight_only", "fp8", "simulated",
    "keras_qat", "keras_quantization", "litert_quantization",
)  # fmt: skip
CONTROLS = ("keras_fine_tuning",)
"""What makes nothing smaller, and stands beside what trains."""
TRAINING_ALONE = "Training alone"


def offered(form: Form) -> list[str]:
    """The techniques that could ever work on a model of that form, in the order in which they apply."""
    return [key for key in order() if form in TECHNIQUES[key].takes]


def groups(form: Form) -> dict[str, list[str]]:
    """What is offered, by what it is good for."""
    smaller = "Smaller file" if form in ("keras", "tflite") else "Smaller network"
    found: dict[str, list[str]] = {TRAINING_ALONE: [], smaller: [], "Fewer bits": []}
    for key in offered(form):
        found[TRAINING_ALONE if key in CONTROLS else "Fewer bits" if key in FEWER_BITS else smaller].append(key)
    return {title: keys for title, keys in found.items() if keys}


def switch_of(key: str) -> str:
    """The widget key of a technique's switch."""
    return key_of(f"{key}.on")


def is_on(key: str) -> bool:
    """Whether a technique is switched on, be it offered or not."""
    started_with = any(technique.key == key for technique in start().techniques)
    return bool(st.session_state.get(switch_of(key), started_with))


def steps(form: Form) -> list[str]:
    """The techniques that are on, in the order they apply; what is on for models of another form waits for those."""
    return [key for key in offered(form) if is_on(key)]


def swap(first: str, second: str) -> None:
    """Let each of two techniques apply where the other did."""
    swapped = {first: second, second: first}
    set_order(tuple(swapped.get(key, key) for key in order()))
