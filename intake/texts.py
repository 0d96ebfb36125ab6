"""A classifier of texts and its data, brought from folders of the machine's owner: never uploaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.data import Labels
from core.errors import BadInput
from core.judging import Metric
from core.progress import Note, Progress, Steps
from intake.library import SPLITS, TextInput, folder_of
from intake.splitting import Rows, split
from intake.text_data import UNLABELLED, Texts, read_texts
from intake.text_folder import TOKENIZER_FILE, Classifier, read_folder

TEXTS_FILE = "texts.json"
"""The test texts in their order, each cut to `SHOWN_CHARACTERS`: what pages show where others show images."""
SHOWN_CHARACTERS = 1000
USUAL_LENGTH = 128
_COVERED = 95
"""Per cent of the texts that the length chosen here holds in full."""
_MULTIPLE = 8
_AT_ONCE = 1000


class TextFacts(BaseModel):
    """What a classifier of texts and its data turned out to be."""

    model_config = ConfigDict(frozen=True)

    title: str
    architecture: str
    labels: tuple[str, ...]
    input: TextInput
    counts: dict[str, int]
    """Texts of each split."""
    per_class: tuple[int, ...]
    """Labelled texts of each class."""
    cut: int
    """Texts longer than the length, of which the end is left out."""
    metric: Metric
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def prepare(
    folder: Path, data: Path, *, length: int = 0, shares: tuple[float, float] = (0.0, 0.2), seed: int = 0, out: Path
) -> Steps[TextFacts]:
    """Write everything that a model of texts needs into `out`: weights, configuration, tokenizer and tokens.

    `length` is that of a sequence in tokens; 0 chooses one that holds 95 % of the texts, at most 128. `shares` are
    those to train on and to calibrate with. Raises what reading the folder and the file raises, and `BadInput` for a
    length that the model does not take.
    """
    source = read_folder(folder)
    found = read_texts(data, source.labels)
    yield Note(text=f"{source.architecture} for {len(source.labels)} classes, and {len(found.texts):,} texts.")
    tokenizer = _tokenizer(source)
    sizes = yield from _sizes(tokenizer, found.texts)
    length = _length(length, sizes, source)
    padding = _fit_to(tokenizer, source, length)
    tokenizer.save(str(out / TOKENIZER_FILE))
    index = list(enumerate(found.labels))
    rows = split(index, train_share=shares[0], calibrate_share=shares[1], seed=seed)
    for name in SPLITS:
        yield from _write(name, rows[name], found, tokenizer, out)
    shown = [found.texts[int(row)][:SHOWN_CHARACTERS] for row, _ in rows["test"]]
    (out / TEXTS_FILE).write_text(json.dumps(shown, ensure_ascii=False), encoding="utf-8")
    yield Progress(done=0, total=1, unit="networks", doing="opening the network")
    _resave(source, out)
    return _facts(source, found, TextInput(length=length, padding=padding), rows, cut=int((sizes > length).sum()))


def test_texts(key: str, rows: Sequence[int]) -> tuple[str, ...]:
    """The texts of these rows of a model's `test_split`. Raises `BadInput` where it is not here."""
    folder = folder_of(key)
    kept = json.loads((folder / TEXTS_FILE).read_text(encoding="utf-8"))
    labelled = np.flatnonzero((np.load(folder / "test-labels.npy", allow_pickle=False) >= 0).any(axis=1))
    return tuple(kept[labelled[row]] for row in rows)


def tokenizer_file(key: str) -> Path:
    """The file that turns a model's texts into tokens. Raises `BadInput` where it is not here."""
    return folder_of(key) / TOKENIZER_FILE


def _resave(source: Classifier, out: Path) -> None:
    from intake.text_networks import resaved

    resaved(source.path, out)


