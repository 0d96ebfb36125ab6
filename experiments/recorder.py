"""Watches this machine, and writes beside each run what the machine and the run's process did meanwhile.

Every server and every worker has a recorder; a file lock elects the one that samples, so that a machine is never
watched twice, and another takes over within a second when it ends. It rests while latency is timed on this machine.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from types import TracebackType

import psutil
from filelock import FileLock, Timeout

from core.progress import Telemetry
from experiments.folders import data_folder
from experiments.store import AtWork, Store
from profiling.telemetry import MachineSample, MachineSampler, ProcessWatch, telemetry_of

PERIOD_SECONDS = 0.2
IDLE_SECONDS = 0.5
"""Between two samples while nothing runs and nobody looks."""
FLUSH_SECONDS = 0.4
ELECTION_SECONDS = 1.0
RECOVERY_SECONDS = 5.0
"""Before going on after an error."""
KEPT_SECONDS = 300.0
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
        self._kept: tuple[MachineSample, ...] = ()
        self._looked_at = self._flushed_at = 0.0
        self.is_sampling = False
        """Whether this is the one that samples."""
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
        self._thread.join(timeout=10)

    def pause(self) -> None:
        """Nothing is sampled or written by this recorder from the moment this returns."""
        with self._mutex:
            self._may_work.clear()
            self._flush()

    def resume(self) -> None:
        """Go on."""
        self._may_work.set()

    def samples(self, after: float = 0.0) -> list[MachineSample]:
        """Those of the last five minutes taken after that moment (seconds since the epoch), the oldest first."""
        self._looked_at = time.monotonic()
        return [sample for sample in self._kept if sample.at > after]

    def _work(self) -> None:
        lock = sampler_lock(self._host)
        while not self._ended.is_set():
            self._may_work.wait()
            try:
                with lock.acquire(blocking=False), MachineSampler() as machine:
                    self._sample(machine)
            except Timeout:
                self._ended.wait(ELECTION_SECONDS)
            except Exception:
                log.exception("The recorder stumbled and goes on")
                self._ended.wait(RECOVERY_SECONDS)
            finally:
                self.is_sampling = False

    def _sample(self, machine: MachineSampler) -> None:
        """Sample until the end."""
        self.is_sampling = True
        while not self._ended.wait(self._pause_seconds()):
            self._may_work.wait()
            with self._mutex:
                if self._may_work.is_set():
                    self.tick(machine)
        with self._mutex:
            self._flush()

    def _pause_seconds(self) -> float:
        is_wanted = self._runs or time.monotonic() - self._looked_at < WATCHED_SECONDS
        return self._period_seconds if is_wanted and not self.is_resting else max(self._period_seconds, IDLE_SECONDS)

    def tick(self, machine: MachineSampler) -> None:
        """One sample for all who want it, unless something is timed."""
        at_work = [each for each in self._store.at_work() if each.host == self._host]
        self._follow(at_work)
        self.is_resting = any(each.is_timed for each in at_work if each.id in self._runs)
        if self.is_resting:
            return
        sample = machine.sample()
        self._kept = (*(each for each in self._kept if sample.at - each.at <= KEPT_SECONDS), sample)
        for run in self._runs.values():
            run.take(sample)
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS or any(run.is_new for run in self._runs.values()):
            self._flush()

    def _follow(self, at_work: list[AtWork]) -> None:
        """Watch the processes of the runs at work, and of no others; a run whose process is gone is none of them."""
        ids = {each.id for each in at_work}
        self._runs = {run_id: run for run_id, run in self._runs.items() if run_id in ids and run.is_alive}
        for each in at_work:
            if each.id not in self._runs and (process := _process_of(each)):
                self._runs[each.id] = _Run(each.device, process)

    def _flush(self) -> None:
        for run_id, run in self._runs.items():
            self._store.append(run_id, run.hand_over())
        self._flushed_at = time.monotonic()


class _Run:
    """A run at work, its process, and what has yet to be written of it."""

    def __init__(self, device: str, process: ProcessWatch) -> None:
        self._device, self._process = device, process
        self._waiting: list[Telemetry] = []
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
        told = telemetry_of(machine, self._process.sample(), self._device)
        is_same, self._reasons = told.reasons == self._reasons, told.reasons
        self._waiting.append(told.model_copy(update={"reasons": None}) if is_same else told)

    def hand_over(self) -> list[Telemetry]:
        """What has not been written yet."""
        waiting, self._waiting = self._waiting, []
        self.is_new = self.is_new and not waiting
        return waiting


def sampler_lock(host: str) -> FileLock:
    """Held by the one process that samples this machine, and freed by the system however it ends."""
    folder = data_folder() / "locks"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"sampler-{host}.lock")


def _process_of(run: AtWork) -> ProcessWatch | None:
    """The very process that took the run; None where it is gone."""
    try:
        process = ProcessWatch(run.pid or 0)
        same = abs(process.began_at - (run.process_started_at or 0)) < 1
        return process if same and run.pid else None
    except psutil.Error:
        return None
