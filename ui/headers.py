"""What stands before every answer of the server: who may ask, what is closed, and the security headers."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.server_util import is_allowed_origin
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

# Streamlit's page has inline scripts and styles, its Vega charts compile expressions with eval, and it loads the script
# of a component such as the upload box from a blob.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
CLOSED = ("/_stcore/metrics",)
"""Ends of paths that Streamlit serves to anybody and the studio to nobody."""
WRONG_HOST = "This studio is not served under that name. Whoever runs it can add the name to server.allowedHosts."
FOREIGN_PAGE = 1008
"""The code with which a websocket is closed that breaks the server's rules (RFC 6455)."""
NOT_HERE = "There is nothing at this address."
UNFORESEEN = "Something went wrong with this request. The server's log has the details."

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware: refuses foreigners, closes paths, adds the headers, and tells nobody of an error's insides.

    A page elsewhere can have its own name lead to this machine and then read what is served under it; so requests
    count only under the names of `server.allowedHosts`, and a websocket only from a page of the very same server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not is_same_origin(Headers(scope=scope)):
            await receive()
            await send({"type": "websocket.close", "code": FOREIGN_PAGE})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await (_refusal(scope) or self._app)(scope, receive, send_with_headers)
        except Exception:
            if began:
                raise
            log.exception("A request failed")
            await PlainTextResponse(UNFORESEEN, status_code=500)(scope, receive, send_with_headers)


def is_same_origin(headers: Headers) -> bool:
    """Whether a request under one of our names comes from a page under that name or one of `server.corsAllowedOrigins`.

    One without an origin does not come from a page elsewhere: browsers tell it.
    """
    host, origin = headers.get("host"), headers.get("origin")
    return is_host_allowed(host) and (origin is None or urlsplit(origin).netloc == host or is_allowed_origin(origin))


def _refusal(scope: Scope) -> ASGIApp | None:
    """The answer to a request that goes no further; None for one that does."""
    if not is_host_allowed(Headers(scope=scope).get("host")):
        return PlainTextResponse(WRONG_HOST, status_code=400)
    if scope["path"].rstrip("/").endswith(CLOSED):
        return PlainTextResponse(NOT_HERE, status_code=404)
    return None
