"""Who is looking: nobody in particular, unless `.streamlit/secrets.toml` sets up a login (docs/security.md).

Streamlit logs people in by OpenID Connect and keeps who they are in a signed cookie. Pages learn it from `st.user`;
the studio's own routes read the same cookie with Streamlit's own functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.requests import HTTPConnection
from streamlit import config
from streamlit.auth_util import (
    get_origin_from_redirect_uri,
    get_secrets_auth_section,
    is_authlib_installed,
    validate_auth_credentials,
)
from streamlit.errors import StreamlitAuthError
from streamlit.runtime.secrets import secrets_singleton

from core.errors import BadInput
from ui import text

LOG_IN_FIRST = "Log in first: open the studio in this browser, log in, and try again."
NO_LIBRARY = (
    "A login is set up for this studio, but the library that it needs is missing. Whoever runs the studio installs it "
    "with `python studio.py install login` and starts it again."
)
NOT_SET_UP = (
    "The login of this studio is not set up completely. Whoever runs it finds in docs/security.md what "
    "`.streamlit/secrets.toml` has to say, and starts it again."
)
NAMES = ("name", "email", "preferred_username")
"""Claims that a person may be called by, the friendliest first."""


@cache
def login_is_on() -> bool:
    """Whether people have to say who they are; found out once a server, so that no slip in the file opens it to all.

    A file that is there and cannot be read may set up a login: then nobody gets in.
    """
    if secrets_singleton.load_if_toml_exists():
        return bool(get_secrets_auth_section())
    return any(Path(each).exists() for each in config.get_option("secrets.files"))


def owner() -> str:
    """Who is looking at this page; empty where nobody has to say who they are. Raises `BadInput` for a stranger."""
    if not login_is_on():
        return ""
    found = owner_in(_user())
    if found is None:
        raise BadInput("Nobody is logged in any more", action="Reload the page and log in")
    return found


def owner_of(connection: HTTPConnection) -> str | None:
    """The same for a request to one of the studio's own routes; None where it has to come from somebody, and does not.

    A cookie counts that Streamlit signed less than 31 days ago for the address at which people log in here.
    """
    return owner_in(_claims(connection)) if login_is_on() else ""


def owner_in(claims: Mapping[str, Any]) -> str | None:
    """An id that stays the same for a person: of the provider and of their number there, else of their e-mail address.

    None for claims that name nobody.
    """
    if not claims.get("is_logged_in"):
        return None
    who = claims.get("sub") or claims.get("email")
    return hashlib.sha256(f"{claims.get('iss', '')}\n{who}".encode()).hexdigest()[:32] if who else None


def must_log_in() -> bool:
    """Whether this page may not be shown before somebody has logged in."""
    return login_is_on() and owner_in(_user()) is None


def draw_login() -> None:
    """The one page that is shown to who has not logged in."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle.container(border=True):
        st.subheader("Post-Training Studio")
        if why := _why_no_login():
            st.error(why, icon=":material/lock:")
            return
        st.markdown("Log in to see your models and runs. Other people who log in here do not see them.")
        st.button("Log in", type="primary", icon=":material/login:", on_click=st.login, key="login")


def _why_no_login() -> str:
    """What keeps people from logging in, in one sentence; empty where nothing does."""
    if not is_authlib_installed():
        return NO_LIBRARY
    try:
        validate_auth_credentials("default")
    except StreamlitAuthError:
        return NOT_SET_UP
    return ""


def draw_person() -> None:
    """Who is logged in and the way out, in the sidebar; nothing where nobody has to say who they are."""
    if not login_is_on():
        return
    user = _user()
    name = next((str(user[each]) for each in NAMES if user.get(each)), "Logged in")
    with st.sidebar:
        st.caption(f":material/person: {text.escape(name)}")
        st.button("Log out", icon=":material/logout:", on_click=st.logout, type="tertiary", key="logout")


def _user() -> dict[str, Any]:
    return dict(st.user.to_dict())


def _claims(connection: HTTPConnection) -> Mapping[str, Any]:
    """What the request's cookie says; empty where it has none, or one that was not signed here or is too old."""
    from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
    from streamlit.web.server.starlette.starlette_websocket import (
        _get_signed_cookie_with_chunks,
        _parse_decoded_user_cookie,
    )

    signed = _get_signed_cookie_with_chunks(connection.cookies, USER_COOKIE_NAME)
    return _parse_decoded_user_cookie(signed, get_origin_from_redirect_uri() or "") if signed else {}
