"""Every technique and runtime is explained, and the words are."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from optimizers import TECHNIQUES
from runtimes import RUNTIMES

Visit = Callable[..., AppTest]


def test_every_technique_and_runtime_is_explained(visit: Visit) -> None:
    page = visit("learn")
    shown = [markdown.value for markdown in page.markdown]
    for technique in TECHNIQUES.values():
        assert technique.learn in shown
    for runtime in RUNTIMES.values():
        assert runtime.summary in shown


def test_the_glossary_has_the_terms_the_screens_use(visit: Visit) -> None:
    terms = {markdown.value.partition("**  \n")[0].strip("*") for markdown in visit("learn").tabs[2].markdown}
    assert {"Baseline", "Reference", "Pruning ratio", "MACs", "Calibration set", "Temperature"} <= terms
    assert {"Importance", "LAMP", "SparseGPT", "Energy", "Control", "Hint", "Ensemble", "Knee", "Warm-up"} <= terms
