"""Bodies through the Django door: what views read, and what streams send."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from gatekit import BodyTooLarge, MisuseError, Request, Response, django_middleware, django_view
from gatekit.typing import Handler, Middleware
from tests.django_site import site
from tests.doors.messages import Server, http_scope

FORM = {"content-type": "application/x-www-form-urlencoded"}
PARTS = (
    b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--X\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nfile\r\n--X--\r\n'
)
MULTIPART = {
    "content-type": "multipart/form-data; boundary=X",
    "content-length": str(len(PARTS)),
}


def uploaded(request: HttpRequest) -> object:
    file: Any = request.FILES["f"]
    return file.read()


READERS: dict[str, tuple[Callable[[HttpRequest], object], dict[str, str], bytes, object]] = {
    "body": (lambda request: request.body, {}, b"raw", b"raw"),
    "read": (lambda request: request.read(2) + request.read(), {}, b"raw", b"raw"),
    "lines": (list, {}, b"a\nb", [b"a\n", b"b"]),
    "form": (lambda request: request.POST.dict(), FORM, b"a=1", {"a": "1"}),
    "parts": (
        lambda request: (request.POST["a"], uploaded(request)),
        MULTIPART,
        PARTS,
        ("1", b"file"),
    ),
}


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Django's WSGI handler and its ASGI handler in turn."""
    return str(request.param)


class Upper:
    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def finish(self) -> bytes:
        return b"!"


async def uppers(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.filter(Upper())
    return response


def reads(limit: int = 1_000, seen: list[bytes] | None = None) -> Middleware:
    """Reads the request's body on its way in."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        data = await request.body.read(limit)
        if seen is not None:
            seen.append(data)
        return await call_next(request)

    return middleware


def peeks(limit: int) -> Middleware:
    """Reads the response's body, and lets it go on if it is too large."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        try:
            response.headers["x-read"] = str(len(await response.read(limit)))
        except BodyTooLarge:
            response.headers["x-read"] = "too large"
        return response

    return middleware


def outside(look: Callable[[HttpRequest], object]) -> Callable[[Any], Any]:
    """A Django middleware further out, sync only, that touches the request."""

    def factory(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> Any:
            look(request)
            return get_response(request)

        return middleware

    return factory


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("read_outside", [False, True], ids=["", "kept by Django before"])
def test_a_view_reads_what_a_middleware_has_read(
    colour: str, reader: str, read_outside: bool
) -> None:
    """However it asks for it, and though a Django middleware has asked before."""
    read, headers, body, expected = READERS[reader]
    seen: list[Any] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(read(request))
        return HttpResponse()

    entries: list[Any] = [django_middleware(reads(seen=seen))]
    if read_outside:
        entries.insert(0, outside(lambda request: request.body))
    with site(*entries, urls=[path("", view)]) as django:
        assert django.call(colour, "POST", headers=headers, body=body).status == 200
    assert seen == [body, expected]


@pytest.mark.parametrize("reader", ["body", "read", "form"])
@pytest.mark.parametrize("read_outside", [False, True], ids=["", "kept by Django before"])
def test_a_view_reads_what_a_filter_makes_of_it(
    colour: str, reader: str, read_outside: bool
) -> None:
    """What Django had parsed from the old body is parsed anew."""
    read, headers, body, _ = READERS[reader]
    seen: list[Any] = []

    async def upper(request: Request, call_next: Handler) -> Response:
        request.body.filter(Upper())
        return await call_next(request)

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(read(request))
        return HttpResponse()

    entries: list[Any] = [django_middleware(upper)]
    if read_outside:
        entries.insert(0, outside(lambda request: (request.body, request.POST)))
    with site(*entries, urls=[path("", view)]) as django:
        assert django.call(colour, "POST", headers=headers, body=body).status == 200
    assert seen == [{"A": "1!"} if reader == "form" else b"RAW!"]


def test_a_form_that_django_has_parsed_is_left_to_it(colour: str) -> None:
    """Django keeps no copy of its bytes: asking for them is an error, the parts stay readable."""
    seen: list[Any] = []

    async def tries(request: Request, call_next: Handler) -> Response:
        with pytest.raises(MisuseError, match="by Django already"):
            await request.body.read()
        return await call_next(request)

    def view(request: HttpRequest) -> HttpResponse:
        seen.append((request.POST["a"], uploaded(request)))
        return HttpResponse()

    entries = (outside(lambda request: request.POST), django_middleware(tries))
    with site(*entries, urls=[path("", view)]) as django:
        django.call(colour, "POST", headers=MULTIPART, body=PARTS)
    assert seen == [("1", b"file")]


def test_a_large_body_is_refused_before_the_view(colour: str) -> None:
    """`read()` past its limit is a 413 of the middleware that read."""

    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    with site(django_middleware(reads(limit=3)), urls=[path("", view)]) as django:
        assert django.call(colour, "POST", body=b"four").status == 413


def test_chunks_are_read_where_the_server_ends_them() -> None:
    """Django under WSGI reads no body without a length; a handler of gatekit's does, or refuses."""

    async def handler(request: Request) -> Response:
        return Response(200, None, await request.body.read())

    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "HTTP_TRANSFER_ENCODING": "chunked"}
    environ |= {"wsgi.url_scheme": "http", "SERVER_NAME": "a", "SERVER_PORT": "80"}
    answers: list[Any] = []
    start: Any = lambda status, headers: answers.append(status)  # noqa: E731
    with site(urls=[path("", django_view(handler))]) as django:
        for more in ({"wsgi.input_terminated": True}, {}):
            fields = environ | {"wsgi.input": io.BytesIO(b"in chunks")} | more
            response: Any = django.wsgi()(fields, start)
            answers.append(b"".join(response))
            response.close()
    assert answers[:3] == ["200 OK", b"in chunks", "411 Length Required"]


def test_changed_fields_are_read_anew(colour: str) -> None:
    """Django's copies of them are dropped: headers, cookies, media types and encoding."""
    seen: list[Any] = []

    def touch(request: HttpRequest) -> None:
        assert (request.headers["X-A"], request.COOKIES["c"]) == ("old", "1")
        assert (request.accepted_types, request.content_type) == ([], "text/plain")

    async def rewrite(request: Request, call_next: Handler) -> Response:
        for name, value in [("x-a", "new"), ("cookie", "c=2"), ("accept", "text/html")]:
            request.headers[name] = value
        request.headers["content-type"] = "text/css; charset=latin-1"
        return await call_next(request)

    def view(request: HttpRequest) -> HttpResponse:
        seen.extend([request.headers["X-A"], request.COOKIES["c"], str(request.accepted_types[0])])
        seen.extend([request.content_type, request.encoding, "X-Gone" in request.headers])
        return HttpResponse()

    sent = {"x-a": "old", "cookie": "c=1", "accept": "", "content-type": "text/plain"}
    with site(outside(touch), django_middleware(rewrite), urls=[path("", view)]) as django:
        django.call(colour, "POST", headers=sent, body=b"x")
    assert seen == ["new", "2", "text/html", "text/css", "latin-1", False]


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse([b"hello ", b"world"], headers={"ETag": '"v1"', "Content-Length": "11"})


def blocking_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(["hello ", b"", b"world"]), headers={"ETag": '"v1"'})


