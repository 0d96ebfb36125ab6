"""What runs left is handed out by its address, and nothing else is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.folders import data_folder, run_folder
from experiments.recipe import Recipe
from experiments.store import Store
from tests.ui.logins import ADA, BOB, cookie_of, id_of, secrets, secrets_file
from ui.downloads import PACKAGES, PROFILES, address_of, address_of_profile

RUN = "0123456789ab"


def left_run(store: Store, owner: str = "") -> Path:
    """The folder of a run of this person that bears the id `RUN`."""
    run_id = store.for_owner(owner).enqueue(Recipe(model="resnet_fmnist"))
    with sqlite3.connect(data_folder() / "studio.db") as database:
        database.execute("UPDATE runs SET id = ? WHERE id = ?", (RUN, run_id))
    return run_folder(RUN)


@pytest.fixture
def client(store: Store) -> TestClient:
    """A server with a run that left a package, and a secret beside the runs."""
    folder = left_run(store)
    (folder / "model-fp32.zip").write_bytes(b"zip" * 1000)
    (folder / "recipe.yaml").write_text("model: secret")
    (data_folder() / "secret.zip").write_bytes(b"secret")
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
def test_nothing_else_is_handed_out(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert b"secret" not in answer.content
    assert not (data_folder() / "runs" / "ffffffffffff").exists()


def test_what_was_deleted_from_the_store_is_handed_out_no_more(client: TestClient, store: Store) -> None:
    store.request_cancel(RUN)
    store.delete(RUN)
    assert client.get(f"/{address_of(RUN, 'model-fp32.zip')}").status_code == 404


def test_with_a_login_files_are_handed_to_their_owner_alone(store: Store, tmp_path: Path) -> None:
    folder = left_run(store, id_of(ADA))
    addresses = [address_of(RUN, "model-fp32.zip"), address_of_profile(RUN, "trace.json")]
    for address in addresses:
        (folder / Path(address).name).write_bytes(b"hers")
    client = TestClient(Starlette(routes=[PACKAGES, PROFILES]))
    assert [client.get(f"/{address}").status_code for address in addresses] == [404, 404]
    with secrets_file(tmp_path / "secrets.toml", secrets()):
        for cookies, status in (({}, 401), (cookie_of(BOB), 404), (cookie_of(ADA), 200)):
            client.cookies.update(cookies)
            answers = [client.get(f"/{address}") for address in addresses]
            assert [answer.status_code for answer in answers] == [status, status]
            assert all((b"hers" in answer.content) is (status == 200) for answer in answers)


@pytest.fixture
def profile_client(store: Store) -> TestClient:
    """A server with a profile that left a trace beside what is nobody's business."""
    folder = left_run(store)
    (folder / "trace.json").write_text('{"traceEvents": []}')
    (folder / "recipe.yaml").write_text("model: secret")
    (data_folder() / "trace.json").write_text("secret")
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
