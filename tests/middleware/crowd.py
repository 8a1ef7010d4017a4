"""Requests that stand inside an app until they are told to go, in tasks and in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gatekit import asgi, wsgi
from gatekit.middleware.concurrency import ConcurrencyLimit
from gatekit.testing import Answer, call_wsgi
from tests.doors.messages import Server, http_scope


def counts(limit: ConcurrencyLimit) -> tuple[int, int]:
    """In flight and waiting, of all keys together."""
    found = limit.status()
    return sum(one.in_flight for one in found), sum(one.waiting for one in found)


def refused(limit: ConcurrencyLimit) -> int:
    return sum(limit.refused.values())


class Crowd:
    """ASGI requests through one limit; each is a task and stands inside until `let_go`."""

    def __init__(self, *middlewares: Any) -> None:
        self.limit = next(m for m in middlewares if isinstance(m, ConcurrencyLimit))
        self.inside: list[str] = []
        """In the order of their coming in."""
        self.sent_half = False
        self._gates: dict[str, asyncio.Event] = {}
        self.servers: dict[str, Server] = {}
        self._app = asgi(self._stand, *middlewares)

    async def _stand(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"].strip("/")
        self.inside.append(name)
        if self.sent_half:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await self._gates[name].wait()
        if not self.sent_half:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    def send(self, name: str, **scope: Any) -> asyncio.Task[Any]:
        self._gates[name] = asyncio.Event()
        server = self.servers[name] = Server(http_scope(path=f"/{name}", **scope))
        return asyncio.create_task(server.run(self._app), name=name)

    async def arrive(self, name: str, **scope: Any) -> asyncio.Task[Any]:
        """Sends a request and goes on once it is inside, waits, or is answered."""
        before = counts(self.limit), len(self.inside), refused(self.limit)
        task = self.send(name, **scope)
        await until(
            lambda: (
                task.done() or (counts(self.limit), len(self.inside), refused(self.limit)) != before
            )
        )
        return task

    def let_go(self, name: str) -> None:
        self._gates[name].set()

    def answer(self, name: str) -> int:
        status: int = self.servers[name].sent[0]["status"]
        return status


async def until(fact: Callable[[], object]) -> None:
    """Lets the loop run its course until the fact holds; a test that waits for ever fails."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110 — the facts are counters, which nobody signals
            await asyncio.sleep(0)


class Threads:
    """WSGI requests through one limit; each is a thread and stands inside until `let_go`."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.limit = limit
        self.inside: list[str] = []
        self.answers: dict[str, Answer] = {}
        self._gates: dict[str, threading.Event] = {}
        self._changed = threading.Condition()
        self._threads: dict[str, threading.Thread] = {}
        self._app = wsgi(self._stand, limit)

    def _stand(self, environ: Any, start_response: Any) -> Any:
        name = environ["PATH_INFO"].strip("/")
        with self._changed:
            self.inside.append(name)
            self._changed.notify_all()
        assert self._gates[name].wait(20)
        start_response("200 OK", [])
        return [b"done"]

    def _call(self, name: str, call: dict[str, Any]) -> None:
        answer = call_wsgi(self._app, target=f"/{name}", **call)
        with self._changed:
            self.answers[name] = answer
            self._changed.notify_all()

    def send(self, name: str, **call: Any) -> None:
        self._gates[name] = threading.Event()
        thread = threading.Thread(target=self._call, args=(name, call), daemon=True)
        self._threads[name] = thread
        thread.start()

    def arrive(self, name: str, **call: Any) -> None:
        """Sends a request and goes on once it is inside, waits, or is answered."""
        before = counts(self.limit), len(self.inside), refused(self.limit), len(self.answers)
        self.send(name, **call)
        self.until(
            lambda: (
                (counts(self.limit), len(self.inside), refused(self.limit), len(self.answers))
                != before
            )
        )

    def until(self, fact: Callable[[], object]) -> None:
        """A line is joined without a sound, so the fact is looked at again and again."""
        looks = 0
        with self._changed:
            while not fact():
                self._changed.wait(0.001)
                looks += 1
                assert looks < 20_000

    def let_go(self, name: str) -> None:
        self._gates[name].set()

    def finish(self) -> None:
        for gate in self._gates.values():
            gate.set()
        for thread in self._threads.values():
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def threads(limit: ConcurrencyLimit) -> Iterator[Threads]:
    crowd = Threads(limit)
    try:
        yield crowd
    finally:
        crowd.finish()
