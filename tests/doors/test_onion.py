"""What every door does for the middlewares that it drives."""

from __future__ import annotations

from typing import Any

from gatekit import Rejected, Request, Response, chain, when
from gatekit.errors import BodyTooLarge
from gatekit.typing import Handler, Middleware
from tests.conftest import Door
from tests.doors.spec import Spec


def adds(name: str, value: str = "1") -> Middleware:
    """A middleware that adds a response header after the app."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers.add(name, value)
        return response

    return middleware


class Upper:
    """A codec."""

    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def finish(self) -> bytes:
        return b"!"


def test_an_untouched_answer_passes(door: Door) -> None:
    """Status, fields and body reach the client as the app sent them."""
    answer = door(Spec(status=201))
    assert (answer.status, answer.body) == (201, b"hello world")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["etag"] == '"v1"'


def test_middlewares_run_outermost_first(door: Door) -> None:
    """The first of the list sees the response last."""
    answer = door(Spec(), adds("x-order", "outer"), adds("x-order", "inner"))
    # Django keeps one line a name, so the two are one list there.
    assert ", ".join(answer.headers.getlist("x-order")) == "inner, outer"


def test_a_middleware_answers_itself(door: Door) -> None:
    """Without `call_next` the app is never called, and outer middlewares still see the answer."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        return Response.text("no", 401, {"www-authenticate": "Bearer"})

    spec = Spec()
    answer = door(spec, adds("x-outer"), refuse, adds("x-inner"))
    assert (answer.status, answer.body) == (401, b"no")
    assert answer.headers["x-outer"] == "1"
    assert "x-inner" not in answer.headers
    assert answer.headers["content-length"] == "2"
    assert spec.seen == []


def test_a_changed_request_field_reaches_the_app(door: Door) -> None:
    """What a middleware sets or removes in `request.headers` is what the app sees."""

    async def identify(request: Request, call_next: Handler) -> Response:
        del request.headers["x-secret"]
        request.headers["x-user"] = "ada"
        return await call_next(request)

    spec = Spec()
    door(spec, identify, headers={"x-secret": "s", "x-user": "mallory", "x-other": "o"})
    seen = spec.seen[0]["headers"]
    assert (seen["x-user"], seen["x-other"]) == ("ada", "o")
    assert "x-secret" not in seen


