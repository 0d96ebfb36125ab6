"""What watching costs: `python -m benchmarks.live [--viewer browser] [--threads 1] [--json FILE]`.

Starts a real server over an empty data folder and a real training in it, then asks two questions.

1. Cost: how much slower does the training become because it is watched? The server (recorder, scheduler, pages) and one
   viewer of the run's page work and are frozen in turn, by signals, while the training goes on; the ratio of the images
   trained a second is taken from neighbouring blocks, and its interval by drawing pairs anew. Target: at most 5 %,
   which is met where the whole interval is below.
2. Delay: with 20 viewers of the run's page at once, one of them a real Chromium, how long after an event of the
   training does the page show it, or a newer one? Target: the 95th percentile below 1.5 s.

The browser runs on the same machine and takes its processor time too. Needs Linux and Chromium; the machine should be
idle otherwise: the load before the start is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from core.devices import find_device
from core.progress import Progress
from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from profiling.machine import conditions

ROOT = Path(__file__).resolve().parent.parent
MOST_COST, MOST_DELAY_S = 0.05, 1.5
SETTLE_SECONDS = 1.5
WARM_SECONDS = 5.0
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
OBSERVE = """() => {
  window.seen = [];
  const look = () => {
    const shown = document.querySelector('[data-testid=stProgress]')?.innerText.match(/· ([\\d,]+) of [\\d,]+ steps/);
    const steps = shown ? Number(shown[1].replaceAll(',', '')) : 0;
    if (steps && (!window.seen.length || window.seen.at(-1)[0] !== steps)) window.seen.push([steps, Date.now() / 1000]);
  };
  new MutationObserver(() => requestAnimationFrame(look)).observe(
    document.body, {subtree: true, childList: true, characterData: true});
}"""
"""Notes when the screen first shows each count of steps."""


@dataclass(frozen=True)
class Training:
    """A server, and the training that runs in it."""

    port: int
    server: psutil.Process
    store: Store
    run_id: str

    def progress(self) -> list[Progress]:
        """What the training has told of its steps so far."""
        told = (each.event for each in self.store.events(self.run_id, kinds=("progress",)))
        return [each for each in told if isinstance(each, Progress) and each.unit == "steps"]


def main() -> int:
    """Measure, print, write; 0 when both targets are met."""
    options = parsed()
    print(f"load before the start: {os.getloadavg()[0]:.2f}", flush=True)
    here = conditions(find_device("cpu"), threads=options.threads, seed=0).model_dump(mode="json")
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0], "viewer": options.viewer}
    with tempfile.TemporaryDirectory() as folder, training(Path(folder), options) as work:
        if "cost" in options.only:
            figures["cost"] = cost(work, options)
        if "delay" in options.only:
            figures["delay"] = delay(work, options)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "conditions": here}, indent=1))
    is_cheap = "cost" not in figures or figures["cost"]["interval"][1] <= MOST_COST
    is_quick = "delay" not in figures or figures["delay"]["screen_p95_s"] < MOST_DELAY_S
    return int(not (is_cheap and is_quick))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet_fmnist")
    parser.add_argument("--threads", type=int, default=0, help="of the training; 0: as a run chooses by itself")
    parser.add_argument("--blocks", type=int, default=8, help="of each kind")
    parser.add_argument("--block-seconds", type=float, default=8.0)
    parser.add_argument("--viewer", choices=("light", "browser"), default="light", help="who watches in the first part")
    parser.add_argument("--viewers", type=int, default=20, help="in the second part, the browser included")
    parser.add_argument("--watch-seconds", type=float, default=60.0)
    parser.add_argument("--only", nargs="+", choices=("cost", "delay"), default=("cost", "delay"))
    parser.add_argument("--json", type=Path, help="where to write the figures and their conditions")
    return parser.parse_args()


@contextmanager
def training(data: Path, options: argparse.Namespace) -> Iterator[Training]:
    """A server and a long training that has begun; both end with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    env = os.environ | {"STUDIO_DATA": str(data)}
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    run_id, store = "", None
    try:
        await_server(port)
        store = Store(f"sqlite:///{data / 'studio.db'}")
        techniques = (TECHNIQUES["structured_pruning"](ratio=0.1, epochs=40),)
        settings = MeasurementSettings(threads=options.threads)
        run_id = store.enqueue(Recipe(model=options.model, techniques=techniques, measurement=settings))
        work = Training(port, psutil.Process(server.pid), store, run_id)
        until(lambda: len(work.progress()) > 8, "the training began", 120)
        yield work
    finally:
        record = store.run(run_id) if store and run_id else None
        for pid in (record.pid if record else None, server.pid):
            if pid and psutil.pid_exists(pid):
                os.killpg(pid, signal.SIGKILL)
        server.wait(10)


def await_server(port: int) -> None:
    """Return once it answers."""

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    until(answers, "the server answered", 60)


def until(condition: Any, what: str, seconds: float) -> None:
    """Wait for a condition. Raises `TimeoutError` after so many seconds."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"Not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


@contextmanager
def light_viewers(work: Training, count: int) -> Iterator[list[dict[str, Any]]]:
    """So many sessions without a browser; what they saw is in the list afterwards."""
    seen: list[dict[str, Any]] = []
    command = [sys.executable, "-m", "benchmarks.live_clients", str(work.port), work.run_id, str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        yield seen
        told, _ = clients.communicate("")
    if clients.returncode:
        raise RuntimeError("A session broke off; see above")
    seen.extend(json.loads(told))


@contextmanager
def browser(work: Training) -> Iterator[Any]:
    """A page of a real browser on the run."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = opened.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{work.port}/runs?run={work.run_id}")
        page.locator("[data-testid=stProgress]").first.wait_for(timeout=60_000)
        yield page
        opened.close()


