"""One shape for every error: negotiated, told apart by origin, overridden, hidden."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import (
    AccessLog,
    BodyLimit,
    Compress,
    ConfigurationError,
    CorrelationId,
    Errors,
    Gateway,
    Proxy,
    Rejected,
    Request,
    Response,
    Route,
    UpstreamError,
    asgi_app,
    problem,
)
from gatekit._core.accept import accepted, preferred, quality
from gatekit._core.flags import FLAGS
from gatekit.testing import Answer, call_asgi, call_wsgi, exercise, upstream
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.test_access_log import Log

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def refusing(status: int = 403, **options: Any) -> Any:
    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Rejected(status, **options)

    return refuse


def says(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = json.loads(answer.body)
    return members


def test_a_program_is_given_a_problem(door: Door) -> None:
    """With its origin and flag, and the id of the request."""
    answer = door(
        Spec(),
        CorrelationId(generate=lambda: "id-1"),
        Errors(),
        BodyLimit(1),
        method="POST",
        headers={"content-length": "5"},
        body=b"12345",
    )
    assert answer.status == 413
    assert says(answer) == {
        "type": "urn:gatekit:body-too-large",
        "title": "Content Too Large",
        "status": 413,
        "detail": "The body is larger than the 1 bytes allowed.",
        "instance": "id-1",
        "origin": "client",
        "flag": "BTL",
    }


def test_a_browser_is_given_a_page(door: Door) -> None:
    """In which everything is escaped."""
    hostile = refusing(400, detail="<script>alert('&')</script>", title='"><b>')
    answer = door(Spec(), Errors(), hostile, headers={"accept": BROWSER})
    assert (answer.status, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert (answer.headers["vary"], answer.headers["x-content-type-options"]) == (
        "Accept",
        "nosniff",
    )
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in answer.text
    assert "<script>" not in answer.text
    assert "<b>" not in answer.text


def test_an_app_that_raises_has_the_same_shape(door: Door) -> None:
    """Its 500 is told from one of gatekit's own."""
    answer = door(Spec(error=ValueError("hunter2")), Errors(), headers={"accept": BROWSER})
    assert answer.status == 500
    assert "hunter2" not in answer.text
    if door.name.startswith("django"):
        return  # Django has answered itself
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    told = says(door(Spec(error=ValueError("hunter2")), Errors()))
    assert (told["origin"], told["flag"]) == ("upstream", "APP")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html, application/json", "application/problem+json"),
        ("text/html, application/json;q=0.9", "text/html; charset=utf-8"),
        ("text/html;q=0.5, application/problem+json;q=0.6", "application/problem+json"),
        ("text/*", "text/html; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("TEXT/PLAIN ; Q=1.0 , */*;q=0.1", "text/plain; charset=utf-8"),
        ("text/html;q=0, */*", "application/problem+json"),
        ("image/png", "application/problem+json"),
        ("text/html;q=nan", "application/problem+json"),
        ("text/html;q=2", "application/problem+json"),
        ("", "application/problem+json"),
        (",;,;q=1,/", "application/problem+json"),
    ],
)
def test_the_format_is_negotiated(accept: str | None, kind: str) -> None:
    """By weights; of equals a program's format comes first."""
    headers = {} if accept is None else {"accept": accept}
    answer = exercise(Errors(), refusing(), headers=headers)
    assert answer.headers["content-type"] == kind
    assert answer.headers["vary"] == "Accept"


@given(st.text(alphabet="text/html*plain;q=01. ,", max_size=60))
def test_no_accept_field_breaks_it(field: str) -> None:
    """Whatever it says, weights are from 0 to 1 and one of the formats is chosen, or none."""
    ranges = accepted([field])
    assert all(0 <= weight <= 1 for weight in ranges.values())
    kinds = ["text/html", "text/plain"]
    best = preferred(ranges, kinds)
    assert best is None or quality(ranges, best) == max(quality(ranges, kind) for kind in kinds)


def test_what_is_no_error_passes(door: Door) -> None:
    """Untouched, and so does the app's own error page unless that is asked for."""
    for spec in (Spec(), Spec(status=404), Spec(status=503)):
        answer = door(spec, Errors(), headers={"accept": BROWSER})
        assert (answer.status, answer.body) == (spec.status, b"hello world")
        assert answer.headers["etag"] == '"v1"'


