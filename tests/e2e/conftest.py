"""A real server and a real browser. In CI a missing browser is a failure; elsewhere it is a reason to skip."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from experiments.store import Store

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=60_000)


@dataclass
class Server:
    """The dashboard as `streamlit run app.py` starts it."""

    address: str
    data: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End the server as a crash would; its workers are not in its process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def port(self) -> int:
        """Where it listens on the loopback address."""
        return urlsplit(self.address).port or 80

    def store(self) -> Store:
        """Its store, read from outside."""
        return Store(f"sqlite:///{self.data / 'studio.db'}")


def free_port() -> int:
    """One below those that systems lend to whoever asks for any, and drawn, so that nobody else takes it meanwhile."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start_server(data: Path, port: int) -> Server:
    """A server on that port, once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"],
        cwd=ROOT,
        env=os.environ | {"STUDIO_DATA": str(data)},
        start_new_session=True,
    )
    server = Server(f"http://127.0.0.1:{port}", data, process)
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        assert process.poll() is None, "the server has ended"  # and another may answer in its place
        try:
            urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=10).close()
            return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    server.kill()
    raise AssertionError("the server did not answer within 120 s")


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    """A fresh server over an empty data folder. Runs and spare workers that it left behind are ended."""
    running = start_server(data, free_port())
    yield running
    if running.process.poll() is None:
        left = psutil.Process(running.process.pid).children(recursive=True)
        running.kill()
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    for record in running.store().runs(states=("running",)):
        with suppress(ProcessLookupError):
            os.killpg(record.pid, signal.SIGKILL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """For one test alone; files whose tests change nothing have one for all of them."""
    with serving(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file of tests: while it is open, its event loop keeps others from running in this thread."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine; name one in CHROMIUM")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    """A tab that fails the test when a page asked another host for anything, or showed a traceback."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if _is_external(request.url, server) else None)
    yield page
    assert page.get_by_text("Traceback (most recent call").count() == 0
    assert page.locator("[data-testid=stException]").count() == 0
    assert elsewhere == []
    context.close()


def _is_external(url: str, server: Server) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(server.address).netloc
