"""Tokens of an identity provider, checked with the keys that it publishes.

    $ python -m examples.bearer_jwks

Whoever brings no token is asked for one; what is public needs none:

    $ curl -i http://127.0.0.1:8000/who
    # → 401 {"type":"urn:gatekit:credentials-required",…}
    #   www-authenticate: Bearer realm="shop"
    $ curl -i http://127.0.0.1:8000/health
    # → 200 ok

Ada has one that is good until the year 2100. The service behind learns who she is from the gateway:

    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMTEiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic3ViIjoiYWRhIiwiZXhwIjo0MTAyNDQ0ODAwLCJzY29wZSI6InJlYWQifQ.gxrZCLeLuzy5vr7Sne9yzYSK-kqsNw2ueQyjDTeidUlp2Qq8i_NAkEmuv5Td-hI-WuY9S7ckNiGl4YH_25kGDA'
    # → 200 {"subject":"ada","scopes":["read"]}
    $ curl -i http://127.0.0.1:8000/orders -H 'Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMTEiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic3ViIjoiYWRhIiwiZXhwIjo0MTAyNDQ0ODAwLCJzY29wZSI6InJlYWQifQ.gxrZCLeLuzy5vr7Sne9yzYSK-kqsNw2ueQyjDTeidUlp2Qq8i_NAkEmuv5Td-hI-WuY9S7ckNiGl4YH_25kGDA'
    # → 200 {"service":"orders","method":"GET","path":"/orders","received":""}

Another one of hers is over, and says so. One that was tampered with is told nothing:

    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMTEiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic3ViIjoiYWRhIiwiZXhwIjoxNzAwMDAwMDAwfQ.bLd83x5dZKGkujU2ldab0CPe5lHhTd1Z1MypxJa_tdMTMhqm16gx95iRbFBh83NX0X_1-s0ycyseEFXCJTFtCg'
    # → 401 {"type":"urn:gatekit:invalid-token",…}
    #   www-authenticate: Bearer realm="shop", error="invalid_token", error_description="The token has expired."
    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMTEiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic3ViIjoiYWRhIiwiZXhwIjo0MTAyNDQ0ODAwLCJzY29wZSI6InJlYWQifQ.gxrZCLeLuzy5vr7Sne9yzYSK-kqsNw2ueQyjDTeidUlp2Qq8i_NAkEmuv5Td-hI-WuY9S7ckNiGl4YH_25AAAA'
    # → 401 {"type":"urn:gatekit:invalid-token",…}
"""  # noqa: E501 — tokens are long

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn

from examples.service import port, service
from gatekit import BearerAuth, Gateway, Proxy, Request, Response, Route

# The public half. Who has the private one could sign more tokens; it was thrown away.
KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "2026-11",
    "x": "nZK2xPlkMN9VNOBV6a3jDMK9J8gvwLtr_5iU8PJdfcQ",
}


@contextmanager
def issuer() -> Iterator[str]:
    """The URL of a stand-in for the provider; it publishes its keys, and nothing else."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [KEY]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Cache-Control", "max-age=900")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The gateway's log is the one to read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/jwks"
    finally:
        server.shutdown()
        server.server_close()


def build(jwks_url: str, orders: str) -> Gateway:
    """`gateway.wsgi()` works as well."""
    auth = BearerAuth(
        jwks_url=jwks_url,
        algorithms=["EdDSA"],
        issuer="https://id.example",
        audience="shop",
        realm="shop",
        public=["/health"],
        forward_headers={"X-User-ID": "subject"},
        hide_credentials=True,
    )

    async def who(request: Request) -> Response:
        identity = request.identity
        assert identity is not None
        return Response.json({"subject": identity.subject, "scopes": sorted(identity.scopes)})

    async def health(request: Request) -> Response:
        return Response.text("ok")

    return Gateway(
        auth,
        routes=[
            Route("/who", who),
            Route("/health", health),
            Route("/orders/*", Proxy(orders)),
        ],
    )


if __name__ == "__main__":
    with issuer() as jwks_url, service("orders") as orders:
        uvicorn.run(build(jwks_url, orders).asgi(), port=port(), log_level="warning")
