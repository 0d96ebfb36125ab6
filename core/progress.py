"""What a run says while it works: a stream of events, the last of which carries the result.

A long-running function is a generator: it yields events and returns its value, so `value = yield from work()`
passes the events on and keeps the value. The worker, the command line and the tests all read the same stream.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

T = TypeVar("T")


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    at: float = Field(default_factory=time.time)
    """Seconds since the epoch."""


class Planned(_Event):
    """First event of a run: the phases to come, in order, as titles."""

    kind: Literal["planned"] = "planned"
    phases: tuple[str, ...]


class PhaseStarted(_Event):
    """A phase began; the one before it is over."""

    kind: Literal["phase"] = "phase"
    title: str
    timed: bool = False
    """True while latency is measured: nothing else of ours may run then."""


class Progress(_Event):
    """How far the current phase is."""

    kind: Literal["progress"] = "progress"
    done: float
    total: float
    unit: str
    """Plural noun: images, steps, blocks."""
    doing: str = ""


class Metric(_Event):
    """One point of a live curve."""

    kind: Literal["metric"] = "metric"
    name: str
    """loss, loss_scale, sparsity, samples_per_s and training_bytes of training; accuracy, latency_ms,
    throughput_per_s, ratio, power_w."""
    value: float
    step: float
    series: str = ""
    """Which curve of that name: train, validation, test; BF16 and FP32 where both are trained side by side."""


class Note(_Event):
    """A fact worth keeping: 21 of 22 layers quantized."""

    kind: Literal["note"] = "note"
    text: str
    warning: bool = False


class Telemetry(_Event):
    """One sample of the machine; None where this machine cannot tell."""

    kind: Literal["telemetry"] = "telemetry"
    process_rss_bytes: int | None = None
    cpu_percent: float | None = None
    """Of one core: 200 means two cores busy."""
    process_threads: int | None = None
    machine_cpu_percent: float | None = None
    """Of all cores together: 100 means that all are busy."""
    machine_used_bytes: int | None = None
    """Memory that is not to be had, of all processes."""
    machine_total_bytes: int | None = None
    gpu_used_bytes: int | None = None
    gpu_total_bytes: int | None = None
    gpu_utilisation_percent: float | None = None
    gpu_power_w: float | None = None
    gpu_power_limit_w: float | None = None
    gpu_temperature_c: float | None = None
    gpu_sm_clock_mhz: int | None = None
    gpu_memory_clock_mhz: int | None = None
    gpu_throttle_reasons: tuple[str, ...] | None = None
    """Why its clocks are lower than asked for; empty when they are not."""
    reasons: dict[str, str] | None = None
    """One sentence for each field that this machine cannot tell; None: the same as in the sample before."""


class Finished(_Event):
    """Last event of a run that worked: its result as plain data."""

    kind: Literal["finished"] = "finished"
    result: dict[str, Any]


class Failed(_Event):
    """Last event of a run that did not."""

    kind: Literal["failed"] = "failed"
    sentence: str
    details: str = ""
    """Traceback or last words, for the log; never shown unasked."""
    snippet: str = ""
    """Lines of Python that convert a refused file where it was made."""


Event: TypeAlias = Planned | PhaseStarted | Progress | Metric | Note | Telemetry | Finished | Failed
Steps: TypeAlias = Generator[Event, None, T]

_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(data: dict[str, Any]) -> Event:
    """The event whose `model_dump()` is `data`. Raises pydantic's `ValidationError`."""
    return _adapter.validate_python(data)


def result_of(steps: Steps[T]) -> T:
    """Run a generator of events to its end, drop the events and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def reported(work: Callable[[Callable[[Event], None]], T]) -> Steps[T]:
    """What `work` returns, done in a thread of its own; the events that it reports meanwhile are passed on.

    For work inside a library that calls back instead of yielding. Raises what `work` raises.
    """
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def carry_out() -> None:
        try:
            outcome.append(work(events.put))
        except BaseException as error:
            failure.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=carry_out, name="reported work", daemon=True)
    thread.start()
    while (event := events.get()) is not None:
        yield event
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
