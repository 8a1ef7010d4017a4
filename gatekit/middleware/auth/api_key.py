"""Who calls, by an API key: `X-API-Key`, or `Authorization: ApiKey …`.

    keys = KeyManager("sqlite:///keys.db", secret=SECRET)
    ApiKeyAuth(keys)                                        # made by `gatekit keys create`
    ApiKeyAuth({os.environ["PARTNER_KEY"]: "partner"})      # a few that the configuration names

An identity has the key's scopes, roles, plan and tenant; its `client_id` is the key's public id.

**What costs what.** A key that was seen within `ttl` seconds is one hash and a look into a
dictionary. What has not a key's shape, checksum and tag is refused before any store is asked (see
`gatekit.keys.format`). Many requests with one key that is not known yet ask the store once.

**Revoking** takes effect in other processes when what they remember is older than `ttl`.

**Without the store** a key that would have to be looked up is a 503. With `stale_for` a key that is
known is believed so many seconds longer, while the store does not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gatekit._core.messages import Request
from gatekit._core.options import (
    each_problem,
    flag_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    token_problem,
)
from gatekit.errors import check
from gatekit.keys.lookup import BadKey, KeyLookup
from gatekit.keys.manager import KeyManager
from gatekit.keys.store import KeysUnavailable
from gatekit.middleware.auth._authenticator import Authenticator, authenticator_problems
from gatekit.middleware.auth._challenges import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    challenge,
)
from gatekit.middleware.auth._key_table import KeyTable, mapping_of, table_problem
from gatekit.middleware.auth._sources import Sources, TwoTokens, source_problems
from gatekit.middleware.auth.identity import Identity

# Seconds, for a store that does not say.
_TIMEOUT = 2.0


@known_keywords
class ApiKeyAuth(Authenticator):
    """`keys` is a `KeyManager`, or a mapping of keys to subjects or identities.

    A key is looked for in the field `header`, behind each of the `schemes` in `Authorization`, in
    the `cookie` and, only if it is named, in the parameter `query`. Two of them in one request are
    a 400. With the scheme `Bearer`, what is no key of a `KeyManager` is left to another
    authenticator.

    Seconds: `ttl` and `negative_ttl` are how long a record, and that there is none, is remembered,
    `timeout` is the deadline of the store. `max_entries` records are remembered. `track_use` writes
    when a key was last used, at most once a minute and beside the requests.
    """

    scheme = "ApiKey"

    def __init__(
        self,
        keys: KeyManager | Mapping[str, Identity | str],
        *,
        header: str | None = "X-API-Key",
        schemes: Collection[str] = ("ApiKey",),
        cookie: str | None = None,
        query: str | None = None,
        ttl: float = 30.0,
        negative_ttl: float = 5.0,
        stale_for: float = 0.0,
        timeout: float | None = None,
        max_entries: int = 100_000,
        track_use: bool = True,
        realm: str = "api",
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        hide_credentials: bool = True,
        name: str = "api-key",
    ) -> None:
        places = source_problems(header, "", cookie, query, None)
        if schemes:
            places["header"] = None if header is None else places["header"]
        check(
            "ApiKeyAuth",
            keys=_keys_problem(keys),
            header=places["header"],
            cookie=places["cookie"],
            query=places["query"],
            schemes=each_problem(schemes, token_problem),
            ttl=seconds_problem(ttl),
            negative_ttl=seconds_problem(negative_ttl),
            stale_for=None if stale_for == 0 else seconds_problem(stale_for),
            timeout=None if timeout is None else seconds_problem(timeout),
            max_entries=integer_problem(max_entries, 1),
            track_use=flag_problem(track_use),
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
        self._manager = keys if isinstance(keys, KeyManager) else None
        self._lookup: KeyLookup | KeyTable
        if isinstance(keys, KeyManager):
            said: object = getattr(keys.store, "timeout", None)
            known = float(said) if isinstance(said, int | float) else _TIMEOUT
            self._lookup = keys.lookup(
                ttl=ttl,
                negative_ttl=negative_ttl,
                stale_for=stale_for,
                timeout=known if timeout is None else timeout,
                max_entries=max_entries,
                track_use=track_use,
            )
        else:
            self._lookup = KeyTable(keys)
        self._field = b"" if header is None else header.lower().encode("ascii")
        # Each with whether what is found there may be of another kind.
        self._sources: list[tuple[Sources, bool]] = []
        if header or cookie or query:
            own = Sources(header=header, scheme="", cookie=cookie, query=query)
            self._sources.append((own, False))
        for scheme in dict.fromkeys(map(str.lower, schemes)):
            self._sources.append((Sources(scheme=scheme), scheme == "bearer"))
        shown = next(iter(schemes), self.scheme)
        self._challenge = challenge(shown, realm=realm)
        self._malformed = challenge(shown, realm=realm, error="invalid_request")
        self._invalid = challenge(shown, realm=realm, error="invalid_token")

    async def authenticate(self, request: Request) -> Identity | None:
        text = self._presented(request)
        if text is None:
            return None
        try:
            return await self._lookup.find(request.io, text)
        except BadKey as bad:
            raise AuthenticationFailed(
                bad.flaw,
                challenge=self._invalid,
                detail="The API key is not valid.",
                who=bad.key_id,
            ) from None
        except KeysUnavailable as error:
            raise AuthenticationUnavailable("the store of keys is away") from error

    def _presented(self, request: Request) -> bytes | None:
        text: bytes | None = None
        try:
            for source, is_shared in self._sources:
                found = source.find(request)
                if found is None or (is_shared and not self._lookup.is_ours(found)):
                    continue
                if text is not None:
                    raise TwoTokens("two keys")
                text = found
        except TwoTokens as two:
            raise AuthenticationFailed(
                two.reason,
                challenge=self._malformed,
                status=400,
                detail="The request holds more than one API key, or a part of one.",
            ) from None
        return text

    def hide(self, request: Request) -> None:
        headers = request.headers
        rest = [field for field in headers.raw if field[0] != self._field]
        if len(rest) < len(headers.raw):
            # It was there, and a second one would have been refused.
            headers.replace(rest)
            return
        for source, _ in self._sources:
            source.hide(request)

    def close(self) -> None:
        self._lookup.close()
        if self._manager is not None:
            self._manager.close()

    async def aclose(self) -> None:
        await self._lookup.aclose()
        if self._manager is not None:
            await self._manager.aclose()


def _keys_problem(keys: object) -> str | None:
    if isinstance(keys, KeyManager):
        return None
    mapping = mapping_of(keys)
    if mapping is None:
        return "must be a KeyManager, or a mapping of keys to subjects or identities"
    return table_problem(mapping)
