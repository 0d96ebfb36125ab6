"""Watches this machine, and writes beside each run what the machine and the run's process did meanwhile.

Every server and every worker has a recorder; a file lock elects, of those that share a store, the one that samples, so
that no run is written of twice, and another takes over within a second when it ends. It rests while latency is timed on
this machine. What cannot be written at once is written later, and fails no run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil
import sqlalchemy as sa
from filelock import FileLock, Timeout

from core.folders import data_folder
from core.progress import Telemetry
from experiments.run_record import AtWork
from experiments.store import Store
from profiling.telemetry import MachineSample, MachineSampler, ProcessWatch, telemetry_of

PERIOD_SECONDS = 0.2
IDLE_SECONDS = 0.5
"""Between two samples while nothing runs and nobody looks."""
FLUSH_SECONDS = 0.4
ELECTION_SECONDS = 1.0
RECOVERY_SECONDS = 1.0
"""Before going on after an error."""
STOP_SECONDS = 3.0
"""The longest that an end waits for what is being sampled or written."""
KEPT_SECONDS = 300.0
"""How long samples are kept: to be looked at, and to be written once the store takes them."""
WATCHED_SECONDS = 10.0
"""How long a look at the samples counts as somebody looking."""

log = logging.getLogger(__name__)


class Recorder:
    """A thread that samples this machine, unless another process does; a context manager."""

    def __init__(self, store: Store, *, period_seconds: float = PERIOD_SECONDS) -> None:
        self._store, self._period_seconds = store, period_seconds
        self._host = socket.gethostname()
        self._ended, self._may_work, self._mutex = threading.Event(), threading.Event(), threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._left: dict[str, _Run] = {}
        """Runs that are no longer at work, of which not everything was written."""
        self._kept: tuple[MachineSample, ...] = ()
        self._looked_at = self._flushed_at = 0.0
        self._is_refused = False
        """Whether the store did not take the last samples."""
        self.is_sampling = False
        """Whether this is the one that samples."""
        self.is_another_sampling = False
        """Whether another process is, at the last election."""
        self.is_resting = False
        """Whether it does not sample at the moment because latency is timed on this machine."""

    def __enter__(self) -> Recorder:
        self._ended.clear()
        self._may_work.set()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._may_work.set()
        self._thread.join(timeout=STOP_SECONDS)

    def pause(self) -> None:
        """Nothing is sampled or written by this recorder from the moment this returns, and NVIDIA's library not opened.

        Waits for what is being written, as the run's own events have to; no error of the store comes out of it.
        """
        with self._mutex:
            self._may_work.clear()
            if not self._is_refused:
                self._flush()

    def resume(self) -> None:
        """Go on."""
        self._may_work.set()

    def samples(self, after: float = 0.0) -> list[MachineSample]:
        """Those of the last five minutes taken after that moment (seconds since the epoch), the oldest first."""
        self._looked_at = time.monotonic()
        return [sample for sample in self._kept if sample.at > after]

    def _work(self) -> None:
        while not self._ended.is_set():
            self._may_work.wait()
            pause_seconds = 0.0
            try:
                with sampler_lock(self._host).acquire(blocking=False), ExitStack() as stack:
                    self._sample(stack)
            except Timeout:
                self.is_another_sampling, pause_seconds = True, ELECTION_SECONDS
            except Exception:
                log.exception("The recorder stumbled and goes on")
                pause_seconds = RECOVERY_SECONDS
            self.is_sampling = False
            self._ended.wait(pause_seconds)

    def _sample(self, stack: ExitStack) -> None:
        """Sample until the end. Opening the machine takes the time of many samples, so it waits for its turn too."""
        self.is_sampling, self.is_another_sampling = True, False
        machine: MachineSampler | None = None
        while not self._ended.wait(self._pause_seconds()):
            self._may_work.wait()
            with self._mutex:
                if self._may_work.is_set() and not self._ended.is_set() and self._may_sample():
                    if machine:
                        self._take(machine)
                    else:
                        machine = stack.enter_context(MachineSampler())
        with self._mutex:
            self._flush()

    def _pause_seconds(self) -> float:
        is_wanted = self._runs or time.monotonic() - self._looked_at < WATCHED_SECONDS
        return self._period_seconds if is_wanted and not self.is_resting else max(self._period_seconds, IDLE_SECONDS)

    def tick(self, machine: MachineSampler) -> None:
        """One sample for all who want it, unless something is timed."""
        if self._may_sample():
            self._take(machine)

    def _may_sample(self) -> bool:
        """Whether nothing is timed at the moment; looks up which runs are at work."""
        at_work = [each for each in self._store.at_work() if each.host == self._host]
        self._follow(at_work)
        self.is_resting = any(each.is_timed for each in at_work if each.id in self._runs)
        return not self.is_resting

    def _take(self, machine: MachineSampler) -> None:
        sample = machine.sample()
        self._kept = (*(each for each in self._kept if sample.at - each.at <= KEPT_SECONDS), sample)
        for run in self._runs.values():
            run.take(sample)
        is_urgent = self._left or any(run.is_new for run in self._runs.values())
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS or (is_urgent and not self._is_refused):
            self._flush()

    def _follow(self, at_work: list[AtWork]) -> None:
        """Watch the processes of the runs at work, and of no others; a run whose process is gone is none of them."""
        ids = {each.id for each in at_work}
        ended = {run_id for run_id, run in self._runs.items() if run_id not in ids or not run.is_alive}
        self._left |= {run_id: self._runs.pop(run_id) for run_id in ended}
        for each in at_work:
            if each.id not in self._runs and (process := _process_of(each)):
                self._runs[each.id] = _Run(each.device, process)

    def _flush(self) -> None:
        """Write what waits. What the store does not take waits on, and no error comes out of it."""
        refusal: Exception | None = None
        for run_id, run in (*self._left.items(), *self._runs.items()):
            try:
                self._store.append(run_id, run.waiting)
                run.forget_waiting()
            except Exception as error:
                refusal = error
        if refusal and not self._is_refused:
            log.warning("Telemetry is kept until the store takes it, for %.0f s at most: %s", KEPT_SECONDS, refusal)
        self._is_refused, self._flushed_at = refusal is not None, time.monotonic()
        oldest = time.time() - KEPT_SECONDS
        self._left = {run_id: run for run_id, run in self._left.items() if run.waiting and run.waiting[-1].at > oldest}


class _Run:
    """A run at work, its process, and what has yet to be written of it."""

    def __init__(self, device: str, process: ProcessWatch) -> None:
        self._device, self._process, self._visible_gpus = device, process, process.visible_gpus
        self.waiting: list[Telemetry] = []
        """What has not been written yet, the oldest first."""
        self._reasons: Mapping[str, str] | None = None
        self._began_at = time.monotonic()
        self.is_new = True
        """Whether nothing of it was written yet."""

    @property
    def is_alive(self) -> bool:
        """Whether its process lives."""
        return self._process.is_alive

    def take(self, machine: MachineSample) -> None:
        """One more sample; reasons are told where they differ from those of the sample before."""
        if time.monotonic() - self._began_at < PERIOD_SECONDS / 2:
            return  # too short a time to tell how busy its process was
        told = telemetry_of(machine, self._process.sample(), self._device, self._visible_gpus)
        is_same, self._reasons = told.reasons == self._reasons, told.reasons
        self.waiting.append(told.model_copy(update={"reasons": None}) if is_same else told)
        if told.at - self.waiting[0].at > KEPT_SECONDS:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Reasons that it told go to the next, which was told that they are the same."""
        first, *rest = self.waiting
        if rest and rest[0].reasons is None:
            rest[0] = rest[0].model_copy(update={"reasons": first.reasons})
        self.waiting = rest

    def forget_waiting(self) -> None:
        """It was written."""
        self.is_new = self.is_new and not self.waiting
        self.waiting = []


def sampler_lock(host: str) -> FileLock:
    """Held by the one process that samples this machine for a store, and freed by the system however it ends.

    It lies beside a store that is a file, whatever data folder the others use, and else in the data folder.
    """
    url = sa.make_url(os.environ.get("STUDIO_STORE_URL") or f"sqlite:///{data_folder() / 'studio.db'}")
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    file = Path(url.database or "").resolve() if is_file else None
    folder = (file.parent if file else data_folder()) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    store = hashlib.sha256(str(file or url.render_as_string(hide_password=True)).encode()).hexdigest()[:8]
    return FileLock(folder / f"sampler-{host}-{store}.lock")


def _process_of(run: AtWork) -> ProcessWatch | None:
    """The very process that took the run; None where it is gone."""
    try:
        process = ProcessWatch(run.pid or 0)
        same = abs(process.began_at - (run.process_started_at or 0)) < 1
        return process if same and run.pid and process.is_alive else None
    except psutil.Error:
        return None