def cost(work: Training, options: argparse.Namespace) -> dict[str, Any]:
    """How much the training loses while it is watched, over pairs of neighbouring blocks."""
    with ExitStack() as stack:
        stack.enter_context(browser(work) if options.viewer == "browser" else light_viewers(work, 1))
        time.sleep(WARM_SECONDS)
        ours = [work.server, *viewers_of(work)]
        blocks: list[tuple[bool, float, float]] = []
        busy = []
        for number in range(2 * options.blocks):
            is_watched = number % 4 in (0, 3)  # on off off on: a steady drift falls on both alike
            switch(work, ours, on=is_watched)
            began, before = time.time(), processor_seconds(ours)
            time.sleep(options.block_seconds)
            blocks.append((is_watched, began, time.time()))
            busy += [(processor_seconds(ours) - before) / options.block_seconds] if is_watched else []
        switch(work, ours, on=True)
    return cost_of(work.progress(), blocks) | {"cores_busy": float(np.mean(busy))}


def processor_seconds(processes: Sequence[psutil.Process]) -> float:
    """What these processes have taken so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes if each.is_running())


def viewers_of(work: Training) -> list[psutil.Process]:
    """The processes that watch: those that this one started, but neither the server nor Playwright's own."""
    family = psutil.Process().children(recursive=True)
    server = {work.server.pid, *(each.pid for each in work.server.children(recursive=True))}
    return [each for each in family if each.pid not in server and each.name() != "node"]


def switch(work: Training, ours: Sequence[psutil.Process], *, on: bool) -> None:
    """Let the server and the viewer work, or freeze them, and see that the training goes on."""
    for process in ours:
        if process.is_running():
            process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
    before = len(work.progress())
    time.sleep(SETTLE_SECONDS)
    if not on and len(work.progress()) == before:  # frozen with the store's lock in hand: let go and try again
        switch(work, ours, on=True)
        switch(work, ours, on=False)


def cost_of(told: Sequence[Progress], blocks: Sequence[tuple[bool, float, float]]) -> dict[str, Any]:
    """The share of its throughput that the training loses, from what it told and when it was watched."""
    moments, steps = [each.at for each in told], [each.done for each in told]
    rates: dict[bool, list[float]] = {True: [], False: []}
    for is_watched, began, ended in blocks:
        first, last = np.interp([began, ended], moments, steps)
        rates[is_watched].append(float((last - first) / (ended - began)))
    watched, alone = (np.array(rates[key]) for key in (True, False))
    ratios = np.log(watched / alone)
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios))).mean(1)
    low, high = (float(1 - np.exp(each)) for each in np.percentile(drawn, (97.5, 2.5)))
    return {
        "cost": float(1 - np.exp(ratios.mean())),
        "interval": [low, high],
        "watched_steps_per_s": rates[True],
        "alone_steps_per_s": rates[False],
    }


def delay(work: Training, options: argparse.Namespace) -> dict[str, Any]:
    """How long after the training's events the viewers show them."""
    with browser(work) as page, light_viewers(work, options.viewers - 1) as seen:
        time.sleep(WARM_SECONDS + options.viewers * 0.1)
        page.evaluate(OBSERVE)
        began, busy = time.time(), processor_seconds([work.server])
        page.wait_for_timeout(1000 * options.watch_seconds)
        ended, busy = time.time(), processor_seconds([work.server]) - busy
        on_screen = page.evaluate("window.seen")
    told = [each for each in work.progress() if began + 2 < each.at < ended - 5]
    screen = delays(told, on_screen)
    light = [each for viewer in seen for each in delays(told, viewer["seen"])]
    return {
        "viewers": options.viewers,
        "events": len(told),
        "screen_p50_s": float(np.median(screen)),
        "screen_p95_s": float(np.percentile(screen, 95)),
        "screen_max_s": max(screen),
        "light_p50_s": float(np.median(light)),
        "light_p95_s": float(np.percentile(light, 95)),
        "polls": sum(viewer["polls"] for viewer in seen),
        "kib_per_s_and_viewer": sum(each["received_bytes"] for each in seen) / len(seen) / 1024 / (ended - began),
        "server_cores_busy": busy / (ended - began),
    }


def delays(told: Sequence[Progress], shown: Sequence[Sequence[float]]) -> list[float]:
    """Seconds from each event to the moment when it, or a newer one, was shown."""
    counts = [each[0] for each in shown]
    places = [(event, bisect_left(counts, event.done)) for event in told]
    return [shown[place][1] - event.at for event, place in places if place < len(shown)]


def report(figures: dict[str, Any]) -> None:
    """Print a line for each question."""
    if found := figures.get("cost"):
        low, high = found["interval"]
        verdict = "met" if high <= MOST_COST else "MISSED" if low > MOST_COST else "undecided"
        words = f"server and viewer take {found['cores_busy']:.2f} cores"
        print(f"cost of being watched  {found['cost']:.1%}   95 % [{low:.1%}, {high:.1%}]   {verdict}   ({words})")
    if found := figures.get("delay"):
        verdict = "met" if found["screen_p95_s"] < MOST_DELAY_S else "MISSED"
        print(
            f"event to screen        p50 {found['screen_p50_s']:.2f} s   p95 {found['screen_p95_s']:.2f} s   {verdict}"
            f"   ({found['viewers']} viewers, {found['events']} events; sessions without a browser: p50 "
            f"{found['light_p50_s']:.2f} s, p95 {found['light_p95_s']:.2f} s; server {found['server_cores_busy']:.2f} "
            f"cores, {found['kib_per_s_and_viewer']:.0f} KiB/s a viewer)"
        )


if __name__ == "__main__":
    sys.exit(main())
