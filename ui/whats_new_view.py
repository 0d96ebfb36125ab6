"""What the devices and libraries of this machine unlock, and what newer versions would change, once asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from core.capabilities import FEATURES, GENERATIONS, Answer, Generation, nearest_generation
from core.devices import Device
from experiments.libraries import LIBRARIES, Library, Unlocks, in_words
from experiments.package_index import AT_ONCE, Offer, ask_for
from experiments.whats_new import Consequence, Kind, consequence, how_to_add
from ui import text

ASKED = "whats_new.asked"
"""Where this browser session keeps what the index answered."""
_KINDS: Mapping[Kind, str] = {
    "fits": ":blue-badge[Newer]",
    "outside": ":orange-badge[Newer, not taken]",
    "missing": ":gray-badge[Not here]",
    "unknown": ":gray-badge[Not known]",
}
"""In the order in which they are listed."""


@dataclass(frozen=True)
class Asked:
    """What the package index answered, and when."""

    at: float
    """Seconds since the epoch."""
    offers: Mapping[str, Offer]
    """By library; those not asked for any more, because nothing answered, are missing."""


def draw_unlocked(devices: Sequence[Device]) -> None:
    """Each number format and ability on each kind of device here, with the reason."""
    table = unlocked(devices)
    st.table(table, border="horizontal", hide_index=True, alt="What the devices of this machine unlock")
    st.caption("From what the devices say of themselves. What is faster, and by how much, a run has to measure.")


def unlocked(devices: Sequence[Device]) -> pd.DataFrame:
    """One row a feature: what it brings, and a column for each kind of device, in markdown."""
    kinds: dict[tuple[str, object], list[Device]] = {}
    for device in devices:
        kinds.setdefault((device.name, device.compute_capability), []).append(device)
    rows = [
        {"": f"**{each.title}**", "What it brings": each.brings}
        | {_heading(alike): _cell(each.of(alike[0])) for alike in kinds.values()}
        for each in FEATURES.values()
    ]
    return pd.DataFrame(rows)


def _heading(alike: Sequence[Device]) -> str:
    """`cuda:0, cuda:1 NVIDIA A100, compute capability 8.0`."""
    first = alike[0]
    capability = ", compute capability {}.{}".format(*first.compute_capability) if first.compute_capability else ""
    return text.escape(f"{', '.join(device.id for device in alike)} · {first.name}{capability}")


def _cell(answer: Answer) -> str:
    badge = ":green-badge[yes]" if answer.has else ":gray-badge[no]"
    return f"{badge} {answer.why} {answer.where}".strip()


def draw_generations(devices: Sequence[Device]) -> None:
    """Which generation of NVIDIA GPUs has what, the ones here marked."""
    st.table(generations(devices), border="horizontal", hide_index=True, alt="What generations of NVIDIA GPUs unlock")
    st.caption(
        "The number behind a generation is its compute capability. Volta multiplies FP16 in tensor cores, but the "
        "ordinary builds of PyTorch from 2.11 on and TensorRT leave it out. Which of these have been run on a GPU "
        "with this studio is listed in docs/gpu-status.md."
    )


def generations(devices: Sequence[Device]) -> pd.DataFrame:
    """One row a generation and a column a feature, which says yes or nothing."""
    capabilities = {device.compute_capability for device in devices if device.compute_capability}
    here = {nearest_generation(capability) for capability in capabilities}
    return pd.DataFrame([_generation(each, is_here=each in here) for each in GENERATIONS])


def _generation(generation: Generation, *, is_here: bool) -> dict[str, str]:
    gpu = Device("cuda:0", "cuda", generation.name, 0, generation.capability)
    title = "**{}** {}.{}".format(generation.name, *generation.capability) + " :blue-badge[here]" * is_here
    has = {each.title: "yes" if each.of(gpu).has else "–" for each in FEATURES.values()}
    return {"Generation": title, "For example": generation.examples} | has


def draw_libraries(devices: Sequence[Device]) -> None:
    """Versions and purposes; those first whose use depends on the machine, with what they give on this one."""
    special = [(each, each.unlocks) for each in LIBRARIES if each.unlocks]
    alike = [each for each in LIBRARIES if not each.unlocks]
    table = libraries([each for each, _ in special])
    table["What it unlocks here"] = [_unlocks(each, unlocks, devices) for each, unlocks in special]
    st.table(table, border="horizontal", hide_index=True, alt="Libraries whose use depends on the machine")
    with st.expander(f"{len(alike)} libraries that work alike on every machine", key="whats_new.alike"):
        st.table(libraries(alike), border="horizontal", hide_index=True, alt="Libraries that work alike everywhere")


def libraries(chosen: Sequence[Library]) -> pd.DataFrame:
    """One row a library: the version here, the one that the tests ran on, and what it is for."""
    return pd.DataFrame(
        {
            "Library": [f"**{each.name}**" for each in chosen],
            "Installed": [_installed(each) for each in chosen],
            "Tests ran on": [each.tested or "–" for each in chosen],
            "What it is for": [each.purpose for each in chosen],
        }
    )


def _unlocks(library: Library, unlocks: Unlocks, devices: Sequence[Device]) -> str:
    answer = unlocks(devices)
    is_wanted = answer.has and library.installed is None
    return text.escape(answer.why) + is_wanted * f" {how_to_add(library)}"


def _installed(library: Library) -> str:
    outside = f" :orange-badge[outside {text.escape(in_words(library.range))}]" if library.is_outside else ""
    return (library.installed or "–") + outside


@st.fragment
def draw_newest() -> None:
    """The button that asks the package index, and what its last answer in this session means."""
    pressed = st.button(
        "Ask for newer versions", icon=":material/update:", key="whats_new.ask",
        help="Asks the package index that pip is configured for, by pip, with the names of these libraries.",
    )  # fmt: skip
    if pressed:
        st.session_state[ASKED] = ask_with_bar()
    asked: Asked | None = st.session_state.get(ASKED)
    if asked is None:
        st.caption("The studio asks nobody by itself. Press the button to see which libraries have newer versions.")
    else:
        draw_answer(asked)


def ask_with_bar() -> Asked:
    """What the index says of every library, with a bar meanwhile."""
    names = [each.name for each in LIBRARIES]
    bar = st.progress(0.0, f"Asking the package index for {len(names)} libraries, {AT_ONCE} at a time")
    offers: dict[str, Offer] = {}
    for name, offer in ask_for(names):
        offers[name] = offer
        bar.progress(len(offers) / len(names), f"{len(offers)} of {len(names)} libraries asked for: {name}")
    bar.empty()
    return Asked(time.time(), offers)


def draw_answer(asked: Asked) -> None:
    """What each answer means, those first that ask for a decision; or that there was no answer."""
    when = f"Asked {text.ago(asked.at)}."
    if all(offer.problem for offer in asked.offers.values()):
        problem = next(iter(asked.offers.values())).problem
        st.warning(
            f"{text.escape(problem)} Nothing is known about newer versions. Check the connection and pip's "
            f"configuration, then ask again. {when}",
            icon=":material/cloud_off:",
        )
        return
    found = [(each, consequence(each, asked.offers[each.name])) for each in LIBRARIES if each.name in asked.offers]
    if not (told := consequences(found)).empty:
        st.table(told, border="horizontal", hide_index=True, alt="What newer versions would change")
    newest = [library.name for library, meaning in found if meaning.kind == "newest"]
    st.caption(
        f"Nothing newer for this Python and platform: {', '.join(newest) or 'none of them'}. {when} Yanked and "
        f"preliminary releases are left out. `pip` stands for `{sys.executable} -m pip`; after installing, restart the "
        "dashboard."
    )


def consequences(found: Sequence[tuple[Library, Consequence]]) -> pd.DataFrame:
    """One row a library of which something follows, those first that ask for a decision."""
    order = list(_KINDS)
    told = [(library, meaning) for library, meaning in found if meaning.kind != "newest"]
    rows = [_row(*pair) for pair in sorted(told, key=lambda pair: order.index(pair[1].kind))]
    return pd.DataFrame(rows)


def _row(library: Library, meaning: Consequence) -> dict[str, str]:
    what = text.escape(meaning.what) if meaning.kind == "unknown" else meaning.what
    return {
        "Library": f"**{library.name}**",
        "Installed": library.installed or "–",
        "Newest": meaning.newest or "–",
        "What follows": f"{_KINDS[meaning.kind]} {what}",
    }
