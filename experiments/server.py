"""A process of its own that serves one artifact: `python -m experiments.server`, and the class that talks to it.

The process answers each line of JSON on standard input with one on standard output: an `Opening` with `Opened`, then
any number of `Order`s with a `Block` each, or with `Refused`, which carries a sentence. It imports what the artifact's
runtime needs and nothing more, so that its memory is that of serving. It ends as soon as its standard input does, and
so with whoever started it, however that one ends.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.bundle import Precision
from core.data import Inputs
from core.devices import Device, find_device
from core.errors import RunFailed, StudioError
from experiments.contract_file import CONTRACT_FILE, SAMPLES_FILE, contract_of
from profiling.latency import WARMUP_MS, contended_share_between, scheduler_clock
from profiling.memory import Memory, MemoryWatch, measure_memory
from runtimes import RUNTIMES, runtime_of
from runtimes.runtime import Artifact

ROOT = Path(__file__).resolve().parent.parent
SERVER = (sys.executable, "-m", "experiments.server")
SETTLE_MS = 10.0
"""Untimed calls before a block: caches fill again, and helper threads of whoever ran before stop spinning."""
OPEN_TIMEOUT_S = 600.0
"""Some runtimes compile while they open."""
BLOCK_TIMEOUT_S = 120.0

T = TypeVar("T", bound=BaseModel)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Opening(_Message):
    """What to serve, and where."""

    runtime: str
    precision: Precision
    folder: Path
    """With `contract.json` and `samples.npz` beside the artifact's files."""
    files: tuple[str, ...]
    engine: dict[str, Any]
    """The settings of the artifact's engine that are not as usual."""
    device: str
    threads: int
    batch_size: int
    slowdown: float = 0.0
    """Share of its own duration by which each call is stretched: a known difference to try a comparison on."""


class Opened(_Message):
    """What it took to be ready to serve, in a process that did nothing else before."""

    cold_open_ms: float
    """Importing the engine's libraries included."""
    cold_start_ms: float
    """Until the first answer, for one image; Python itself and this module were there already."""
    memory: Memory
    """Of the artifact and those libraries together."""


class Order(_Message):
    """A block to be timed."""

    lasting_ms: float


class Block(_Message):
    """Calls in ms, each right after the one before."""

    calls_ms: tuple[float, ...]
    contended_share: float | None
    """Share of its runnable time in which the process waited for a core; None where the system does not tell."""


class Refused(_Message):
    """Why there is no other answer."""

    sentence: str


