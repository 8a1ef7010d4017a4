"""Counts in Redis or Valkey, shared by every worker on every host.

    RateLimit("100/minute", store="redis://localhost:6379/0")
    RateLimit("100/minute", store=RedisStore("rediss://:password@redis.example", secret=SECRET))
    RateLimit("100/minute", store="redis+sentinel://one:26379,two:26379/mymaster")
    RateLimit("100/minute", store="redis+cluster://one:6379,two:6379")

One round trip a request, in which a script checks and consumes all limits at once, by the server's
clock. Keys are hashed before they leave the process, with `secret` if there is one.

Connections are made by the first requests: one client for each process and, under ASGI, for each
event loop. There the deadline holds for connecting and asking together. Under WSGI half of it is
for each step: connecting, and each answer; a password and a database are steps of a new connection.
Looking up a host name has no deadline there: give an address, or a name that the host itself knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from gatekit._core.options import function_problem, integer_problem, known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.limits.guard import Guard
from gatekit.limits.meters import Standing
from gatekit.limits.redis_clients import Address, Clients, parse_address
from gatekit.limits.redis_script import DIGEST, SCRIPT
from gatekit.limits.secrecy import hashed, secret_problem
from gatekit.limits.store import Claim, client_problem


@known_keywords
class RedisStore:
    """Counts on the server, cluster or Sentinel service that `url` names.

    `timeout` is the deadline of one call in seconds. `prefix` begins every key. `max_connections`
    holds for each client. `clock` takes the place of the server's, for tests.
    """

    __slots__ = (
        "_address", "_clients", "_clock", "_prefix", "_secret", "guard", "single_slot", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.05,
        prefix: str = "gatekit",
        secret: bytes = b"",
        max_connections: int = 64,
        clock: Callable[[], float] | None = None,
    ) -> None:
        address, wrong = _parse(url)
        check(
            "RedisStore",
            url=wrong or client_problem(),
            timeout=seconds_problem(timeout),
            prefix=_prefix_problem(prefix),
            secret=secret_problem(secret),
            max_connections=integer_problem(max_connections, 1),
            clock=function_problem(clock),
        )
        assert address is not None
        self._address = address
        self._prefix = prefix
        self._secret = secret
        self._clock = clock
        self.timeout = timeout
        # Of the store, not of a policy: what one learns of its trouble all of them know.
        self.guard = Guard(self)
        self.single_slot = address.kind == "cluster"
        self._clients = Clients(address, timeout, max_connections)

    def take(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        from redis.exceptions import NoScriptError, ResponseError

        words = self._words(claims, cost, forced)
        client = self._clients.blocking()
        try:
            answer = client.execute_command("EVALSHA", DIGEST, *words)
        except NoScriptError:
            answer = client.execute_command("EVAL", SCRIPT, *words)
        except ResponseError as error:
            if _is_read_only(error) and (pool := _pool(client)) is not None:
                pool.disconnect(inuse_connections=False)
            raise
        return list(map(_standing, answer))

    async def atake(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        from redis.exceptions import NoScriptError, ResponseError

        words = self._words(claims, cost, forced)
        client = self._clients.aio()
        try:
            answer = await client.execute_command("EVALSHA", DIGEST, *words)
        except NoScriptError:
            answer = await client.execute_command("EVAL", SCRIPT, *words)
        except ResponseError as error:
            if _is_read_only(error) and (pool := _pool(client)) is not None:
                await pool.disconnect(inuse_connections=False)
            raise
        return list(map(_standing, answer))

    def clear(self, claims: Sequence[Claim]) -> None:
        self._clients.blocking().delete(*map(self._key, claims))

    async def aclear(self, claims: Sequence[Claim]) -> None:
        await self._clients.aio().delete(*map(self._key, claims))

    def clear_scope(self, scope: str) -> None:
        client = self._clients.blocking()
        for key in client.scan_iter(match=self._pattern(scope), count=1000):
            client.delete(key)

    async def aclear_scope(self, scope: str) -> None:
        client = self._clients.aio()
        async for key in client.scan_iter(match=self._pattern(scope), count=1000):
            await client.delete(key)

    def _words(self, claims: Sequence[Claim], cost: int, forced: bool) -> list[object]:
        """The number of keys, the keys, and what the script is told."""
        words: list[object] = [len(claims)]
        words += map(self._key, claims)
        words += (cost, int(forced), "" if self._clock is None else repr(self._clock()))
        for _, meter in claims:
            words += meter.script()
        return words

    def _key(self, claim: Claim) -> str:
        key, meter = claim
        # Braces: in a cluster all limits of one key lie in one slot.
        return f"{self._prefix}:{{{hashed(key, self._secret)}}}:{meter.id}"

    def _pattern(self, scope: str) -> str:
        return f"{self._prefix}:{{*}}:{scope}/*"

    def close(self) -> None:
        """Closes the connections of this process that no event loop holds."""
        self._clients.close()

    async def aclose(self) -> None:
        """Closes those of the running loop, too."""
        await self._clients.aclose()

    def __repr__(self) -> str:
        return f"RedisStore({self._address.shown!r})"


def _is_read_only(error: Exception) -> bool:
    """It is no primary any more. Its name may lead to another by now; a connection does not.

    Before Redis 7 a script's error is told in the words of another, its own among them.
    """
    return type(error).__name__ == "ReadOnlyError" or "READONLY" in str(error)


def _pool(client: Any) -> Any:
    """None for a cluster, whose client finds the primaries itself."""
    return getattr(client, "connection_pool", None)


def _standing(line: bytes | str) -> Standing:
    remaining, reset, retry, over, carried = line.split()
    wait = float(retry)
    return Standing(
        int(remaining), float(reset), inf if wait < 0 else wait, int(over), int(carried)
    )


def _parse(url: object) -> tuple[Address | None, str | None]:
    if not isinstance(url, str):
        return None, f"must be a URL such as redis://localhost:6379/0, not {url!r}"
    try:
        return parse_address(url), None
    except ValueError as error:
        return None, str(error)


def _prefix_problem(prefix: object) -> str | None:
    if isinstance(prefix, str) and prefix and not set(prefix) & set("{}*?[]\\ "):
        return None
    return f"must be a text without spaces, braces and the signs of a pattern, not {prefix!r}"
