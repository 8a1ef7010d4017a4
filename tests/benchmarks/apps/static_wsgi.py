"""A server's own limit under WSGI: one KiB, always the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BODY = b"x" * 1024
HEAD = [("content-type", "text/plain"), ("content-length", "1024")]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", HEAD)
    return [BODY]
