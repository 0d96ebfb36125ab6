"""Where files come in: streamed to disk piece by piece, however large they are, then read in a confined process.

Streamlit's own uploader holds a file in memory; the box of `ui/upload_box` sends it here.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit.web.server.server_util import is_xsrf_enabled
from streamlit.web.server.starlette.starlette_app_utils import validate_xsrf_token
from streamlit.web.server.starlette.starlette_server_config import XSRF_COOKIE_NAME

from core.errors import BadInput, StudioError, Unavailable
from experiments import jobs
from intake import sandbox, uploads
from intake.limits import MIB
from intake.uploads import Part, Upload, Wanted
from ui.headers import is_same_origin
from ui.identity import LOG_IN_FIRST, owner_of

ADDRESS = "uploads"
"""Relative to any page."""
PIECE_BYTES = MIB
"""Written at once; what is held in memory of an upload, whatever its size."""
SILENCE_SECONDS = 60.0
"""After which an upload of which nothing more comes is given up."""
NOT_FROM_HERE = "This request did not come from a page of this studio. Reload the page and try again."
BROKEN = "The disk did not take the file. The server's log has the details."

log = logging.getLogger(__name__)


class _Promise(NamedTuple):
    name: str
    size_bytes: int
    wanted: Wanted


async def receive(request: Request) -> Response:
    """Take the file in the body of a POST: `?name=..&wanted=model|data&size=..`; `{"job": id}` once it is on disk.

    A GET asks why such a file would not be taken: `{"sentence": ..}`, empty where it would. What is refused gets 4xx
    with the same and `"snippet"`.
    """
    owner = owner_of(request)
    if owner is None:
        return _refusal(LOG_IN_FIRST, 401)
    if request.method == "POST" and not came_from_here(request):
        return _refusal(NOT_FROM_HERE, 403)
    try:
        promise = _promise(request)
        if request.method != "POST":
            return JSONResponse({"sentence": await run_in_threadpool(_why_not, owner, promise)})
        return JSONResponse({"job": await _take(request, owner, promise)})
    except (ClientDisconnect, TimeoutError):
        return _refusal("The file stopped coming. Choose it again.", 408)
    except StudioError as error:
        return _refusal(str(error), 400)
    except OSError:
        log.exception("An upload could not be written")
        return _refusal(BROKEN, 507)


UPLOADS = Route(f"/{ADDRESS}", receive, methods=["GET", "POST"])
"""For the app's list of routes."""


def came_from_here(request: Request) -> bool:
    """Whether a page of this server sent the request: by its origin, and by the token that Streamlit gave that page."""
    if not is_same_origin(request.headers) or request.headers.get("sec-fetch-site") == "cross-site":
        return False
    token, cookie = request.headers.get("x-xsrftoken"), request.cookies.get(XSRF_COOKIE_NAME)
    return not is_xsrf_enabled() or validate_xsrf_token(token, cookie)


def _why_not(owner: str, promise: _Promise) -> str:
    """Why a file would not be taken, in a sentence; empty where it would."""
    try:
        refuse_where_off()
        uploads.check(owner, *promise)
    except StudioError as error:
        return str(error)
    return ""


async def _take(request: Request, owner: str, promise: _Promise) -> str:
    """The id of the job that reads the file in the request's body. Raises `StudioError`."""
    await run_in_threadpool(refuse_where_off)
    upload = await run_in_threadpool(uploads.begin, owner, *promise)
    await _stream(request, upload)
    return await run_in_threadpool(_start, upload)


def refuse_where_off() -> None:
    """Raises `Unavailable` where nothing confines the process that would read what comes."""
    if reason := sandbox.why_unavailable():
        raise Unavailable(f"Uploads are off: {reason}")


def _promise(request: Request) -> _Promise:
    """What the address promises of the file. Raises `BadInput` for an address that does not."""
    query = request.query_params
    wanted, size = query.get("wanted"), query.get("size", "")
    if not (query.get("name") and size.isascii() and size.isdigit() and len(size) < 20):
        raise BadInput("The upload has no name or no size", expected="?name=..&wanted=..&size=..")
    if wanted == "model":
        return _Promise(query["name"], int(size), "model")
    if wanted == "data":
        return _Promise(query["name"], int(size), "data")
    raise BadInput(f"The upload is of the kind {wanted!r}", expected="model or data")


async def _stream(request: Request, upload: Upload) -> None:
    """Write the request's body to disk; nothing is left of one that ends early."""
    pieces, waiting = request.stream(), bytearray()
    with Part(upload) as part:
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                piece = await anext(pieces, None)
            waiting += piece or b""
            if len(waiting) >= PIECE_BYTES or piece is None:
                await run_in_threadpool(part.write, bytes(waiting))
                waiting.clear()
            if piece is None:
                break
        await run_in_threadpool(part.finish)


def _start(upload: Upload) -> str:
    """Begin to check a file that has come; the id of that job."""
    try:
        return jobs.start(upload.owner, jobs.CheckOrder(upload=upload.id, wanted=upload.wanted, name=upload.name))
    except Exception:
        with suppress(OSError):
            uploads.delete(upload.owner, upload.id)
        raise


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"sentence": sentence, "snippet": ""}, status_code=status)
