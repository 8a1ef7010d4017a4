"""Who calls, by name and password: HTTP Basic authentication (RFC 7617).

    BasicAuth({"ada": "scrypt:32768:8:1$…$…"})                    # hash_password() makes these
    BasicAuth(load_hash)                                          # a function of the name
    BasicAuth(verify=ask_ldap)                                    # a function of name and password

Passwords go over the line as they are: use it behind TLS only.

A password hash takes its time on purpose. What has been verified is remembered for `ttl` seconds
under a keyed hash of name and password, so it costs that once. Under ASGI hashes are computed by
`workers` threads beside the event loop, and more than `max_waiting` requests for them are a 503:
whoever tries passwords keeps those threads busy, and not the app.

An unknown name takes as long as a wrong password, and its answer is the same.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TypeAlias, cast

from gatekit._core.flight import Flights
from gatekit._core.io import IO, resolve
from gatekit._core.latch import Latch
from gatekit._core.messages import Request
from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
)
from gatekit.errors import MisuseError, check
from gatekit.limits.secrecy import hashed
from gatekit.middleware.auth._authenticator import Authenticator, authenticator_problems
from gatekit.middleware.auth._challenges import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    challenge,
)
from gatekit.middleware.auth._passwords import decoy, hash_password, hash_problem, matches, normal
from gatekit.middleware.auth._sources import Sources, TwoTokens
from gatekit.middleware.auth.identity import Identity

__all__ = ["BasicAuth", "hash_password"]

FindHash: TypeAlias = "Callable[[str], str | Awaitable[str | None] | None]"
Verify: TypeAlias = (
    "Callable[[str, str], bool | Identity | Awaitable[bool | Identity | None] | None]"
)
Describe: TypeAlias = "Callable[[str], Identity]"

logger = logging.getLogger("gatekit.auth")

# Characters of base64: enough for a name and a password of two hundred letters each in any script.
_LONGEST = 2400


@known_keywords
class BasicAuth(Authenticator):
    """`users` maps names to password hashes, or is a function that gives the hash of a name.

    `verify` takes its place: given name and password, it answers with a bool or an identity.
    Functions may be async under ASGI. `identity` makes the identity of a name that was verified.
    """

    scheme = "Basic"

    def __init__(
        self,
        users: Mapping[str, str] | FindHash | None = None,
        *,
        verify: Verify | None = None,
        identity: Describe | None = None,
        ttl: float = 60.0,
        max_entries: int = 10_000,
        workers: int = 2,
        max_waiting: int = 100,
        realm: str = "api",
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        hide_credentials: bool = True,
        name: str = "basic",
    ) -> None:
        check(
            "BasicAuth",
            users=_users_problem(users, verify),
            verify=function_problem(verify, takes_async=True),
            identity=function_problem(identity),
            ttl=seconds_problem(ttl),
            max_entries=integer_problem(max_entries, 1),
            workers=integer_problem(workers, 1),
            max_waiting=integer_problem(max_waiting, 1),
            **authenticator_problems(
                realm=realm,
                public=public,
                optional=optional,
                forward_headers=forward_headers,
                hide_credentials=hide_credentials,
                name=name,
            ),
        )
        super().__init__(
            realm=realm,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            hide_credentials=hide_credentials,
            name=name,
        )
        table = _table(users)
        self._users = _finder(users, table)
        self._verify = verify
        self._describe = identity or _identity
        self._decoy = decoy(next(iter(table.values()), None))
        self._source = Sources(scheme="Basic")
        # RFC 7617 §2.1: tells clients how to encode what is not ASCII.
        self._challenge = challenge("Basic", realm=realm, charset="UTF-8")
        self._secret = secrets.token_bytes(32)
        self._ttl = ttl
        self._most = max_entries
        self._known: dict[bytes, tuple[float, Identity]] = {}
        self._latch = Latch()
        self._flights: Flights[Identity | None] = Flights()
        self._workers = workers
        self._max_waiting = max_waiting
        self._waiting = 0
        self._pools: dict[int, ThreadPoolExecutor] = {}

    async def authenticate(self, request: Request) -> Identity | None:
        user, password = self._credentials(request)
        if user is None:
            return None
        # With its length in front no name and password can pass for another pair.
        text = f"{len(user)}:{user}:{password}".encode("utf-8", "surrogatepass")
        key = hmac.digest(self._secret, text, sha256)
        io = request.io
        known = self._known.get(key)
        if known is not None and io.now() < known[0]:
            return known[1]
        try:
            identity = await self._flights.join(io, key, lambda: self._prove(io, user, password))
        except (MisuseError, AuthenticationUnavailable):
            raise
        except Exception as error:
            logger.warning("%s could not look a user up: %s", self.name, type(error).__name__)
            raise AuthenticationUnavailable(f"users: {type(error).__name__}") from error
        if identity is None:
            raise self._failed("wrong name or password", who=hashed(user, self._secret[:16]))
        self._remember(key, identity, io.now())
        return identity

    def hide(self, request: Request) -> None:
        self._source.hide(request)

    async def _prove(self, io: IO, user: str, password: str) -> Identity | None:
        if self._verify is not None:
            answer = await resolve(self._verify(user, password))
            if isinstance(answer, Identity):
                return answer
            return self._describe(user) if answer is True else None
        stored = await resolve(self._users(user))
        good = await io.call(matches, self._matches, stored or self._decoy, password)
        return self._describe(user) if good and stored else None

    async def _matches(self, stored: str, password: str) -> bool:
        if self._waiting >= self._max_waiting:
            raise AuthenticationUnavailable("too many passwords to verify")
        pid = os.getpid()
        pool = self._pools.get(pid)
        if pool is None:
            fresh = ThreadPoolExecutor(self._workers, thread_name_prefix="gatekit basic")
            pool = self._pools.setdefault(pid, fresh)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, matches, stored, password)
        finally:
            self._waiting -= 1

    def _remember(self, key: bytes, identity: Identity, now: float) -> None:
        lock = self._latch.take()
        try:
            self._known.pop(key, None)
            self._known[key] = (now + self._ttl, identity)
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        finally:
            lock.release()

    def _credentials(self, request: Request) -> tuple[str, str] | tuple[None, str]:
        try:
            token = self._source.find(request)
        except TwoTokens as two:
            raise self._failed(two.reason, status=400) from None
        if token is None:
            return None, ""
        found = parse(token)
        if found is None:
            raise self._failed("malformed")
        return found

    def _failed(
        self, reason: str, *, status: int = 401, who: str | None = None
    ) -> AuthenticationFailed:
        return AuthenticationFailed(reason, challenge=self._challenge, status=status, who=who)

    def close(self) -> None:
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def aclose(self) -> None:
        self.close()


def parse(token: bytes) -> tuple[str, str] | None:
    """Name and password (RFC 7617 §2); None if it is anything else."""
    if len(token) > _LONGEST or len(token) % 4:
        return None
    try:
        text = binascii.a2b_base64(token, strict_mode=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    # "The user-id and password MUST NOT contain any control characters."
    if not colon or any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text):
        return None
    return normal(user), normal(password)


def _identity(user: str) -> Identity:
    return Identity(user, method="basic")


def _table(users: object) -> dict[str, str]:
    if not isinstance(users, Mapping):
        return {}
    given = cast("Mapping[str, str]", users)
    return {normal(user): stored for user, stored in given.items()}


def _finder(users: object, table: Mapping[str, str]) -> FindHash:
    return cast("FindHash", users) if callable(users) else table.get


def _users_problem(users: object, verify: object) -> str | None:
    if (users is None) is (verify is None):
        return "give users, or verify in their place"
    if users is None:
        return None
    if not isinstance(users, Mapping):
        return function_problem(users, takes_async=True)
    if not users:
        return "is empty: nobody could come in"
    for user, stored in cast("Mapping[object, object]", users).items():
        if not isinstance(user, str) or ":" in user or not user.isprintable():
            return f"{user!r} is not a name: it must be printable, and without a colon"
        problem = hash_problem(stored)
        if problem is not None:
            return f"what {user!r} is mapped to {problem}"
    return None
