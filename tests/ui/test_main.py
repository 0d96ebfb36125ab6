"""The frame, the net under every page, and the server that `streamlit run app.py` starts."""

from __future__ import annotations

import asyncio
import http.client
import signal
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from tests.e2e.conftest import free_port, start_server
from ui.errors import UNFORESEEN
from ui.headers import HEADERS, WRONG_HOST, Guard
from ui.headers import UNFORESEEN as FAILED

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
    page = AppTest.from_function(raising, kwargs={"kind": "foreseen"}, default_timeout=60).run()
    assert [error.value for error in page.error] == ["Ratio is 1.5; expected a share. Move the slider."]
    assert not page.exception


def test_an_unforeseen_error_is_shown_without_its_details_but_logged(caplog: pytest.LogCaptureFixture) -> None:
    page = AppTest.from_function(raising, kwargs={"kind": "unforeseen"}, default_timeout=60).run()
    assert [error.value for error in page.error] == [UNFORESEEN]
    assert not page.exception
    assert "secret detail" in caplog.text


def test_stopping_a_page_is_no_error() -> None:
    page = AppTest.from_function(raising, kwargs={"kind": "stop"}, default_timeout=60).run()
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

    scope = {"type": "http", "path": "/", "headers": [(b"host", b"localhost:1")]}
    asyncio.run(Guard(application)(scope, None, send))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])  # type: ignore[call-overload]
    assert headers[b"etag"] == b"x"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]


def test_a_request_that_fails_tells_nothing_of_its_insides(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Request) -> Response:
        raise ZeroDivisionError("secret detail")

    app = Starlette(routes=[Route("/", broken)], middleware=[Middleware(Guard)])
    answer = TestClient(app, base_url="http://localhost").get("/")
    assert (answer.status_code, answer.text) == (500, FAILED)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "secret detail" in caplog.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a fresh server and its process."""
    running = start_server(tmp_path_factory.mktemp("data"), free_port())
    yield running.address, running.process
    if running.process.poll() is None:
        running.kill()


def test_the_server_answers_a_deep_link_with_the_security_headers(
    server: tuple[str, subprocess.Popen[bytes]],
) -> None:
    with urllib.request.urlopen(f"{server[0]}/compare", timeout=60) as answer:
        assert answer.status == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def ask(
    server: tuple[str, subprocess.Popen[bytes]], method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """Status and text of an answer, which has the security headers whatever it is, and no traceback in it."""
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=60)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    assert "Traceback" not in text
    return answer.status, text


def test_the_server_listens_on_the_loopback_address_alone(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    listening = [each for each in psutil.Process(server[1].pid).net_connections("inet") if each.status == "LISTEN"]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_stcore/health", 200),
        ("GET", "/_stcore/metrics", 404),
        ("OPTIONS", "/_stcore/metrics", 404),
        ("GET", "/_stcore/metrics/?families=x", 404),
        ("GET", "/%5fstcore/metrics", 404),
        ("GET", "/static/../../app.py", 400),
        ("GET", "/packages/0123456789ab/a.zip", 404),
        ("GET", "/profiles/0123456789ab/trace.json", 404),
        ("GET", "/profiles/..%2F..%2Fapp.py/trace.json", 400),
        ("POST", "/packages/0123456789ab/a.zip", 405),
        ("POST", "/uploads?name=a&wanted=model&size=1", 403),
        ("PUT", "/uploads?name=a&wanted=model&size=1", 405),
        ("PUT", "/_stcore/upload_file/a/b", 403),
        ("POST", "/_stcore/agent/interact", 403),
    ],
)
def test_what_is_closed_is_closed_and_every_answer_has_the_headers(
    server: tuple[str, subprocess.Popen[bytes]], method: str, path: str, status: int
) -> None:
    assert ask(server, method, path)[0] == status


@pytest.mark.parametrize("path", ["/", "/compare", "/_stcore/health", "/packages/0123456789ab/a.zip", "/uploads"])
def test_nothing_is_served_under_a_foreign_name(server: tuple[str, subprocess.Popen[bytes]], path: str) -> None:
    port = server[0].rpartition(":")[2]
    assert ask(server, "GET", path, {"Host": f"rebound.example:{port}"}) == (400, WRONG_HOST)


def test_the_name_localhost_is_no_foreign_one(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    assert ask(server, "GET", "/", {"Host": f"localhost:{server[0].rpartition(':')[2]}"})[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://{host}"}, 101),
        ({}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:9"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://rebound.example", "Host": "rebound.example"}, 403),
    ],
    ids=str,
)
def test_a_websocket_opens_only_for_a_page_of_this_very_server(
    server: tuple[str, subprocess.Popen[bytes]], headers: dict[str, str], status: int
) -> None:
    host = server[0].removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "streamlit"}  # fmt: skip
    sent = {name: value.format(host=host) for name, value in headers.items()}
    connection.request("GET", "/_stcore/stream", headers=upgrade | sent)
    assert connection.getresponse().status == status
    connection.close()


def test_the_settings_that_ship_keep_insides_in_and_files_out_of_memory() -> None:
    shipped = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert shipped["server"]["maxUploadSize"] <= 50
    assert shipped["client"]["showErrorDetails"] == "none"
    assert not shipped["client"]["showErrorLinks"]
    assert not shipped["browser"]["gatherUsageStats"]
    assert {"enableXsrfProtection", "enableCORS", "enableAgentApi", "trustedUserHeaders"}.isdisjoint(shipped["server"])


def test_an_ended_server_leaves_no_process_behind(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    process = psutil.Process(server[1].pid)
    children = wait_for_children(process)
    server[1].send_signal(signal.SIGTERM)
    assert server[1].wait(timeout=60) in (0, -signal.SIGTERM)
    assert psutil.wait_procs(children, timeout=60)[1] == []


def wait_for_children(process: psutil.Process) -> list[psutil.Process]:
    """The spare worker, once it is there."""
    give_up = time.monotonic() + 60
    while not (children := process.children()) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert children
    return children
