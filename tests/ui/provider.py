"""A tiny OpenID provider in a thread, which lets whoever comes in as one person, without asking for a password."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey


@contextmanager
def provider(person: dict[str, str]) -> Iterator[str]:
    """The address of a provider that knows this person alone."""
    key = RSAKey.generate_key(2048, {"kid": "one"})
    asked: dict[str, str] = {}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if path == "/authorize":
                asked.update(nonce=query["nonce"][0], client=query["client_id"][0])
                back = urlencode({"code": "the code", "state": query["state"][0]})
                self.send_response(302)
                self.send_header("Location", f"{query['redirect_uri'][0]}?{back}")
                self.end_headers()
            elif path == "/keys":
                self.say({"keys": [key.as_dict(private=False)]})
            else:
                self.say(configuration(address))

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            assert sent["code"] == ["the code"]
            now = int(time.time())
            claims = person | {"iss": address, "aud": asked["client"], "nonce": asked["nonce"],
                               "iat": now, "exp": now + 60}  # fmt: skip
            signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)
            self.say({"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": signed})

        def say(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def configuration(address: str) -> dict[str, Any]:
    """What a provider says of itself (OpenID Connect Discovery 1.0, section 3)."""
    return {
        "issuer": address,
        "authorization_endpoint": f"{address}/authorize",
        "token_endpoint": f"{address}/token",
        "jwks_uri": f"{address}/keys",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
