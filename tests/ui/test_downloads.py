"""What runs left is handed out by its address, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ui.downloads import PACKAGES, PROFILES, address_of, address_of_profile

RUN = "0123456789ab"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server with a run that left a package, and a secret beside the runs."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    (folder := tmp_path / "runs" / RUN).mkdir(parents=True)
    (folder / "model-fp32.zip").write_bytes(b"zip" * 1000)
    (folder / "recipe.yaml").write_text("model: secret")
    (tmp_path / "secret.zip").write_bytes(b"secret")
    return TestClient(Starlette(routes=[PACKAGES]))


def test_a_package_comes_as_a_file_under_its_name(client: TestClient) -> None:
    answer = client.get(f"/{address_of(RUN, 'model-fp32.zip')}")
    assert answer.status_code == 200
    assert answer.content == b"zip" * 1000
    assert answer.headers["content-type"] == "application/zip"
    assert 'attachment; filename="model-fp32.zip"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "address",
    [
        f"/packages/{RUN}/recipe.yaml",
        f"/packages/{RUN}/other.zip",
        "/packages/ffffffffffff/model-fp32.zip",
        f"/packages/{RUN}/..%2F..%2Fsecret.zip",
        "/packages/..%2F/secret.zip",
        "/packages/../secret.zip",
    ],
)
def test_nothing_else_is_handed_out(client: TestClient, address: str, tmp_path: Path) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert b"secret" not in answer.content
    assert not (tmp_path / "runs" / "ffffffffffff").exists()


@pytest.fixture
def profile_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server with a profile that left a trace beside what is nobody's business."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    (folder := tmp_path / "runs" / RUN).mkdir(parents=True)
    (folder / "trace.json").write_text('{"traceEvents": []}')
    (folder / "recipe.yaml").write_text("model: secret")
    (tmp_path / "trace.json").write_text("secret")
    return TestClient(Starlette(routes=[PROFILES]))


def test_a_trace_comes_as_a_file_that_names_its_profile(profile_client: TestClient) -> None:
    answer = profile_client.get(f"/{address_of_profile(RUN, 'trace.json')}")
    assert answer.json() == {"traceEvents": []}
    assert f'attachment; filename="trace-{RUN}.json"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "address",
    [
        f"/profiles/{RUN}/recipe.yaml",
        f"/profiles/{RUN}/recording.json",
        "/profiles/../trace.json",
        "/profiles/..%2F/trace.json",
        "/profiles/%2e%2e/trace.json",
        f"/profiles/{RUN}/..%2F..%2Ftrace.json",
    ],
)
def test_nothing_else_of_a_profile_is_handed_out(profile_client: TestClient, address: str) -> None:
    answer = profile_client.get(address)
    assert answer.status_code == 404
    assert b"secret" not in answer.content
