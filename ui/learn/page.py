"""What the Learn page teaches: techniques in groups with a list to jump by, runtimes and terms; a search of them."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from core.bundle import Form
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import RUNTIMES
from runtimes.runtime import Runtime
from ui.glossary import TERMS
from ui.learn.pictures import PICTURES
from ui.optimise.switches import groups
from ui.state import ink

READABLE = 860
"""Pixels: wider lines tire the eye."""
FAMILIES: dict[str, Form] = {"PyTorch and ONNX": "torch", "Keras and LiteRT": "keras"}
FEW = 3
"""So many found techniques are shown with all that is known of them."""
MEASURED = (
    "Figures are of the sample models on one thread of an AMD EPYC, with settings as in docs/pruning.md, "
    "docs/quantization.md and docs/tensorflow.md. Other networks and processors differ: measure."
)

NOTHING = "Nothing here has all of these words."


def families() -> dict[str, dict[str, list[type[Technique]]]]:
    """Each technique once, by the kind of model it is made for and what it is good for, in the registry's order.

    What takes networks of Keras stands there, although it may take others too.
    """
    return {
        family: {
            group: [TECHNIQUES[key] for key in TECHNIQUES if key in keys and _is_of(form, TECHNIQUES[key])]
            for group, keys in groups(form).items()
        }
        for family, form in FAMILIES.items()
    }


def matches(query: str, *texts: str) -> bool:
    """Whether each word of the query is part of one of the texts, in upper or lower case."""
    text = "\n".join(texts).casefold()
    return all(word in text for word in query.casefold().split())


def draw(query: str) -> None:
    """Techniques, runtimes and terms in which each word of the query occurs, and how many they are."""
    techniques = [each for each in TECHNIQUES.values() if matches(query, *_texts(each))]
    runtimes = [each for each in RUNTIMES.values() if matches(query, each.title, each.summary)]
    terms = {term: meaning for term, meaning in TERMS.items() if matches(query, term, meaning)}
    if is_search := bool(query.strip()):
        found = (_count(techniques, "technique"), _count(runtimes, "runtime"), _count(terms, "term"))
        st.caption(f"Found: {', '.join(found)}.")
    of_techniques, of_runtimes, of_words = st.tabs(
        ["Techniques", "Runtimes", "Glossary"], key="part", bind="query-params"
    )
    with of_techniques:
        _draw_techniques(techniques, is_search=is_search)
    with of_runtimes, st.container(width=READABLE):
        _draw_runtimes(runtimes)
    with of_words, st.grid(2, min_column_width=360, gap=("small", "large")):
        if not terms:
            st.caption(NOTHING)
        for term, meaning in terms.items():
            st.markdown(f"**{term}**  \n{meaning}")


def _is_of(form: Form, technique: type[Technique]) -> bool:
    return form == "keras" or "keras" not in technique.takes


def _texts(technique: type[Technique]) -> tuple[str, ...]:
    return technique.title, technique.summary, technique.pays, technique.pays_not, technique.learn


def _count(found: Iterable[object], name: str) -> str:
    """`1 technique`, `no terms`."""
    number = len(list(found))
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


def _draw_techniques(found: list[type[Technique]], *, is_search: bool) -> None:
    """Each technique in its group: a few with all that is known of them, more of them with a list to jump by."""
    shown = {
        f"{family}: {group.lower()}": (group, kinds)
        for family, of in families().items()
        for group, members in of.items()
        if (kinds := [kind for kind in members if kind in found])
    }
    if not found:
        st.caption(NOTHING)
        return
    st.caption(MEASURED)
    is_few = len(found) <= FEW
    if not is_few:
        _draw_contents({title: kinds for title, (_, kinds) in shown.items()})
    pictures = {} if is_search else dict(PICTURES)
    for title, (group, kinds) in shown.items():
        st.header(title, anchor=False)
        if picture := pictures.pop(group, None):
            draw, words = picture
            st.image(draw(ink()), alt=words)
            st.caption(words, width=READABLE)
        with st.grid(1 if is_few else 2, min_column_width=420, gap="small", width=READABLE if is_few else "stretch"):
            for kind in kinds:
                _draw_technique(kind, is_open=is_few)


def _draw_contents(groups_shown: dict[str, list[type[Technique]]]) -> None:
    """A line of links for each group, which lead to its techniques."""
    with st.container(border=True, key="learn-contents", gap="xsmall", width=READABLE):
        for title, kinds in groups_shown.items():
            links = " · ".join(f"[{kind.title}](#{kind.key})" for kind in kinds)
            st.markdown(f"**{title}**  \n{links}")


def _draw_technique(technique: type[Technique], *, is_open: bool) -> None:
    """What it does, when it pays and when not, and, opened, how it works."""
    with st.container(border=True, key=f"learn-{technique.key}", gap="xsmall"):
        st.subheader(technique.title, anchor=technique.key)
        st.markdown(technique.summary)
        st.markdown(f":green[:material/check:] **Pays when** {technique.pays}")
        st.markdown(f":red[:material/close:] **Does not pay when** {technique.pays_not}")
        with st.expander("How it works, with sources", expanded=is_open, type="compact"):
            st.markdown(technique.learn)


def _draw_runtimes(found: list[Runtime]) -> None:
    if not found:
        st.caption(NOTHING)
    for runtime in found:
        with st.container(border=True, key=f"learn-{runtime.key}"):
            st.subheader(runtime.title)
            st.markdown(runtime.summary)
