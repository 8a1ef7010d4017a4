"""Validators for answers that have none, and the conditions of RFC 9110 §13."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pytest

from gatekit import ConfigurationError, Response
from gatekit.middleware.etag import ETag
from gatekit.testing import exercise
from tests.conftest import Door
from tests.doors.spec import Spec

BODY = b"hello world"
TAG = f'"{blake2b(BODY, digest_size=16).hexdigest()}"'
OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"


def get(
    response: Response, method: str = "GET", middleware: ETag | None = None, **fields: str
) -> Any:
    """One request, answered by this."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}

    async def answer(request: Any, call_next: Any) -> Response:
        return response

    return exercise(middleware or ETag(), answer, method=method, headers=headers)


def page(**fields: str) -> Response:
    """A page with these fields."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(200, {"content-type": "text/plain", **headers}, BODY)


def spec() -> Spec:
    """The same through a door, its length told."""
    fields = [("content-type", "text/plain"), ("content-length", "11"), ("set-cookie", "a=1")]
    return Spec(headers=fields)


def test_tag_is_a_hash(door: Door) -> None:
    """The same in every process, and through every door."""
    answer = door(spec(), ETag())
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, BODY, TAG)


def test_known_is_not_sent_again(door: Door) -> None:
    """A 304 without the body's fields; others, a cookie among them, stay."""
    answer = door(spec(), ETag(), headers={"if-none-match": f'"x", W/{TAG}'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", TAG)
    assert "content-type" not in answer.headers
    assert answer.headers["set-cookie"] == "a=1"


@pytest.mark.parametrize("condition", [TAG, f"W/{TAG}", "*", f'"a,b" , {TAG}'])
def test_weak_comparison(condition: str) -> None:
    """RFC 9110 §13.1.2."""
    assert get(page(), if_none_match=condition).status == 304


@pytest.mark.parametrize("condition", ['"other"', "other", "", TAG[:-1]])
def test_unknown_is_sent(condition: str) -> None:
    """Anything else is answered whole."""
    answer = get(page(), if_none_match=condition)
    assert (answer.status, answer.body) == (200, BODY)


def test_own_validators_are_answered() -> None:
    """Those of the app stay as they are, and are compared."""
    assert get(page(etag='"v1"')).headers["etag"] == '"v1"'
    assert get(page(etag='"v1"'), if_none_match='"v1"').status == 304
    assert get(page(etag='"v1"'), "HEAD", if_none_match='"v1"').status == 304
    assert get(page(last_modified=OLD), if_modified_since=OLD).status == 304
    assert get(page(last_modified=NEW), if_modified_since=OLD).status == 200
    assert get(page(last_modified=OLD), if_modified_since="yesterday").status == 200


def test_if_none_match_goes_first() -> None:
    """RFC 9110 §13.1.3: with it, the date is not looked at."""
    response = page(etag='"v1"', last_modified=OLD)
    assert get(response, if_none_match='"v2"', if_modified_since=NEW).status == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"v1"', 200), ('"v0", "v1"', 200), ("*", 200), ('"v2"', 412), ('W/"v1"', 412)],
)
def test_if_match(condition: str, status: int) -> None:
    """RFC 9110 §13.1.1: the strong comparison, and a 412 where nothing is equal."""
    assert get(page(etag='"v1"'), if_match=condition).status == status


def test_if_unmodified_since() -> None:
    """RFC 9110 §13.1.4."""
    assert get(page(last_modified=NEW), if_unmodified_since=OLD).status == 412
    assert get(page(last_modified=OLD), if_unmodified_since=OLD).status == 200


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("POST", page()),
        ("GET", Response(404, {}, BODY)),
        ("GET", page(cache_control="no-store")),
        ("GET", Response(206, {"content-range": "bytes 0-10/20"}, BODY)),
    ],
)
def test_no_tag(method: str, response: Response) -> None:
    """Only a whole 200 to a `GET` that may be kept has one."""
    assert "etag" not in get(response, method).headers


def test_streams_are_not_held() -> None:
    """What has no length, or too much of it, passes untouched."""
    pulled: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            pulled.append(number)
            yield b"x"

    answer = get(Response(200, {"content-type": "text/plain"}, chunks()))
    assert (answer.body, "etag" in answer.headers) == (b"xxx", False)
    assert "etag" not in get(page(), middleware=ETag(max_bytes=10)).headers
    assert get(page(), middleware=ETag(max_bytes=11, weak=True)).headers["etag"] == f"W/{TAG}"


def test_a_body_that_is_longer_than_it_said() -> None:
    """It is the app's mistake, and no 413 for a client that sent nothing."""
    response = Response(200, [("content-length", "5")], iter([b"x" * 50, b"y" * 50]))
    answer = get(response, middleware=ETag(max_bytes=60))
    assert (answer.status, "etag" in answer.headers) == (200, False)
    assert answer.body == b"x" * 50 + b"y" * 50


def test_wrong_options() -> None:
    """Each is named at construction."""
    with pytest.raises(ConfigurationError, match="max_bytes"):
        ETag(max_bytes=0)
