"""Cross-origin resource sharing, as a browser sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gatekit import ConfigurationError, Rejected, Request, Response, asgi
from gatekit.middleware.cors import CORS
from gatekit.testing import Answer, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, http_scope
from tests.doors.spec import Spec

APP = "https://app.example"


def cors(**options: Any) -> CORS:
    return CORS(**{"allow_origins": [APP], **options})


def test_an_admitted_origin_may_read_the_answer(door: Door) -> None:
    """The origin is echoed, credentials are allowed, and caches are told what it depends on."""
    answer = door(Spec(), cors(allow_credentials=True), headers={"origin": APP})
    assert answer.status == 200
    assert answer.headers.getlist("access-control-allow-origin") == [APP]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {}])
def test_others_may_not(door: Door, headers: dict[str, str]) -> None:
    """No CORS field is sent to a foreign origin or to none, yet the answer varies by it."""
    answer = door(Spec(), cors(allow_credentials=True, expose_headers=["X-A"]), headers=headers)
    assert answer.body == b"hello world"
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert answer.headers["vary"] == "Origin"


def test_everybody() -> None:
    """With `*` the answer is the same for all, so that it need not vary."""
    for headers in ({"origin": APP}, {}):
        answer = exercise(CORS(allow_origins=["*"]), headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers


def test_an_app_error_can_be_read(door: Door) -> None:
    """A 500 shows as a 500 in the browser, not as a CORS error."""
    answer = door(Spec(error=RuntimeError("boom")), cors(), headers={"origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (500, APP)


def test_a_frameworks_own_500_can_be_read() -> None:
    """Around the whole app it covers what Starlette answers outside of its own middlewares."""

    def endpoint(request: object) -> None:
        raise RuntimeError("boom")

    app = asgi(Starlette(routes=[Route("/", endpoint)]), cors())
    server = Server(http_scope(headers=[(b"origin", APP.encode())]))
    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(server.run(app))
    assert server.sent[0]["status"] == 500
    assert (b"access-control-allow-origin", APP.encode()) in list(server.sent[0]["headers"])


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_refusal_can_be_read(door: Door, status: int) -> None:
    """What gatekit itself refuses further in has the fields."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Rejected(status)

    answer = door(Spec(), cors(), refuse, headers={"origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, APP)


def test_a_broken_middleware_can_be_read(door: Door) -> None:
    """Nor does an error of a middleware lose them."""

    async def broken(request: Request, call_next: Handler) -> Response:
        raise ZeroDivisionError

    answer = door(Spec(), cors(), broken, headers={"origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (500, APP)


def test_the_apps_own_fields_are_taken_out(door: Door) -> None:
    """An app or upstream that does CORS too neither doubles the fields nor widens the policy."""
    spec = Spec(
        headers=[
            ("content-type", "text/plain"),
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", "X-Secret"),
        ]
    )
    answer = door(spec, cors(), headers={"origin": APP})
    assert answer.headers.getlist("access-control-allow-origin") == [APP]
    answer = door(spec, cors(), headers={"origin": "https://evil.example"})
    assert [name for name in answer.headers if name.startswith("access-control")] == []


def test_vary_is_merged(door: Door) -> None:
    """What the app varies by stays, and one field holds it all."""
    spec = Spec(headers=[("content-type", "text/plain"), ("Vary", "Accept-Encoding")])
    answer = door(spec, cors(), headers={"origin": APP})
    assert answer.headers.getlist("vary") == ["Accept-Encoding, Origin"]


@pytest.mark.parametrize(
    ("entry", "origin", "admitted"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://App.Example", "https://app.example", True),
        ("https://app.example:443", "https://app.example", True),
        ("http://localhost:3000", "http://localhost:3000", True),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil.example", False),
        ("https://app.example", "https://evilapp.example", False),
        ("https://app.example", "https://app.example/", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b-c.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com", "https://a.example.com.evil.com", False),
        ("https://*.example.com", "https://evil.com/.example.com", False),
        ("https://*.example.com", "https://a.exampleXcom", False),
        ("https://*.example.com:8443", "https://a.example.com:8443", True),
        ("null", "null", True),
        ("https://app.example", "null", False),
    ],
)
def test_origins_are_compared_whole(entry: str, origin: str, admitted: bool) -> None:
    """Scheme, host and port all count; a wildcard stands for whole labels and nothing else."""
    answer = exercise(CORS(allow_origins=[entry]), headers={"origin": origin})
    assert ("access-control-allow-origin" in answer.headers) is admitted


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        ("https://pr-12.app.example", True),
        ("https://pr-12.app.example.evil.example", False),
        ("xhttps://pr-12.app.example", False),
        ("null", False),
    ],
)
def test_a_regex_matches_the_whole_origin(origin: str, admitted: bool) -> None:
    """What only begins or ends right is not admitted."""
    middleware = CORS(allow_origin_regex=r"https://pr-\d+\.app\.example")
    answer = exercise(middleware, headers={"origin": origin})
    assert ("access-control-allow-origin" in answer.headers) is admitted


def test_null_is_admitted_by_name_only() -> None:
    """A pattern or function that says yes to everything is not even asked about `null`."""
    for middleware in (CORS(allow_origin_regex=".*"), CORS(allow_origin=lambda origin: True)):
        answer = exercise(middleware, headers={"origin": "null"})
        assert "access-control-allow-origin" not in answer.headers


def test_a_function_decides(door: Door) -> None:
    """`allow_origin` is asked with the origin."""
    middleware = CORS(allow_origin=lambda origin: origin.endswith(".example"))
    assert admitted_by(door(Spec(), middleware, headers={"origin": "https://a.example"}))
    assert not admitted_by(door(Spec(), middleware, headers={"origin": "https://a.test"}))


def test_a_function_may_look_at_the_request() -> None:
    """A tenant's own origins are a matter of the host that is asked for."""

    async def of_tenant(origin: str, request: Request) -> bool:
        return origin == f"https://{request.host}.example"

    middleware = CORS(allow_origin=of_tenant)
    for host, admitted in [("acme", True), ("other", False)]:
        headers = {"origin": "https://acme.example", "host": host}
        assert admitted_by(exercise(middleware, headers=headers)) is admitted


def test_two_origins_are_none() -> None:
    """A request with two `Origin` fields is no browser's, and gets no permission."""
    twice = [("origin", APP), ("origin", APP)]
    assert not admitted_by(exercise(cors(), headers=twice))


def test_exposed_headers_and_timings() -> None:
    """What a page may read beyond the usual is listed for admitted origins."""
    middleware = cors(expose_headers=["X-Total", "ETag"], timing_allow_origin=True)
    answer = exercise(middleware, headers={"origin": APP})
    assert answer.headers["access-control-expose-headers"] == "X-Total, ETag"
    assert answer.headers["timing-allow-origin"] == APP


def admitted_by(answer: Answer) -> bool:
    return "access-control-allow-origin" in answer.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (APP, 200),
        ("http://testserver", 200),
        ("https://testserver", 200),
        (None, 200),
        ("https://evil.example", 403),
        ("https://testserver.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_websocket_of_a_foreign_page_is_refused(origin: str | None, status: int) -> None:
    """A handshake is admitted from the list, from the app's own pages, and from no browser."""
    request = make_request(headers={} if origin is None else {"origin": origin}, scheme="ws")
    request.is_websocket = True
    assert exercise(cors(), request=request).status == status


def test_an_insecure_page_is_not_a_secure_apps_own() -> None:
    """Over TLS the page of the same host but without TLS is a foreign one."""
    request = make_request(headers={"origin": "http://testserver"}, scheme="wss")
    request.is_websocket = True
    assert exercise(cors(), request=request).status == 403


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"allow_origins": ["*"], "allow_credentials": True}, "allow_origins"),
        ({"allow_origins": APP}, "allow_origins"),
        ({"allow_origins": 7}, "allow_origins"),
        ({"allow_origins": ["*", APP]}, "allow_origins"),
        ({"allow_origins": ["https://app.example/"]}, "allow_origins"),
        ({"allow_origins": ["https://app.example/path"]}, "allow_origins"),
        ({"allow_origins": ["app.example"]}, "allow_origins"),
        ({"allow_origins": ["https://*"]}, "allow_origins"),
        ({"allow_origins": ["https://*.com"]}, "allow_origins"),
        ({"allow_origins": ["https://a.*.example"]}, "allow_origins"),
        ({"allow_origins": ["*.example.com"]}, "allow_origins"),
        ({"allow_origins": ["https://user@app.example"]}, "allow_origins"),
        ({"allow_origin_regex": "("}, "allow_origin_regex"),
        ({"allow_origin": "https://a"}, "allow_origin"),
        ({"allow_origin": lambda: True}, "allow_origin"),
        ({"allow_methods": "GET"}, "allow_methods"),
        ({"allow_methods": ["get"]}, "allow_methods"),
        ({"allow_headers": ["X A"]}, "allow_headers"),
        ({"expose_headers": ["*"], "allow_credentials": True}, "expose_headers"),
        ({"max_age": -1}, "max_age"),
        ({"max_age": 1.5}, "max_age"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], parameter: str) -> None:
    """What cannot work, or would admit everybody by accident, fails at construction."""
    with pytest.raises(ConfigurationError) as caught:
        CORS(**options)
    assert list(caught.value.problems) == [parameter]


def test_all_wrong_options_are_named_at_once() -> None:
    """One error names them all."""
    with pytest.raises(ConfigurationError) as caught:
        CORS(allow_origins=["x"], allow_methods=["a b"], allow_headers="X", max_age=-1)
    wrong = {"allow_origins", "allow_methods", "allow_headers", "max_age"}
    assert set(caught.value.problems) == wrong
