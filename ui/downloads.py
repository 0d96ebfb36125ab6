"""Files that runs left, sent piece by piece: a download button of the page would hold them in memory several times."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.folders import data_folder
from experiments.profile_files import TAKEN_AWAY

GONE = "There is no such package. Open the Export page of the studio again: it packs it anew."
NO_FILE = "This profile left no such file, or was deleted."


def address_of(run_id: str, name: str) -> str:
    """Where the package of a run is handed out, relative to any page."""
    return f"packages/{run_id}/{name}"


async def send_package(request: Request) -> Response:
    """The zip of that name in the folder of that run; 404 for everything else, whatever the address tries to reach."""
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    path = data_folder() / "runs" / run_id / name
    if not re.fullmatch(r"[0-9a-f]+", run_id) or not re.fullmatch(r"[\w-]+\.zip", name) or not path.is_file():
        return PlainTextResponse(GONE, status_code=404)
    return FileResponse(path, media_type="application/zip", filename=name)


PACKAGES = Route("/packages/{run_id}/{name}", send_package)
"""For the app's list of routes."""


def address_of_profile(run_id: str, name: str) -> str:
    """Where a file that a profile left is handed out, relative to any page."""
    return f"profiles/{run_id}/{name}"


async def send_profile_file(request: Request) -> Response:
    """A file that profiles leave to take away; 404 for everything else, whatever the address tries to reach."""
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    path = data_folder() / "runs" / run_id / name
    if not re.fullmatch(r"[0-9a-f]+", run_id) or name not in TAKEN_AWAY or not path.is_file():
        return PlainTextResponse(NO_FILE, status_code=404)
    return FileResponse(path, filename=f"{path.stem}-{run_id}{path.suffix}")


PROFILES = Route("/profiles/{run_id}/{name}", send_profile_file)