def test_an_error_of_the_apps_is_hidden(door: Door) -> None:
    """Body and what describes it are gone; other fields, such as those of a policy, stay."""
    headers = [
        ("content-type", "text/html"),
        ("content-language", "en"),
        ("etag", '"v1"'),
        ("server", "Apache/2.4.1"),
        ("retry-after", "7"),
        ("access-control-allow-origin", "*"),
        ("content-security-policy", "default-src 'none'"),
    ]
    spec = Spec(status=503, headers=headers, chunks=[b"Traceback: ", b"hunter2 at 10.0.0.7"])
    answer = door(spec, Errors(upstream="mask"))
    assert answer.status == 503
    told = says(answer)
    assert (told["type"], told["origin"]) == ("urn:gatekit:upstream-error", "upstream")
    assert "hunter2" not in answer.text
    for name in ("content-language", "etag", "server"):
        assert name not in answer.headers
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "content-security-policy" in answer.headers
    passed = door(Spec(status=404), Errors(upstream="mask"))
    assert passed.body == b"hello world"


def test_an_error_of_the_apps_is_wrapped(door: Door) -> None:
    """What it said is a member: JSON as it was, text as text, nothing where it is too long."""
    json_type, text_type = [("content-type", "application/json")], [("content-type", "text/plain")]
    for spec, said in (
        (Spec(status=500, headers=json_type, chunks=[b'{"a":', b"[1]}"]), {"a": [1]}),
        (Spec(status=500, headers=json_type, chunks=[b'{"a":']), '{"a":'),
        (Spec(status=500, headers=text_type, chunks=[b"<b>"]), "<b>"),
        (Spec(status=500, headers=text_type, chunks=[b"\xff\xfe"]), None),
        (Spec(status=500, headers=text_type, chunks=[b"x" * 20]), None),
    ):
        told = says(door(spec, Errors(upstream="wrap", wrap_limit=16)))
        assert told.get("upstream_body") == said
        assert told["upstream_content_type"] == spec.headers[0][1]


def test_grpc_passes() -> None:
    """A client of it reads trailers, and no problem."""

    def app(request: Request) -> Response:
        return Response(503, {"content-type": "application/grpc+proto"}, b"\0")

    assert exercise(Errors(upstream="mask"), app=app).body == b"\0"


def test_overrides_from_the_most_specific_on() -> None:
    """A pair with the path, then type, status, path and class; members are set or taken away."""

    async def answer(request: Request) -> Response:
        status = int(request.query or b"404")
        return problem(status, type="urn:gatekit:no-route" if status == 404 else "about:blank")

    errors = Errors(
        {
            ("/a", "urn:gatekit:no-route"): {"detail": "pair of type"},
            ("/a", "5xx"): {"detail": "pair of class"},
            "urn:gatekit:no-route": {"detail": "type"},
            410: {"detail": "status"},
            "/a": {"detail": "path"},
            "4xx": {"detail": "class", "flag": None, "hint": "ask"},
        }
    )
    gateway = Gateway(errors, routes=[Route("/a", answer), Route("/b", answer)])
    app = gateway.wsgi()
    for target, detail in (
        ("/a?404", "pair of type"),
        ("/b?404", "type"),
        ("/a?410", "status"),
        ("/a?500", "pair of class"),
        ("/a?409", "path"),
        ("/b?409", "class"),
        ("/b?500", None),
    ):
        assert says(call_wsgi(app, target=target)).get("detail") == detail
    told = says(call_wsgi(app, target="/b?409"))
    assert "flag" not in told
    assert told["hint"] == "ask"


def test_a_function_may_change_anything() -> None:
    """Members, the status with them, or the whole response; None leaves it as it is."""

    def change(request: Request, members: Mapping[str, object]) -> Any:
        assert members["flag"] == "REJ"
        return {
            "/members": {"status": 418, "title": request.path},
            "/response": Response(410, body=b"gone"),
            "/none": None,
        }[request.path]

    errors = Errors({403: change})
    told = exercise(errors, refusing(), target="/members")
    assert (told.status, says(told)["status"], says(told)["title"]) == (418, 418, "/members")
    assert exercise(errors, refusing(), target="/response").body == b"gone"
    for status in (99_999, "500", True, 101):
        answer = exercise(Errors({403: setting(status)}), refusing())
        assert (answer.status, says(answer)["status"]) == (403, 403)
    assert says(exercise(errors, refusing(), target="/none"))["status"] == 403


