"""A tiny BERT with a vocabulary of its own and texts that it can learn, made from nothing in about a second."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

WORDS = {
    "calm": ("quiet", "slow", "still", "soft"),
    "loud": ("crash", "shout", "thunder", "horn"),
    "sweet": ("honey", "cake", "sugar", "berry"),
}
LABELS = tuple(WORDS)
FILLERS = ("the", "a", "and", "of", "in", "it", "was", "very", "day", "night")
LENGTH = 16


def texts(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label): fillers with two words of the label among them."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        words = [*random.choice(FILLERS, random.integers(3, 8)), *random.choice(WORDS[label], 2)]
        made.append((" ".join(random.permutation(words)), label))
    return made


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def write_folder(folder: Path, *, trained: bool = True) -> Path:
    """What `save_pretrained` writes of a model and its tokenizer."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    encoder(trained=trained).save_pretrained(folder)
    vocabulary = _vocabulary()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=dict(zip(vocabulary, range(len(vocabulary)), strict=True))).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(LABELS)), "label2id": {name: at for at, name in enumerate(LABELS)}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tokens_of(made: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """int32 [N, 2, LENGTH] by hand, and int64 [N, 1]."""
    numbers = {word: at for at, word in enumerate(_vocabulary())}
    x = np.zeros((len(made), 2, LENGTH), np.int32)
    for row, (text, _) in enumerate(made):
        ids = [numbers["[CLS]"], *(numbers[word] for word in text.split()), numbers["[SEP]"]]
        x[row, 0, : len(ids)], x[row, 1, : len(ids)] = ids, 1
    return x, np.asarray([[LABELS.index(label)] for _, label in made], np.int64)


def _vocabulary() -> list[str]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *FILLERS, *(word for words in WORDS.values() for word in words)]


@cache
def encoder(*, trained: bool = True):
    """Two layers of four heads; trained until it is mostly right."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        num_labels=len(LABELS),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    network = BertForSequenceClassification(config)
    network.bert.embeddings.word_embeddings.weight.data *= 10  # words that differ from the start are learned sooner
    if trained:
        x, y = (torch.from_numpy(each).long() for each in tokens_of(texts(96, seed=1)))
        optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
        for step in range(45):
            rows = torch.arange(32) + 32 * (step % 3)
            loss = network(input_ids=x[rows, 0], attention_mask=x[rows, 1], labels=y[rows, 0]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()