def test_a_filtered_body_streams_changed(door: Door) -> None:
    """A codec sees every chunk and the end; the length is fixed and a strong ETag weakened."""

    async def upper(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.filter(Upper())
        return response

    spec = Spec(headers=[("content-length", "11"), ("etag", '"v1"'), ("content-type", "a/b")])
    answer = door(spec, upper)
    assert answer.body == b"HELLO WORLD!"
    assert answer.headers["etag"] == 'W/"v1"'
    assert answer.headers.get("content-length", "12") == "12"


def test_two_filters_run_inside_out(door: Door) -> None:
    """The inner middleware's codec comes first."""

    class Suffix(Upper):
        def feed(self, data: bytes) -> bytes:
            return data

        def finish(self) -> bytes:
            return b"?"

    def filtering(codec: Any) -> Middleware:
        async def middleware(request: Request, call_next: Handler) -> Response:
            response = await call_next(request)
            response.filter(codec)
            return response

        return middleware

    assert door(Spec(), filtering(Suffix()), filtering(Upper())).body == b"HELLO WORLD!?"


def test_a_body_that_is_read_is_whole(door: Door) -> None:
    """`read()` gives all of it; a rewritten one is sent with its own length and a weak ETag."""

    async def rewrite(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.body = (await response.read()).replace(b"world", b"moon")
        return response

    answer = door(Spec(), adds("x-outer"), rewrite)
    assert answer.body == b"hello moon"
    assert answer.headers["content-length"] == "10"
    assert answer.headers["etag"] == 'W/"v1"'
    assert answer.headers["x-outer"] == "1"


def test_a_body_that_is_only_looked_at_stays(door: Door) -> None:
    """Reading without rewriting keeps the strong ETag."""

    async def look(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        assert await response.read() == await response.read() == b"hello world"
        return response

    answer = door(Spec(), look)
    assert (answer.body, answer.headers["etag"]) == (b"hello world", '"v1"')


def test_a_body_over_the_limit_streams_on(door: Door) -> None:
    """Catching `BodyTooLarge` loses nothing: the answer goes on from its first byte."""

    async def careful(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        try:
            await response.read(limit=8)
        except BodyTooLarge:
            response.headers["x-large"] = "yes"
        return response

    answer = door(Spec(), careful)
    assert (answer.body, answer.headers["x-large"]) == (b"hello world", "yes")


def test_a_body_over_the_limit_uncaught_is_an_answer(door: Door) -> None:
    """Not catching it answers 413 instead of a cut body."""

    async def careless(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        await response.read(limit=8)
        return response

    answer = door(Spec(), adds("x-outer"), careless)
    assert (answer.status, answer.headers["x-outer"]) == (413, "1")


def test_a_replaced_response_reaches_the_client(door: Door) -> None:
    """The app's body is dropped, the new one is whole."""

    async def replace(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.text("other", 418)

    answer = door(Spec(), replace)
    assert (answer.status, answer.body) == (418, b"other")
    assert "etag" not in answer.headers


def test_a_replaced_response_may_stream(door: Door) -> None:
    """An iterable body is sent chunk by chunk."""

    async def replace(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response(200, {"content-type": "text/plain"}, iter([b"a", b"b"]))

    assert door(Spec(), replace).body == b"ab"


def test_a_bodiless_status_has_no_body(door: Door) -> None:
    """A middleware may turn an answer into a 304; the app's body is then not sent."""

    async def not_modified(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.status = 304
        del response.headers["content-type"]
        return response

    answer = door(Spec(), not_modified)
    assert (answer.status, answer.body) == (304, b"")


def test_on_finish_runs_once_last_in_first_out(door: Door) -> None:
    """Each callback sees the outcome, after the last byte; one that raises stops nobody."""
    calls: list[Any] = []

    def note(name: str) -> Middleware:
        async def middleware(request: Request, call_next: Handler) -> Response:
            def finished(outcome: Any) -> None:
                calls.append((name, outcome.ended, outcome.status, outcome.sent))
                raise RuntimeError("a callback's own trouble")

            request.on_finish(finished)
            return await call_next(request)

        return middleware

    door(Spec(), note("outer"), note("inner"))
    assert calls == [("inner", "complete", 200, 11), ("outer", "complete", 200, 11)]


def test_on_finish_may_be_async(door: Door) -> None:
    """An async callback is awaited, or run to its end where there is no loop."""
    calls: list[str] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        async def finished(outcome: Any) -> None:
            calls.append(outcome.ended)

        request.on_finish(finished)
        return await call_next(request)

    door(Spec(), watch)
    assert calls == ["complete"]


def test_a_request_body_that_was_read_is_still_there(door: Door) -> None:
    """A middleware reads it all; the app reads it again."""
    read: list[bytes] = []

    async def look(request: Request, call_next: Handler) -> Response:
        read.append(await request.body.read())
        return await call_next(request)

    spec = Spec(reads_body=True)
    door(spec, look, method="POST", body=b"some body")
    assert read == [b"some body"]
    assert spec.seen[0]["body"] == b"some body"


def test_a_request_body_may_be_filtered(door: Door) -> None:
    """The app reads what the codec makes of it."""

    async def upper(request: Request, call_next: Handler) -> Response:
        request.body.filter(Upper())
        del request.headers["content-length"]
        return await call_next(request)

    spec = Spec(reads_body=True)
    door(spec, upper, method="POST", body=b"quiet")
    assert spec.seen[0]["body"] == b"QUIET!"


def test_a_filter_added_after_a_read_still_applies(door: Door) -> None:
    """What an outer middleware read passes through an inner one's codec on its way to the app."""

    async def look(request: Request, call_next: Handler) -> Response:
        await request.body.read()
        return await call_next(request)

    async def upper(request: Request, call_next: Handler) -> Response:
        request.body.filter(Upper())
        del request.headers["content-length"]
        return await call_next(request)

    spec = Spec(reads_body=True)
    door(spec, look, upper, method="POST", body=b"quiet")
    assert spec.seen[0]["body"] == b"QUIET!"


def test_a_request_body_that_was_streamed_away_is_empty(door: Door) -> None:
    """The app does not wait for bytes that a middleware has taken for itself."""

    async def take(request: Request, call_next: Handler) -> Response:
        async for _ in request.body:
            pass
        return await call_next(request)

    spec = Spec(reads_body=True)
    assert door(spec, take, method="POST", body=b"gone").status == 200
    assert spec.seen[0]["body"] == b""


def test_a_refused_request_body_is_answered(door: Door) -> None:
    """What a codec raises replaces whatever the app makes of its broken body."""

    class Refuse:
        def feed(self, data: bytes) -> bytes:
            raise Rejected(415, "Not like this.")

        def finish(self) -> bytes:
            return b""

    async def guard(request: Request, call_next: Handler) -> Response:
        request.body.filter(Refuse())
        return await call_next(request)

    answer = door(Spec(reads_body=True), adds("x-outer"), guard, method="POST", body=b"x")
    assert (answer.status, answer.headers["x-outer"]) == (415, "1")


def test_chain_and_when(door: Door) -> None:
    """A chain is its middlewares; a condition decides for each request."""
    conditional = when(lambda request: request.path == "/a", chain(adds("x-b"), adds("x-c")))
    with_both = door(Spec(), adds("x-a"), conditional, target="/a")
    with_one = door(Spec(), adds("x-a"), conditional, target="/b")
    assert all(name in with_both.headers for name in ("x-a", "x-b", "x-c"))
    assert "x-b" not in with_one.headers and "x-a" in with_one.headers


def test_a_condition_does_not_hide_a_second_call_next(door: Door) -> None:
    """The rule holds inside `when` too."""

    async def twice(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return await call_next(request)

    spec = Spec()
    assert door(spec, when(lambda request: True, twice)).status == 500
    assert len(spec.seen) == 1


def test_the_request_tells_what_it_is(door: Door) -> None:
    """Method, path, raw path, query, host and client are the same behind every door."""
    seen: list[Request] = []

    async def look(request: Request, call_next: Handler) -> Response:
        seen.append(request)
        return await call_next(request)

    door(Spec(), look, method="PUT", target="/caf%C3%A9/%2561?q=1&q=2")
    request = seen[0]
    assert request.method == "PUT"
    assert request.path == "/café/%61"
    assert request.raw_path == b"/caf%C3%A9/%2561"
    assert request.query == b"q=1&q=2"
    assert request.host == "testserver"
    assert request.scheme == "http"
    assert request.client is not None and request.client[0] == "127.0.0.1"


def test_a_head_request_has_no_body(door: Door) -> None:
    """Gatekit's own answer to HEAD carries no bytes."""

    async def answer(request: Request, call_next: Handler) -> Response:
        return Response.text("four")

    assert door(Spec(), answer, method="HEAD").body == b""


def test_an_answer_to_head_has_the_head_of_a_filtered_get(door: Door) -> None:
    """A length and a strong ETag that no GET would be answered with are not claimed."""

    async def upper(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.filter(Upper())
        return response

    headers = [("content-type", "text/plain"), ("content-length", "5"), ("etag", '"v1"')]
    answer = door(Spec(headers=headers, chunks=[]), upper, method="HEAD")
    assert "content-length" not in answer.headers
    assert (answer.headers["etag"], answer.body) == ('W/"v1"', b"")
