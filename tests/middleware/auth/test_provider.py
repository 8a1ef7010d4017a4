"""Against a real provider on the loopback: credentials, rotation, introspection, revocation."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from gatekit import JWKS, BearerAuth, IntrospectionAuth, asgi, wsgi
from gatekit.testing import call_asgi, call_wsgi
from tests.middleware.auth.tokens import bearer, private_key
from tests.net import request
from tests.servers import Server, serve


@pytest.fixture(scope="module")
def provider() -> Iterator[Server]:
    """Waitress, with threads; plain http is fine on the loopback."""
    env = {"AUTHLIB_INSECURE_TRANSPORT": "1"}
    with serve("waitress", "tests.middleware.auth.provider:app", env=env) as server:
        yield server


def issuer_of(provider: Server) -> str:
    return f"http://127.0.0.1:{provider.port}"


def post(provider: Server, path: str, client: str = "app", **form: str) -> Any:
    pair = b64encode(f"{client}:{client}-secret".encode()).decode()
    answer = request(
        provider.port,
        "POST",
        path,
        headers=[
            ("Host", f"127.0.0.1:{provider.port}"),
            ("Authorization", f"Basic {pair}"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ],
        body=urlencode(form).encode(),
    )
    assert answer.status == 200, answer
    return json.loads(answer.body)


def token_of(provider: Server, client: str = "app", scope: str = "orders:read") -> str:
    found = post(provider, "/token", client, grant_type="client_credentials", scope=scope)
    return str(found["access_token"])


def asked(provider: Server, path: str) -> int:
    return int(json.loads(request(provider.port, "GET", "/test/asked").body).get(path, 0))


class App:
    """Notes who calls, in both colours."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["user"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        self.seen.append(environ["gatekit.request"].identity)
        start_response("200 OK", [])
        return []


def statuses(auth: Any, texts: list[str], colour: str, app: App) -> list[int]:
    """Of one request with each token, one after the other, in a door of the colour."""
    if colour == "wsgi":
        door = wsgi(app.wsgi, auth)
        found = [call_wsgi(door, headers=bearer(text)).status for text in texts]
        door.close()
        return found

    async def run() -> list[int]:
        door = asgi(app.asgi, auth)
        found = [(await call_asgi(door, headers=bearer(text))).status for text in texts]
        await door.aclose()
        return found

    return asyncio.run(run())


COLOURS = pytest.mark.parametrize("colour", ["asgi", "wsgi"])


@COLOURS
def test_a_token_for_client_credentials(provider: Server, colour: str) -> None:
    """By discovery, in the profile of RFC 9068, whose every claim Authlib sets."""
    auth = BearerAuth(
        issuer=issuer_of(provider), algorithms=["RS256"], audience="api", profile="at+jwt"
    )
    app, text = App(), token_of(provider)
    head, payload, signature = text.split(".")
    swapped = f"{head}.{payload}.{signature[:-6]}AAAAAA"
    assert statuses(auth, [text, text, swapped], colour, app) == [200, 200, 401]
    identity = app.seen[0]
    assert (identity.subject, identity.client_id, identity.scopes) == (
        "app",
        "app",
        {"orders:read"},
    )
    assert identity.expires_at > time.time()


@COLOURS
def test_the_provider_changes_its_key(provider: Server, colour: str) -> None:
    """A token by the new key is good at once, one by the old key as long as that is published."""
    keys = JWKS(f"{issuer_of(provider)}/jwks", cooldown=0.01)
    auth = BearerAuth(
        jwks=keys, algorithms=["RS256"], issuer=issuer_of(provider), audience="api", cache_size=0
    )
    old = token_of(provider)
    assert statuses(auth, [old], colour, App()) == [200]
    post(provider, "/test/rotate")
    new = token_of(provider)
    assert statuses(auth, [new, old], colour, App()) == [200, 200]
    post(provider, "/test/retire")
    post(provider, "/test/rotate")
    newest = token_of(provider)
    assert statuses(auth, [newest, new, old], colour, App()) == [200, 200, 401]


def test_a_thousand_first_requests_ask_the_provider_once(provider: Server) -> None:
    """Over real sockets, all at the same time."""
    auth = BearerAuth(
        jwks_url=f"{issuer_of(provider)}/jwks",
        algorithms=["RS256"],
        issuer=issuer_of(provider),
        audience="api",
    )
    text, before, app = token_of(provider), asked(provider, "/jwks"), App()

    async def run() -> set[int]:
        door = asgi(app.asgi, auth)
        calls = [call_asgi(door, headers=bearer(text)) for _ in range(1000)]
        found = {answer.status for answer in await asyncio.gather(*calls)}
        await door.aclose()
        return found

    assert asyncio.run(run()) == {200}
    assert asked(provider, "/jwks") == before + 1


@COLOURS
def test_an_opaque_token_is_introspected_and_revoked(provider: Server, colour: str) -> None:
    """What is remembered counts until its time is over; without a memory, revocation is at once."""
    auth = IntrospectionAuth(
        f"{issuer_of(provider)}/introspect",
        client_id="gateway",
        client_secret="gateway-secret",
        issuer=issuer_of(provider),
        ttl=0,
        negative_ttl=0,
    )
    app, text = App(), token_of(provider, "opaque", "orders:read orders:write")
    assert statuses(auth, [text, "invented"], colour, app) == [200, 401]
    assert app.seen[0].scopes == {"orders:read", "orders:write"}
    post(provider, "/revoke", "opaque", token=text)
    assert statuses(auth, [text], colour, app) == [401]


@COLOURS
def test_the_provider_does_not_know_the_gateway(provider: Server, colour: str) -> None:
    """A wrong secret is the operator's mistake: 503, and nobody is told that his token is bad."""
    auth = IntrospectionAuth(
        f"{issuer_of(provider)}/introspect", client_id="gateway", client_secret="wrong"
    )
    assert statuses(auth, [token_of(provider, "opaque")], colour, App()) == [503]


@COLOURS
@pytest.mark.parametrize("listens", [False, True], ids=["nothing listens", "it never answers"])
def test_a_provider_that_is_not_there(colour: str, listens: bool) -> None:
    """503 within the time limit; the second request does not wait for it again."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = JWKS(f"{url}/jwks", timeout=0.05)
        auth = BearerAuth(jwks=keys, algorithms=["RS256"], issuer=url, audience="api")
        claims = {"iss": url, "aud": "api", "exp": time.time() + 60, "sub": "a"}
        text = jwt.encode(claims, private_key("RSA"), "RS256")
        assert statuses(auth, [text, text], colour, App()) == [503, 503]