def _tokenizer(source: Classifier) -> Any:
    """Of the package `tokenizers`, as the folder has it, or as transformers makes it of an older one's files."""
    from tokenizers import Tokenizer

    if (source.path / TOKENIZER_FILE).exists():
        try:
            return Tokenizer.from_file(str(source.path / TOKENIZER_FILE))
        except Exception as error:  # the package raises nothing narrower
            raise BadInput(
                f"{TOKENIZER_FILE} cannot be read ({str(error)[:200]})", action="Save the tokenizer again"
            ) from None
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(source.path, local_files_only=True, trust_remote_code=False)
        return made.backend_tokenizer
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        why = str(error).partition("\n")[0][:200]
        raise BadInput(
            f"The tokenizer of {source.title} cannot be opened ({why})",
            expected=f"{TOKENIZER_FILE}, which newer tokenizers write",
            action="Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        ) from None


def _sizes(tokenizer: Any, texts: Sequence[str]) -> Steps[Labels]:
    """int64 [N]: tokens of each text, whatever the tokenizer would cut."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sizes: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        sizes += [len(each.ids) for each in tokenizer.encode_batch(list(texts[start : start + _AT_ONCE]))]
        yield Progress(done=len(sizes), total=len(texts), unit="texts", doing="counting tokens")
    return np.asarray(sizes, np.int64)


def _length(wanted: int, sizes: Labels, source: Classifier) -> int:
    if wanted > source.longest:
        raise BadInput(
            f"a length of {wanted} tokens",
            expected=f"at most {source.longest}, which is as far as {source.title} counts positions",
            action="Choose a shorter length",
        )
    if wanted:
        return wanted
    covering = -(-int(np.percentile(sizes, _COVERED)) // _MULTIPLE) * _MULTIPLE
    return min(covering, USUAL_LENGTH, source.longest)


def _fit_to(tokenizer: Any, source: Classifier, length: int) -> int:
    """Let the tokenizer cut and fill up to the length; the token that fills up."""
    padding = _padding(tokenizer, source)
    if not 0 <= padding < tokenizer.get_vocab_size():
        raise BadInput(
            f"{source.title} fills up with token {padding}, and the tokenizer knows {tokenizer.get_vocab_size()}",
            expected="a padding token that both know",
            action="Save the tokenizer and the model together",
        )
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=padding, pad_token=tokenizer.id_to_token(padding))
    return padding


def _padding(tokenizer: Any, source: Classifier) -> int:
    if source.padding is not None:
        return source.padding
    told = (tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>"))
    return next((number for number in told if number is not None), 0)


def _write(name: str, rows: Rows, found: Texts, tokenizer: Any, out: Path) -> Steps[None]:
    """`name.npy`, int32 [N, 2, length], and `name-labels.npy`, int64 [N, 1]."""
    length = tokenizer.truncation["max_length"]
    tokens = np.lib.format.open_memmap(out / f"{name}.npy", mode="w+", dtype=np.int32, shape=(len(rows), 2, length))
    for start in range(0, len(rows), _AT_ONCE):
        part = [found.texts[int(row)] for row, _ in rows[start : start + _AT_ONCE]]
        encoded = tokenizer.encode_batch(part)
        tokens[start : start + len(part)] = [[each.ids, each.attention_mask] for each in encoded]
        yield Progress(done=start + len(part), total=len(rows), unit="texts", doing=f"writing the {name} split")
    tokens.flush()
    np.save(out / f"{name}-labels.npy", np.asarray([[label] for _, label in rows], np.int64).reshape(-1, 1))


def _facts(source: Classifier, found: Texts, prepared: TextInput, rows: Mapping[str, Rows], *, cut: int) -> TextFacts:
    per_class = tuple(found.labels.count(number) for number in range(len(source.labels)))
    return TextFacts(
        title=source.title,
        architecture=source.architecture,
        labels=source.labels,
        input=prepared,
        counts={name: len(rows[name]) for name in SPLITS},
        per_class=per_class,
        cut=cut,
        metric="accuracy" if found.is_labelled else "agreement",
        notes=tuple(_notes(found, prepared, cut)),
        warnings=tuple(_warnings(found, source, per_class)),
    )


def _notes(found: Texts, prepared: TextInput, cut: int) -> list[str]:
    notes = [f"Sequences have {prepared.length} tokens."]
    if cut:
        share = f"{100 * cut / len(found.texts):.1f} %"
        notes.append(f"{cut:,} of {len(found.texts):,} texts ({share}) are longer; their end is left out.")
    if found.empty:
        notes.append(f"{found.empty:,} rows without a text were left out.")
    if not found.is_labelled:
        notes.append("The texts have no labels: what counts as right is what the untouched network answers.")
    return notes


def _warnings(found: Texts, source: Classifier, per_class: Sequence[int]) -> list[str]:
    missing = [name for name, count in zip(source.labels, per_class, strict=True) if not count]
    unlabelled = found.labels.count(UNLABELLED)
    warnings = []
    if found.is_labelled and missing:
        warnings.append(f"No text is labelled {', '.join(missing[:8])}: the accuracy says nothing about these classes.")
    if found.is_labelled and unlabelled:
        warnings.append(f"{unlabelled:,} texts have no label; the accuracy is that of the others.")
    return warnings
