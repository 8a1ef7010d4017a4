"""Whose tokens are taken, and what they have to be like.

    BearerAuth(issuers=[
        Issuer("https://id.example", audience="api", algorithms=["RS256"]),
        Issuer("https://partner.example", jwks_url="https://partner.example/keys",
               audience="https://api.example", algorithms=["ES256"]),
    ])

A token is judged by the keys, the algorithms and the audience of the issuer that it names, and by
no other's: that is why there is a list for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, cast

from gatekit._core.io import IO
from gatekit._core.options import each_problem, known_keywords, seconds_problem, string_problem
from gatekit.errors import check
from gatekit.middleware.auth._claims import RFC9068, ClaimNames, ClaimRules, claim_names_problem
from gatekit.middleware.auth._jws import BadToken, Parts
from gatekit.middleware.auth._keys import SYMMETRIC, Key, KeySet, algorithms_problem, has_crypto
from gatekit.middleware.auth._metadata import BadAnswer, read_keys, strict, url_problem
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.jwks import JWKS

KeyText: TypeAlias = "str | bytes | Mapping[str, object]"

# What a token without an id, or a set with one id for several keys, may cost in signatures.
_TRIES = 8
_KEYS = 100
_NO_CRYPTO = "needs the extra `gatekit-middleware[crypto]`, which is not installed"


@known_keywords
class Issuer:
    """`issuer` is what `iss` has to be, character by character; None takes any, or none.

    Keys come from one of: `key` (a secret, a public key in PEM or a JWK, or several of them),
    `jwks` (a `JWKS`, a document, or the path of one), `jwks_url`, or else from the metadata of
    `issuer`. `leeway` and `max_lifetime` are seconds. `profile="at+jwt"` takes only access tokens
    by RFC 9068. `claim_names` tells which claim is what: `{"roles": "realm_access.roles"}`.
    """

    def __init__(
        self,
        issuer: str | None = None,
        *,
        algorithms: Collection[str],
        key: KeyText | Sequence[KeyText] | None = None,
        jwks: JWKS | Mapping[str, object] | Path | None = None,
        jwks_url: str | None = None,
        audience: str | Collection[str] | None = None,
        leeway: float = 60.0,
        max_lifetime: float | None = None,
        required: Collection[str] = (),
        types: Collection[str] = ("JWT", "at+jwt"),
        profile: Literal["at+jwt"] | None = None,
        claim_names: Mapping[str, str] | None = None,
    ) -> None:
        sources = [key is not None, jwks is not None, jwks_url is not None]
        problems: dict[str, str | None] = {
            "issuer": _issuer_problem(issuer, discover=not any(sources)),
            "algorithms": algorithms_problem(algorithms),
            "key": "give one of key, jwks and jwks_url" if sum(sources) > 1 else None,
            "jwks_url": None if jwks_url is None else url_problem(jwks_url),
            "audience": None
            if audience is None or isinstance(audience, str)
            else each_problem(audience, string_problem),
            "leeway": _leeway_problem(leeway),
            "max_lifetime": None if max_lifetime is None else seconds_problem(max_lifetime),
            "required": each_problem(required, string_problem),
            "types": each_problem(types, string_problem),
            "profile": None
            if profile in (None, "at+jwt")
            else f"is 'at+jwt' or None, not {profile!r}",
            "claim_names": claim_names_problem(claim_names),
        }
        if profile is not None and (issuer is None or not audience):
            problems["profile"] = "needs `issuer` and `audience` (RFC 9068 §4)"
        allowed = frozenset[str]() if problems["algorithms"] else frozenset(algorithms)
        symmetric = bool(allowed & SYMMETRIC)
        if allowed and not symmetric and not has_crypto():
            problems["algorithms"] = _NO_CRYPTO
        if symmetric and key is None and not isinstance(jwks, Mapping | Path):
            problems["algorithms"] = "a shared secret cannot be published: give it as `key`"
        self._static: KeySet | None = None
        self.jwks: JWKS | None = None
        if not any(problems.values()):
            try:
                self._take_keys(issuer, key, jwks, jwks_url, allowed)
            except _WrongKey as wrong:
                problems[wrong.parameter] = str(wrong)
        check("Issuer", **problems)
        self.issuer = issuer
        self._algorithms = allowed
        self._types = frozenset(map(_plain_type, ("at+jwt",) if profile else types))
        self._needs_type = profile is not None
        self._names = ClaimNames(claim_names)
        accepted = (audience,) if isinstance(audience, str) else audience or ()
        self._rules = ClaimRules(
            issuer=issuer,
            audience=frozenset(accepted),
            leeway=leeway,
            max_lifetime=max_lifetime,
            required=(*required, *(RFC9068 if profile else ())),
        )

    def _take_keys(
        self,
        issuer: str | None,
        key: KeyText | Sequence[KeyText] | None,
        jwks: JWKS | Mapping[str, object] | Path | None,
        jwks_url: str | None,
        allowed: frozenset[str],
    ) -> None:
        if key is not None:
            self._static = _static_keys(key, allowed)
        elif isinstance(jwks, JWKS):
            self.jwks = jwks
        elif jwks is not None:
            self._static = _document_keys(jwks, allowed)
        elif jwks_url is not None:
            self.jwks = JWKS(jwks_url)
        else:
            self.jwks = JWKS(issuer=issuer)

    async def verify(self, io: IO, parts: Parts, now: float) -> Identity:
        """`BadToken` where the token is not one of this issuer, for us, now."""
        algorithm = parts.algorithm
        if algorithm not in self._algorithms:
            raise BadToken("an algorithm that is not allowed")
        if parts.type is None:
            if self._needs_type:
                raise BadToken("no type")
        elif _plain_type(parts.type) not in self._types:
            raise BadToken("a token of another type")
        # Before the signature: what will be refused anyway shall not have keys fetched for it.
        expires = self._rules.check(parts.claims, now)
        if self._static is not None:
            keys = self._static.find(parts.kid, algorithm)
        else:
            assert self.jwks is not None
            keys = await self.jwks.find(io, parts.kid, algorithm)
        if not keys:
            raise BadToken("no such key")
        if not _is_signed(parts, keys):
            others: list[Key] = []
            # Keys without an id were tried, and the one that is named may be a new one.
            is_certain = parts.kid is not None and keys[0].kid is not None
            if self.jwks is not None and not is_certain:
                others = await self.jwks.find_others(io, algorithm, keys)
            if not _is_signed(parts, others):
                raise BadToken("the signature is another one")
        return self._names.identity(parts.claims, "bearer", expires)

    def __repr__(self) -> str:
        return f"Issuer({self.issuer!r})"


def _is_signed(parts: Parts, keys: Sequence[Key]) -> bool:
    return any(key.verify(parts.algorithm, parts.signed, parts.signature) for key in keys[:_TRIES])


class _WrongKey(Exception):
    def __init__(self, parameter: str, what: str) -> None:
        super().__init__(what)
        self.parameter = parameter


def _static_keys(given: KeyText | Sequence[KeyText], allowed: frozenset[str]) -> KeySet:
    texts: Sequence[KeyText] = [given] if isinstance(given, str | bytes | Mapping) else given
    symmetric = bool(allowed & SYMMETRIC)
    try:
        keys = [
            Key.from_jwk(text) if isinstance(text, Mapping) else Key.from_text(text, symmetric)
            for text in texts
        ]
        _check_fit(keys, allowed)
        return KeySet(keys)
    except (ValueError, TypeError, AttributeError) as wrong:
        what = str(wrong) if isinstance(wrong, ValueError) else "is neither text nor a JWK"
        raise _WrongKey("key", what) from None


def _document_keys(source: Mapping[str, object] | Path, allowed: frozenset[str]) -> KeySet:
    try:
        document = strict(source.read_bytes()) if isinstance(source, Path) else dict(source)
        listed = document.get("keys")
        if allowed & SYMMETRIC and isinstance(listed, list):
            keys = [Key.from_jwk(jwk) for jwk in cast("list[dict[str, object]]", listed)]
            found = KeySet(keys)
        else:
            found = read_keys(document, _KEYS)
        _check_fit(found.keys, allowed)
    except (BadAnswer, ValueError, AttributeError, OSError) as wrong:
        raise _WrongKey("jwks", f"cannot be used: {wrong}") from None
    return found


def _check_fit(keys: Sequence[Key], allowed: frozenset[str]) -> None:
    if not keys:
        raise ValueError("there is none")
    if all(key.algorithms.isdisjoint(allowed) for key in keys):
        possible = sorted(set[str]().union(*(key.algorithms for key in keys)))
        raise ValueError(
            f"it is good for {', '.join(possible)}, and the allowed algorithms are others; a "
            "secret has as many bytes as the hash at least"
        )


def _plain_type(name: str) -> str:
    """RFC 7515 §4.1.9: a media type, with `application/` left out, in any case."""
    return name.lower().removeprefix("application/")


def _issuer_problem(issuer: object, *, discover: bool) -> str | None:
    if issuer is None:
        return "give key, jwks or jwks_url, or an issuer to discover it from" if discover else None
    if not isinstance(issuer, str) or not issuer:
        return f"must be a string, not {issuer!r}"
    if not discover:
        return None
    what = url_problem(issuer)
    return f"give key, jwks or jwks_url, or a URL to discover it from: {what}" if what else None


def _leeway_problem(leeway: object) -> str | None:
    if isinstance(leeway, int | float) and not isinstance(leeway, bool) and 0 <= leeway <= 600:
        return None
    return f"must be from 0 to 600 seconds, not {leeway!r}"


def issuers_problem(issuers: object, *, besides: bool) -> str | None:
    """Of a list in place of the options of one."""
    if besides:
        return "stands alone: algorithms, keys, issuer and audience belong into each `Issuer`"
    if not isinstance(issuers, list | tuple):
        return f"must be a list of `Issuer`, not {issuers!r}"
    listed = cast("Sequence[object]", issuers)
    names = [one.issuer for one in listed if isinstance(one, Issuer) and one.issuer is not None]
    if len(names) < len(listed):
        return "each is an `Issuer` that has a name"
    return "two have the same name" if len(set(names)) < len(names) else None
