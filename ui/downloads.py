"""Packages as files of the server, sent piece by piece: a download button would hold them in memory several times."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from experiments.folders import data_folder

GONE = "There is no such package. Open the Export page of the studio again: it packs it anew."


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
