"""The upstream where nginx is missing: it reads what it is sent before it answers one KiB.

A server closes the connection of a request whose body nobody read, and some peers send an empty
body in chunks with every GET.
"""

from __future__ import annotations

from gatekit.typing import Receive, Scope, Send
from tests.benchmarks.apps import static_asgi


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        while (await receive()).get("more_body", False):
            pass
    await static_asgi.app(scope, receive, send)
