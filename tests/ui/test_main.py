"""The frame, the net under every page, and the server that `streamlit run app.py` starts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from ui.errors import UNFORESEEN
from ui.headers import HEADERS, SecurityHeaders

ROOT = Path(__file__).resolve().parents[2]


def raising(kind: str) -> None:
    import streamlit as st

    from core.errors import BadInput
    from ui.errors import guarded

    with guarded():
        if kind == "foreseen":
            raise BadInput("ratio is 1.5", expected="a share", action="Move the slider")
        if kind == "unforeseen":
            raise ZeroDivisionError("secret detail")
        if kind == "stop":
            st.stop()
    st.write("after")


def test_a_foreseen_error_is_shown_as_its_own_sentence() -> None:
    page = AppTest.from_function(raising, kwargs={"kind": "foreseen"}).run()
    assert [error.value for error in page.error] == ["ratio is 1.5; expected a share. Move the slider."]
    assert not page.exception


def test_an_unforeseen_error_is_shown_without_its_details_but_logged(caplog: pytest.LogCaptureFixture) -> None:
    page = AppTest.from_function(raising, kwargs={"kind": "unforeseen"}).run()
    assert [error.value for error in page.error] == [UNFORESEEN]
    assert not page.exception
    assert "secret detail" in caplog.text


def test_stopping_a_page_is_no_error() -> None:
    page = AppTest.from_function(raising, kwargs={"kind": "stop"}).run()
    assert not page.error
    assert not page.markdown


def test_every_page_file_is_in_the_navigation() -> None:
    frame = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=60).run()
    for path in (ROOT / "pages").glob("*.py"):
        frame.switch_page(str(path))
    with pytest.raises(ValueError, match="nonsense"):
        frame.switch_page("nonsense.py")


def test_headers_are_added_to_what_the_application_sends() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b"x")]})  # type: ignore[operator]

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(SecurityHeaders(application)({"type": "http"}, None, send))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])  # type: ignore[call-overload]
    assert headers[b"etag"] == b"x"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a fresh server and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
        cwd=ROOT,
        env=os.environ | {"STUDIO_DATA": str(tmp_path_factory.mktemp("data"))},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    wait_for(f"{address}/_stcore/health")
    yield address, process
    process.kill()
    process.wait()


def wait_for(address: str) -> None:
    """Until something answers there."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


def test_the_server_answers_a_deep_link_with_the_security_headers(
    server: tuple[str, subprocess.Popen[bytes]],
) -> None:
    with urllib.request.urlopen(f"{server[0]}/compare", timeout=10) as answer:
        assert answer.status == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_an_ended_server_leaves_no_process_behind(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    process = psutil.Process(server[1].pid)
    children = wait_for_children(process)
    server[1].send_signal(signal.SIGTERM)
    assert server[1].wait(timeout=20) in (0, -signal.SIGTERM)
    assert psutil.wait_procs(children, timeout=20)[1] == []


def wait_for_children(process: psutil.Process) -> list[psutil.Process]:
    """The spare worker, once it is there."""
    give_up = time.monotonic() + 20
    while not (children := process.children()) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert children
    return children
