"""The client's certificate, told by a trusted proxy in one of three ways."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gatekit import ClientCert, ClientCertificate, ClientIP, ConfigurationError
from gatekit.testing import Answer, exercise
from tests.conftest import Door
from tests.doors.spec import Spec

URI = "spiffe://mesh.example/shop"


@cache
def certificate(name: str = "ada", *, has_names: bool = True) -> bytes:
    """In DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    )
    if has_names:
        names = [x509.UniformResourceIdentifier(URI), x509.DNSName("shop.example")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def sequence(der: bytes) -> str:
    return f":{b64encode(der).decode()}:"


TRUSTED = ClientIP(trusted=["127.0.0.0/8"])
ADA = certificate()
HASH = sha256(ADA).hexdigest()


def ask(headers: Any, *, header: str | None = None, **options: Any) -> Answer:
    return exercise(TRUSTED, ClientCert(header=header, **options), headers=headers)


def told(headers: Any, **options: Any) -> ClientCertificate | None:
    return ask(headers, **options).request.client_cert


def test_a_trusted_proxy_is_believed(door: Door) -> None:
    """RFC 9440 §2.2, through every door; and the field goes on."""
    seen: list[Any] = []
    spec = Spec(before=lambda request: seen.append(request.client_cert))
    headers = {"client-cert": sequence(ADA)}
    assert door(spec, TRUSTED, ClientCert(), headers=headers).status == 200
    [found] = seen
    assert (found.der, found.sha256, found.subject) == (ADA, HASH, "CN=ada")
    assert (found.uris, found.dns) == ((URI,), ("shop.example",))
    assert spec.seen[0]["headers"]["client-cert"] == headers["client-cert"]


def test_nobody_else_is_believed(door: Door) -> None:
    """Without `ClientIP`, or from a peer that it does not list, all such fields are taken off."""
    seen: list[Any] = []
    spec = Spec(before=lambda request: seen.append(request.client_cert))
    headers = {
        "client-cert": sequence(ADA),
        "client-cert-chain": sequence(ADA),
        "x-forwarded-client-cert": f"Hash={HASH}",
        "x-ssl-client-cert": quote(pem(ADA)),
    }
    for outer in ([], [ClientIP(trusted=["10.0.0.0/8"])]):
        assert door(spec, *outer, ClientCert(), headers=headers).status == 200
    assert seen == [None, None]
    assert [headers.keys() & call["headers"].keys() for call in spec.seen] == [set(), set()]


def test_other_spellings_and_other_fields_never_go_on() -> None:
    """To WSGI and CGI behind us `Client_Cert` is the same field; a trusted proxy sends one kind."""
    headers = {
        "client-cert": sequence(ADA),
        "client_cert": "x",
        "client-cert_chain": "x",
        "x_forwarded_client_cert": "x",
        "x-ssl-client-cert": "x",
    }
    answer = ask(headers)
    assert answer.request.client_cert is not None
    assert set(answer.request.headers) & headers.keys() == {"client-cert"}


def test_a_chain_comes_along() -> None:
    """RFC 9440 §2.3, over one line or several."""
    one, two = certificate("one"), certificate("two", has_names=False)
    headers = [
        ("client-cert", sequence(ADA)),
        ("client-cert-chain", f"{sequence(one)} , {sequence(two)}"),
        ("client-cert-chain", sequence(one)),
    ]
    found = told(headers)
    assert found is not None
    assert found.chain == (one, two, one)


def test_without_a_certificate_there_is_none() -> None:
    """Most clients have none; nginx then sends an empty field."""
    assert told({}) is None
    assert told({"x-ssl-client-cert": ""}, format="pem") is None


@pytest.mark.parametrize(
    "value",
    [
        quote(pem(ADA)),
        quote(pem(ADA), safe="+=/"),
        pem(ADA).replace("\n", " ").strip(),
        b64encode(ADA).decode(),
        b64encode(ADA).decode().rstrip("="),
    ],
    ids=["nginx", "AWS", "unescaped", "HAProxy", "without padding"],
)
def test_pem_in_all_its_dresses(value: str) -> None:
    """Percent-encoded or not, with or without its lines; a plus is no space."""
    found = told({"x-cert": value}, format="pem", header="X-Cert")
    assert found is not None
    assert (found.der, found.chain) == (ADA, ())


def test_several_in_pem() -> None:
    """The first is the client's; Traefik puts commas between."""
    one = certificate("one")
    bare = f"{b64encode(ADA).decode()},{b64encode(one).decode()}"
    for value in (quote(pem(ADA) + pem(one)), bare):
        found = told({"x-ssl-client-cert": value}, format="pem")
        assert found is not None
        assert (found.der, found.chain) == (ADA, (one,))


def test_envoy_may_tell_less() -> None:
    """By default there are a hash and names, and no certificate."""
    value = f'By=spiffe://mesh/gate;Hash={HASH};Subject="CN=a\\"d;a,O=x";URI={URI};URI=u:2;DNS=d'
    found = told({"x-forwarded-client-cert": value}, format="xfcc")
    assert found is not None
    assert (found.sha256, found.der) == (HASH, None)
    assert (found.subject, found.uris, found.dns) == ('CN=a"d;a,O=x', (URI, "u:2"), ("d",))
    with pytest.raises(ValueError, match="did not tell"):
        found.x509()


def test_envoy_may_tell_all() -> None:
    """Then names come from the certificate, and the hash has to fit."""
    one = certificate("one")
    value = f'Hash={HASH};Cert="{quote(pem(ADA))}";Chain="{quote(pem(ADA) + pem(one))}";URI=u:2'
    found = told({"x-forwarded-client-cert": value}, format="xfcc")
    assert found is not None
    assert (found.der, found.uris, found.chain) == (ADA, (URI,), (one,))


def test_the_nearest_proxy_counts() -> None:
    """What stands further left may be the client's own, on a line of its own too."""
    fields = [
        ("x-forwarded-client-cert", f"Hash={'a' * 64};URI=spiffe://evil"),
        ("x-forwarded-client-cert", f"Hash={'b' * 64},Hash={HASH};URI={URI}"),
    ]
    found = told(fields, format="xfcc")
    assert found is not None
    assert (found.sha256, found.uris) == (HASH, (URI,))


HALF = b64encode(ADA[:-9]).decode()


@pytest.mark.parametrize(
    ("format", "fields"),
    [
        ("rfc9440", [("client-cert", b64encode(ADA).decode())]),
        ("rfc9440", [("client-cert", f":{HALF}:")]),
        ("rfc9440", [("client-cert", "::")]),
        ("rfc9440", [("client-cert", ":*:")]),
        ("rfc9440", [("client-cert", ":A:")]),
        ("rfc9440", [("client-cert", sequence(ADA)), ("client-cert", sequence(ADA))]),
        ("rfc9440", [("client-cert", f"{sequence(ADA)}, {sequence(ADA)}")]),
        ("rfc9440", [("client-cert-chain", sequence(ADA))]),
        ("rfc9440", [("client-cert", sequence(ADA)), ("client-cert-chain", "x")]),
        ("pem", [("x-ssl-client-cert", quote(pem(ADA))[:-20])]),
        ("pem", [("x-ssl-client-cert", "é")]),
        ("pem", [("x-ssl-client-cert", "(null)")]),
        ("xfcc", [("x-forwarded-client-cert", "x")]),
        ("xfcc", [("x-forwarded-client-cert", "By=a")]),
        ("xfcc", [("x-forwarded-client-cert", f"Hash={HASH},")]),
        ("xfcc", [("x-forwarded-client-cert", f'By="a,Hash={HASH}')]),
        ("xfcc", [("x-forwarded-client-cert", f'By="a,Hash={HASH};Subject="CN=a"')]),
        ("xfcc", [("x-forwarded-client-cert", f"Hash={HASH};Hash={'a' * 64}")]),
        ("xfcc", [("x-forwarded-client-cert", "Hash=abc")]),
        ("xfcc", [("x-forwarded-client-cert", f'Hash={"a" * 64};Cert="{quote(pem(ADA))}"')]),
        ("xfcc", [("x-forwarded-client-cert", 'Cert="x"')]),
    ],
)
def test_half_a_certificate_is_none(format: Any, fields: list[tuple[str, str]]) -> None:
    """What cannot be read, or could be read in two ways, is a 400 and nobody's certificate."""
    assert ask(fields, format=format).status == 400


def test_a_token_can_be_bound_to_it() -> None:
    """RFC 8705 §3.1: the thumbprint that `cnf` has is base64url of the hash."""
    found = told({"client-cert": sequence(ADA)})
    assert found is not None
    expected = urlsafe_b64encode(sha256(ADA).digest()).rstrip(b"=").decode()
    assert found.thumbprint == expected
    assert found.x509().serial_number == 7
    assert "ada" not in repr(found)


@pytest.mark.parametrize("options", [{"format": "der"}, {"header": "a b"}])
def test_wrong_options(options: Any) -> None:
    """They are found at construction, and named."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ClientCert(**options)
