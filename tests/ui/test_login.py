"""The whole way in: from the studio to a provider and back, to what is one's own alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.starlette.starlette_auth_routes import create_auth_routes

from core.folders import run_folder
from experiments.recipe import Recipe
from experiments.store import Store
from tests.ui.logins import ADA, id_of, secrets, secrets_file
from ui.downloads import PACKAGES, address_of
from ui.headers import Guard

pytest.importorskip("authlib", reason="requirements-login.txt is optional")


def test_who_logs_in_at_the_provider_gets_what_is_theirs_and_loses_it_on_logging_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.ui.provider import provider

    monkeypatch.setattr("ui.headers.is_host_allowed", lambda host: True)
    middleware = [Middleware(Guard), Middleware(SessionMiddleware, secret_key="of the session")]
    studio = TestClient(Starlette(routes=[PACKAGES, *create_auth_routes("")], middleware=middleware))
    with provider(ADA) as address, secrets_file(tmp_path / "secrets.toml", secrets(address)):
        run_id = store.for_owner(id_of(ADA | {"iss": address})).enqueue(Recipe(model="resnet_fmnist"))
        (run_folder(run_id) / "a.zip").write_bytes(b"hers")
        package = f"/{address_of(run_id, 'a.zip')}"
        assert studio.get(package).status_code == 401
        asked = studio.get(generate_login_redirect_url("default"), follow_redirects=False)
        answer = follow(asked.headers["location"])
        assert studio.get(answer.removeprefix("http://testserver"), follow_redirects=False).status_code == 302
        assert studio.get(package).content == b"hers"
        studio.get("/auth/logout", follow_redirects=False)
        assert studio.get(package).status_code == 401


def follow(address: str) -> str:
    """Where the provider sends a browser that comes to this address."""
    import httpx

    return httpx.get(address, follow_redirects=False).headers["location"]
