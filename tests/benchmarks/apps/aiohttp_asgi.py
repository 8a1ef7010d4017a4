"""A proxy by hand on aiohttp: one session, no decompression, the body as it comes."""

from __future__ import annotations

import os

import aiohttp
from yarl import URL

from gatekit.typing import Receive, Scope, Send

UPSTREAM = os.environ["UPSTREAM"]
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"host"}


class Forward:
    """Makes its session inside the running loop, at the first request."""

    session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.session is None:
            self.session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=100),
            )
        url = URL(f"{UPSTREAM}{scope['raw_path'].decode()}", encoded=True)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in HOP_BY_HOP
        ]
        async with self.session.request(
            scope["method"], url, headers=headers, allow_redirects=False
        ) as upstream:
            await send(
                {
                    "type": "http.response.start",
                    "status": upstream.status,
                    "headers": [
                        (name.lower(), value)
                        for name, value in upstream.raw_headers
                        if name.lower() not in HOP_BY_HOP
                    ],
                }
            )
            async for chunk in upstream.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


app = Forward()
