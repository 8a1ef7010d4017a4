"""Doubtful requests under every server: what reaches the upstream is never in doubt."""

from __future__ import annotations

import re
from functools import cache
from typing import TypeAlias

import pytest

from tests.proxy.corpus import CHUNKS, SMUGGLED, TWO_FRAMINGS, Case
from tests.proxy.corpus_heads import CASES
from tests.proxy.onslaught import Result, onslaught
from tests.proxy.strict import Request
from tests.servers import Kind

SERVERS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "uvicorn-h11": ("uvicorn", ("--http", "h11", "--no-proxy-headers")),
    "uvicorn-httptools": ("uvicorn", ("--http", "httptools", "--no-proxy-headers")),
    "hypercorn": ("hypercorn", ()),
    "granian": ("granian", ()),
    "granian-wsgi": ("granian-wsgi", ()),
    "gunicorn": ("gunicorn", ()),
    "waitress": ("waitress", ()),
}

_H11 = (
    "chunks b'5 \\r\\nhello",
    "chunks b'5;a\\rX",
    "chunks b'5;a=\\x00",
    "chunks b'5;a=\"",
    "chunks b'0\\r\\n\\n'",
)
_FOLDED = ("chunked, chunked'", ",chunked'", "chunked,'", ":\\r\\n chunked'", "chunked\\r\\n '")
READS_ON: dict[str, tuple[str, ...]] = {
    "uvicorn-h11": (*_H11, "chunks b'5;aaaa"),
    "uvicorn-httptools": ("chunks b'5;aaaa",),
    "hypercorn": _H11,
    "granian": (_H11[0], *_H11[2:4]),
    "granian-wsgi": (_H11[0], *_H11[2:4], "CONNECT"),
    "waitress": (
        *(case.name for case in TWO_FRAMINGS),
        *(f"Transfer-Encoding: {coding} and a length" for coding in _FOLDED),
        "Transfer-Encoding:\\r\\n chunked' and a length",
        "chunked\\r\\nTransfer-Encoding: chunked' and a length",
        "b' Content-Length: %d'",
        "chunks b'5;aaaa",
        "CONNECT",
    ),
}
"""Where a server itself takes for a request what a strict reader would not have come to.

What it then hands on is whole and plain, and the proxy cannot know what came before it.
"""
TAKES: dict[str, tuple[str, ...]] = {
    "granian": (*(case.name for case in TWO_FRAMINGS[:5]), _H11[4], "no host"),
    "granian-wsgi": (
        *(case.name for case in TWO_FRAMINGS[:5]),
        # Its input ends quietly where chunks are malformed or the client has left.
        *(case.name for case in CHUNKS),
        "no host",
        "host b'Host: caf",
    ),
    "waitress": (_H11[4], "chunks b'0;a", "a request for a trailer", "/CASE\\tx"),
}
"""Where a server makes one plain request of what a strict reader would refuse."""

OF_ONE_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"http2-settings",
    b"expect",
    b"proxy-authorization",
}
_FINAL = re.compile(rb"HTTP/1\.[01] ([2-5]\d\d)")

Server: TypeAlias = tuple[str, Result]


@cache
def _onslaught(server: str) -> Result:
    kind, options = SERVERS[server]
    return onslaught(kind, CASES, *options)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return request.param, _onslaught(request.param)


def listed(table: dict[str, tuple[str, ...]], server: str, case: Case) -> bool:
    return any(part in case.name for part in table.get(server, ()))


def forwarded(result: Result) -> list[Request]:
    return [*result.nameless, *(one for sent in result.upstream.values() for one in sent)]


def test_the_upstream_can_read_it_in_one_way_only(server: Server) -> None:
    """One framing, one host, no control character, and no field that was for another hop."""
    _, result = server
    assert result.violations == []
    for request in forwarded(result):
        names = {name for name, _ in request.fields}
        if request.values(b"upgrade") == [b"websocket"]:
            # The one protocol that is switched to.
            names -= {b"upgrade", b"connection"}
        assert not names & OF_ONE_HOP
        assert request.trailers == []
        assert request.values(b"x-forwarded-for") == [b"127.0.0.1"]
        assert not any(b"_" in name and b"forw" in name for name in names)
        assert not names & {b"x_real_ip", b"content_length", b"transfer_encoding"}


def test_no_more_requests_than_were_sent(server: Server) -> None:
    """A doubtful request is refused, or it is the one that a strict reader sees in it."""
    name, result = server
    too_many: list[str] = []
    for number, case in enumerate(CASES):
        most = case.most
        if listed(READS_ON, name, case):
            most = 2
        elif listed(TAKES, name, case):
            most = max(most, 1)
        if len(result.upstream[f"c{number:03}"]) > most:
            too_many.append(case.name)
    assert too_many == []


def test_no_hidden_request_is_found(server: Server) -> None:
    """What was part of a body, or behind a refused request, never reaches the upstream."""
    name, result = server
    found = [
        case.name
        for number, case in enumerate(CASES)
        if not listed(READS_ON, name, case)
        and any(b"smuggled" in sent.target for sent in result.upstream[f"c{number:03}"])
    ]
    assert found == []


def test_a_plain_request_gets_through(server: Server) -> None:
    """Else the rest of the corpus would prove nothing; and a body is just what was sent."""
    _, result = server
    for number, case in enumerate(CASES):
        sent = result.upstream[f"c{number:03}"]
        if case.exactly:
            assert len(sent) == case.most, case.name
        if case.exactly and "a request" in case.name:
            assert sent[0].body == SMUGGLED.replace(b"CASE", b"c%03d" % number)
        if case.exactly and ("with a length" in case.name or "in chunks" in case.name):
            assert sent[0].body == b"hello"


def test_nothing_makes_the_gateway_fail(server: Server) -> None:
    """A malformed request is the client's fault: no 500, no 502, no traceback."""
    _, result = server
    failed = {
        CASES[int(name[1:])].name: answer
        for name, answer in result.answers.items()
        if {b"500", b"502", b"503", b"504"} & set(_FINAL.findall(answer))
    }
    assert failed == {}
    assert "Traceback" not in result.log


def test_a_method_is_not_overridden(server: Server) -> None:
    """The field is the upstream's to read, and the method is what the request line says."""
    _, result = server
    for number, case in enumerate(CASES):
        if "Method-Override" in case.name:
            assert [one.method for one in result.upstream[f"c{number:03}"]] == [b"POST"]
