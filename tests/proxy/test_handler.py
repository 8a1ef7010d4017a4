"""What the proxy makes of a request and of its answer, through both doors, without a socket."""

from __future__ import annotations

import pytest

from gatekit import (
    ClientIP,
    Headers,
    PathRules,
    Proxy,
    Request,
    Response,
)
from gatekit.testing import upstream
from gatekit.typing import Handler
from tests.proxy.handlers import Send, echo, through_asgi, through_wsgi


@pytest.mark.parametrize(
    ("options", "mount", "target", "expected"),
    [
        pytest.param({}, "", "/a?x=1&x=2", "/a?x=1&x=2", id="as it came"),
        pytest.param(
            {}, "", "/caf%C3%A9/%7Ea?q=%2F+%zz", "/caf%C3%A9/%7Ea?q=%2F+%zz", id="encoded"
        ),
        pytest.param({"base": "/v2"}, "", "/a", "/v2/a", id="base path"),
        pytest.param({"base": "/v2/"}, "", "/", "/v2/", id="no double slash"),
        pytest.param({}, "/api", "/api/users/1", "/users/1", id="mounted"),
        pytest.param({}, "/api", "/api", "/", id="the mount itself"),
        pytest.param({"strip_prefix": "/api"}, "", "/api/users", "/users", id="stripped"),
        pytest.param({"strip_prefix": "/api"}, "", "/%61pi/users", "/users", id="encoded prefix"),
        pytest.param({"strip_prefix": "/api"}, "", "/apis/users", "/apis/users", id="not a prefix"),
        pytest.param({"strip_prefix": "/a/b", "base": "/v"}, "", "/a/b", "/v/", id="prefix alone"),
    ],
)
def test_the_target(
    send: Send, options: dict[str, str], mount: str, target: str, expected: str
) -> None:
    """Path and query go on byte for byte, below the mount, behind the base, without the prefix."""
    options = dict(options)
    base = options.pop("base", "")
    transport = echo()
    proxy = Proxy(f"http://users:8001{base}", transport=transport, **options)  # type: ignore[arg-type]
    answer = send(proxy, target=target, mount=mount)
    assert (answer.text, transport.requests[0].target) == (expected, expected)


