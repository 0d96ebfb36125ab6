"""The documentation tells the truth: every part is named in it, and every link in it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optimizers import TECHNIQUES
from runtimes import RUNTIMES

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
