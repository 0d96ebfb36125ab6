"""The route that takes files: who may send, what is refused, and what lies on the disk afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import Message
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from core.errors import Refused
from experiments import jobs
from intake import sandbox, uploads
from tests.ui.logins import ADA, cookie_of, id_of, secrets, secrets_file, token
from ui import uploads as route
from ui.headers import Guard
from ui.identity import LOG_IN_FIRST

CONTENT = bytes(range(256)) * 12_000
ADDRESS = f"/uploads?name=net.pt&wanted=model&size={len(CONTENT)}"
APP = Starlette(routes=[route.UPLOADS], middleware=[Middleware(Guard)])


@pytest.fixture(autouse=True)
def ordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The jobs that were begun, which nobody does here; data of this test's own."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    monkeypatch.setattr("ui.headers.is_host_allowed", lambda host: host == "testserver")
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: None)
    begun: list[tuple[str, Any]] = []
    monkeypatch.setattr(jobs, "start", lambda *order: begun.append(order) or "the job")
    return begun


@pytest.fixture
def client() -> TestClient:
    """A page of the studio: it has the token, and sends it."""
    cookies, headers = token()
    return TestClient(APP, cookies=cookies, headers=headers | {"Origin": "http://testserver"})


@pytest.fixture
def login(tmp_path: Path) -> Iterator[None]:
    """A studio with a login."""
    with secrets_file(tmp_path / "secrets.toml", secrets()):
        yield


def nothing_is_left(owner: str = "") -> bool:
    return uploads.waiting(owner) == []


def test_a_file_lies_on_the_disk_when_its_job_begins(client: TestClient, ordered: list[tuple[str, Any]]) -> None:
    answer = client.post(ADDRESS, content=CONTENT)
    assert (answer.status_code, answer.json()) == (200, {"job": "the job"})
    (upload,) = uploads.waiting("")
    assert upload.path.read_bytes() == CONTENT
    assert ordered == [("", jobs.CheckOrder(upload=upload.id, wanted="model", name=upload.name))]


def test_asking_first_takes_nothing_and_tells_why_not(client: TestClient) -> None:
    assert client.get(ADDRESS).json() == {"sentence": ""}
    answer = client.get("/uploads?name=<b>&wanted=model&size=9000000000")
    assert answer.json() == {"sentence": "<b> has 8.4 GiB; expected at most 4 GiB. Choose a smaller file."}
    assert answer.headers["content-type"] == "application/json"
    assert nothing_is_left()


@pytest.mark.parametrize(
    ("address", "content", "says"),
    [
        (ADDRESS, CONTENT + b"x", "is longer than"),
        (ADDRESS, CONTENT[:-1], "was cut short"),
        ("/uploads?name=a&wanted=model&size=0", b"", "is empty"),
        ("/uploads?name=a&wanted=data&size=99999999999999999", b"", "expected at most 8 GiB"),
        ("/uploads?name=a&wanted=engine&size=1", b"x", "expected model or data"),
        ("/uploads?name=a&wanted=model&size=-1", b"x", "no size"),
        ("/uploads?wanted=model&size=1", b"x", "no name"),
    ],
    ids=["more", "less", "empty", "too large", "kind", "negative", "nameless"],
)
def test_a_refusal_is_a_sentence_and_leaves_nothing(
    client: TestClient, ordered: list[tuple[str, Any]], address: str, content: bytes, says: str
) -> None:
    answer = client.post(address, content=content)
    assert answer.status_code == 400
    assert says in answer.json()["sentence"]
    assert answer.json()["snippet"] == ""
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert nothing_is_left()
    assert ordered == []


OTHER = "another page's"
"""Stands for a token that is valid and was given to another page."""


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Xsrftoken": ""},
        {"X-Xsrftoken": OTHER},
        {"Cookie": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=lambda each: "; ".join(f"{name}: {value[:20]}" for name, value in each.items()),
)
def test_only_a_page_of_the_studio_may_send(client: TestClient, headers: dict[str, str]) -> None:
    if "Cookie" in headers:
        client.cookies.clear()
    sent = {name: generate_xsrf_token_string() if value == OTHER else value for name, value in headers.items()}
    answer = client.post(ADDRESS, content=CONTENT, headers=sent)
    assert (answer.status_code, answer.json()["sentence"]) == (403, route.NOT_FROM_HERE)
    assert nothing_is_left()


def test_a_page_under_a_foreign_name_may_not(client: TestClient) -> None:
    headers = {"Host": "rebound.example", "Origin": "http://rebound.example"}
    assert client.post(ADDRESS, content=CONTENT, headers=headers).status_code == 400
    assert nothing_is_left()


@pytest.mark.usefixtures("login")
def test_with_a_login_a_stranger_is_told_to_log_in_and_others_have_files_of_their_own(
    client: TestClient, ordered: list[tuple[str, Any]]
) -> None:
    for ask in (client.get, client.post):
        answer = ask(ADDRESS)
        assert (answer.status_code, answer.json()["sentence"]) == (401, LOG_IN_FIRST)
    client.cookies.update(cookie_of(ADA))
    assert client.post(ADDRESS, content=CONTENT).status_code == 200
    assert [upload.name for upload in uploads.waiting(id_of(ADA))] == ["net.pt"]
    assert nothing_is_left()
    assert ordered[0][0] == id_of(ADA)


def test_uploads_are_off_where_nothing_confines_the_reader(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: "this system has no sandbox.")
    for answer in (client.get(ADDRESS), client.post(ADDRESS, content=CONTENT)):
        assert answer.json()["sentence"] == "Uploads are off: this system has no sandbox."
    assert nothing_is_left()


def test_a_job_that_cannot_begin_leaves_no_file(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise Refused("Too many jobs are at work", action="Wait for one to end")

    monkeypatch.setattr(jobs, "start", refuse)
    answer = client.post(ADDRESS, content=CONTENT)
    assert (answer.status_code, answer.json()["sentence"]) == (400, "Too many jobs are at work. Wait for one to end.")
    assert nothing_is_left()


@pytest.mark.parametrize("end", ["gone", "silent"])
def test_a_file_that_stops_coming_leaves_nothing(
    end: str, ordered: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server passes it on: a closed tab says that it went, a dead line says nothing."""
    monkeypatch.setattr(route, "SILENCE_SECONDS", 0.05)
    cookies, headers = token()
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    scope = {
        "type": "http", "method": "POST", "path": "/uploads", "query_string": ADDRESS.partition("?")[2].encode(),
        "headers": [(b"host", b"testserver"), (b"cookie", cookie.encode()),
                    (b"x-xsrftoken", headers["X-Xsrftoken"].encode())],
    }  # fmt: skip
    first: list[Message] = [{"type": "http.request", "body": CONTENT[:2_000_000], "more_body": True}]
    sent: list[Message] = []

    async def receive() -> Message:
        if first:
            return first.pop()
        if end == "silent":
            await asyncio.sleep(10)
        assert [each.part.stat().st_size for each in uploads.waiting("")] == [2_000_000]
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(APP(scope, receive, send))
    assert sent[0]["status"] == 408
    assert nothing_is_left()
    assert ordered == []
