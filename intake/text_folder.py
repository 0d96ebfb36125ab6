"""A local Hugging Face folder with a sequence classifier, and what has to be true of it before it is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import BadInput, Refused, Unavailable

CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
SAVE = """from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained("your model")
model.save_pretrained("folder", safe_serialization=True)
AutoTokenizer.from_pretrained("your model").save_pretrained("folder")"""
_CLASSIFIES = "ForSequenceClassification"
_TOKENIZERS = (TOKENIZER_FILE, "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_ROBERTA_LIKE = 2
"""Positions that such encoders count from the padding token on, and that no text can use."""


@dataclass(frozen=True)
class Classifier:
    """A folder, and what its `config.json` says."""

    path: Path
    architecture: str
    """`BertForSequenceClassification`."""
    labels: tuple[str, ...]
    longest: int
    """Tokens of the longest sequence it takes."""
    padding: int | None
    """The token that fills up, as far as the configuration says."""

    @property
    def title(self) -> str:
        """The folder's name."""
        return self.path.resolve().name


def why_no_transformers() -> str | None:
    """One sentence on why no texts can be read here, or None; imports nothing."""
    if find_spec("transformers") is None:
        return "Models of texts need transformers, which is not installed. Install: `python3 studio.py install text`"
    return None


def read_folder(path: Path) -> Classifier:
    """What the folder holds, without opening its weights.

    Raises `Unavailable` without transformers, `Refused` for weights that can run code, for code of its own and for
    what classifies no sequences, and `BadInput` for what is no such folder.
    """
    if reason := why_no_transformers():
        raise Unavailable(reason)
    config = _config(path)
    _refuse_code(path, config)
    _require_weights(path)
    architecture = _architecture(path, config)
    labels = _labels(config)
    if not any((path / name).exists() for name in _TOKENIZERS):
        raise Refused(
            f"{path.name} has no tokenizer",
            expected="the files that tokenizer.save_pretrained writes, beside the model's",
            action="Save the tokenizer into the same folder",
            snippet=SAVE,
        )
    return Classifier(path, architecture, labels, _longest(config), config.get("pad_token_id"))


def _config(path: Path) -> dict[str, Any]:
    file = path / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path} has no {CONFIG_FILE}",
            expected="a folder that model.save_pretrained wrote",
            action="Name the folder that holds config.json, model.safetensors and the tokenizer",
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read ({error})", action="Save the model again") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise BadInput(
            f"{file} does not name a model_type", expected="the configuration of a model of transformers",
            action="Save the model again with model.save_pretrained",
        )  # fmt: skip
    return config


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    brought = config.get("auto_map")
    if brought:
        names = ", ".join(map(str, brought.values())) if isinstance(brought, dict) else str(brought)
        raise Refused(
            f"{path.name} brings code of its own, which would run when it is opened ({names}, in auto_map)",
            expected="an architecture that transformers itself knows",
            action="Bring it as ONNX, or through a function with `--model package.module:function`",
        )


def _require_weights(path: Path) -> None:
    if any(path.glob("*.safetensors")):
        return
    others = sorted(each.name for each in path.glob("*.bin")) + sorted(each.name for each in path.glob("*.pt"))
    has = f"has its weights in {others[0]}, a file that can run code when it is opened" if others else "has no weights"
    raise Refused(f"{path.name} {has}", expected="model.safetensors", action="Save them as safetensors", snippet=SAVE)


def _architecture(path: Path, config: dict[str, Any]) -> str:
    named = [str(each) for each in config.get("architectures") or ()]
    found = next((each for each in named if each.endswith(_CLASSIFIES)), None)
    if found is None:
        has = f"is a {named[0]}" if named else "does not say what it is"
        raise Refused(
            f"{path.name} {has}, which classifies no texts: its classifier would be random",
            expected=f"a model trained as ...{_CLASSIFIES}",
            action="Fine-tune it for your classes and save it again",
            snippet=SAVE,
        )
    return found


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes in the order of their numbers."""
    names = config.get("id2label") or {number: f"class {number}" for number in range(config.get("num_labels") or 2)}
    kind = config.get("problem_type")
    if kind in ("regression", "multi_label_classification") or len(names) < 2:
        what = "predicts a number" if kind == "regression" or len(names) < 2 else "gives several labels at once"
        raise Refused(
            f"The model {what}",
            expected="a classifier that chooses one of two or more classes",
            action="Bring a model trained for single-label classification",
        )
    try:
        numbers = sorted(int(number) for number in names)
        labels = tuple(str(names.get(str(number), names.get(number))) for number in numbers)
    except (ValueError, AttributeError):
        numbers, labels = [], ()
    if numbers != list(range(len(names))):
        raise BadInput(
            "id2label in config.json does not number the classes from 0",
            expected='names by number, as {"0": "negative", "1": "positive"}',
            action="Correct it in config.json",
        )
    return labels


def _longest(config: dict[str, Any]) -> int:
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 512)
    counts_from_padding = str(config.get("position_embedding_type", "absolute")) == "absolute" and (
        "roberta" in str(config["model_type"]) or config["model_type"] in ("camembert", "mpnet", "longformer")
    )
    return positions - _ROBERTA_LIKE if counts_from_padding else positions