class ServedArtifact:
    """An artifact served by a process of its own. A context manager: leaving it ends the process.

    Entering starts the process without waiting for it, so that several can get ready at the same time. Both methods
    raise `RunFailed` with a sentence when the process refuses, dies or takes too long.
    """

    def __init__(
        self, artifact: Artifact, device: Device, *, threads: int, batch_size: int, slowdown: float = 0.0
    ) -> None:
        self._opening = Opening(
            runtime=artifact.runtime,
            precision=artifact.precision,
            folder=artifact.folder.resolve(),
            files=artifact.files,
            engine=artifact.engine.model_dump(mode="json", exclude_defaults=True),
            device=device.id,
            threads=threads,
            batch_size=batch_size,
            slowdown=slowdown,
        )
        self._started: subprocess.Popen[str] | None = None

    def __enter__(self) -> ServedArtifact:
        # In a session of its own, so that Ctrl-C reaches only the process that knows what to do about it.
        self._started = subprocess.Popen(
            SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, encoding="utf-8", start_new_session=True
        )
        self._say(self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        process.kill()
        with suppress(BrokenPipeError):  # a request that a dead process left in the pipe
            process.communicate()

    def opened(self, timeout_s: float = OPEN_TIMEOUT_S) -> Opened:
        """Wait until it is ready to serve, warmed up; to be called once, before the first block."""
        return self._answer(Opened, timeout_s)

    def block(self, lasting_ms: float, timeout_s: float = BLOCK_TIMEOUT_S) -> Block:
        """Calls, one after the other, until together they took that long; at least one."""
        self._say(Order(lasting_ms=lasting_ms))
        return self._answer(Block, timeout_s)

    @property
    def _process(self) -> subprocess.Popen[str]:
        assert self._started is not None, "enter it first"
        return self._started

    def _say(self, message: BaseModel) -> None:
        stdin = self._process.stdin
        assert stdin
        with suppress(BrokenPipeError):  # it is gone; its answer will tell how
            stdin.write(message.model_dump_json() + "\n")
            stdin.flush()

    def _answer(self, expected: type[T], timeout_s: float) -> T:
        stdout = self._process.stdout
        assert stdout
        timer = threading.Timer(timeout_s, self._process.kill)
        began = time.monotonic()
        timer.start()
        line = stdout.readline()
        timer.cancel()
        if not line:
            raise self._cause_of_death(timeout_s if time.monotonic() - began >= timeout_s else None)
        fields = json.loads(line)
        if fields.keys() == Refused.model_fields.keys():
            raise RunFailed(Refused(**fields).sentence)
        return expected.model_validate(fields)

    def _cause_of_death(self, timeout_s: float | None) -> RunFailed:
        who, code = f"The process serving {self._opening.files[0]}", self._process.wait()
        if timeout_s is not None:
            return RunFailed(f"{who} gave no answer within {timeout_s:g} seconds", action="Choose a smaller batch size")
        if code == -signal.SIGKILL:
            return RunFailed(f"{who} was killed, most often for want of memory", action="Choose a smaller batch size")
        how = f"crashed inside a library ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
        return RunFailed(f"{who} {how}", action="Try again, or choose another runtime")


def main() -> None:
    """Serve until standard input ends, or until something goes wrong and the last answer says what."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that cuda:N is NVML's device N too
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print

    def say(message: BaseModel) -> None:
        answers.write(message.model_dump_json() + "\n")
        answers.flush()

    requests = _lines_of(os.fdopen(os.dup(0), encoding="utf-8"))
    opening = Opening.model_validate_json(requests.get())
    try:
        _serve(opening, requests, say)
    except Exception as error:
        traceback.print_exc()
        say(Refused(sentence=_sentence(error, opening)))
    os._exit(1)  # at once: the thread that reads standard input cannot be stopped


def _serve(opening: Opening, requests: queue.SimpleQueue[str], say: Callable[[BaseModel], None]) -> None:
    engine = type(RUNTIMES[opening.runtime].settings).model_validate(opening.engine)
    artifact = Artifact(opening.runtime, opening.precision, opening.folder, opening.files, engine)
    device, x = find_device(opening.device), _inputs(opening.folder, opening.batch_size)
    with MemoryWatch(device) as watch:
        began = time.perf_counter()
        with runtime_of(artifact).open(artifact, device, threads=opening.threads) as session:
            cold_open_ms = 1000 * (time.perf_counter() - began)
            session.run(x[:1])
            cold_start_ms = 1000 * (time.perf_counter() - began)
            memory = measure_memory(session, x, watch)
            infer = _slowed(session.bind(x), opening.slowdown)
            _calls_ms(infer, WARMUP_MS)
            gc.collect()
            gc.disable()  # from here on this process does nothing but the calls it times
            say(Opened(cold_open_ms=cold_open_ms, cold_start_ms=cold_start_ms, memory=memory))
            while True:
                say(_timed(infer, Order.model_validate_json(requests.get())))


def _timed(infer: Callable[[], None], order: Order) -> Block:
    _calls_ms(infer, SETTLE_MS)
    clock_before = scheduler_clock()
    calls_ms = _calls_ms(infer, order.lasting_ms)
    return Block(calls_ms=calls_ms, contended_share=contended_share_between(clock_before, scheduler_clock()))


def _calls_ms(infer: Callable[[], None], lasting_ms: float) -> tuple[float, ...]:
    calls_ms = []
    total_ms = 0.0
    while total_ms < lasting_ms:
        before = time.perf_counter_ns()
        infer()
        calls_ms.append((time.perf_counter_ns() - before) / 1e6)
        total_ms += calls_ms[-1]
    return tuple(calls_ms)


def _slowed(infer: Callable[[], None], share: float) -> Callable[[], None]:
    if not share:
        return infer

    def stretched() -> None:
        began = time.perf_counter_ns()
        infer()
        end = began + (1 + share) * (time.perf_counter_ns() - began)
        while time.perf_counter_ns() < end:
            pass

    return stretched


def _inputs(folder: Path, batch_size: int) -> Inputs:
    """x[batch_size, ...] of the examples that travel with an artifact, repeated as often as needed."""
    contract = contract_of(json.loads((folder / CONTRACT_FILE).read_text()))
    with np.load(folder / SAMPLES_FILE) as samples:
        return contract.prepare(np.resize(samples["pixels"], (batch_size, *contract.shape)))


def _lines_of(stream: IO[str]) -> queue.SimpleQueue[str]:
    """The stream's lines as they come; this process ends when the stream does, whatever it is doing."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def work() -> None:
        for line in stream:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=work, name="requests", daemon=True).start()
    return lines


def _sentence(error: Exception, opening: Opening) -> str:
    if isinstance(error, StudioError):
        return str(error)
    first_line = str(error).partition("\n")[0][:200]
    return f"{opening.files[0]} cannot be served by {opening.runtime} ({type(error).__name__}: {first_line})."


if __name__ == "__main__":
    main()
