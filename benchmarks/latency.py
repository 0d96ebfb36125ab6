"""Our latency beside simpler clocks on the same artifact: `python -m benchmarks.latency [--rounds 7] [--json FILE]`.

For each runtime the ResNet sample is exported and opened once, on one thread. A round times it by `measure_latency` and
by a bare loop around the same call, one after the other, in turns which goes first. Where OpenVINO's own benchmark_app
is installed, it times the same OpenVINO file, made for a batch of one as it requires, in a process of its own; it tells
10 microseconds at the finest. The median ratio of the rounds has to be within 3 % of one; that needs a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import sample_models
from core.bundle import ModelBundle
from core.data import Floats
from core.devices import find_device
from core.progress import result_of
from profiling.latency import measure_latency
from profiling.machine import conditions
from runtimes import RUNTIMES
from runtimes.runtime import Artifact, Session

MODEL = "resnet_fmnist"
BARE = ("onnxruntime", "openvino", "pytorch")
LOWEST, HIGHEST = 0.97, 1.03
WARMUP_SECONDS = 0.5
APP_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Round:
    """One comparison."""

    ours_ms: float
    theirs_ms: float
    waiting: float | None
    """Share of its time in which our process waited for a core."""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours_ms / self.theirs_ms


def main() -> int:
    """Compare, print, write; 0 when every median ratio is within the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, for each clock and round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to write every round")
    options = parser.parse_args()
    bundle = sample_models.load(MODEL)
    print("comparison                  round   ours ms  theirs ms   ratio   waiting")
    found = {name: _rounds(name, options.rounds, options.seconds, bundle) for name in (*BARE, *_installed_app())}
    if options.json:
        options.json.write_text(json.dumps(_record(found), indent=1))
    return _judge(found)


def _rounds(name: str, count: int, seconds: float, bundle: ModelBundle) -> list[Round]:
    """`name` is a runtime to be compared with a bare loop, or the app."""
    x = bundle.contract.prepare(bundle.data.test.pixels[:1])
    with tempfile.TemporaryDirectory() as folder, _opened(name, bundle, Path(folder)) as (session, artifact):

        def theirs() -> float:
            return bare_p50_ms(session, x, seconds) if name in BARE else app_p50_ms(name, artifact, seconds)

        return [_round(_label(name), number, session, x, seconds, theirs) for number in range(count)]


def _round(label: str, number: int, session: Session, x: Floats, seconds: float, theirs: Callable[[], float]) -> Round:
    theirs_first = theirs() if number % 2 else None
    ours = result_of(measure_latency(session, x, seconds=seconds))
    done = Round(ours.p50_ms, theirs() if theirs_first is None else theirs_first, ours.contended_share)
    waiting = "" if done.waiting is None else f"{done.waiting:8.1%}"
    print(
        f"{label:<27} {number + 1:5}  {done.ours_ms:8.4f}   {done.theirs_ms:8.4f}  {done.ratio:6.3f}  {waiting}",
        flush=True,
    )
    return done


@contextmanager
def _opened(name: str, bundle: ModelBundle, folder: Path) -> Iterator[tuple[Session, Artifact]]:
    key = name if name in BARE else "openvino"
    runtime = RUNTIMES[key]
    artifact = runtime.export(bundle, folder)
    if name not in BARE:
        artifact = _for_one_image(artifact, bundle)
    with runtime.open(artifact, find_device("cpu"), threads=1) as session:
        yield session, artifact


def _for_one_image(artifact: Artifact, bundle: ModelBundle) -> Artifact:
    """The same network with a fixed batch of one: the app times nothing else call by call."""
    import openvino

    model = openvino.Core().read_model(artifact.main_file)
    model.reshape([1, *bundle.contract.shape])
    folder = artifact.folder / "one"
    folder.mkdir()
    openvino.save_model(model, folder / artifact.files[0], compress_to_fp16=False)
    return Artifact(artifact.runtime, artifact.precision, folder, artifact.files)


def bare_p50_ms(session: Session, x: Floats, seconds: float) -> float:
    """The median of calls around which there is a clock and nothing else, after a warm-up."""
    infer, calls_s = session.bind(x), list[float]()
    end = time.perf_counter() + WARMUP_SECONDS
    while time.perf_counter() < end:
        infer()
    end = time.perf_counter() + seconds
    while not calls_s or time.perf_counter() < end:
        before = time.perf_counter()
        infer()
        calls_s.append(time.perf_counter() - before)
    return 1000 * statistics.median(calls_s)


def app_p50_ms(app: str, artifact: Artifact, seconds: float) -> float:
    """The median that benchmark_app prints, for one thread in fp32."""
    config = artifact.folder / "config.json"  # given as options, threads would exclude the latency hint
    config.write_text(json.dumps({"CPU": {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}}))
    command = [app, "-m", str(artifact.main_file), "-d", "CPU", "-api", "sync", "-hint", "latency"]
    command += ["-load_config", str(config), "-t", str(max(1, round(seconds)))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=APP_TIMEOUT_SECONDS)
    median = re.search(r"Median: +([\d.]+) (ms|us)", done.stdout)
    if done.returncode or not median or not re.search(r"INFERENCE_NUM_THREADS: 1\b", done.stdout):
        raise SystemExit(f"benchmark_app gave no median of one thread:\n{done.stdout}{done.stderr}")
    return float(median[1]) / (1 if median[2] == "ms" else 1000)


def _installed_app() -> tuple[str, ...]:
    """benchmark_app's path, beside this Python first; nothing when it is not installed."""
    app = shutil.which("benchmark_app", path=str(Path(sys.executable).parent)) or shutil.which("benchmark_app")
    return (app,) if app else ()


def _label(name: str) -> str:
    return f"{name} / bare loop" if name in BARE else "openvino / benchmark_app"


def _judge(found: dict[str, list[Round]]) -> int:
    print(f"\nmedian ratio (target {LOWEST} to {HIGHEST})")
    failed = 0
    for name, rounds in found.items():
        median = statistics.median(each.ratio for each in rounds)
        is_met = LOWEST <= median <= HIGHEST
        failed += not is_met
        print(f"{_label(name):<27} {median:6.3f}  {'met' if is_met else 'MISSED'}")
    if len(found) == len(BARE):
        print("benchmark_app is not installed: it comes with the openvino package")
    return int(failed > 0)


def _record(found: dict[str, list[Round]]) -> dict[str, object]:
    here = conditions(find_device("cpu"), threads=1, seed=0)
    compared = {_label(name): [asdict(each) for each in rounds] for name, rounds in found.items()}
    return {"model": MODEL, "conditions": here.model_dump(mode="json"), "rounds": compared}


if __name__ == "__main__":
    sys.exit(main())
