"""Sends the corpus through a real server with a proxy behind it, and keeps what reaches upstream.

result = onslaught("uvicorn", CASES, "--http", "h11")
result.upstream["c7"]        # the requests of case 7 that the upstream was sent
result.violations            # what the upstream could not read in one way only
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence

from tests.proxy.corpus import Case
from tests.proxy.strict import Ambiguous, Request, read_request
from tests.servers import Kind, serve

QUIET = 0.5
"""Seconds for which a server may be silent to a doubtful request before the client goes.

It ends the wait for what should not come: a busy machine can make a test weaker, never fail it.
"""
PATIENCE = 20.0
_AT_ONCE = 24
_FINAL = re.compile(rb"HTTP/1\.[01] [2-5]\d\d")
_REFUSAL = re.compile(rb"HTTP/1\.[01] [45]\d\d")
_NAME = re.compile(rb"\bc\d\d\d")
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Result:
    """What reached the upstream, and what the client was told, by the name of the case."""

    def __init__(self) -> None:
        self.upstream: defaultdict[str, list[Request]] = defaultdict(list)
        self.nameless: list[Request] = []
        self.violations: list[str] = []
        self.answers: dict[str, bytes] = {}
        self.log = ""

    async def record(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The upstream: answers what it can read, and reads nothing that it doubts."""
        data = b""
        try:
            while received := await reader.read(65_536):
                data += received
                while found := read_request(data):
                    request, data = found
                    self._keep(request)
                    writer.write(_OK_HEAD if request.method == b"HEAD" else _OK)
                    if request.method == b"HEAD":
                        continue
        except Ambiguous as error:
            self.violations.append(f"{error} in {data[:300]!r}")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _keep(self, request: Request) -> None:
        name = _NAME.search(request.target)
        if name is None:
            self.nameless.append(request)
        else:
            self.upstream[name[0].decode()].append(request)


def onslaught(kind: Kind, cases: Sequence[Case], *options: str) -> Result:
    """Every case on a connection of its own, some at a time."""
    return asyncio.run(_onslaught(kind, cases, options))


async def _onslaught(kind: Kind, cases: Sequence[Case], options: Sequence[str]) -> Result:
    result = Result()
    upstream = await asyncio.start_server(result.record, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    target = "tests.proxy.framing_app:" + (
        "wsgi" if kind in ("gunicorn", "waitress", "granian-wsgi") else "app"
    )
    env = {"UPSTREAM": f"http://127.0.0.1:{port}"}
    with serve(kind, target, env=env, threads=_AT_ONCE + 8, options=options) as server:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, case: Case) -> None:
            name = f"c{number:03}"
            async with gate:
                result.answers[name] = await _send(server.port, name, case)

        await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))
        result.log = server.log()
    upstream.close()
    await upstream.wait_closed()
    return result


async def _send(port: int, name: str, case: Case) -> bytes:
    data = case.data.replace(b"CASE", name.encode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    # A hidden request would be answered after the others.
    hides = b"/smuggled/" in data and not case.exactly
    try:
        async with asyncio.timeout(PATIENCE if case.exactly else QUIET):
            writer.write(data)
            await writer.drain()
            while received := await reader.read(65_536):
                answer += received
                if not hides and (
                    len(_FINAL.findall(answer)) >= max(case.most, 1) or _REFUSAL.search(answer)
                ):
                    break
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return answer
