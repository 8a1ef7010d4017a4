"""What a router and a gateway share: the stack of each route, how it is entered, what is refused.

stacks = Stacks(self, table, {route: route.middlewares for route in routes})
found = table.find(request)
if isinstance(found, Match):
    enter(request, found)
    request._at = self
    return await run(stacks.of(found), request, call_next)
return refusal(request, found)
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from gatekit._core.compose import compose, terminal
from gatekit._core.messages import Request, Response
from gatekit._core.problems import rejection
from gatekit._core.table import Match, Miss, Table
from gatekit.errors import MisuseError, Rejected
from gatekit.typing import Handler, Middleware

if TYPE_CHECKING:
    from gatekit.router import Route


class Stacks:
    """What runs for each route: around its handler, and around the 405 for a preflight.

    Routes with the very same middlewares share one. `entrance` is what `request._at` has to be.
    """

    __slots__ = ("_stacks",)

    def __init__(
        self,
        entrance: object,
        table: Table[Route],
        middlewares: Mapping[Route, Sequence[Middleware]],
    ) -> None:
        answers = {route: terminal(route.handler) for route in middlewares}

        def answer(request: Request) -> Awaitable[Response]:
            terminal_of_route = answers.get(cast("Route", request.route))
            if terminal_of_route is None:
                raise MisuseError(
                    "call_next was awaited twice, or a middleware changed request.route"
                )
            return terminal_of_route(request)

        async def refuse(request: Request) -> Response:
            return refusal(request, Miss(405, allow=table.allowed(request)))

        refused = terminal(refuse)
        shared: dict[tuple[int, ...], tuple[Handler, Handler]] = {}
        self._stacks: dict[Route, tuple[Handler, Handler]] = {}
        for route, parts in middlewares.items():
            key = tuple(map(id, parts))
            if key not in shared:
                shared[key] = (
                    compose(parts, answer, entered_from=entrance),
                    compose(parts, refused, entered_from=entrance),
                )
            self._stacks[route] = shared[key]

    def of(self, match: Match[Route]) -> Handler:
        return self._stacks[match.route][match.preflight]


def enter(request: Request, match: Match[Route]) -> None:
    """Notes on the request which route it is at."""
    request.route = match.route
    if match.params:
        request.params = {**request.params, **match.params} if request.params else match.params


async def run(handler: Handler, request: Request, call_next: Handler | None) -> Response:
    """Enters a stack that has a terminal of its own, perhaps from within another terminal."""
    if call_next is not None:
        return await handler(request)
    request._answering = False
    try:
        return await handler(request)
    finally:
        request._answering = True


def refusal(request: Request, miss: Miss) -> Response:
    """The problem that a client is answered with."""
    if miss.status == 405:
        rejected = Rejected(
            405,
            f"The methods here are {', '.join(miss.allow)}.",
            type="urn:gatekit:method-not-allowed",
            headers={"allow": ", ".join(miss.allow)},
        )
    elif miss.status == 400:
        rejected = Rejected(400, miss.detail, type="urn:gatekit:ambiguous-path")
    else:
        rejected = Rejected(404, "Nothing answers at this path.", type="urn:gatekit:no-route")
    return rejection(request, rejected)
