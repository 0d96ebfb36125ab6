"""A run kept as one small file, to be watched again anywhere: its events, its telemetry and what came of it.

Gzipped JSON, so that opening one executes nothing. A recording is read from its file and never put into the store: no
list of results and no comparison can take it for something that was measured on this machine.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import socket
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from core.devices import find_device
from core.errors import BadInput, StudioError
from core.packed import Packed
from core.progress import Event, Finished, Planned
from experiments.ahead import AheadSummary
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.result import Summary
from experiments.result_kinds import Result, kind_of_result
from experiments.run_record import RunRecord
from experiments.simulation import SimulatedSummary
from experiments.store import Store
from experiments.study import Study
from profiling.machine import Conditions
from runtimes import RUNTIMES

FOLDER = Path(__file__).resolve().parent.parent / "recordings"
"""Those that come with the project."""
ENDING = ".json.gz"
VERSION: Literal[1] = 1
LARGEST_BYTES = 20 * 2**20
"""Of an unpacked recording; ten times what an hour of telemetry takes."""
LARGEST_RESULT_BYTES = 2 * 2**20
"""Of a result as text; of a larger one the summary is kept."""
MOST_NUMBERS_BYTES = 64 * 2**20
"""Of all packed series in a result together, unpacked."""
LONGEST_SECONDS = 30 * 86_400.0
REFUSAL = "a recording saved by this program, a file that ends with .json.gz"


class Recording(BaseModel):
    """A run that has ended, as plain data. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    made_at: datetime
    """When the file was written."""
    run_id: str = Field(max_length=64)
    recipe: Recipe
    duel: Duel | None = None
    study: Study | None = None
    state: Literal["finished", "failed", "cancelled"]
    device_name: str = Field(max_length=200)
    """What it ran on."""
    conditions: Conditions | None = None
    """Under which its result was measured; None of a run without one."""
    created_at: float
    started_at: float
    ended_at: float
    error: str | None = None
    """One sentence for a failed run."""
    summary: Summary | None = None
    simulated: SimulatedSummary | None = None
    ahead: AheadSummary | None = None
    result: dict[str, Any] | None = None
    """Everything that was measured, as `found` reads it; None where there is none, or where it is too large."""
    events: tuple[Annotated[Event, Field(discriminator="kind")], ...]

    @model_validator(mode="after")
    def _spans_a_run(self) -> Recording:
        moments = [self.created_at, self.started_at, *(event.at for event in self.events)]
        if not all(math.isfinite(at) and abs(at - self.ended_at) <= LONGEST_SECONDS for at in moments):
            raise ValueError("its events do not lie within 30 days of its end")
        if self.recipe.runtime not in RUNTIMES:
            raise ValueError(f"its runtime is {self.recipe.runtime}, and there are {', '.join(RUNTIMES)}")
        is_too_large = self.study or self.duel  # their results may be, and have no summary
        if self.state == "finished" and not (self.events and (self.has_numbers or is_too_large)):
            missing = "happened in it" if not self.events else "it measured"
            raise ValueError(f"the run finished, and nothing that {missing} is there")
        return self

    @property
    def has_numbers(self) -> bool:
        """Whether anything that was measured was kept, if only its summary."""
        return not all(each is None for each in (self.result, self.summary, self.simulated, self.ahead))

    @property
    def record(self) -> RunRecord:
        """It as the store would know it, for what draws runs; it is in no store."""
        return RunRecord(
            id=self.run_id, recipe=self.recipe, duel=self.duel, study=self.study, state=self.state,
            cancel_requested=False, host=None, pid=None, process_started_at=None, created_at=self.created_at,
            started_at=self.started_at, ended_at=self.ended_at, error=self.error, details=None, slot=1,
            summary=self.summary, simulated=self.simulated, ahead=self.ahead,
        )  # fmt: skip

    @cached_property
    def found(self) -> Result | None:
        """What was measured, as an object of its kind; None where it was not kept."""
        return None if self.result is None else kind_of_result(self.record).model_validate(self.result)

    @property
    def is_of_gpu(self) -> bool:
        """Whether it ran on a GPU."""
        return self.recipe.device.startswith("cuda")

    @property
    def stamp(self) -> str:
        """`Recorded on NVIDIA H200, 2026-11-28, commit abc1234`."""
        return stamp(self.device_name, self.ended_at, self.conditions)


def stamp(device_name: str, ended_at: float, found: Conditions | None) -> str:
    """Where, when and with which version of this program a run was made, as everything shown of it has to say."""
    day = datetime.fromtimestamp(ended_at, UTC).date().isoformat()
    if found is None:
        return f"Recorded on {device_name}, {day}"
    known = f"commit {found.commit[:7]}" if found.commit else "commit unknown"
    return f"Recorded on {found.device_name}, {found.date.date().isoformat()}, {known}"


