"""A studio in which people have to log in, and the cookies that Streamlit would give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlit import config
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, generate_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME, XSRF_COOKIE_NAME

from ui.identity import login_is_on, owner_in

ORIGIN = "http://testserver"
SECRET = "a secret of more than fourteen bytes"
ADA = {"iss": "https://login.example", "sub": "1", "name": "Ada *L*", "email": "ada@example.org"}
BOB = {"iss": "https://login.example", "sub": "2", "name": "Bob"}


def secrets(provider: str = "https://login.example", origin: str = ORIGIN) -> str:
    """What `.streamlit/secrets.toml` says to set up a login."""
    return f"""
[auth]
redirect_uri = "{origin}/oauth2callback"
cookie_secret = "{SECRET}"
client_id = "studio"
client_secret = "of the client"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


@contextmanager
def secrets_file(path: Path, content: str) -> Iterator[None]:
    """This process with these secrets, and as it was again afterwards."""
    path.write_text(content)
    before = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(path)])
    secrets_singleton._reset()
    login_is_on.cache_clear()
    try:
        yield
    finally:
        config.set_option("secrets.files", before)
        secrets_singleton._reset()
        login_is_on.cache_clear()


def id_of(person: dict[str, str]) -> str:
    """Their id in the store."""
    return owner_in(person | {"is_logged_in": True}) or ""


def cookie_of(person: dict[str, str], *, secret: str = SECRET, origin: str = ORIGIN) -> dict[str, str]:
    """What their browser sends once they have logged in."""
    content = json.dumps(person | {"origin": origin, "is_logged_in": True, "provider": "default"})
    return {USER_COOKIE_NAME: create_signed_value(secret, USER_COOKIE_NAME, content).decode()}


def token() -> tuple[dict[str, str], dict[str, str]]:
    """A cookie and the header that a page of the studio sends with it."""
    value = generate_xsrf_token_string()
    return {XSRF_COOKIE_NAME: value}, {"X-Xsrftoken": value}
