"""Header fields that tell browsers what a page of this app may not do.

    SecurityHeaders()                                       # an API: nothing may be framed or run
    SecurityHeaders("web", content_security_policy="default-src 'self'")
    SecurityHeaders("strict", cross_origin_embedder_policy=None)

A field that the app has set stays as it is, so that one view can have rules of its own. Fields that
say which software answers are removed. `Strict-Transport-Security` is sent over https only, as
RFC 6797 §7.2 demands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gatekit._core.compose import answered
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem, name_problem, value_problem
from gatekit.errors import check
from gatekit.typing import Handler, RawHeaders

_NO_DEVICES = (
    "accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(),"
    " magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
)

PRESETS: Mapping[str, Mapping[str, str]] = {
    "api": {
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    },
    "web": {
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "content-security-policy": "base-uri 'self'; object-src 'none'; frame-ancestors 'self'",
        "referrer-policy": "strict-origin-when-cross-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin-allow-popups",
        "cross-origin-resource-policy": "same-site",
    },
    "strict": {
        # Two years, which is what browsers ask of whoever wants into their preload list.
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "content-security-policy": (
            "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self';"
            " frame-ancestors 'none'"
        ),
        "referrer-policy": "no-referrer",
        "permissions-policy": _NO_DEVICES,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-resource-policy": "same-origin",
        "x-permitted-cross-domain-policies": "none",
    },
}

_KNOWN = {name for preset in PRESETS.values() for name in preset} | {
    "clear-site-data",
    "content-security-policy-report-only",
    "cross-origin-embedder-policy-report-only",
    "cross-origin-opener-policy-report-only",
    "origin-agent-cluster",
    "permissions-policy-report-only",
    "report-to",
    "reporting-endpoints",
    "x-dns-prefetch-control",
    "x-robots-tag",
}

_HSTS = b"strict-transport-security"


class SecurityHeaders:
    """A preset, `"api"`, `"web"` or `"strict"`, and what is changed of it.

    Every field is an option under its name with underscores: a string takes the preset's place,
    None leaves the field out. `replace=True` overrules the app's own. `hsts_always` is for a proxy
    that ends TLS and does not say so. `remove` names the fields that are taken out.
    """

    __slots__ = ("_always_secure", "_fields", "_removed", "_secure_fields")

    def __init__(
        self,
        preset: str = "api",
        *,
        replace: bool = False,
        hsts_always: bool = False,
        remove: Collection[str] = ("Server", "X-Powered-By"),
        **overrides: str | None,
    ) -> None:
        check(
            "SecurityHeaders",
            preset=None
            if preset in PRESETS
            else f"there is no {preset!r}; choose from {', '.join(PRESETS)}",
            remove=each_problem(remove, name_problem),
            **{name: _override_problem(name, value) for name, value in overrides.items()},
        )
        named = {name.replace("_", "-"): value for name, value in overrides.items()}
        fields = {
            name.encode("ascii"): value.encode("latin-1")
            for name, value in {**PRESETS[preset], **named}.items()
            if value is not None
        }
        self._always_secure = hsts_always
        self._secure_fields: RawHeaders = list(fields.items())
        self._fields: RawHeaders = [field for field in fields.items() if field[0] != _HSTS]
        self._removed = frozenset(
            [name.lower().encode("ascii") for name in remove] + (list(fields) if replace else [])
        )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await answered(request, call_next)
        if response.status == 101:
            return response
        removed = self._removed
        kept = [field for field in response.headers.raw if field[0] not in removed]
        present = {name for name, _ in kept}
        wanted = self._secure_fields if self._is_secure(request) else self._fields
        kept += [field for field in wanted if field[0] not in present]
        response.headers.replace(kept)
        return response

    def _is_secure(self, request: Request) -> bool:
        return self._always_secure or (request.forwarded_scheme or request.scheme) in (
            "https",
            "wss",
        )


def _override_problem(name: str, value: object) -> str | None:
    if name.replace("_", "-") not in _KNOWN:
        return "is not a header field that this middleware knows; see its page for the list"
    return None if value is None else value_problem(value)
