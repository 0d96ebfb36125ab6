"""What is done with what people bring, apart from the queue of runs: checking an upload, adding a model.

Each job is a process and a folder: `order.json` says what is asked for, `events.jsonl` what it says while it works.
The pages only read the folder; a closed tab or a stopped server changes nothing for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import psutil
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.errors import BadInput
from core.folders import data_folder
from core.processes import is_alive, kill_family
from core.progress import Event, Failed, Finished, parse_event
from intake import uploads
from intake.library import own_folder
from intake.preprocessing import Preprocessing
from intake.sources import ITEM, Source
from intake.splitting import Match

State = Literal["running", "finished", "failed", "cancelled"]
ROOT = Path(__file__).resolve().parent.parent
ORDER_FILE, OWNER_FILE, PROCESS_FILE, EVENTS_FILE = "order.json", "owner.txt", "process.json", "events.jsonl"
CANCELLED_FILE, WAITS_FILE, DRAFT = "cancelled", "waits", "draft"
DIED = "The process that did this is gone, most often for want of memory. Try it again."
MOST_LIVE = 20
"""Jobs of one person that wait or work."""
KEPT_SECONDS = 3600.0
"""For how long an answer about an architecture waits for the page that asked."""


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckOrder(_Order):
    """Read an uploaded file in the sandbox. The result is `{"item": id}`."""

    kind: Literal["check"] = "check"
    upload: str
    wanted: Literal["model", "data"]
    name: str = ""
    """Of the file, for the eyes of whoever uploaded it."""


class DescribeOrder(_Order):
    """See whether weights fit an architecture, and what is known of its input. The result is a `Described`."""

    kind: Literal["describe"] = "describe"
    source: Source


class DataChoice(_Order):
    """Which images a model is judged, calibrated and trained on."""

    item: str = Field("", pattern=f"^({ITEM})?$")
    """Id of an uploaded set; empty for one that comes with the studio."""
    bundled: Literal["", "fashion_mnist", "photographs"] = ""
    train_share: float = Field(0.0, ge=0, le=0.8)
    calibrate_share: float = Field(0.2, gt=0, le=0.5)
    seed: int = 0
    match: Match = "order"
    """Which of the model's classes those of the data are."""


class AddOrder(_Order):
    """Put a model together. The result is `{"model": key}`."""

    kind: Literal["add"] = "add"
    title: str = Field(min_length=1, max_length=80)
    source: Source
    input: Preprocessing
    data: DataChoice
    logits: str = ""
    """Of an ONNX file with several outputs, the one that answers; empty for the first."""
    labels: tuple[str, ...] = ()
    """Names of the network's classes, where they are known; else they are called as those of the data."""
    data_title: str = ""


Order: TypeAlias = CheckOrder | DescribeOrder | AddOrder
ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])


@dataclass(frozen=True)
class Job:
    """One job as its folder tells it."""

    id: str
    order: Order
    events: tuple[Event, ...]
    state: State
    began_at: float
    """Seconds since the epoch."""
    sentence: str = ""
    """Why it failed."""
    snippet: str = ""
    """Lines of Python that convert a refused file; empty where there are none."""
    result: dict[str, Any] = field(default_factory=dict)
    waits: bool = False
    """Whether it has not begun: others are at work, and its turn comes after them."""


class _Process(BaseModel):
    pid: int
    started_at: float


def start(owner: str, order: Order) -> str:
    """Begin a job in a process of its own, which waits for its turn; its id.

    Raises `BadInput` where too many of this person's wait already.
    """
    _make_room(owner)
    folder = _folder(owner) / f"{time.time_ns():019d}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    (folder / ORDER_FILE).write_text(order.model_dump_json())
    (folder / OWNER_FILE).write_text(owner)
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bringing", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=os.environ | {"STUDIO_DATA": str(data_folder())},
            start_new_session=True,
        )
    noted = _Process(pid=process.pid, started_at=psutil.Process(process.pid).create_time())
    (folder / PROCESS_FILE).write_text(noted.model_dump_json())
    threading.Thread(target=process.wait, name="job", daemon=True).start()  # leaves no zombie behind
    return folder.name


def job(owner: str, key: str) -> Job | None:
    """One job, or None."""
    folder = _folder(owner) / key
    return _read(folder) if re.fullmatch(r"\d{19}-[0-9a-f]{8}", key) and folder.is_dir() else None


def jobs(owner: str) -> list[Job]:
    """The jobs of this person, the newest first."""
    folders = sorted(_folder(owner).glob("*-*"), reverse=True)
    return [found for folder in folders if (found := _read(folder))]


def cancel(owner: str, key: str) -> None:
    """End a job that is running; it leaves nothing behind."""
    found = job(owner, key)
    if found is None or found.state != "running":
        return
    folder = _folder(owner) / key
    (folder / CANCELLED_FILE).touch()
    if process := _process(folder):
        kill_family(process.pid)
    tidy(owner, folder)


def forget(owner: str, key: str) -> None:
    """Delete what is known of a job that has ended, and what one that failed left."""
    found = job(owner, key)
    if found is None or found.state == "running":
        return
    folder = _folder(owner) / key
    if found.state != "finished":
        tidy(owner, folder)
    shutil.rmtree(folder, ignore_errors=True)


def tidy(owner: str, folder: Path) -> None:
    """Delete what a job that ended early was writing, and the upload that it was to read."""
    shutil.rmtree(folder / DRAFT, ignore_errors=True)
    order = _order(folder)
    if isinstance(order, CheckOrder):
        uploads.delete(owner, order.upload)


def _make_room(owner: str) -> None:
    """Forget old answers that no page took. Raises `BadInput` where as many jobs are live as may be."""
    known = jobs(owner)
    for each in known:
        if each.order.kind == "describe" and time.time() - each.began_at > KEPT_SECONDS:
            forget(owner, each.id)
    if sum(each.state == "running" for each in known) >= MOST_LIVE:
        raise BadInput(
            f"{MOST_LIVE} of your files and models wait for their turn already",
            action="Wait until some are done, or cancel them",
        )


def _folder(owner: str) -> Path:
    folder = own_folder(owner) / "jobs"
    folder.mkdir(exist_ok=True)
    return folder


def _order(folder: Path) -> Order | None:
    try:
        return ORDERS.validate_json((folder / ORDER_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _process(folder: Path) -> _Process | None:
    try:
        return _Process.model_validate_json((folder / PROCESS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _read(folder: Path) -> Job | None:
    order = _order(folder)
    if order is None:
        return None
    events = tuple(_events(folder / EVENTS_FILE))
    found = Job(folder.name, order, events, "running", int(folder.name[:19]) / 1e9)
    last = events[-1] if events else None
    if isinstance(last, Finished):
        return replace(found, state="finished", result=last.result)
    if isinstance(last, Failed):
        return replace(found, state="failed", sentence=last.sentence, snippet=last.snippet)
    if (folder / CANCELLED_FILE).exists():
        return replace(found, state="cancelled")
    process = _process(folder)
    if process is None or is_alive(process.pid, process.started_at):
        return replace(found, waits=(folder / WAITS_FILE).exists())
    again = tuple(_events(folder / EVENTS_FILE))  # it may have ended between the two looks
    if len(again) > len(events):
        return _read(folder)
    return replace(found, state="failed", sentence=DIED)


def _events(path: Path) -> Iterator[Event]:
    """The events of complete lines: the last one may be being written."""
    text = path.read_text(errors="replace") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield parse_event(json.loads(line))
