"""Puts a model of texts together, from a Hugging Face folder and a file of the machine's owner."""

from __future__ import annotations

import tempfile
from pathlib import Path

from core.progress import PhaseStarted, Steps
from experiments.adding import DATA, Ingredients, put_together
from intake.library import own_folder
from intake.sources import TextFolder


def add_texts(
    folder: Path, data: Path, *, title: str, length: int, shares: tuple[float, float], seed: int = 0, owner: str = ""
) -> Steps[str]:
    """The key of the new model; `shares` of the texts are trained on and calibrated with. Raises `StudioError`s."""
    from intake.texts import prepare

    yield PhaseStarted(title=DATA)
    with tempfile.TemporaryDirectory(dir=own_folder(owner)) as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        facts = yield from prepare(folder, data, length=length, shares=shares, seed=seed, out=draft)
        made = Ingredients(
            owner=owner,
            title=title or facts.title,
            source=TextFolder(path=folder),
            input=facts.input,
            labels=facts.labels,
            data_title=data.name,
            is_labelled=facts.metric == "accuracy",
            notes=facts.notes,
            warnings=facts.warnings,
        )
        return (yield from put_together(made, draft))
