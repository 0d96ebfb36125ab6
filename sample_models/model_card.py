"""The facts about a sample model, computed by `sample_models.build` and kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.errors import Unavailable

FOLDER = Path(__file__).parent / "cards"


@dataclass(frozen=True)
class ModelCard:
    """Size, cost and accuracy of one sample model, with the conditions they were found under."""

    key: str
    parameter_count: int
    macs: int
    """Multiply-accumulates of one image."""
    size_bytes: int
    """Of the fp32 weights file; of a network of Keras, of its `.tflite` in float32."""
    correct: int
    test_images: int
    epochs: int | None
    """None for a model that was not trained here, as are `seed` and `train_s`."""
    train_images: int | None
    seed: int | None
    train_s: float | None
    recipe: str
    device: str
    library: str
    """What it was trained and counted with, and the version: `torch 2.11.0`."""
    date: str
    """ISO 8601, UTC."""
    eligibility: Mapping[str, str] = field(default_factory=dict)
    """Of a network of Keras: for each technique of TensorFlow, nothing or why it does not work on it, as was tried."""

    @property
    def accuracy(self) -> float:
        """Share of the test images that are right."""
        return self.correct / self.test_images


def read_card(key: str) -> ModelCard:
    """The stored card. Raises `Unavailable` where it was never built."""
    path = FOLDER / f"{key}.json"
    if not path.exists():
        raise Unavailable(
            f"The sample model {key} has no card here",
            expected=path.name,
            action=f"Build it with `python -m sample_models.build {key}`",
        )
    return ModelCard(**json.loads(path.read_text(encoding="utf-8")))


def write_card(card: ModelCard) -> None:
    """Store the card where `read_card` finds it."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{card.key}.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
