"""What the proxy makes of an answer, or of none: rewriting, failures, wrong options."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gatekit import (
    TLS,
    Cluster,
    ConfigurationError,
    Proxy,
    Request,
    Response,
    Timeouts,
    UpstreamError,
)
from gatekit.testing import upstream
from gatekit.typing import Handler
from tests.proxy.handlers import Send, failing


def test_several_set_cookie_stay_several(send: Send) -> None:
    """Field lists cross as lists, in order."""
    cookies = [("set-cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"), ("set-cookie", "b=2")]
    transport = upstream(lambda sent: Response(200, cookies))
    answer = send(Proxy("http://users", transport=transport))
    assert answer.headers.getlist("set-cookie") == [value for _, value in cookies]


def test_a_cookie_is_its_clients(send: Send) -> None:
    """There is no jar: what the upstream gives one client is not sent for the next."""
    transport = upstream(lambda sent: Response(200, {"set-cookie": "session=ada"}))
    proxy = Proxy("http://users", transport=transport)
    for _ in range(2):
        send(proxy)
    assert ["cookie" in sent.headers for sent in transport.requests] == [False, False]


def test_a_compressed_body_stays_so(send: Send) -> None:
    """Nothing is decoded, so that its length and its encoding are still true."""
    packed = gzip.compress(b"hello" * 100, mtime=0)
    fields = {"content-encoding": "gzip", "content-length": str(len(packed))}
    transport = upstream(lambda sent: Response(200, fields, packed))
    answer = send(Proxy("http://users", transport=transport))
    assert answer.body == packed
    assert {name: answer.headers[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"content-type": "Text/Event-Stream; charset=utf-8"}, ["no"]),
        ({"content-type": "text/event-stream", "x-accel-buffering": "yes"}, ["yes"]),
        ({"content-type": "text/plain"}, []),
        ({}, []),
    ],
)
def test_events_are_not_held_by_a_server_in_front(
    send: Send, fields: dict[str, str], told: list[str]
) -> None:
    """It is told so, unless the upstream has said something else."""
    transport = upstream(lambda sent: Response(200, fields, [b"data: 1\n\n", b"data: 2\n\n"]))
    answer = send(Proxy("http://users", transport=transport))
    assert answer.headers.getlist("x-accel-buffering") == told


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://users:8001/v2/login?next=%2F#top", "/api/login?next=%2F#top"),
        ("/v2/login", "/api/login"),
        ("/v2", "/api"),
        ("http://testserver/v2/login", "http://testserver/v2/login"),
        ("/elsewhere", "/elsewhere"),
        ("login", "login"),
        ("https://id.example/v2/login", "https://id.example/v2/login"),
        ("http://users:8001.evil/v2/x", "http://users:8001.evil/v2/x"),
        ("//users:8001/v2/login", "/api/login"),
        ("http://users:8001/v2//evil.example/", "/api//evil.example/"),
        ("mailto:ada@example.org", "mailto:ada@example.org"),
        ("http://[broken/", "http://[broken/"),
    ],
)
def test_location_is_rewritten(send: Send, location: str, expected: str) -> None:
    """What points to the upstream points to the gateway; what points elsewhere stays."""
    transport = upstream(lambda sent: Response(302, {"location": location}))
    proxy = Proxy("http://users:8001/v2", transport=transport, strip_prefix="/api")
    assert send(proxy, target="/api/x").headers["location"] == expected


def test_a_rewritten_location_is_never_a_host(send: Send) -> None:
    """A path of two slashes at the front would be read as another host."""
    transport = upstream(
        lambda sent: Response(302, {"location": "http://users:8001//evil.example/"})
    )
    answer = send(Proxy("http://users:8001", transport=transport))
    assert answer.headers["location"] == "/.//evil.example/"


def test_content_location_and_refresh_are_rewritten(send: Send) -> None:
    """The other fields that carry a URL."""
    fields = {"content-location": "/v2/doc", "refresh": "5; url=http://users:8001/v2/next"}
    transport = upstream(lambda sent: Response(200, fields))
    proxy = Proxy("http://users:8001/v2", transport=transport, strip_prefix="/api")
    answer = send(proxy, target="/api/x")
    assert answer.headers["content-location"] == "/api/doc"
    assert answer.headers["refresh"] == "5; url=/api/next"


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("a=1; Domain=users; Path=/v2/x; HttpOnly", "a=1; Path=/api/x; HttpOnly"),
        ("a=1; path=/v2", "a=1; Path=/api"),
        ("a=1; Path=/other", "a=1; Path=/other"),
        ("a=1; Domain=.example.org", "a=1; Domain=.example.org"),
        ("a=path=/v2; Secure", "a=path=/v2; Secure"),
    ],
)
def test_cookies_are_rewritten(send: Send, cookie: str, expected: str) -> None:
    """`Domain` of the upstream goes, `Path` is mapped, the value is not touched."""
    transport = upstream(lambda sent: Response(200, {"set-cookie": cookie}))
    proxy = Proxy("http://users:8001/v2", transport=transport, strip_prefix="/api")
    assert send(proxy, target="/api/x").headers["set-cookie"] == expected


@pytest.mark.parametrize(
    ("stage", "status", "proxy_error"),
    [
        ("dns", 502, "dns_error"),
        ("connect", 502, "connection_refused"),
        ("tls", 502, "tls_protocol_error"),
        ("connect_timeout", 504, "connection_timeout"),
        ("first_byte_timeout", 504, "http_response_timeout"),
        ("idle_timeout", 504, "connection_read_timeout"),
        ("attempt_timeout", 504, "http_response_timeout"),
        ("total_timeout", 504, "http_response_timeout"),
        ("no_destination", 503, "destination_unavailable"),
        ("pool_full", 503, "connection_limit_reached"),
        ("pool_timeout", 503, "connection_limit_reached"),
        ("send", 502, "connection_terminated"),
        ("reset", 502, "connection_terminated"),
        ("closed", 502, "http_response_incomplete"),
        ("protocol", 502, "http_protocol_error"),
        ("body_client", 400, "http_request_error"),
    ],
)
def test_a_failure_has_a_name(send: Send, stage: Any, status: int, proxy_error: str) -> None:
    """Status, problem and `Proxy-Status` (RFC 9209) say who and when, and no address."""
    seen: list[Any] = []

    async def look(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        seen.append(request.upstream_error)
        return response

    error = UpstreamError(stage, "10.0.0.7:8001 said no")
    answer = send(Proxy("http://users", transport=failing(error)), look)
    assert answer.status == status
    assert answer.headers["proxy-status"] == f"gatekit; error={proxy_error}"
    assert ("retry-after" in answer.headers) is (status == 503)
    problem = json.loads(answer.body)
    assert problem["status"] == status and problem["type"].startswith("urn:gatekit:")
    assert b"10.0.0.7" not in answer.body
    assert seen == [error]


def test_a_head_answer_keeps_its_length(send: Send) -> None:
    """HEAD tells the length of a body that does not come."""
    transport = upstream(lambda sent: Response(200, {"content-length": "1234"}))
    answer = send(Proxy("http://users", transport=transport), method="HEAD")
    assert (answer.headers["content-length"], answer.body) == ("1234", b"")


def test_a_304_tells_no_length(send: Send) -> None:
    """RFC 9110 §8.6 leaves that open; there are servers that then wait for the body."""
    fields = {"content-length": "1234", "etag": '"a"'}
    answer = send(Proxy("http://users", transport=upstream(lambda sent: Response(304, fields))))
    assert (answer.status, answer.headers["etag"]) == (304, '"a"')
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"upstream": "users:8001"}, "upstream"),
        ({"upstream": "ftp://users"}, "upstream"),
        ({"upstream": "http://u:p@users"}, "upstream"),
        ({"upstream": "http://users?x=1"}, "upstream"),
        ({"strip_prefix": "api"}, "strip_prefix"),
        ({"strip_prefix": "/api/"}, "strip_prefix"),
        ({"host": "a b"}, "host"),
        ({"via": "two words"}, "via"),
        ({"underscores": "maybe"}, "underscores"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": "5"}, "max_connections"),
        ({"upstream": ["users:8001"]}, "upstream"),
        ({"strip_prefix": None}, "strip_prefix"),
        ({"strip_prefix": "/api?x"}, "strip_prefix"),
        ({"host": "a/b"}, "host"),
        ({"via": 3}, "via"),
        ({"timeouts": 10}, "timeouts"),
        ({"tls": "ca.pem"}, "tls"),
        ({"paths": "//"}, "paths"),
        ({"transport": "http"}, "transport"),
        ({"deadline_header": "two words"}, "deadline_header"),
        ({"deadline_header": "Host"}, "deadline_header"),
        ({"upstream": 5}, "upstream"),
        ({"upstream": []}, "upstream"),
        ({"upstream": ["http://users", "http://users"]}, "upstream"),
        ({"upstream": Cluster("c", destinations=["http://a"]), "max_pending": 1}, "max_pending"),
        ({"upstream": Cluster("c", destinations=["http://a"]), "tls": TLS()}, "tls"),
    ],
)
def test_a_wrong_option_is_named_at_construction(wrong: dict[str, Any], name: str) -> None:
    """And every other wrong one with it."""
    with pytest.raises(ConfigurationError) as raised:
        Proxy(**{"upstream": "http://users", **wrong})
    assert list(raised.value.problems) == [name]
    with pytest.raises(ConfigurationError) as both:
        Proxy(**{"upstream": "http://users", **wrong, "max_pending": -1})
    assert set(both.value.problems) == {name, "max_pending"}


@pytest.mark.parametrize("wrong", [0, -1, "10", float("nan"), float("inf"), True])
def test_wrong_timeouts_are_refused(wrong: Any) -> None:
    """Zero and less is no limit to wait for, and a string is none either."""
    with pytest.raises(ConfigurationError, match="first_byte"):
        Timeouts(first_byte=wrong)