def record_run(store: Store, run_id: str) -> Recording:
    """The run as a recording. Raises `BadInput` for one that is not here or has not ended."""
    record = store.run(run_id)
    if record is None:
        raise BadInput(f"There is no run {run_id}", action="List them with: python3 studio.py runs")
    if record.is_live or record.started_at is None or record.ended_at is None:
        raise BadInput(f"The run {run_id} is {record.state}", expected="a run that was at work and has ended")
    found = result_of(store, record)
    content = None if found is None else found.model_dump(mode="json")
    is_small = content is not None and len(json.dumps(content)) <= LARGEST_RESULT_BYTES
    return Recording(
        made_at=datetime.now(UTC), run_id=record.id, recipe=record.recipe, duel=record.duel, study=record.study,
        state=record.state, device_name=device_name(record, found), conditions=found.conditions if found else None,
        created_at=record.created_at, started_at=record.started_at, ended_at=record.ended_at, error=record.error,
        summary=record.summary, simulated=record.simulated, ahead=record.ahead, result=content if is_small else None,
        events=tuple(last_attempt(each.event for each in store.events(run_id))),
    )  # fmt: skip


def last_attempt(events: Iterable[Event]) -> list[Event]:
    """The events since a run was last resumed, without the last word, whose result has a place of its own."""
    kept: list[Event] = []
    was_planned = False
    for event in events:
        if isinstance(event, Planned) and was_planned:
            kept = []
        was_planned = was_planned or isinstance(event, Planned)
        if not isinstance(event, Finished):
            kept.append(event)
    return kept


def result_of(store: Store, record: RunRecord) -> Result | None:
    """Everything that a run of any kind found; None where it found nothing."""
    if record.study:
        return store.profile_result(record.id) or store.scan_result(record.id)
    if record.duel:
        return store.duel_result(record.id)
    if record.ahead:
        return store.ahead_result(record.id)
    return store.simulated_results([record.id]).get(record.id) if record.simulated else store.result(record.id)


def device_name(record: RunRecord, found: Result | None) -> str:
    """What a run's device is called: as its result says, or as it is called here if it was here."""
    if found:
        return found.conditions.device_name
    if record.host != socket.gethostname():
        return f"{record.recipe.device} of another machine"
    try:
        return find_device(record.recipe.device).name
    except StudioError:
        return record.recipe.device


def packed(recording: Recording) -> bytes:
    """The recording as the content of a file. The same recording always gives the same bytes."""
    content = recording.model_dump(mode="json", exclude={"events"})
    content["events"] = [event.model_dump(mode="json", exclude_none=True) for event in recording.events]
    return gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)


def write(store: Store, run_id: str, path: Path) -> Recording:
    """Write an ended run to a file; what was written.

    Raises `BadInput` for another run, or where the file cannot be written.
    """
    recording = record_run(store, run_id)
    try:
        path.write_bytes(packed(recording))
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error})", expected="a file in a folder that exists") from None
    return recording


def read(path: Path) -> Recording:
    """The recording in a file. Raises `BadInput` for anything else."""
    try:
        return unpacked(path.read_bytes(), path.name)
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read ({error.strerror})", expected=REFUSAL) from None


def unpacked(content: bytes, name: str) -> Recording:
    """The recording that is the content of a file of that name. Raises `BadInput` for anything else."""
    try:
        data = from_json(_plain(content, name))
    except ValueError:
        raise BadInput(f"{name} holds something else than a recording", expected=REFUSAL) from None
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version != VERSION:
        raise BadInput(
            f"{name} is a recording of version {version}",
            expected=f"version {VERSION}",
            action="Save it anew with this version of the program",
        )
    try:
        recording = Recording.model_validate(data)
        _limit(recording)
        recording.found  # noqa: B018 (a result that is none has to be refused here, not where it is drawn)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise BadInput(f"{name} is damaged: {_first(error)}", expected=REFUSAL) from None
    return recording


def _plain(content: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise BadInput(f"{name} is no gzipped file, or was cut short", expected=REFUSAL) from None
    if len(plain) > LARGEST_BYTES:
        raise BadInput(f"{name} unpacks to more than {LARGEST_BYTES // 2**20} MiB", expected=f"no more, and {REFUSAL}")
    return plain


def _limit(recording: Recording) -> None:
    """Refuse a result whose packed series would fill the memory. Raises `ValueError`."""
    if recording.result and len(json.dumps(recording.result)) > LARGEST_RESULT_BYTES:
        raise ValueError("its result is too large")
    unpacked_bytes = 0
    for written in _texts(recording.result):
        if re.match(r"<[ui]\d/\d+:", written):
            unpacked_bytes += len(Packed.parse(written).content)
        if unpacked_bytes > MOST_NUMBERS_BYTES:
            raise ValueError("its series of numbers are too long")


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _texts(each)


def _first(error: Exception) -> str:
    """What is wrong first, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"][:4])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def shipped(folder: Path = FOLDER) -> dict[str, Recording]:
    """The recordings of a folder by name: those of a GPU first, then by name. One that cannot be read is left out."""
    found: dict[str, Recording] = {}
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            found[path.name.removesuffix(ENDING)] = read(path)
        except BadInput:
            continue
    return dict(sorted(found.items(), key=lambda item: (not item[1].is_of_gpu, item[0])))
