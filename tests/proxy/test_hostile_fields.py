"""What a client, or an upstream, may try by way of fields and prefixes, through both doors."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from urllib.parse import unquote

import pytest

from gatekit import ClientIP, CorrelationId, Proxy, Request, Response, asgi, asgi_app, wsgi_app
from gatekit.testing import call_asgi, call_wsgi, upstream
from gatekit.typing import Environ, Handler, Receive, Scope, StartResponseCallable
from gatekit.typing import Send as SendMessage
from tests.proxy.handlers import Send, echo, through_asgi

NEAR = ClientIP(trusted=["127.0.0.0/8"])


async def identify(request: Request, call_next: Handler) -> Response:
    request.headers["x-user"] = "ada"
    return await call_next(request)


def test_a_guessed_value_cannot_be_nominated(send: Send) -> None:
    """A client that sends just what the middleware will set, and nominates it, removes nothing."""
    transport = echo()
    headers = {"connection": "x-user", "x-user": "ada"}
    send(Proxy("http://users", transport=transport), identify, headers=headers)
    assert transport.requests[0].headers.getlist("x-user") == ["ada"]


def test_an_outer_door_sets_fields_too() -> None:
    """What a door around the app has set stays; what only the client sent goes."""
    transport = echo()
    app = asgi(asgi_app(Proxy("http://users", transport=transport)), identify)
    headers = {"connection": "x-user, x-hop", "x-user": "ada", "x-hop": "1"}
    asyncio.run(call_asgi(app, headers=headers))
    assert transport.requests[0].headers.getlist("x-user") == ["ada"]
    assert "x-hop" not in transport.requests[0].headers


def test_an_accepted_correlation_id_goes_on(send: Send) -> None:
    """Also where the client that chose it nominates the field."""
    transport = echo()
    headers = {"connection": "x-correlation-id", "x-correlation-id": "chosen"}
    send(Proxy("http://users", transport=transport), CorrelationId(), headers=headers)
    assert transport.requests[0].headers.getlist("x-correlation-id") == ["chosen"]


@pytest.mark.parametrize(
    ("trust", "headers", "addresses", "element"),
    [
        pytest.param(
            NEAR,
            {"x-forwarded-for": "1.2.3.4", "forwarded": "for=6.6.6.6"},
            "1.2.3.4, 127.0.0.1",
            "for=1.2.3.4, for=127.0.0.1;",
            id="a proxy that writes X-Forwarded-For",
        ),
        pytest.param(
            ClientIP(trusted=["127.0.0.0/8"], header="Forwarded"),
            {"x-forwarded-for": "6.6.6.6", "x-forwarded-host": "evil", "forwarded": "for=1.2.3.4"},
            "1.2.3.4, 127.0.0.1",
            'for=1.2.3.4, for=127.0.0.1;proto=http;host="testserver"',
            id="a proxy that writes Forwarded",
        ),
        pytest.param(
            ClientIP(trusted=["127.0.0.0/8"], header="X-Real-IP"),
            {"x-forwarded-for": "6.6.6.6", "forwarded": "for=6.6.6.6", "x-real-ip": "1.2.3.4"},
            "1.2.3.4, 127.0.0.1",
            "for=1.2.3.4, for=127.0.0.1;",
            id="a proxy that writes a field of its own",
        ),
    ],
)
def test_only_the_field_of_the_trusted_proxy_is_continued(
    send: Send, trust: ClientIP, headers: dict[str, str], addresses: str, element: str
) -> None:
    """The others it may have passed on from the client; they are written anew."""
    transport = echo()
    send(Proxy("http://users", transport=transport), trust, headers=headers)
    sent = transport.requests[0].headers
    assert sent["x-forwarded-for"] == addresses
    assert sent["forwarded"].startswith(element)
    assert sent["x-forwarded-host"] == "testserver"


def test_a_passed_on_scheme_adds_nothing_to_forwarded(send: Send) -> None:
    """A trusted proxy that forgets to set `X-Forwarded-Proto` opens no way into `Forwarded`."""
    transport = echo()
    headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "http;for=6.6.6.6, for=7.7.7.7"}
    send(Proxy("http://users", transport=transport), NEAR, headers=headers)
    sent = transport.requests[0].headers
    assert sent["x-forwarded-proto"] == "http"
    assert "6.6.6.6" not in sent["forwarded"] and "7.7.7.7" not in sent["forwarded"]


def test_an_encoded_prefix_is_not_encoded_again(send: Send) -> None:
    """Neither that of a trusted proxy nor `strip_prefix`."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport, strip_prefix="/caf%C3%A9")
    headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-prefix": "/%C3%A0"}
    send(proxy, NEAR, headers=headers, target="/caf%C3%A9/x")
    assert transport.requests[0].headers["x-forwarded-prefix"] == "/%C3%A0/caf%C3%A9"


def test_a_peer_without_an_address_is_unknown() -> None:
    """A server on a Unix socket may give an empty one (RFC 7239 §6.2 has a word for it)."""
    transport = echo()
    through_asgi(Proxy("http://users", transport=transport), client=("", 0))
    sent = transport.requests[0].headers
    assert sent["x-forwarded-for"] == "unknown"
    assert sent["forwarded"].startswith("for=unknown;")