def setting(status: object) -> Any:
    return lambda request, members: {"status": status}


def test_templates_of_ones_own() -> None:
    """Values are escaped in HTML, and a function makes what it likes."""
    hostile = refusing(400, detail="<i>\x1b[31m", extensions={"more": 7})
    page = Errors(templates={"html": "$$ $detail $more $absent.", "text": lambda one: "own"})
    answer = exercise(page, hostile, headers={"accept": "text/html"})
    assert answer.text == "$ &lt;i&gt;\x1b[31m 7 ."
    assert exercise(page, hostile, headers={"accept": "text/plain"}).text == "own"
    plain = exercise(Errors(), hostile, headers={"accept": "text/plain"})
    assert plain.text == "400 Bad Request\n<i>\\x1b[31m\n"


def test_one_format_alone() -> None:
    """Without others there is nothing to negotiate, and no `Vary`."""
    answer = exercise(Errors(formats=[]), refusing(), headers={"accept": BROWSER})
    assert says(answer)["status"] == 403
    assert "vary" not in answer.headers


def test_types_lead_to_pages_of_ones_own() -> None:
    """`type_base` takes the place of the URN; the log still knows the flag."""
    log = Log()
    errors = Errors(type_base="https://api.example/errors#", origin=False)
    answer = exercise(AccessLog(log), errors, refusing(429, type="urn:gatekit:rate-limited"))
    told = says(answer)
    assert told["type"] == "https://api.example/errors#rate-limited"
    assert not {"origin", "flag"} & set(told)
    assert log.only["flag"] == "RLM"


def test_whose_failure_an_upstreams_is() -> None:
    """A proxy's problem keeps `Proxy-Status`, and says `upstream`."""

    def refused(sent: object) -> Response:
        raise UpstreamError("connect", "10.0.0.7:8001 refused")

    app = asgi_app(Proxy("http://users", transport=upstream(refused)), Errors())
    answer = asyncio.run(call_asgi(app))
    assert (answer.status, says(answer)["origin"], says(answer)["flag"]) == (502, "upstream", "UUR")
    assert answer.headers["proxy-status"] == "gatekit; error=connection_refused"
    assert "10.0.0.7" not in answer.text


def test_a_compressed_error_is_written_anew() -> None:
    """What a middleware further in did to the body does not fit the other body."""
    big = refusing(400, detail="x" * 2000)
    headers = {"accept-encoding": "gzip", "accept": BROWSER}
    answer = exercise(Errors(), Compress(), big, headers=headers)
    assert "content-encoding" not in answer.headers
    assert "x" * 2000 in answer.text


def test_a_head_has_no_body(door: Door) -> None:
    """Its fields are those of the same answer to a GET."""
    answer = door(Spec(), Errors(), refusing(404), method="HEAD", headers={"accept": BROWSER})
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        Errors(
            {200: {}, "nothing": {}, 404: 7, ("a", 404): {}, 405: {"status": 7}},  # type: ignore[dict-item]
            formats=["xml"],  # type: ignore[list-item]
            templates={"html": "$1"},
            upstream="hide",  # type: ignore[arg-type]
            wrap_limit=0,
            origin="no",  # type: ignore[arg-type]
            type_base="errors",
            override={},  # type: ignore[call-arg]
        )
    assert set(caught.value.problems) == {
        "overrides", "formats", "templates", "upstream", "wrap_limit", "origin", "type_base",
        "override",
    }  # fmt: skip
    assert all(str(key) in caught.value.problems["overrides"] for key in (200, "nothing", 404, 405))


def test_flags_are_three_letters_each_its_own() -> None:
    """A code never stands for two things, and each has a source and a meaning."""
    assert len({flag.type for flag in FLAGS.values() if flag.type}) == sum(
        bool(flag.type) for flag in FLAGS.values()
    )
    for code, flag in FLAGS.items():
        assert (code, len(code), code.upper()) == (flag.code, 3, code)
        assert flag.source in ("client", "gateway", "upstream")
        assert flag.meaning
