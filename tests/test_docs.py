"""The documentation tells the truth: every part is named in it, and every link in it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.declared import KINDS, Declared, read
from intake.limits import GIB, LIMITS, quota_bytes
from intake.parsing.graph_checks import EXPORTED
from intake.preprocessing import Preprocessing
from optimizers import TECHNIQUES
from runtimes import RUNTIMES
from tests.test_layers import LEVELS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=list(TECHNIQUES))
def test_every_technique_teaches_and_is_in_the_readme(technique: type) -> None:
    assert technique.title in (ROOT / "README.md").read_text()
    assert len(technique.learn) > 200
    assert "http" in technique.learn
    for field in technique.model_fields.values():
        assert field.title
        assert field.description


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=list(RUNTIMES))
def test_every_runtime_is_in_the_readme(runtime: object) -> None:
    assert runtime.title in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", sorted((ROOT / "pages").glob("*.py")), ids=lambda path: path.stem)
def test_every_page_is_in_the_readme(page: Path) -> None:
    assert f"**{page.stem.capitalize()}**" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("layer", LEVELS)
def test_every_layer_is_in_the_house(layer: str) -> None:
    name = rf"`{layer}(\.py|/)`"
    assert re.search(name, (ROOT / "docs" / "architecture.md").read_text())


def test_the_example_of_models_has_one_of_each_kind_and_every_field_is_explained() -> None:
    models = read(ROOT / "models.example.yaml")
    assert sorted(model.kind for model in models) == sorted(KINDS)
    fields = {name for model in models for name in model.input}
    assert fields <= set(Preprocessing.model_fields)
    explained = (ROOT / "docs" / "bring.md").read_text()
    assert [name for name in Declared.model_fields if f"`{name}`" not in explained] == []
    assert [name for name in Preprocessing.model_fields if f"`{name}`" not in explained] == ["source"]


def test_the_limits_of_what_people_bring_are_those_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIO_QUOTA_GB", raising=False)
    said = (ROOT / "docs" / "bring.md").read_text()
    sizes = (LIMITS.model_bytes, LIMITS.data_bytes, LIMITS.unpacked_bytes, LIMITS.memory_bytes, quota_bytes())
    counts = (LIMITS.images, LIMITS.entries, LIMITS.tensors, LIMITS.graph_nodes)
    others = (
        f"{LIMITS.image_pixels / 1e6:.0f} megapixels",
        f"{LIMITS.unpacked_ratio} times",
        f"{LIMITS.model_seconds:.0f} s for a model, {LIMITS.parse_seconds / 60:.0f} min for data",
        f"{LIMITS.broken_share:.0%}".replace("%", " %"),
    )
    wanted = (*(f"{size / GIB:g} GiB" for size in sizes), *(f"{count:,}" for count in counts), *others)
    assert [each for each in wanted if each not in said] == []


def test_the_export_that_is_recommended_is_the_one_that_refusals_show() -> None:
    assert EXPORTED in (ROOT / "docs" / "bring.md").read_text()
