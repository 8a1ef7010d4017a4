"""A proxy by hand on urllib3: one pool for all threads, nothing decoded or followed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import urllib3

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UPSTREAM = os.environ["UPSTREAM"]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
pool = urllib3.PoolManager(maxsize=64)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    headers = {
        name[5:].replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and name != "HTTP_HOST"
    }
    upstream = pool.request(
        environ["REQUEST_METHOD"],
        f"{UPSTREAM}{environ['PATH_INFO']}",
        headers=headers,
        preload_content=False,
        decode_content=False,
        redirect=False,
        retries=False,
    )
    fields = [
        (name, value) for name, value in upstream.headers.items() if name.lower() not in HOP_BY_HOP
    ]
    start_response(f"{upstream.status} {upstream.reason}", fields)
    body = upstream.read()
    upstream.release_conn()
    return [body]
