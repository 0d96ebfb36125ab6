"""A folder and a file become a model of texts, whose tokens and answers are those of transformers itself."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from core.data import TextContract
from core.errors import BadInput, Refused
from core.progress import result_of
from intake.library import SPLITS
from intake.text_networks import network_in
from intake.texts import TextFacts, prepare
from tests.intake.tiny_texts import LABELS, texts, write_csv, write_folder

ROWS = texts(60, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def prepared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TextFacts]:
    out = tmp_path_factory.mktemp("own")
    data = write_csv(out / "data.csv", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _no_network)
        return out, result_of(prepare(folder, data, shares=(0.3, 0.2), out=out))


def _no_network(*_: object) -> None:
    raise AssertionError("nothing is fetched")


def test_tokens_are_those_of_the_folders_tokenizer(folder: Path, prepared: tuple[Path, TextFacts]) -> None:
    out, facts = prepared
    shown = json.loads((out / "texts.json").read_text())
    theirs = AutoTokenizer.from_pretrained(folder)(
        shown, padding="max_length", truncation=True, max_length=facts.input.length, return_tensors="np"
    )
    ours = np.load(out / "test.npy")
    assert ours.dtype == np.int32
    np.testing.assert_array_equal(ours[:, 0], theirs["input_ids"])
    np.testing.assert_array_equal(ours[:, 1], theirs["attention_mask"])


def test_the_network_answers_as_the_folders_model(folder: Path, prepared: tuple[Path, TextFacts]) -> None:
    out, facts = prepared
    contract = TextContract(facts.input.length, facts.input.padding, facts.labels)
    x = torch.from_numpy(contract.prepare(np.load(out / "test.npy")))
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = theirs(input_ids=x[:, 0], attention_mask=x[:, 1]).logits
        torch.testing.assert_close(network_in(out)(x), expected, rtol=1e-5, atol=1e-6)


def test_splits_are_disjoint_and_hold_the_classes_alike(prepared: tuple[Path, TextFacts]) -> None:
    out, facts = prepared
    assert facts.counts == {"train": 18, "calibrate": 12, "test": 30}
    assert (facts.labels, facts.per_class, facts.metric) == (LABELS, (20, 20, 20), "accuracy")
    for name in SPLITS:
        labels = np.load(out / f"{name}-labels.npy")
        assert labels.shape == (facts.counts[name], 1)
        assert np.ptp(np.bincount(labels[:, 0])) <= 1
    wanted = dict(ROWS)
    shown = json.loads((out / "texts.json").read_text())
    assert [wanted[text] for text in shown] == [LABELS[each] for each in np.load(out / "test-labels.npy")[:, 0]]


def test_nothing_of_the_original_is_needed_afterwards(prepared: tuple[Path, TextFacts]) -> None:
    out, _ = prepared
    names = {path.name for path in out.iterdir()} - {"data.csv"}
    arrays = {f"{name}{end}.npy" for name in SPLITS for end in ("", "-labels")}
    assert names == {"config.json", "tokenizer.json", "weights.safetensors", "texts.json", *arrays}


def test_long_texts_are_cut_and_said(folder: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", ROWS)
    facts = result_of(prepare(folder, data, length=8, out=tmp_path))
    longer = sum(len(text.split()) + 2 > 8 for text, _ in ROWS)
    assert facts.cut == longer
    assert facts.notes[0] == "Sequences have 8 tokens."
    assert facts.notes[1].startswith(f"{longer} of 60 texts")
    assert np.load(tmp_path / "test.npy").shape[1:] == (2, 8)


def test_texts_without_labels_have_agreement_as_their_metric(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text\n" + "".join(f"{text}\n" for text, _ in ROWS))
    facts = result_of(prepare(folder, tmp_path / "data.csv", out=tmp_path))
    assert facts.metric == "agreement"
    assert "no labels" in facts.notes[-1]
    assert (np.load(tmp_path / "test-labels.npy") == -1).all()


def test_a_class_without_a_text_is_warned_of(folder: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", [row for row in ROWS if row[1] != "loud"])
    facts = result_of(prepare(folder, data, out=tmp_path))
    assert facts.warnings == ("No text is labelled loud: the accuracy says nothing about these classes.",)


def test_a_length_beyond_its_positions_is_refused(folder: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", ROWS)
    with pytest.raises(BadInput, match=r"a length of 25 tokens.*at most 24"):
        result_of(prepare(folder, data, length=25, out=tmp_path))


def test_missing_weights_of_the_classifier_are_refused(folder: Path, tmp_path: Path) -> None:
    """transformers itself draws them at random, with a warning."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    kept = {name: each for name, each in weights.items() if not name.startswith("classifier")}
    save_file(kept, broken / "model.safetensors", metadata={"format": "pt"})
    data = write_csv(tmp_path / "data.csv", ROWS)
    with pytest.raises(Refused, match=r"lacks 2 of the weights.*classifier.bias, classifier.weight"):
        result_of(prepare(broken, data, out=tmp_path))


def test_damaged_weights_get_a_sentence(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"\xff" * 100)
    data = write_csv(tmp_path / "data.csv", ROWS)
    with pytest.raises(BadInput, match="cannot open broken"):
        result_of(prepare(broken, data, out=tmp_path))
