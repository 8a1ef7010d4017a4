"""A proxy by hand on requests, with one session a thread, which most copies of it lack."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UPSTREAM = os.environ["UPSTREAM"]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
local = threading.local()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if not hasattr(local, "session"):
        local.session = requests.Session()
    headers = {
        name[5:].replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and name != "HTTP_HOST"
    }
    upstream = local.session.request(
        environ["REQUEST_METHOD"],
        f"{UPSTREAM}{environ['PATH_INFO']}",
        headers=headers,
        stream=True,
        allow_redirects=False,
    )
    fields = [
        (name, value) for name, value in upstream.headers.items() if name.lower() not in HOP_BY_HOP
    ]
    start_response(f"{upstream.status_code} {upstream.reason}", fields)
    return [b"".join(upstream.raw.stream(65536, decode_content=False))]
