"""The errors of gatekit, drawn by whose fault they are.

    GatekitError
    ├── ConfigurationError   you, at construction: every problem of the call in one message
    ├── MisuseError          the author of a middleware or handler: a rule of the onion was broken
    ├── Rejected             the client: carries the status and the problem it is answered with
    │   ├── BodyTooLarge     a body outgrew the limit of `read()` or `BodyLimit`
    │   └── ClientDisconnected   the client left while its request was being read: 400
    ├── NoResponse           the app returned without the head or the end of its answer
    └── UpstreamError        them: an upstream failed, and `stage` says when

What a client sees of any of them is a response in `application/problem+json` (RFC 9457), never a
traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, cast

Stage: TypeAlias = Literal[
    "no_destination",
    "dns",
    "connect",
    "connect_timeout",
    "tls",
    "pool_timeout",
    "pool_full",
    "send",
    "body_client",
    "first_byte_timeout",
    "idle_timeout",
    "attempt_timeout",
    "total_timeout",
    "protocol",
    "reset",
    "closed",
]


class GatekitError(Exception):
    """The root of the tree."""


class ConfigurationError(GatekitError, ValueError):
    """A wrong option, found at construction.

    `problems` maps each parameter to what is wrong with it and what is allowed.
    """

    def __init__(self, where: str, problems: Mapping[str, str]) -> None:
        self.where = where
        self.problems = dict(problems)
        listed = "; ".join(f"{name}: {what}" for name, what in self.problems.items())
        super().__init__(f"{where}: {listed}")


class MisuseError(GatekitError, RuntimeError):
    """A middleware or handler broke a rule of the onion; the message names it."""


class Rejected(GatekitError):
    """Raise it in a middleware or handler to answer the client with a problem.

    `status` is the HTTP status; `title` and `detail` are shown to the client; `type` is a stable
    URI; `headers` are added to the answer; `extensions` become members of the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        title: str | None = None,
        type: str = "about:blank",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{status} {detail or title or ''}".rstrip())
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        fields = cast("Mapping[str, str]", headers).items() if _is_mapping(headers) else headers
        self.headers: list[tuple[str, str]] = list(cast("Iterable[tuple[str, str]]", fields))
        self.extensions = dict(extensions or {})


class BodyTooLarge(Rejected):
    """A body is larger than `limit` bytes: 413 (RFC 9110 §15.5.14)."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            f"The body is larger than the {limit} bytes allowed.",
            type="urn:gatekit:body-too-large",
        )
        self.limit = limit


class NoResponse(GatekitError):
    """The app returned without a head, or before the end of a body that was being held."""


class ClientDisconnected(Rejected):
    """The client left, or broke its word on the length, before its request was read to the end."""

    def __init__(self, why: str) -> None:
        super().__init__(
            400, "The request's body broke off.", type="urn:gatekit:request-incomplete"
        )
        self.why = why


class UpstreamError(GatekitError):
    """An upstream failed: `stage` says when, `detail` what was seen (for logs, not clients)."""

    def __init__(self, stage: Stage, detail: str) -> None:
        super().__init__(f"{stage}: {detail}")
        self.stage: Stage = stage
        self.detail = detail


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def check(where: str, **problems: str | None) -> None:
    """Raise one `ConfigurationError` for all the problems that are not None."""
    found = {name: what for name, what in problems.items() if what is not None}
    if found:
        raise ConfigurationError(where, found)
