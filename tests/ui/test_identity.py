"""Who is looking, by the cookie of a request and by the page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from itsdangerous import TimestampSigner
from starlette.requests import HTTPConnection
from streamlit.testing.v1 import AppTest

from tests.ui.logins import ADA, BOB, cookie_of, id_of, secrets, secrets_file
from ui import identity

ROOT = Path(__file__).resolve().parents[2]
DAY = 24 * 3600


@pytest.fixture
def login(tmp_path: Path) -> Iterator[None]:
    """A studio with a login."""
    with secrets_file(tmp_path / "secrets.toml", secrets()):
        yield


def asking(cookies: dict[str, str]) -> HTTPConnection:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return HTTPConnection({"type": "http", "headers": [(b"cookie", header.encode())]})


def test_without_a_login_everybody_is_nobody_in_particular() -> None:
    assert not identity.login_is_on()
    assert identity.owner_of(asking(cookie_of(ADA))) == ""


@pytest.mark.usefixtures("login")
def test_a_cookie_tells_who_it_is_and_two_people_apart() -> None:
    assert identity.owner_of(asking(cookie_of(ADA))) == id_of(ADA)
    assert identity.owner_of(asking(cookie_of(ADA | {"name": "Ada Byron"}))) == id_of(ADA)
    assert len({id_of(ADA), id_of(BOB), id_of(ADA | {"iss": "https://elsewhere.example"}), ""}) == 4


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    "cookies",
    [
        {},
        cookie_of(ADA, secret="another secret of many bytes"),
        {name: value[:-3] + "AAA" for name, value in cookie_of(ADA).items()},
        {name.replace("user", "user_tokens"): value for name, value in cookie_of(ADA).items()},
        cookie_of(ADA, origin="http://elsewhere.example"),
        cookie_of({"name": "nobody"}),
        {"_streamlit_user": "{}"},
    ],
    ids=["none", "forged", "changed", "under another name", "of another address", "names nobody", "unsigned"],
)
def test_no_other_cookie_lets_anybody_in(cookies: dict[str, str]) -> None:
    assert identity.owner_of(asking(cookies)) is None


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(("days", "is_in"), [(29, True), (32, False)])
def test_a_cookie_lasts_a_month(days: int, is_in: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(TimestampSigner, "get_timestamp", lambda self: int(time.time()) - days * DAY)
        cookies = cookie_of(ADA)
    assert (identity.owner_of(asking(cookies)) == id_of(ADA)) is is_in


def test_a_secrets_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    with secrets_file(tmp_path / "secrets.toml", "[auth"):
        assert identity.owner_of(asking(cookie_of(ADA))) is None


@pytest.mark.usefixtures("login")
def test_a_slip_in_the_file_while_the_server_runs_opens_nothing(tmp_path: Path) -> None:
    assert identity.login_is_on()
    (tmp_path / "secrets.toml").write_text("[auth")
    identity.secrets_singleton._reset()
    assert identity.owner_of(asking({})) is None
    assert identity.owner_of(asking(cookie_of(ADA))) is None


@pytest.mark.usefixtures("login", "store")
@pytest.mark.parametrize("page", ["home", "runs", "compare"])
def test_a_stranger_sees_one_page_with_one_button(page: str) -> None:
    frame = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=60).run()
    frame.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert [button.label for button in frame.button] == ["Log in"]
    assert not frame.title
    assert not frame.exception


@pytest.mark.usefixtures("store")
def test_a_login_that_is_set_up_in_part_says_so(tmp_path: Path) -> None:
    with secrets_file(tmp_path / "secrets.toml", '[auth]\nredirect_uri = "http://127.0.0.1:8501/oauth2callback"'):
        frame = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=60).run()
    assert [error.value for error in frame.error] == [identity.NOT_SET_UP]
    assert not frame.button


@pytest.mark.usefixtures("login", "store")
def test_a_login_without_its_library_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "is_authlib_installed", lambda: False)
    frame = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=60).run()
    assert [error.value for error in frame.error] == [identity.NO_LIBRARY]
    assert not frame.button


@pytest.mark.usefixtures("login", "store")
def test_who_is_logged_in_sees_the_pages_their_name_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_user", lambda: ADA | {"is_logged_in": True})
    frame = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=60).run()
    assert frame.title
    assert [button.label for button in frame.sidebar.button] == ["Log out"]
    assert r"Ada \*L\*" in frame.sidebar.caption[0].value