def test_hop_by_hop_fields_stay_here(send: Send) -> None:
    """Neither the fixed list nor what `Connection` names crosses, in either direction."""
    transport = upstream(
        lambda sent: Response(
            200,
            [
                ("connection", "x-internal, close"),
                ("x-internal", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("alt-svc", "h3"),
                ("upgrade", "h2c"),
                ("x-kept", "1"),
            ],
        )
    )
    headers = {
        "connection": "keep-alive, X-Secret-Hop",
        "x-secret-hop": "1",
        "te": "trailers",
        "proxy-authorization": "Basic Zg==",
        "proxy": "http://evil",
        "upgrade": "h2c",
        "expect": "100-continue",
        "x-kept": "1",
    }
    answer = send(Proxy("http://users", transport=transport), headers=headers)
    sent = set(transport.requests[0].headers)
    assert "x-kept" in sent
    assert not sent & {*headers} - {"x-kept"}
    kept = set(answer.headers) - {"content-length"}
    assert kept == {"x-kept", "via"}


def test_connection_cannot_remove_what_a_middleware_set(send: Send) -> None:
    """A client that nominates `X-User` does not make its request anonymous."""

    async def identify(request: Request, call_next: Handler) -> Response:
        request.headers["x-user"] = "ada"
        return await call_next(request)

    transport = echo()
    headers = {"connection": "x-user", "x-user": "mallory"}
    send(Proxy("http://users", transport=transport), identify, headers=headers)
    assert transport.requests[0].headers.getlist("x-user") == ["ada"]


def test_what_the_client_claims_is_dropped(send: Send) -> None:
    """`X-Forwarded-*`, `Forwarded` and `X-Real-IP` are set anew for an untrusted peer."""
    transport = echo()
    claims = {
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-host": "evil",
        "x-forwarded-user": "root",
        "forwarded": "for=6.6.6.6",
        "x-real-ip": "6.6.6.6",
        "x_forwarded_for": "6.6.6.6",
    }
    send(Proxy("http://users", transport=transport), headers=claims, mount="/api", target="/api/x")
    sent = transport.requests[0].headers
    assert sent.getlist("x-forwarded-for") == ["127.0.0.1"]
    assert sent["x-forwarded-proto"] == "http"
    assert sent["x-forwarded-host"] == "testserver"
    assert sent["x-forwarded-prefix"] == "/api"
    assert sent["forwarded"] == 'for=127.0.0.1;proto=http;host="testserver"'
    assert "x-real-ip" not in sent and "x-forwarded-user" not in sent
    assert not any("6.6.6.6" in value for _, value in sent.items())


def test_a_trusted_peer_is_believed(send: Send) -> None:
    """Behind a proxy that `ClientIP` trusts the list grows, and scheme and host stay."""
    transport = echo()
    headers = {
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.example",
        "forwarded": "for=1.2.3.4",
    }
    proxy = Proxy("http://users", transport=transport)
    send(proxy, ClientIP(trusted=["127.0.0.0/8"]), headers=headers)
    sent = transport.requests[0].headers
    assert sent["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert (sent["x-forwarded-proto"], sent["x-forwarded-host"]) == ("https", "shop.example")
    assert sent["forwarded"].startswith("for=1.2.3.4, for=127.0.0.1")


def test_an_ipv6_client_is_quoted() -> None:
    """RFC 7239 §6: brackets and quotes."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport)
    through_asgi(proxy, client=("2001:db8::1", 50_000))
    sent = transport.requests[0].headers
    assert sent["forwarded"].startswith('for="[2001:db8::1]";')
    assert sent["x-forwarded-for"] == "2001:db8::1"


@pytest.mark.parametrize(
    ("option", "expected"),
    [("upstream", "users:8001"), ("pass", "testserver"), ("shop.example", "shop.example")],
)
def test_host(send: Send, option: str, expected: str) -> None:
    """The upstream's own, the client's, or a fixed one; never two."""
    transport = echo()
    send(Proxy("http://users:8001", transport=transport, host=option))
    assert transport.requests[0].headers.getlist("host") == [expected]


def test_via_is_added(send: Send) -> None:
    """RFC 9110 §7.6.3: each hop adds itself, both ways."""
    transport = echo(via="1.1 nearer")
    answer = send(Proxy("http://u", transport=transport, via="edge"), headers={"via": "1.0 other"})
    assert transport.requests[0].headers.getlist("via") == ["1.0 other", "1.1 edge"]
    assert answer.headers.getlist("via") == ["1.1 nearer", "1.1 edge"]


def test_a_body_is_sent_on(send: Send) -> None:
    """With its length, or none where the client sent none."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport)
    send(proxy, method="POST", body=b"some body", headers={"content-length": "9"})
    send(proxy, method="POST", headers={"content-length": "0"})
    assert [sent.body for sent in transport.requests] == [b"some body", b""]


def test_a_chunked_body_is_sent_on() -> None:
    """Piece by piece, however many there are."""
    transport = echo()
    pieces = [b"one ", b"two ", b"three"]
    headers = {"transfer-encoding": "chunked"}
    proxy = Proxy("http://users", transport=transport)
    through_asgi(proxy, method="POST", body=pieces, headers=headers)
    assert transport.requests[0].body == b"one two three"
    assert "transfer-encoding" not in transport.requests[0].headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-length", "3"), ("transfer-encoding", "chunked")], 400),
        ([("transfer-encoding", "gzip, chunked")], 501),
        ([("transfer-encoding", "xchunked")], 501),
        ([("content-length", "+3")], 400),
        ([("content-length", "3, 3")], 400),
        ([("content-length", "3"), ("content-length", "4")], 400),
        ([("host", "a"), ("host", "b")], 400),
        ([("authorization", "a"), ("authorization", "b")], 400),
    ],
)
def test_ambiguous_framing_is_refused(headers: list[tuple[str, str]], status: int) -> None:
    """Whatever the server let through: nothing of it reaches an upstream."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport)
    fields = Headers.of([*([] if headers[0][0] == "host" else [("host", "t")]), *headers])
    answer = through_asgi(proxy, method="POST", body=b"abc", headers=fields)
    assert (answer.status, transport.requests) == (status, [])
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/a/../b", "/a/%2e%2e/b", "/a%2Fb", "//a", "/a%5Cb", "/a%00"])
def test_an_ambiguous_path_is_refused(send: Send, path: str) -> None:
    """A proxy without a gateway in front keeps to the same rules; an option lifts them."""
    transport = echo()
    answer = send(Proxy("http://users/base", transport=transport), target=path)
    assert (answer.status, transport.requests) == (400, [])
    lifted = PathRules(allow={"//", "/../", "%2F", "%2E", "%5C", "%00"})
    assert send(Proxy("http://users", transport=transport, paths=lifted), target=path).status == 200
    assert transport.requests[0].target == path


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_no_proxy_forwards(send: Send, method: str) -> None:
    """CONNECT would make a tunnel, TRACE would show the fields that this hop added."""
    transport = echo()
    answer = send(Proxy("http://users", transport=transport), method=method)
    assert (answer.status, transport.requests) == (405, [])
    assert "allow" in answer.headers


def test_a_field_with_an_underscore(send: Send) -> None:
    """Dropped, for CGI cannot tell `X_User` from `X-User`; or refused, or let through."""
    if send is through_wsgi:
        return  # a WSGI server has made hyphens of them long before
    for option, expected in [("drop", 200), ("reject", 400), ("allow", 200)]:
        transport = echo()
        proxy = Proxy("http://users", transport=transport, underscores=option)  # type: ignore[arg-type]
        assert send(proxy, headers={"x_user": "root"}).status == expected
        names = [name for sent in transport.requests for name in sent.headers]
        assert ("x_user" in names) is (option == "allow")
