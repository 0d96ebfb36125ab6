"""Every technique and runtime is explained, and the words are; a list leads to each, and a search finds it."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from optimizers import TECHNIQUES
from runtimes import RUNTIMES

Visit = Callable[..., AppTest]


def shown(page: AppTest) -> list[str]:
    return [markdown.value for markdown in page.markdown]


def test_every_technique_and_runtime_is_explained(visit: Visit) -> None:
    texts = shown(page := visit("learn"))
    for technique in TECHNIQUES.values():
        assert technique.learn in texts
        assert any(text.endswith(f"**Pays when** {technique.pays}") for text in texts)
        assert any(text.endswith(f"**Does not pay when** {technique.pays_not}") for text in texts)
    for runtime in RUNTIMES.values():
        assert runtime.summary in texts
    assert not page.expander[0].proto.expanded


def test_the_list_leads_to_every_technique(visit: Visit) -> None:
    page = visit("learn")
    links = re.findall(r"\]\(#(\w+)\)", "".join(each.value for each in page.container(key="learn-contents").markdown))
    assert sorted(links) == sorted(TECHNIQUES)
    assert {heading.proto.anchor for heading in page.subheader} >= set(links)


def test_a_search_leaves_what_has_all_its_words_and_opens_a_few(visit: Visit) -> None:
    page = visit("learn", search="centroids")
    assert page.caption[1].value == "Found: 1 technique, no runtimes, no terms."
    assert [expander.proto.expanded for expander in page.expander] == [True]
    assert TECHNIQUES["keras_clustering"].learn in shown(page)
    page.text_input(key="search").set_value("no-such-word").run()
    assert not page.exception
    assert [caption.value for caption in page.caption[2:]] == ["Nothing here has all of these words."] * 3
    page.text_input(key="search").set_value("").run()
    assert TECHNIQUES["int8"].learn in shown(page)


def test_the_glossary_has_the_terms_the_screens_use(visit: Visit) -> None:
    terms = {markdown.value.partition("**  \n")[0].strip("*") for markdown in visit("learn").tabs[2].markdown}
    assert {"Baseline", "Reference", "Pruning ratio", "MACs", "Calibration set", "Temperature"} <= terms
    assert {"Importance", "LAMP", "SparseGPT", "Energy", "Control", "Hint", "Ensemble", "Knee", "Warm-up"} <= terms
