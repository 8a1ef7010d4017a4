r"""One server of each kind for a whole module, with an upstream that does what each test tells it.

    site.upstream_does("/sse", play)         # a function of the upstream's `Peer` and of the head
    with connect(site.address) as client: ...

Starting a server costs more than all the exchanges of a test, so they share it; each test has a
path of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tests.net import Address
from tests.proxy.upstream import Peer, Upstream
from tests.servers import Kind, serve

Play: TypeAlias = Callable[[Peer, bytes], None]

ASGI: list[Kind] = ["uvicorn", "hypercorn", "granian"]
WSGI: list[Kind] = ["gunicorn", "waitress", "granian-wsgi"]

_PATH = re.compile(rb"[A-Z]+ ([^ ?]+)")


class Site:
    """A gateway under one server."""

    def __init__(self, kind: Kind, address: Address, upstream: Upstream) -> None:
        self.kind = kind
        self.address = address
        self.upstream = upstream
        self.plays: dict[str, Play] = {}

    @property
    def is_async(self) -> bool:
        return self.kind in ASGI

    def upstream_does(self, path: str, play: Play) -> None:
        self.plays[path] = play

    def script(self, peer: Peer) -> None:
        while True:
            head = peer.read_head()
            path = _PATH.match(head)
            assert path is not None
            self.plays[path[1].decode()](peer, head)


@contextmanager
def site(kind: Kind, target: str = "tests.proxy.gateway_app", **env: str) -> Iterator[Site]:
    """`target` is a module with the applications `app` and `wsgi`."""

    def script(peer: Peer) -> None:
        here.script(peer)

    name = "app" if kind in ASGI else "wsgi"
    with Upstream(script) as upstream:
        variables = {"UPSTREAM": upstream.url, **env}
        # This one keeps what its clients have closed until then.
        options = ("--keep-alive", "1") if kind == "hypercorn" else ()
        with serve(kind, f"{target}:{name}", env=variables, options=options) as server:
            here = Site(kind, server.address, upstream)
            yield here
