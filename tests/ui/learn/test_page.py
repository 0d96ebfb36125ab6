"""Each technique has its one place on the Learn page, and a search finds what has all of its words."""

from __future__ import annotations

import pytest

from optimizers import TECHNIQUES
from ui.learn.page import families, matches


def test_each_technique_stands_once_beside_those_for_the_same_models() -> None:
    found = {family: [kind.key for kinds in of.values() for kind in kinds] for family, of in families().items()}
    assert sorted(key for keys in found.values() for key in keys) == sorted(TECHNIQUES)
    assert set(found["Keras and LiteRT"]) == {key for key in TECHNIQUES if "keras" in TECHNIQUES[key].takes}
    assert families()["PyTorch and ONNX"]["Fewer bits"][0].key == "mixed_precision"


@pytest.mark.parametrize(
    ("query", "is_found"),
    [("", True), ("PRUN channels", True), ("channels  prun", True), ("pruning weights", False), ("hannel", True)],
)
def test_every_word_has_to_occur_wherever_it_stands(query: str, is_found: bool) -> None:
    assert matches(query, "Structured pruning", "Removes channels.") == is_found