def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[bytes | str]:
        yield "hello "
        yield b""
        yield b"world"

    return StreamingHttpResponse(chunks(), headers={"ETag": '"v1"'})


def a_file(request: HttpRequest) -> FileResponse:
    return FileResponse(io.BytesIO(b"hello world"), headers={"ETag": '"v1"'})


@pytest.mark.parametrize("view", [plain, blocking_stream, async_stream, a_file])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
@pytest.mark.parametrize(
    ("middlewares", "body", "told"),
    [
        ([uppers], b"HELLO WORLD!", None),
        ([peeks(11)], b"hello world", "11"),
        ([peeks(10)], b"hello world", "too large"),
        ([peeks(12), uppers], b"HELLO WORLD!", "12"),
        ([peeks(11), uppers], b"HELLO WORLD!", "too large"),
        ([uppers, peeks(11)], b"HELLO WORLD!", "11"),
        ([peeks(11), peeks(3)], b"hello world", "11"),
    ],
    ids=["filtered", "read", "over", "filter, read", "filter, over", "read, filter", "over, read"],
)
def test_every_kind_of_response_is_filtered_and_read(
    colour: str, view: Any, middlewares: list[Middleware], body: bytes, told: str | None
) -> None:
    """Whole, streamed in the colour of the stack or in the other, or a file."""
    with site(django_middleware(*middlewares), urls=[path("", view)]) as django:
        answer = django.call(colour)
    assert (answer.status, answer.body, answer.headers.get("x-read")) == (200, body, told)
    changed = body != b"hello world"
    assert answer.headers["etag"] == ('W/"v1"' if changed else '"v1"')
    assert answer.headers.get("content-length", str(len(body))) == str(len(body))


def test_a_filtered_stream_is_sent_as_it_comes() -> None:
    """Each chunk passes through the codec and on, while the view's generator still runs."""
    more = asyncio.Event()
    produced: list[bytes] = []

    async def view(request: HttpRequest) -> StreamingHttpResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await more.wait()
            produced.append(b"second")
            yield b"second"

        return StreamingHttpResponse(chunks())

    class Client(Server):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message.get("body") == b"FIRST":
                assert produced == []
                more.set()

    server = Client(http_scope())
    with site(django_middleware(uppers), urls=[path("", view)]) as django:
        asyncio.run(server.run(django.asgi()))
    assert server.body == b"FIRSTSECOND!"


def test_a_blocking_stream_is_sent_as_it_comes() -> None:
    """Under WSGI the generator is asked for no more than the server asks."""
    produced: list[int] = []

    def view(request: HttpRequest) -> StreamingHttpResponse:
        def chunks() -> Iterator[bytes]:
            for number in range(3):
                produced.append(number)
                yield b"chunk"

        return StreamingHttpResponse(chunks())

    with site(django_middleware(uppers), urls=[path("", view)]) as django:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
        environ |= {"wsgi.url_scheme": "http", "SERVER_NAME": "a", "SERVER_PORT": "80"}
        response: Any = django.wsgi()(environ, lambda *_: lambda data: None)
        assert next(iter(response)) == b"CHUNK"
        response.close()
    assert produced == [0]


def test_an_untouched_file_is_the_servers_to_send() -> None:
    """`wsgi.file_wrapper` gets the file itself, so that a server may use sendfile."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    environ |= {"wsgi.url_scheme": "http", "SERVER_NAME": "a", "SERVER_PORT": "80"}
    environ["wsgi.file_wrapper"] = FileWrapper
    with site(django_middleware(watch), urls=[path("", a_file)]) as django:
        result: Any = django.wsgi()(environ, lambda *_: lambda data: None)
        assert isinstance(result, FileWrapper)
        assert b"".join(result) == b"hello world"
        assert outcomes == []
        result.close()
    assert [(o.ended, o.sent) for o in outcomes] == [("complete", 11)]
