"""The demo's first service, in Starlette: reads that are quick, slow, or come piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


async def items(request: Request) -> Response:
    return JSONResponse({"service": "catalog", "items": ["teapot", "kettle"]})


async def slow(request: Request) -> Response:
    await asyncio.sleep(3)
    return JSONResponse({"service": "catalog", "patience": "rewarded"})


async def ticks(request: Request) -> Response:
    async def one_by_one() -> AsyncIterator[bytes]:
        for number in range(1, 5):
            yield b"tick %d\n" % number
            await asyncio.sleep(0.25)

    return StreamingResponse(one_by_one(), media_type="text/plain")


app = Starlette(routes=[Route("/items", items), Route("/slow", slow), Route("/ticks", ticks)])
