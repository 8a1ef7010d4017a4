"""Early hints (RFC 8297) on their way to a client, and what a failed `send` means.

hints = Hints(send)
hints(103, [(b"link", b"</style.css>; rel=preload")])     # at once; a task sends it
await hints.settle()                                      # before the head of the answer
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gatekit.typing import RawHeaders, Send


class Hints:
    """Passes on the `Link` fields of 103 heads; nothing else has a message in ASGI."""

    __slots__ = ("_send", "_tasks")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._tasks: list[asyncio.Task[None]] = []

    def __call__(self, status: int, fields: RawHeaders) -> None:
        links = [value for name, value in fields if name == b"link"]
        if status == 103 and links:
            self._tasks.append(asyncio.get_running_loop().create_task(self._pass(links)))

    async def settle(self) -> None:
        """Wait until all are sent: a server takes none after the head."""
        tasks, self._tasks = self._tasks, []
        if tasks:
            await asyncio.wait(tasks)

    async def _pass(self, links: list[bytes]) -> None:
        # It is worth nothing to a client that is gone.
        with suppress(Exception):
            await self._send({"type": "http.response.early_hint", "links": links})


def is_raised_by(send: Send, error: BaseException) -> bool:
    """Whether it comes out of this function; one that is not Python's own cannot be recognised."""
    code = getattr(send, "__code__", None)
    trace = error.__traceback__
    while code is not None and trace is not None:
        if trace.tb_frame.f_code is code:
            return True
        trace = trace.tb_next
    return False
