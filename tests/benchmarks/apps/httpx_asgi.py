"""A proxy by hand on httpx, as the recipe goes: one client, `stream=True`, a StreamingResponse."""

from __future__ import annotations

import os

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx.AsyncClient(base_url=os.environ["UPSTREAM"])


async def forward(request: Request) -> StreamingResponse:
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    upstream = await client.send(
        client.build_request(
            request.method, url, headers=request.headers.raw, content=request.stream()
        ),
        stream=True,
    )
    return StreamingResponse(
        upstream.aiter_raw(),
        status_code=upstream.status_code,
        headers=dict(upstream.headers),
        background=BackgroundTask(upstream.aclose),
    )


app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "PUT"])])
