"""A preflight ends here, whatever its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, wsgi
from gatekit.middleware.cors import CORS
from gatekit.testing import Answer, exercise
from tests.conftest import Door
from tests.doors.spec import Spec

APP = "https://app.example"
VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def preflight(method: str = "PUT", headers: str | None = None, origin: str = APP) -> dict[str, str]:
    fields = {"origin": origin, "access-control-request-method": method}
    return fields if headers is None else {**fields, "access-control-request-headers": headers}


def ask(middleware: CORS, **request: Any) -> Answer:
    return exercise(middleware, method="OPTIONS", headers=preflight(**request))


def test_an_admitted_preflight_is_answered(door: Door) -> None:
    """204 with what is allowed, and the app is never called."""
    spec = Spec()
    middleware = CORS(
        allow_origins=[APP],
        allow_methods=["GET", "PUT"],
        allow_headers=["Authorization", "X-Trace"],
        allow_credentials=True,
        max_age=86_400,
    )
    headers = preflight(headers="authorization, content-type,x-trace")
    answer = door(spec, middleware, method="OPTIONS", headers=headers)
    assert (answer.status, answer.body, spec.seen) == (204, b"", [])
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "GET, PUT"
    allowed = answer.headers["access-control-allow-headers"]
    assert {"Authorization", "X-Trace", "Content-Type"} <= set(allowed.split(", "))
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "86400"
    assert answer.headers["vary"] == VARY
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (preflight(origin="https://evil.example"), "origin"),
        (preflight(method="DELETE"), "method"),
        (preflight(method="put"), "method"),
        (preflight(headers="x-other"), "header fields"),
    ],
)
def test_a_refused_preflight_ends_here_too(door: Door, headers: dict[str, str], why: str) -> None:
    """400 without any permission; it says why, and the app is never called."""
    spec = Spec()
    middleware = CORS(allow_origins=[APP], allow_methods=["PUT"])
    answer = door(spec, middleware, method="OPTIONS", headers=headers)
    assert (answer.status, spec.seen) == (400, [])
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert answer.headers["vary"] == VARY
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in answer.text


def test_an_ordinary_options_request_goes_on(door: Door) -> None:
    """OPTIONS without the preflight's fields belongs to the app."""
    spec = Spec()
    door(spec, CORS(allow_origins=[APP]), method="OPTIONS", headers={"origin": APP})
    assert [call["method"] for call in spec.seen] == ["OPTIONS"]


def test_everybody_and_everything() -> None:
    """`*` means each method in common use and whichever header fields are asked for."""
    middleware = CORS(allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    answer = ask(middleware, method="QUERY", headers="authorization,x-anything")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "QUERY" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization, x-anything"


def test_all_headers_with_credentials_are_named() -> None:
    """With credentials a browser takes `*` for a name, so the names themselves are sent."""
    middleware = CORS(allow_origins=[APP], allow_headers=["*"], allow_credentials=True)
    answer = ask(middleware, method="GET", headers="authorization")
    assert answer.headers["access-control-allow-headers"] == "authorization"


@pytest.mark.parametrize("asked", ["x y", "a\u00e9", "x:y", "(x)"])
def test_only_names_are_sent_back(asked: str) -> None:
    """What is not a field name is refused, however much `*` allows."""
    answer = ask(CORS(allow_origins=[APP], allow_headers=["*"]), method="GET", headers=asked)
    assert answer.status == 400


def test_simple_headers_need_no_permission() -> None:
    """Those that browsers send anyway may always be asked for."""
    asked = "accept, ACCEPT-LANGUAGE, content-language, content-type,"
    answer = ask(CORS(allow_origins=[APP]), method="GET", headers=asked)
    assert answer.status == 204


@pytest.mark.parametrize(("allowed", "sent"), [(True, "true"), (False, None)])
def test_a_private_network_is_opened_on_request(allowed: bool, sent: str | None) -> None:
    """The field is sent only where the option and the preflight both ask for it."""
    middleware = CORS(allow_origins=[APP], allow_private_network=allowed)
    asking = {**preflight(method="GET"), "access-control-request-private-network": "true"}
    answer = exercise(middleware, method="OPTIONS", headers=asking)
    assert answer.headers.get("access-control-allow-private-network") == sent
    plain = ask(middleware, method="GET")
    assert "access-control-allow-private-network" not in plain.headers


def test_an_async_function_is_awaited() -> None:
    """`allow_origin` may do I/O under ASGI."""

    async def slowly(origin: str) -> bool:
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        return origin == APP

    from gatekit import asgi
    from gatekit.testing import call_asgi

    app = asgi(Spec().asgi(), CORS(allow_origin=slowly))
    answer = asyncio.run(call_asgi(app, "OPTIONS", headers=preflight(method="GET")))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, APP)


def test_an_async_function_is_refused_under_wsgi() -> None:
    """The WSGI door says so at construction, by the option's name."""

    async def later(origin: str, request: Request) -> bool:
        return True

    with pytest.raises(ConfigurationError) as caught:
        wsgi(Spec().wsgi(), CORS(allow_origin=later))
    assert list(caught.value.problems) == ["allow_origin"]
