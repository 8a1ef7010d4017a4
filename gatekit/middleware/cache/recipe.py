"""From an answer's head to what is stored of it, by the policy and the rules of one cache.

draft = recipe.draft(ask, path, response, asked_at=..., received=..., clock=...)
draft.entry            # None where it may not be stored, and `draft.reason` says why
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from gatekit._core.body import alters
from gatekit._core.messages import Response
from gatekit.middleware.cache.asking import Ask
from gatekit.middleware.cache.entry import Entry
from gatekit.middleware.cache.policy import (
    Asked,
    Control,
    First,
    age_on_arrival,
    declared_seconds,
    expiry,
    first_values,
    flags_of,
    guessed_lifetime,
    is_clean,
    refusal,
    unstored,
    values,
)
from gatekit.middleware.cache.rules import CacheRule
from gatekit.middleware.cache.vary import vary_names
from gatekit.typing import RawHeaders

# Fields of which the value counts in what may be stored, and those of which it is enough to know
# that they are there.
_COUNTS = frozenset({b"cache-control", b"vary", b"content-type", b"connection"})
_SEEN = frozenset({b"set-cookie", b"expires", b"surrogate-key", b"cache-tag"})
_MOST_RULINGS = 1024
_NOBODY = Asked({}, False)
_TAGS = frozenset({b"surrogate-key", b"cache-tag"})
_MOST_TAGS = 64
_LONGEST_TAG = 256


class Draft(NamedTuple):
    """`entry` lacks its body. `length` is what the head says of it. `strips` says that the head has
    a field that nobody further out is to see.
    """

    entry: Entry | None
    reason: str
    strips: bool
    length: int | None = None


class Recipe:
    """The options of a cache that concern storing."""

    __slots__ = (
        "_counts", "_rulings", "_seen", "cookies", "keep", "max_object", "random", "rules", "sie",
        "strip", "swr", "targets",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rules: Sequence[CacheRule],
        targets: Sequence[str],
        strip: Sequence[str],
        cookies: str,
        max_object: int,
        swr: float,
        sie: float,
        keep: float,
        random: Random,
    ) -> None:
        self.rules = tuple(rules)
        self.targets = tuple(name.lower().encode("ascii") for name in targets)
        self.strip = frozenset(name.lower().encode("ascii") for name in strip)
        self.cookies = cookies
        self.max_object = max_object
        self.swr = swr
        self.sie = sie
        self.keep = keep
        self.random = random
        self._counts = _COUNTS | set(self.targets)
        self._seen = _SEEN | self._counts | self.strip
        self._rulings: dict[object, _Ruling] = {}

    def draft(
        self, ask: Ask, path: str, response: Response, *, asked_at: float, received: float
    ) -> Draft:
        """What would be stored of this answer to a `GET`."""
        status, raw = response.status, response.headers.raw
        ruling = self._rule_on(ask.asked, status, raw)
        rule = self._rule(path, status, raw) if self.rules else None
        reason = ruling.reason
        if reason == "status" and rule is not None:
            # A rule says what the answer does not; every other obstacle stays one.
            reason = None
        if reason is not None:
            return Draft(None, reason, ruling.strips)
        if not is_clean(raw):
            return Draft(None, "malformed field", ruling.strips)
        first = first_values(raw)
        lifetime = self._lifetime(rule, ruling, status, first, received)
        validates = _has_validator(first)
        if lifetime is None and not validates:
            return Draft(None, "no lifetime", ruling.strips)
        body, codecs = response.body, response.codecs
        altered = codecs is not None and alters(codecs)
        if altered:
            length = None
        elif isinstance(body, bytes) and codecs is None:
            length = len(body)
        else:
            length = _length(first)
        if length is not None and length > self.max_object:
            return Draft(None, "too large", ruling.strips)
        born = received - age_on_arrival(first, asked_at, received)
        entry = self._entry(rule, ruling, status, raw, lifetime or 0.0, born, validates)
        if entry.lifetime <= 0 and not (entry.swr or entry.sie or validates):
            return Draft(None, "no lifetime", ruling.strips)
        if altered:
            # What the door is about to do to the head, done to the copy (RFC 9110 §8.8.1).
            entry.fields = [
                (name, b"W/" + value if name == b"etag" and value[:2] != b"W/" else value)
                for name, value in entry.fields
                if name != b"content-length"
            ]
        entry.names = ruling.names
        return Draft(entry, "", ruling.strips, length)

    def refreshed(
        self, entry: Entry, path: str, fields: RawHeaders, *, asked_at: float, received: float
    ) -> tuple[Entry, bool]:
        """A stored answer with the fields that a 304 or a HEAD brought, and whether it may stay."""
        ruling = self._rule_on(_NOBODY, entry.status, fields)
        rule = self._rule(path, entry.status, fields) if self.rules else None
        stays = is_clean(fields) and (
            ruling.reason is None or (ruling.reason == "status" and rule is not None)
        )
        first = first_values(fields)
        lifetime = self._lifetime(rule, ruling, entry.status, first, received) or 0.0
        born = received - age_on_arrival(first, asked_at, received)
        validates = _has_validator(first)
        fresh = self._entry(rule, ruling, entry.status, fields, lifetime, born, validates)
        fresh.body = entry.body
        fresh.tags = fresh.tags or entry.tags
        return fresh, stays

    def tags_of(self, raw: RawHeaders) -> tuple[str, ...]:
        """The tags that an answer names: `Surrogate-Key` by spaces, `Cache-Tag` by commas."""
        found: dict[str, None] = {}
        for name, value in raw:
            if name in _TAGS:
                text = value.decode("latin-1")
                # A comma is what separates in one and stands inside of no tag in the other.
                for tag in text.replace(",", " ").split():
                    if len(tag) <= _LONGEST_TAG:
                        found[tag] = None
        return tuple(found)[:_MOST_TAGS]

    def _entry(
        self,
        rule: CacheRule | None,
        ruling: _Ruling,
        status: int,
        raw: RawHeaders,
        lifetime: float,
        born: float,
        validates: bool,
    ) -> Entry:
        swr, sie = ruling.swr, ruling.sie
        if rule is not None:
            # What the answer says itself counts for more.
            if rule.stale_while_revalidate is not None and not ruling.says_swr:
                swr = rule.stale_while_revalidate
            if rule.stale_if_error is not None and not ruling.says_sie:
                sie = rule.stale_if_error
        grace = max(swr, sie, self.keep if validates else 0.0)
        out = ruling.out
        return Entry(
            status,
            [field for field in raw if field[0] not in out],
            b"",
            born=born,
            lifetime=lifetime,
            swr=swr,
            sie=sie,
            keep=max(0.0, lifetime) + grace,
            flags=ruling.flags,
            tags=self.tags_of(raw) if ruling.is_tagged else (),
        )

    def _rule_on(self, asked: Asked, status: int, raw: RawHeaders) -> _Ruling:
        """What follows from those fields alone that most answers of an app have in common."""
        counts = self._counts
        key = (
            status,
            asked.owned,
            "no-store" in asked.control,
            *[field if field[0] in counts else field[0] for field in raw if field[0] in self._seen],
        )
        ruling = self._rulings.get(key)
        if ruling is None:
            ruling = self._new_ruling(asked, status, raw)
            if len(self._rulings) >= _MOST_RULINGS:
                self._rulings.clear()
            self._rulings[key] = ruling
        return ruling

    def _new_ruling(self, asked: Asked, status: int, raw: RawHeaders) -> _Ruling:
        control = Control.of(raw, self.targets)
        swr, sie = control.seconds("stale-while-revalidate"), control.seconds("stale-if-error")
        # RFC 9111 §5.2.2.10: beside s-maxage only what the answer grants itself.
        granted = "s-maxage" not in control
        dropped = self.strip | {b"set-cookie"} if self.cookies == "strip" else self.strip
        return _Ruling(
            reason=refusal(asked, status, raw, control, cookies=self.cookies != "bypass"),
            control=control,
            seconds=declared_seconds(control),
            flags=flags_of(control),
            out=unstored(raw, control, dropped),
            swr=float(swr if swr is not None else self.swr if granted else 0.0),
            sie=float(sie if sie is not None else self.sie if granted else 0.0),
            says_swr=swr is not None,
            says_sie=sie is not None,
            names=vary_names(raw),
            strips=any(name in self.strip for name, _ in raw),
            is_tagged=any(name in _TAGS for name, _ in raw),
        )

    def _rule(self, path: str, status: int, raw: RawHeaders) -> CacheRule | None:
        kinds = values(raw, b"content-type")
        kind = kinds[0] if kinds else None
        return next((rule for rule in self.rules if rule.fits(path, status, kind)), None)

    def _lifetime(
        self,
        rule: CacheRule | None,
        ruling: _Ruling,
        status: int,
        first: First,
        received: float,
    ) -> float | None:
        declared = ruling.seconds
        if declared is None:
            declared = expiry(first, ruling.control, received)
        if rule is None:
            if declared is not None:
                return declared
            return guessed_lifetime(status, first, ruling.control, received)
        lifetime = rule.ttl if declared is None or rule.force else declared
        return lifetime * (1.0 - rule.jitter * self.random.random())


class _Ruling(NamedTuple):
    reason: str | None
    control: Control
    seconds: float | None
    flags: int
    out: frozenset[bytes]
    swr: float
    sie: float
    says_swr: bool
    says_sie: bool
    names: tuple[bytes, ...]
    strips: bool
    is_tagged: bool


def _has_validator(first: First) -> bool:
    return b"etag" in first or b"last-modified" in first


def _length(first: First) -> int | None:
    length = first.get(b"content-length")
    return int(length) if length is not None and length.isdigit() else None
