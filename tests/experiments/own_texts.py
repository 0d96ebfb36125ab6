"""A model of texts as its owner would have brought it, planted in the data folder."""

from __future__ import annotations

from pathlib import Path

from core.progress import result_of
from intake.library import MODEL_FILE, OwnModel, models_folder
from intake.sources import TextFolder
from intake.texts import prepare
from tests.intake.tiny_texts import texts, write_csv, write_folder

KEY = "own-tiny-texts-0123456789"


def plant_texts(scratch: Path) -> str:
    """The key of a classifier with some 60 test texts, a few of them without a label. Imports torch."""
    folder = models_folder("") / KEY
    folder.mkdir(parents=True)
    data = write_csv(
        scratch / "texts.csv", [*[(f"{words} night", "") for words, _ in texts(6, seed=5)], *texts(120, seed=4)]
    )
    facts = result_of(prepare(write_folder(scratch / "bert"), data, shares=(0.3, 0.2), out=folder))
    model = OwnModel(
        key=KEY,
        title="Tiny texts",
        owner="",
        family="transformer",
        task="text",
        source=TextFolder(path=scratch / "bert"),
        input=facts.input,
        labels=facts.labels,
        data_title=data.name,
        counts=facts.counts,
        parameter_count=1,
        macs=1,
        size_bytes=4,
        correct=1,
        judged=1,
        added_at=0.0,
    )
    (folder / MODEL_FILE).write_text(model.model_dump_json())
    return KEY
