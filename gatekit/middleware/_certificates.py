"""Reads what proxies write of a client's certificate, in each of their three ways.

    read_rfc9440(b":MIIBqDCC…=:", b"")
    read_xfcc(b'By=spiffe://mesh/gate;Hash=46…;URI=spiffe://mesh/shop', b"")
    read_pem(b"-----BEGIN%20CERTIFICATE-----%0AMIIBqDCC…", b"")

Each gives a `ClientCertificate`, or raises `BadCertificate`: half of one is none.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# RFC 8941 §3.3.5.
_BYTES = re.compile(rb":([A-Za-z0-9+/]*={0,2}):")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_HASH = re.compile(r"[0-9a-f]{64}")
# One pair of Envoy's, and what stands behind it.
_PAIR = re.compile(
    rb'[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*+)"|([^",;]*+))[ \t]*(;|,|\Z)', re.DOTALL
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class BadCertificate(Exception):
    """Says what was wrong, for the log."""


@dataclass(frozen=True, repr=False)
class ClientCertificate:
    """`sha256` is the hash of the DER form in lower-case hexadecimal digits.

    `der` is None where an Envoy told of the certificate without giving it. `subject` is as in
    RFC 4514, or as the proxy wrote it; `uris` and `dns` are its alternative names. `chain` are the
    other certificates that were told, in DER.
    """

    sha256: str
    der: bytes | None = None
    subject: str = ""
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()

    @cached_property
    def thumbprint(self) -> str:
        """`x5t#S256`, which a token that is bound to it confirms (RFC 8705 §3.1)."""
        return urlsafe_b64encode(bytes.fromhex(self.sha256)).rstrip(b"=").decode("ascii")

    def x509(self) -> Certificate:
        """For all else; `ValueError` where there is no `der`."""
        from cryptography.x509 import load_der_x509_certificate

        if self.der is None:
            raise ValueError("the proxy did not tell the certificate itself")
        return load_der_x509_certificate(self.der)

    def __repr__(self) -> str:
        # Not the subject: it may be a person.
        return f"<ClientCertificate {self.sha256[:16]}>"


def read_rfc9440(value: bytes, chain: bytes) -> ClientCertificate:
    """RFC 9440 §2: a byte sequence, and a list of them."""
    others = chain.split(b",") if chain.strip(b" \t") else []
    return _certificate([_sequence(part) for part in (value, *others)])


def read_pem(value: bytes, _: bytes) -> ClientCertificate:
    """What is no PEM is taken for the base64 of DER, several with commas between."""
    text = unquote_to_bytes(value)
    blocks = _PEM.findall(text)
    if b"-----" in _PEM.sub(b"", text):
        raise BadCertificate("it is no whole PEM")
    return _certificate([_decoded(block) for block in blocks or text.split(b",")])


def read_xfcc(value: bytes, _: bytes) -> ClientCertificate:
    """The last element, which the nearest proxy wrote; those before it may be the client's."""
    pairs = _last_element(value)
    told = {name: values[0] for name, values in pairs.items()}
    if any(len(pairs.get(name, ())) > 1 for name in ("cert", "hash", "subject", "chain")):
        raise BadCertificate("a key occurs twice")
    digest = told.get("hash", b"").decode("latin-1").lower()
    if "hash" in told and not _HASH.fullmatch(digest):
        raise BadCertificate("the hash is none")
    if "cert" in told:
        found = read_pem(told["cert"] + told.get("chain", b""), b"")
        chain = tuple(der for der in found.chain if der != found.der)
        if digest and digest != found.sha256:
            raise BadCertificate("the hash is that of another certificate")
        return ClientCertificate(
            found.sha256, found.der, found.subject, found.uris, found.dns, chain
        )
    if not digest:
        raise BadCertificate("neither a certificate nor its hash")
    subject = _text(told.get("subject", b""))
    return ClientCertificate(digest, None, subject, _texts(pairs, "uri"), _texts(pairs, "dns"))


def _last_element(value: bytes) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    at = 0
    while True:
        match = _PAIR.match(value, at)
        if match is None:
            raise BadCertificate("it is no list of pairs")
        name, quoted, plain, mark = match.groups()
        text = plain if quoted is None else _ESCAPED.sub(rb"\1", quoted)
        found.setdefault(name.decode("ascii").lower(), []).append(text)
        at = match.end()
        if not mark:
            return found
        if mark == b",":
            found = {}


def _certificate(ders: Sequence[bytes]) -> ClientCertificate:
    from cryptography.x509 import (
        DNSName,
        ExtensionNotFound,
        SubjectAlternativeName,
        UniformResourceIdentifier,
        load_der_x509_certificate,
    )

    der, *chain = ders
    subject = ""
    uris: list[str] = []
    dns: list[str] = []
    try:
        certificate = load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        uris = names.get_values_for_type(UniformResourceIdentifier)
        dns = names.get_values_for_type(DNSName)
    except ExtensionNotFound:
        pass
    except Exception as error:
        # The parser has many ways to say so.
        raise BadCertificate(f"it is no certificate: {type(error).__name__}") from error
    return ClientCertificate(
        sha256(der).hexdigest(), der, subject, tuple(uris), tuple(dns), tuple(chain)
    )


def _sequence(part: bytes) -> bytes:
    match = _BYTES.fullmatch(part.strip(b" \t"))
    if match is None:
        raise BadCertificate("it is no byte sequence")
    return _decoded(match[1])


def _decoded(text: bytes) -> bytes:
    plain = b"".join(text.split()).rstrip(b"=")
    try:
        found = a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except Error:
        raise BadCertificate("it is no base64") from None
    if not found:
        raise BadCertificate("it is empty")
    return found


def _texts(pairs: Mapping[str, Sequence[bytes]], name: str) -> tuple[str, ...]:
    return tuple(_text(value) for value in pairs.get(name, ()) if value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def has_crypto() -> bool:
    return find_spec("cryptography") is not None