@pytest.mark.parametrize("host", ["a b", "a@b/c", 'a"b', "a\\b", "a?b", "caf\xe9"])
def test_what_is_no_host_is_refused(send: Send, host: str) -> None:
    """RFC 9112 §3.2: an invalid `Host` is a 400; it would end up in `X-Forwarded-Host`."""
    transport = echo()
    answer = send(Proxy("http://users", transport=transport), headers={"host": host})
    assert (answer.status, transport.requests) == (400, [])


def test_a_length_that_no_body_has_is_refused() -> None:
    """Python itself refuses to count so far, which must not look like a failure of the gateway."""
    transport = echo()
    headers = {"content-length": "9" * 5000}
    answer = through_asgi(
        Proxy("http://users", transport=transport), method="POST", headers=headers
    )
    assert (answer.status, transport.requests) == (400, [])


def test_chunks_in_http_1_0_are_refused() -> None:
    """RFC 9112 §6.1: its framing is faulty, whatever the server has made of it."""
    transport = echo()
    inner = asgi_app(Proxy("http://users", transport=transport))

    async def old(scope: Scope, receive: Receive, send: SendMessage) -> None:
        await inner({**scope, "http_version": "1.0"}, receive, send)

    answer = asyncio.run(call_asgi(old, "POST", headers={"transfer-encoding": "chunked"}))
    assert (answer.status, transport.requests) == (400, [])


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        pytest.param("/a%0D%0Ax:%20y=1", "/a%0D%0Ax:%20y=1", id="a new line"),
        pytest.param("/%E6%97%A5", "/%E6%97%A5", id="beyond Latin-1"),
        pytest.param("/a%3Bb", "/a%3Bb", id="a semicolon"),
    ],
)
def test_a_mount_taken_from_the_path_is_encoded(mount: str, expected: str) -> None:
    """A parameter in a mount's path is the client's text; it comes back in URLs and cookies."""
    fields = [("location", "/v2/login"), ("set-cookie", "a=1; Path=/v2; Secure")]
    transport = upstream(lambda sent: Response(302, fields))
    proxy = Proxy("http://users/v2", transport=transport)
    answer = through_asgi(proxy, target=f"{mount}/x", mount=unquote(mount))
    assert answer.headers["location"] == f"{expected}/login"
    assert answer.headers["set-cookie"] == f"a=1; Path={expected}; Secure"


def test_an_encoded_slash_in_the_mount_shifts_nothing() -> None:
    """What is forwarded is what middlewares were shown as the path, not a part of it."""
    seen: list[str] = []

    async def look(request: Request, call_next: Handler) -> Response:
        seen.append(request.path)
        return await call_next(request)

    transport = echo()
    proxy = Proxy("http://users", transport=transport)
    through_asgi(proxy, look, target="/a%2Fb/public/admin", mount="/a/b")
    assert seen == ["/public/admin"]
    assert transport.requests[0].target == "/public/admin"


@pytest.mark.parametrize("location", ["http://users/\\evil.example", "/\\evil.example"])
def test_a_backslash_makes_no_host_either(send: Send, location: str) -> None:
    """Browsers read it as a slash, so that two of them would name a host."""
    transport = upstream(lambda sent: Response(302, {"location": location}))
    answer = send(Proxy("http://users", transport=transport))
    assert answer.headers["location"] == "/./\\evil.example"


@pytest.mark.parametrize(
    ("host", "domain", "kept"),
    [
        ("shop.example.com", "example.com", True),
        ("shop.example.com:8443", ".Shop.Example.com", True),
        ("shop.example.com", "internal", False),
        ("shop.example.org", "example.com", False),
    ],
)
def test_a_cookie_for_the_clients_own_domain_stays(
    send: Send, host: str, domain: str, kept: bool
) -> None:
    """An upstream that knows under what name it is reached may set cookies for that name."""
    cookie = f"a=1; Domain={domain}; Secure"
    transport = upstream(lambda sent: Response(200, {"set-cookie": cookie}))
    name = "internal" if domain == "internal" else "api.example.com"
    proxy = Proxy(f"http://{name}", transport=transport)
    answer = send(proxy, headers={"host": host})
    assert answer.headers["set-cookie"] == (cookie if kept else "a=1; Secure")


def test_chunks_that_the_server_cannot_read_are_a_400() -> None:
    """A server that reads chunks lazily raises an error of its own in the middle of the body."""

    class BadChunk(Exception):
        pass

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise BadChunk(size)

    transport = echo()
    app = wsgi_app(Proxy("http://users", transport=transport))

    def server(environ: Environ, start_response: StartResponseCallable) -> Iterable[bytes]:
        environ |= {
            "wsgi.input": Broken(),
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        }
        return app(environ, start_response)

    answer = call_wsgi(server, "POST")
    assert (answer.status, transport.requests) == (400, [])
    assert answer.headers["content-type"] == "application/problem+json"
