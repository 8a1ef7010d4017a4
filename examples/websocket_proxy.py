"""A chat behind the gateway: who may join is decided before the chat hears of it.

    $ python -m examples.websocket_proxy

Open http://127.0.0.1:8000/ in two windows and talk, or join from a terminal:

    python -m websockets 'ws://127.0.0.1:8000/chat?name=ada'

The page itself, which is the gateway's:

    $ curl -i http://127.0.0.1:8000/
    # → 200 <!doctype html>…
    #   content-type: text/html; charset=utf-8

A handshake is a request like any other, and is refused with a status like any other: without a
name, or from a page of another site.

    $ curl -i http://127.0.0.1:8000/chat -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
    # → 401 {"type":"about:blank",…"detail":"Say who you are: /chat?name=ada"…}
    $ curl -i 'http://127.0.0.1:8000/chat?name=eve' -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Origin: https://evil.example'
    # → 403 {"type":"urn:gatekit:origin",…}

How the last connections ended, and who ended them:

    $ curl -i http://127.0.0.1:8000/ends
    # → 200 […]
    #   content-type: application/json
"""  # noqa: E501 — a curl line is one line

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from websockets.sync.server import Server, ServerConnection, serve

from examples.service import port
from gatekit import (
    CORS,
    ConcurrencyLimit,
    Gateway,
    Outcome,
    Proxy,
    Request,
    Response,
    Route,
    WebSockets,
    problem,
)
from gatekit.typing import Handler

PAGE = """<!doctype html>
<title>Chat</title>
<pre id="said"></pre>
<form id="say"><input autofocus autocomplete="off"></form>
<script>
  const name = prompt("Your name?") || "nobody"
  const socket = new WebSocket(`ws://${location.host}/chat?name=${encodeURIComponent(name)}`)
  const show = line => said.append(line + "\\n")
  socket.onmessage = event => show(event.data)
  socket.onclose = event => show(`(closed: ${event.code} ${event.reason})`)
  say.onsubmit = event => {
    event.preventDefault()
    socket.send(say.firstChild.value)
    say.reset()
  }
</script>
"""


@contextmanager
def chat() -> Iterator[str]:
    """The URL of a service that says to all what one says, and knows them by a header field."""
    people: dict[ServerConnection, str] = {}

    def say(text: str) -> None:
        for person in list(people):
            person.send(text)

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        name = connection.request.headers["X-Name"]
        people[connection] = name
        say(f"{name} is here")
        try:
            for message in connection:
                if message == "bye":
                    connection.close(4000, "see you")
                say(f"{name}: {message!s}")
        finally:
            del people[connection]

    server: Server
    with serve(talk, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"


async def named(request: Request, call_next: Handler) -> Response:
    """Whoever says a name is believed; a real gateway would ask for a session."""
    del request.headers["x-name"]
    name = request.query.decode("latin-1").removeprefix("name=")
    if not name.isalnum():
        return problem(401, "Say who you are: /chat?name=ada")
    request.headers["x-name"] = name
    return await call_next(request)


class Ends:
    """Keeps how the last connections ended; as a handler it tells."""

    def __init__(self) -> None:
        self._last: deque[dict[str, object]] = deque(maxlen=10)

    async def watch(self, request: Request, call_next: Handler) -> Response:
        def over(outcome: Outcome) -> None:
            if request.websocket_close is not None:
                self._last.append(request.websocket_close._asdict())

        request.on_finish(over)
        return await call_next(request)

    async def tell(self, request: Request) -> Response:
        return Response.json(list(self._last))


async def page(request: Request) -> Response:
    return Response(200, {"content-type": "text/html; charset=utf-8"}, PAGE)


def build(url: str) -> Gateway:
    ends = Ends()
    proxy = Proxy(url, websockets=WebSockets(max_message=4096, idle=600))
    return Gateway(
        CORS(allow_origins=["http://127.0.0.1:8000", "http://localhost:8000"]),
        routes=[
            Route("/", page),
            Route("/ends", ends.tell),
            Route("/chat", proxy, named, ConcurrencyLimit(20), ends.watch),
        ],
    )


if __name__ == "__main__":
    with chat() as url:
        uvicorn.run(build(url).asgi(), port=port(), proxy_headers=False, access_log=False)
