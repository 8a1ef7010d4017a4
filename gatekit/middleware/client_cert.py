"""The client's TLS certificate, as the proxy that ended TLS tells it, and nobody else.

    ClientIP(trusted=["10.0.0.0/8"]),                  # says who is such a proxy
    ClientCert(),                                      # `Client-Cert`, RFC 9440
    ClientCert(format="xfcc")                          # Envoy, Istio
    ClientCert(format="pem", header="X-SSL-Client-Cert")    # nginx, HAProxy, Traefik, AWS

`request.client_cert` is then a `ClientCertificate`, or None where the client showed none. That the
certificate is good, and whoever shows it holds its key, was for the proxy to verify.

What a peer sends that is no proxy of yours is taken off, and so is every other field of this kind
and each of its spellings. Without a `ClientIP` further out nobody is believed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import known_keywords, name_problem
from gatekit.errors import Rejected, check
from gatekit.middleware._certificates import (
    BadCertificate,
    ClientCertificate,
    has_crypto,
    read_pem,
    read_rfc9440,
    read_xfcc,
)
from gatekit.middleware.auth._authenticator import spellings
from gatekit.typing import Handler

__all__ = ["ClientCert", "ClientCertificate"]

Format: TypeAlias = Literal["rfc9440", "xfcc", "pem"]

_HEADERS = {
    "rfc9440": "Client-Cert",
    "xfcc": "X-Forwarded-Client-Cert",
    "pem": "X-SSL-Client-Cert",
}
_CHAIN = b"client-cert-chain"
# Values that one instance remembers having read: a certificate comes with every request.
_REMEMBERED = 256


@known_keywords
class ClientCert:
    """Sets `request.client_cert`. `header` is the field of the `format`, if it has another name.

    `"rfc9440"` is a byte sequence of DER in base64, with `Client-Cert-Chain` beside it; `"xfcc"` is
    Envoy's list, of which the last element counts; `"pem"` is PEM, percent-encoded or not, or the
    base64 within it alone, more certificates behind the first one. What cannot be read is a 400.
    """

    __slots__ = ("_field", "_format", "_read", "_strip")

    def __init__(self, *, format: Format = "rfc9440", header: str | None = None) -> None:
        check(
            "ClientCert",
            format=_format_problem(format),
            header=None if header is None else name_problem(header),
        )
        name = header or _HEADERS[format]
        self._format: Format = format
        self._field = name.lower().encode("ascii")
        self._strip = spellings((name, "Client-Cert-Chain", *_HEADERS.values()))
        # Of the value and the chain's, which is empty where there is none.
        readers = {"rfc9440": read_rfc9440, "xfcc": read_xfcc, "pem": read_pem}
        self._read = lru_cache(_REMEMBERED)(readers[format])

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        raw = request.headers.raw
        if not any(name in self._strip for name, _ in raw):
            return await call_next(request)
        believed: tuple[bytes, ...] = ()
        if request.trusted_peer:
            believed = (self._field, _CHAIN) if self._format == "rfc9440" else (self._field,)
        kept = [field for field in raw if field[0] in believed or field[0] not in self._strip]
        request.headers.replace(kept)
        if believed:
            self._find(request)
        else:
            note(request, Decision("client-cert", "skip", "not from a trusted proxy"))
        return await call_next(request)

    def _find(self, request: Request) -> None:
        values = [value for name, value in request.headers.raw if name == self._field]
        chain = b",".join(value for name, value in request.headers.raw if name == _CHAIN)
        if self._format == "xfcc":
            values = [b",".join(values)]
        try:
            if len(values) > 1:
                raise BadCertificate("the field occurs twice")
            if values and values[0].strip(b" \t"):
                request.client_cert = self._read(values[0], chain)
            elif chain and self._format == "rfc9440":
                raise BadCertificate("a chain without a certificate")
        except BadCertificate as bad:
            note(request, Decision("client-cert", "deny", str(bad)))
            raise Rejected(
                400,
                "The client certificate that the proxy tells of cannot be read.",
                type="urn:gatekit:invalid-request",
            ) from bad

    def __repr__(self) -> str:
        return f"ClientCert(format={self._format!r}, header={self._field.decode()!r})"


def _format_problem(format: object) -> str | None:
    if format not in _HEADERS:
        return f"{format!r} is not one of {', '.join(_HEADERS)}"
    return None if has_crypto() else "needs the extra `gatekit-middleware[crypto]`"
