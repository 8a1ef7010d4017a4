"""Destinations that a function of one's own finds, sync or async.

def orders():
    return [f"http://{row.host}:8002" for row in connection.execute("select host from orders")]

Cluster("orders", resolver=Function(orders, interval=10))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gatekit._core.aside import Aside
from gatekit._core.io import IO
from gatekit._core.options import flag_problem, function_problem, known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.proxy.discovery.resolver import Answer


@known_keywords
class Function:
    """`function` gives what `Resolver.resolve` does, within `timeout` seconds.

    A plain function has a thread for each call, and may block; an async one runs in the event loop,
    or under WSGI in a loop of its own.
    """

    def __init__(
        self,
        function: Callable[[], Answer | Awaitable[Answer]],
        *,
        interval: float = 30.0,
        timeout: float = 5.0,
        allow_empty: bool = False,
    ) -> None:
        given: object = function
        check(
            "Function",
            function="must be a function, not None"
            if given is None
            else function_problem(given, takes_async=True),
            interval=seconds_problem(interval),
            timeout=seconds_problem(timeout),
            allow_empty=flag_problem(allow_empty),
        )
        self.interval = interval
        self.timeout = timeout
        self.allow_empty = allow_empty
        self._function = function
        self._aside = Aside()

    async def resolve(self, io: IO) -> Answer:
        return await self._aside.call(io, self._function, seconds=self.timeout)
