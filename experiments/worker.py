"""The process that carries out one run: `python -m experiments.worker`.

It imports the heavy libraries first, waits for a run id on standard input, does that run and ends. Should whoever
started it go away before giving it a run, it ends at once; from then on it depends on nobody.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from filelock import FileLock, Timeout

from core.devices import default_threads, find_device
from core.errors import BadInput
from core.folders import data_folder, run_folder
from core.progress import Event, Failed, Finished, Note, PhaseStarted, Planned
from experiments.duel import PHASES, Duel, run_duel
from experiments.failure import sentence_of
from experiments.package import artifact_of
from experiments.profile import run_profile
from experiments.recorder import Recorder
from experiments.result_kinds import kind_of_result
from experiments.resuming import delete_checkpoints
from experiments.run_record import RunRecord
from experiments.scan import run_scan
from experiments.shortage import begins_anew, can_take_less, noted, shortage_of, with_less_at_once
from experiments.store import Store, open_store
from experiments.study import Study
from profiling.memory import return_free_memory
from runtimes.runtime import Artifact

FLUSH_SECONDS = 0.2
WARM_IMPORTS = ("torch", "torch._dynamo", "onnxscript", "onnxruntime", "scipy.stats", "experiments.run")
"""What a run imports sooner or later, so that a waiting worker has it already."""


def main() -> None:
    """Import, wait, work."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that cuda:N is NVML's device N too
    for name in WARM_IMPORTS:
        importlib.import_module(name)
    run_id = sys.stdin.readline().strip()
    if not run_id:
        return
    log = os.open(run_folder(run_id) / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    store = open_store()
    record = store.run(run_id)
    if record and record.state == "running" and record.pid == os.getpid():
        execute(store, record)


def execute(store: Store, record: RunRecord, on_event: Callable[[Event], None] = lambda event: None) -> Event:
    """Carry out a run that is marked as running by this process; its last event, `Finished` or `Failed`."""
    writer = _Writer(store, record.id)
    last: Event = Failed(sentence="The run ended without a result")
    for event in _events(store, record):
        # The result has a place of its own in the store: pages that follow the events need not carry it.
        writer.add(Finished(result={}) if isinstance(event, Finished) else event)
        on_event(event)
        last = event
    writer.flush()
    if isinstance(last, Finished):
        if store.finish(record.id, kind_of_result(record).model_validate(last.result)):
            delete_checkpoints(record.id)
    elif isinstance(last, Failed):
        store.fail(record.id, last.sentence, last.details)
    return last


def _events(store: Store, record: RunRecord) -> Iterator[Event]:
    """The run's events; whatever goes wrong becomes a last event `Failed`."""
    try:
        lock = _lock_of(record.recipe.device)
        yield from _acquire(lock, record.recipe.device)
        try:
            yield from _attempts(store, record)
        finally:
            lock.release()
    except Exception as error:
        traceback.print_exc()
        sentence = sentence_of(
            error,
            what="The run",
            smaller="choose a smaller model",
            room="delete old runs on the Runs page",
            log="Its log has the details.",
        )
        yield Failed(sentence=sentence, details=traceback.format_exc())


def _attempts(store: Store, record: RunRecord) -> Iterator[Event]:
    """The run's events; where a training runs out of memory, those of a second and last attempt that takes less.

    Raises `RunFailed` where memory runs out in what cannot take less, or again.
    """
    folder, device, phase = run_folder(record.id), find_device(record.recipe.device), ""
    earlier = noted(folder)
    while True:
        attempt = replace(record, recipe=with_less_at_once(record.recipe)) if earlier else record
        try:
            for event in _with_note(earlier, _watched(store, attempt)):
                phase = event.title if isinstance(event, PhaseStarted) else phase
                yield event
            return
        except Exception as error:
            shortage = shortage_of(error, device)
            if shortage is None:
                raise
            if earlier or not can_take_less(record.recipe, phase):
                raise shortage.failure(attempt.recipe, phase, again=bool(earlier)) from error
            traceback.print_exc()
            earlier = begins_anew(shortage, folder)
        return_free_memory(device)


def _with_note(text: str, events: Iterator[Event]) -> Iterator[Event]:
    """The events, with a warning at their beginning where there is one."""
    for event in events:
        yield event
        if text and isinstance(event, Planned):
            yield Note(text=text, warning=True)


def _watched(store: Store, record: RunRecord) -> Iterator[Event]:
    """The run's events. Should no server do it, this process writes telemetry beside them, and rests while timing."""
    with Recorder(store) as recorder:
        for event in _work(store, record):
            if isinstance(event, PhaseStarted):
                recorder.pause() if event.timed else recorder.resume()
            yield event


def _work(store: Store, record: RunRecord) -> Iterator[Event]:
    from experiments.run import run

    theirs = store.for_owner(record.owner)
    if record.study:
        return _study(theirs, record, record.study)
    if record.duel:
        return _duel(theirs, record.duel)
    artifact_of = partial(newest_artifact, theirs, record.recipe.model)
    return run(record.recipe, run_folder(record.id), artifact_of=artifact_of)


def _study(store: Store, record: RunRecord, study: Study) -> Iterator[Event]:
    """The study's events. Raises `BadInput` where the run that a profile asks for is gone."""
    if study.kind == "scan":
        return run_scan(study, record.recipe)
    subject = store.run(study.run) if study.run else None
    if study.run and subject is None:
        raise BadInput(f"The run {study.run} was deleted", action="Profile a run that is still here")
    return run_profile(record.recipe, run_folder(record.id), artifact_of(subject) if subject else None)


def newest_artifact(store: Store, model: str, digest: str) -> Artifact:
    """What the newest finished run of that recipe left. Raises `BadInput` without one of that model that ships a file.

    Raises `Unavailable` when its files are gone.
    """
    found = next(iter(store.runs(states=("finished",), model=model, digest=digest, limit=1)), None)
    if found is None or found.summary is None:
        raise BadInput(
            f"No run with the digest {digest} has finished" if found is None else f"{found.title} is simulated",
            expected=f"a finished variant of {model} that ships a file",
            action="Run that variant first, or choose another one",
        )
    return artifact_of(found)


def _duel(store: Store, duel: Duel) -> Iterator[Event]:
    """The duel's events, the last one with its result. Raises `StudioError` where one of its runs or files is gone."""
    first, second = (store.run(run_id) for run_id in (duel.first, duel.second))
    if first is None or second is None:
        raise BadInput("A run of this duel was deleted", action="Start a duel of two runs that are still here")
    yield Planned(phases=PHASES)
    recipe = second.recipe
    result = yield from run_duel(
        duel,
        artifact_of(first),
        artifact_of(second),
        find_device(recipe.device),
        threads=recipe.measurement.threads or default_threads(),
        batch_size=recipe.measurement.batch_size,
    )
    yield Finished(result=result.model_dump(mode="json"))


def _lock_of(device_id: str) -> FileLock:
    """One lock a device and machine, freed by the system when its holder dies, however it dies."""
    folder = data_folder() / "locks"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{device_id.replace(':', '-')}.lock")


def _acquire(lock: FileLock, device_id: str) -> Iterator[Event]:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield PhaseStarted(title="Wait")
        yield Note(
            text=f"Waiting: another run is using {device_id}, and two runs at once would spoil both measurements"
        )
        lock.acquire()


class _Writer:
    """Batches events into the store, at most about `FLUSH_SECONDS` late.

    While something is timed nothing is written behind its back: only with the next event, between two blocks.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._lock = threading.Lock()
        self._waiting: list[Event] = []
        self._flushed_at = 0.0
        self._timer: threading.Timer | None = None
        self._is_timed = False

    def add(self, event: Event) -> None:
        with self._lock:
            self._waiting.append(event)
            if isinstance(event, PhaseStarted):
                self._is_timed = event.timed
            if isinstance(event, PhaseStarted) or time.monotonic() - self._flushed_at > FLUSH_SECONDS:
                self._flush()
            elif self._timer is None and not self._is_timed:
                self._timer = threading.Timer(FLUSH_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._store.append(self._run_id, self._waiting)
        self._waiting = []
        self._flushed_at = time.monotonic()


if __name__ == "__main__":
    main()
