"""Files that runs left, sent piece by piece: a download button of the page would hold them in memory several times."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.folders import data_folder
from experiments.profile_files import TAKEN_AWAY
from ui.identity import LOG_IN_FIRST, owner_of
from ui.state import everyones_store

GONE = "There is no such package. Open the Export page of the studio again: it packs it anew."
NO_FILE = "This profile left no such file, or was deleted."


def address_of(run_id: str, name: str) -> str:
    """Where the package of a run is handed out, relative to any page."""
    return f"packages/{run_id}/{name}"


def send_package(request: Request) -> Response:
    """The zip of that name in the folder of that run; 404 for everything else, whatever the address tries to reach."""
    name = request.path_params["name"]
    is_offered = re.fullmatch(r"[\w-]+\.zip", name) is not None
    return _answer(request, filename=name, is_offered=is_offered, otherwise=GONE)


PACKAGES = Route("/packages/{run_id}/{name}", send_package)
"""For the app's list of routes."""


def address_of_profile(run_id: str, name: str) -> str:
    """Where a file that a profile left is handed out, relative to any page."""
    return f"profiles/{run_id}/{name}"


def send_profile_file(request: Request) -> Response:
    """A file that profiles leave to take away; 404 for everything else, whatever the address tries to reach."""
    run_id, name = request.path_params["run_id"], Path(request.path_params["name"])
    filename = f"{name.stem}-{run_id}{name.suffix}"
    return _answer(request, filename=filename, is_offered=str(name) in TAKEN_AWAY, otherwise=NO_FILE)


PROFILES = Route("/profiles/{run_id}/{name}", send_profile_file)


def _answer(request: Request, *, filename: str, is_offered: bool, otherwise: str) -> Response:
    """The file of the address, if it is offered and the run is the visitor's; 401 for one who has to log in first."""
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    owner = owner_of(request)
    if owner is None:
        return PlainTextResponse(LOG_IN_FIRST, status_code=401)
    is_theirs = is_offered and everyones_store().for_owner(owner).run(run_id) is not None
    path = data_folder() / "runs" / run_id / name
    if not is_theirs or not path.is_file():
        return PlainTextResponse(otherwise, status_code=404)
    return FileResponse(path, filename=filename)
