"""Gives each queued run to a fresh worker process, one run a device, and notices what became of it.

It keeps one spare worker waiting with its libraries imported, so that a click shows its first metric quickly. It holds
no state of its own that matters: whatever it knows can be read from the store and the process table, so it may be
killed and started again at any time, and several may share a store.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from core.folders import data_folder, run_folder
from core.processes import is_alive, kill_family
from core.progress import PhaseStarted
from experiments.run_record import RunRecord
from experiments.shortage import begins_anew, can_take_less, noted, shortage_of_killed, with_less_at_once
from experiments.store import Store

ROOT = Path(__file__).resolve().parent.parent
TICK_SECONDS = 0.2
STOP_SECONDS = 3.0
"""The longest that a stop waits for the look at the queue that is under way."""
WORKER = (sys.executable, "-m", "experiments.worker")
LAST_WORDS = 2000
"""Characters of a dead worker's log that are kept with the run."""

log = logging.getLogger(__name__)


class Scheduler:
    """A thread that carries out the queue of a store on this machine."""

    def __init__(self, store: Store, *, worker: Sequence[str] = WORKER) -> None:
        self._store, self._worker = store, worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)
        self._spare: subprocess.Popen[bytes] | None = None
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Begin to carry out the queue."""
        self._thread.start()

    def stop(self) -> None:
        """Stop scheduling, within seconds. Runs go on; only the spare worker ends.

        It has no run yet and may be busy importing, so it is killed. Should the last look at the queue not end in time,
        the spare worker may just be given a run: it is left to itself, and ends with this process unless it was.
        """
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS)
        if self._spare and self._spare.stdin and not self._thread.is_alive():
            self._spare.stdin.close()
            self._spare.kill()
            self._spare.wait(timeout=STOP_SECONDS)

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:
                log.exception("The scheduler stumbled and goes on")
            self._stop.wait(TICK_SECONDS)

    def tick(self) -> None:
        """One look at the queue: bury the dead, honour cancellations, start what can start, keep a spare."""
        host = socket.gethostname()
        running = [record for record in self._store.runs(states=("running",)) if record.host == host]
        for record in running:
            if record.cancel_requested:
                self._kill(record)
            elif not _is_alive(record):
                self._bury(record)
        self._reap({record.pid for record in running})
        busy = {record.recipe.device for record in running}
        for record in self._store.queue():
            if record.recipe.device not in busy and not self._stop.is_set():
                busy.add(record.recipe.device)
                self._start(record)
                running.append(record)
        # Duels and studies are timed almost from their start, which a worker importing its libraries would disturb.
        needs_quiet = any(not record.makes_variant for record in running)
        has_spare = self._spare is not None and self._spare.poll() is None
        if not (needs_quiet or has_spare or self._stop.is_set()):
            self._spare = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        """A worker in a session of its own, so that nothing sent to the server's process group reaches it."""
        with (data_folder() / "spare-worker.log").open("ab") as output:
            return subprocess.Popen(
                self._worker,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=os.environ | {"STUDIO_DATA": str(data_folder())},
                start_new_session=True,
            )

    def _start(self, record: RunRecord) -> None:
        worker = self._spare if self._spare and self._spare.poll() is None else self._spawn()
        self._spare = None
        if self._store.claim(record.id, worker.pid):
            self._children[worker.pid] = worker
            _hand_over(worker, record.id)
        else:
            self._spare = worker

    def _kill(self, record: RunRecord) -> None:
        if _is_alive(record) and record.pid:
            kill_family(record.pid)
        self._store.cancel(record.id)
        self._forget(record)

    def _bury(self, record: RunRecord) -> None:
        code = self._forget(record)
        if code == -signal.SIGKILL:
            self._bury_killed(record)
        else:
            self._store.fail(record.id, _cause_of_death(code), _last_words(record))

    def _bury_killed(self, record: RunRecord) -> None:
        """A training that was killed, most often for want of memory, gets a second attempt that takes less."""
        shortage = shortage_of_killed(each.event for each in self._store.events(record.id, kinds=("telemetry",)))
        phases = self._store.newest_events(record.id, "phase", limit=1)
        phase = next((each.event.title for each in phases if isinstance(each.event, PhaseStarted)), "")
        folder, again = run_folder(record.id), bool(noted(run_folder(record.id)))
        if record.makes_variant and not again and can_take_less(record.recipe, phase):
            begins_anew(shortage, folder)
            self._store.begin_again(record.id)
            return
        recipe = with_less_at_once(record.recipe) if again else record.recipe
        self._store.fail(record.id, str(shortage.failure(recipe, phase, again=again)), _last_words(record))

    def _reap(self, working: set[int | None]) -> None:
        """Collect workers that ended after their run did, so that none stays behind as a zombie."""
        ended = [pid for pid, child in self._children.items() if pid not in working and child.poll() is not None]
        for pid in ended:
            del self._children[pid]

    def _forget(self, record: RunRecord) -> int | None:
        child = self._children.pop(record.pid or 0, None)
        return child.wait(timeout=10) if child else None


def bury_if_dead(store: Store, run_id: str) -> None:
    """End a run of this machine as failed where its process is gone and no dashboard has noticed yet."""
    record = store.run(run_id)
    if record and record.state == "running" and record.host == socket.gethostname() and not _is_alive(record):
        store.fail(run_id, _cause_of_death(None), _last_words(record))


def _hand_over(worker: subprocess.Popen[bytes], run_id: str) -> None:
    assert worker.stdin
    try:
        worker.stdin.write(f"{run_id}\n".encode())
        worker.stdin.close()
    except BrokenPipeError:
        log.warning("The worker for run %s died before it began", run_id)


def _is_alive(record: RunRecord) -> bool:
    return is_alive(record.pid or 0, record.process_started_at or 0)


def _cause_of_death(code: int | None) -> str:
    """One sentence for a worker that ended without a last event; `code` is None when nobody saw it end."""
    advice = "Its log has the last words; run the recipe again"
    if code is None:
        return f"The worker process was gone when the dashboard looked for it. {advice}."
    if code < 0:
        return (
            f"The worker crashed inside a library ({signal.Signals(-code).name}). {advice}, or choose another runtime."
        )
    return f"The worker ended with code {code} and no result. {advice}."


def _last_words(record: RunRecord) -> str:
    path = run_folder(record.id) / "worker.log"
    return path.read_text(errors="replace")[-LAST_WORDS:] if path.exists() else ""
