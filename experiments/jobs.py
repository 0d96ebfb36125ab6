"""What is done with what people bring, apart from the queue of runs: checking an upload, adding a model.

Each job is a process and a folder: `order.json` says what is asked for, `events.jsonl` what it says while it works.
The pages only read the folder; a closed tab or a stopped server changes nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from core.progress import Event
from intake.preprocessing import Preprocessing
from intake.sources import Source

State = Literal["running", "finished", "failed", "cancelled"]


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckOrder(_Order):
    """Read an uploaded file in the sandbox. The result is `{"item": id}`."""

    kind: Literal["check"] = "check"
    upload: str
    wanted: Literal["model", "data"]


class DataChoice(_Order):
    """Which images a model is judged, calibrated and trained on."""

    item: str = ""
    """Id of an uploaded set; empty for one that comes with the studio."""
    bundled: Literal["", "fashion_mnist", "photographs"] = ""
    train_share: float = Field(0.0, ge=0, le=0.8)
    calibrate_share: float = Field(0.2, gt=0, le=0.5)
    seed: int = 0
    match: Literal["names", "order"] = "order"
    """Whether the classes of the data are the model's by their names, or by their place in alphabetical order."""


class AddOrder(_Order):
    """Put a model together. The result is `{"model": key}`."""

    kind: Literal["add"] = "add"
    title: str = Field(min_length=1, max_length=80)
    source: Source
    input: Preprocessing
    data: DataChoice
    logits: str = ""
    """Of an ONNX file with several outputs, the one that answers."""


Order: TypeAlias = Annotated[CheckOrder | AddOrder, Field(discriminator="kind")]


@dataclass(frozen=True)
class Job:
    """One job as its folder tells it."""

    id: str
    order: CheckOrder | AddOrder
    events: tuple[Event, ...]
    state: State
    sentence: str
    """Why it failed; empty otherwise."""
    snippet: str
    """Lines of Python that convert a refused file; empty where there are none."""
    result: dict[str, Any]


def start(owner: str, order: CheckOrder | AddOrder) -> str:
    """Begin a job in a process of its own; its id."""
    raise NotImplementedError


def job(owner: str, key: str) -> Job | None:
    """One job, or None."""
    raise NotImplementedError


def jobs(owner: str) -> list[Job]:
    """The jobs of this person, the newest first."""
    raise NotImplementedError


def cancel(owner: str, key: str) -> None:
    """End a job that is running; it leaves nothing behind."""
    raise NotImplementedError
