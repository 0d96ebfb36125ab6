"""What is read of a Hugging Face folder before anything of it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput, Refused, Unavailable
from intake import text_folder
from intake.text_folder import read_folder

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"1": "good", "0": "bad"},
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}


def folder_of(path: Path, *, without: str = "", **config: Any) -> Path:
    """A folder with all that has to be there, but for one file; nobody looks into its weights here."""
    for name in ("model.safetensors", "tokenizer.json"):
        if name != without:
            (path / name).write_text("{}")
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    return path


def test_labels_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    found = read_folder(folder_of(tmp_path))
    assert found.labels == ("bad", "good")
    assert (found.longest, found.padding) == (512, 0)
    assert found.architecture == "BertForSequenceClassification"


def test_roberta_counts_positions_from_its_padding_on(tmp_path: Path) -> None:
    """514 positions hold 512 tokens: https://github.com/facebookresearch/fairseq, `padding_idx + 1` comes first."""
    wanted = {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]}
    assert read_folder(folder_of(tmp_path, max_position_embeddings=514, **wanted)).longest == 512


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"auto_map": {"AutoConfig": "evil.Config"}}, "brings code of its own.*evil.Config"),
        ({"architectures": ["BertForMaskedLM"]}, "is a BertForMaskedLM, which classifies no texts"),
        ({"architectures": None}, "does not say what it is"),
        ({"problem_type": "multi_label_classification"}, "several labels at once"),
        ({"problem_type": "regression"}, "predicts a number"),
        ({"id2label": {"0": "only"}}, "predicts a number"),
        ({"id2label": {"0": "a", "5": "b"}}, "does not number the classes from 0"),
        ({"id2label": {"a": "a", "b": "b"}}, "does not number the classes from 0"),
        ({"without": "tokenizer.json"}, "has no tokenizer"),
        ({"without": "model.safetensors"}, "has no weights"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_sentence(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_folder(folder_of(tmp_path, **change))


def test_pickled_weights_are_refused_with_the_lines_that_convert_them(tmp_path: Path) -> None:
    folder_of(tmp_path, without="model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(Refused, match=r"pytorch_model\.bin, a file that can run code") as refusal:
        read_folder(tmp_path)
    assert "safe_serialization=True" in refusal.value.snippet


@pytest.mark.parametrize(
    ("content", "says"), [("{", "cannot be read"), ("[]", "model_type"), (None, "has no config.json")]
)
def test_a_folder_that_is_none(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput, match=says):
        read_folder(tmp_path)


def test_without_transformers_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_folder, "find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r"studio\.py install text"):
        read_folder(folder_of(tmp_path))
