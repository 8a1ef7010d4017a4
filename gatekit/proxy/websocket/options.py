"""How a proxy carries WebSockets: the limits of each connection, and its end.

    Proxy("http://chat:8000")                                       # carried, with the defaults
    Proxy("http://chat:8000", websockets=WebSockets(max_message=65_536, idle=300))
    Proxy("http://chat:8000", websockets=False)                     # refused with 501

The frames are the work of the library `websockets`, which the extra `websocket` installs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.util import find_spec
from random import Random, SystemRandom

from gatekit._core.options import (
    chance_problem,
    each_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    token_problem,
)
from gatekit.errors import check

MISSING = "needs the package websockets: install gatekit-middleware[websocket]"


@known_keywords
@dataclass(frozen=True, slots=True)
class WebSockets:
    """Limits of a WebSocket that is carried to an upstream; durations are seconds, None is none.

    `subprotocols` are those that a client may ask for: the others of its offer are not passed on.
    """

    max_message: int = 1_048_576
    """Bytes of one message, either way; a larger one closes both sides with 1009."""
    idle: float | None = None
    """Without a message either way both sides are closed with 1001; pings do not count."""
    ping_interval: float | None = 20.0
    """Between two pings to the upstream; one that has said nothing since the last is lost."""
    max_lifetime: float | None = None
    """Both sides are closed with 1001 after it, or up to a tenth earlier."""
    drain: float = 5.0
    """When the proxy is closed, its connections are closed with 1012, spread over this time."""
    subprotocols: Collection[str] | None = None
    chance: Random = field(default_factory=SystemRandom, repr=False, compare=False)
    """Spreads what would otherwise happen to all connections at once."""

    def __post_init__(self) -> None:
        check(
            "WebSockets",
            websockets=None if is_installed() else MISSING,
            max_message=integer_problem(self.max_message, 1),
            idle=_limit_problem(self.idle),
            ping_interval=_limit_problem(self.ping_interval),
            max_lifetime=_limit_problem(self.max_lifetime),
            drain=None if self.drain == 0 else seconds_problem(self.drain),
            subprotocols=None
            if self.subprotocols is None
            else each_problem(self.subprotocols, token_problem),
            chance=chance_problem(self.chance),
        )


def is_installed() -> bool:
    """Whether the library of frames can be imported; it is not imported here."""
    return find_spec("websockets") is not None


def _limit_problem(seconds: object) -> str | None:
    return None if seconds is None else seconds_problem(seconds)


def websockets_problem(value: object) -> str | None:
    """Of an option that holds either limits, or whether there are WebSockets at all."""
    if isinstance(value, WebSockets | bool):
        return None
    return f"must be WebSockets(...), True or False, not {value!r}"
